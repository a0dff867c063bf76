import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseId128 } from "../../src/bytes/id128.ts";
import { serializedSizeMax, serializeEntry } from "../../src/export-format/serializer.ts";
import { type Entry, newEntry } from "../../src/journal/entry.ts";
import {
  BOOT_ID,
  binaryField,
  bytesOf,
  concat,
  type ParsedEntry,
  parseChunks,
  SEQNUM_ID,
} from "../support/export-stream.ts";

interface EntryOptions {
  realtimeUsec?: number;
  monotonicUsec?: number;
  seqnum?: number;
}

function makeEntry(fields: [string, string | Uint8Array][], options: EntryOptions = {}): Entry {
  const entry = newEntry(fields.length);
  entry.bytes = concat(...fields.map(([name, value]) => concat(name, "=", value)));
  let end = 0;
  for (const [name, value] of fields) {
    entry.fieldStart[entry.fieldCount] = end;
    end += name.length + 1 + bytesOf(value).length;
    entry.fieldEnd[entry.fieldCount] = end;
    entry.nameLength[entry.fieldCount] = name.length;
    entry.fieldCount++;
  }
  entry.realtimeUsec = options.realtimeUsec ?? 1;
  entry.monotonicUsec = options.monotonicUsec ?? 0;
  entry.seqnum = options.seqnum ?? 0;
  entry.bootId = parseId128(BOOT_ID) ?? new Uint8Array();
  entry.seqnumId = parseId128(SEQNUM_ID) ?? new Uint8Array();
  return entry;
}

function serialize(entry: Entry): Uint8Array {
  const target = new Uint8Array(serializedSizeMax(entry));
  return target.subarray(0, serializeEntry(entry, target, 0));
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

describe("serializeEntry()", () => {
  test("gives the cursor the hash that the entry came with", () => {
    const entry = makeEntry([["A", "1"]], { seqnum: 1 });
    entry.hasXorHash = true;
    entry.xorHashHigh = 0x00ab;
    entry.xorHashLow = 0xcd000001 | 0;
    expect(text(serialize(entry))).toMatch(/^__CURSOR=.*;x=abcd000001\n/);
  });

  test("writes what journalctl 254 writes", () => {
    // The first entry of a real journal; the cursor's x is what journalctl printed.
    const entry = makeEntry(
      [
        ["_BOOT_ID", "bea6864f21ad4c9594c04a99d89948b0"],
        ["_SOURCE_MONOTONIC_TIMESTAMP", "0"],
        ["_TRANSPORT", "kernel"],
        ["PRIORITY", "6"],
        ["SYSLOG_FACILITY", "0"],
        ["SYSLOG_IDENTIFIER", "kernel"],
        ["MESSAGE", "Booting Linux on physical CPU 0x0000000000 [0x410fd083]"],
        ["_MACHINE_ID", "bc5e6721ef0243b58cef4ae95df7a748"],
        ["_HOSTNAME", "fedora"],
      ],
      { realtimeUsec: 1666569601005945, monotonicUsec: 5878846, seqnum: 1 },
    );
    entry.bootId = parseId128("bea6864f21ad4c9594c04a99d89948b0") ?? new Uint8Array();
    entry.seqnumId = parseId128("f114c6ae53cc4d0192cdd65c2e186b8a") ?? new Uint8Array();
    expect(text(serialize(entry)).split("\n")).toEqual([
      "__CURSOR=s=f114c6ae53cc4d0192cdd65c2e186b8a;i=1;b=bea6864f21ad4c9594c04a99d89948b0;m=59b43e;t=5ebbc790fb979;x=2746e97ca9012f0d",
      "__REALTIME_TIMESTAMP=1666569601005945",
      "__MONOTONIC_TIMESTAMP=5878846",
      "__SEQNUM=1",
      "__SEQNUM_ID=f114c6ae53cc4d0192cdd65c2e186b8a",
      "_BOOT_ID=bea6864f21ad4c9594c04a99d89948b0",
      "_SOURCE_MONOTONIC_TIMESTAMP=0",
      "_TRANSPORT=kernel",
      "PRIORITY=6",
      "SYSLOG_FACILITY=0",
      "SYSLOG_IDENTIFIER=kernel",
      "MESSAGE=Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
      "_MACHINE_ID=bc5e6721ef0243b58cef4ae95df7a748",
      "_HOSTNAME=fedora",
      "",
      "",
    ]);
  });

  test("leaves out the identity an entry does not have", () => {
    expect(text(serialize(makeEntry([["A", "1"]])))).toBe(
      `__REALTIME_TIMESTAMP=1\n__MONOTONIC_TIMESTAMP=0\n_BOOT_ID=${BOOT_ID}\nA=1\n\n`,
    );
  });

  test("writes the largest numbers", () => {
    const max = Number.MAX_SAFE_INTEGER;
    const written = text(
      serialize(makeEntry([["A", "1"]], { realtimeUsec: max, monotonicUsec: max, seqnum: max })),
    );
    expect(written).toContain(`i=1fffffffffffff;b=${BOOT_ID};m=1fffffffffffff;t=1fffffffffffff;`);
    expect(written).toContain("\n__SEQNUM=9007199254740991\n");
  });

  const forms: [string, string | Uint8Array, "text" | "binary"][] = [
    ["empty", "", "text"],
    ["ASCII", "plain ~", "text"],
    ["TAB", "a\tb", "text"],
    ["UTF-8 of 2, 3 and 4 bytes", "é€𝄞\u00a0\ufffd", "text"],
    ["LF", "a\nb", "binary"],
    ["CR", "a\r", "binary"],
    ["NUL", "\0", "binary"],
    ["ESC", "\x1b[0m", "binary"],
    ["DEL", "\x7f", "binary"],
    ["C1 control", "\u0085", "binary"],
    ["malformed UTF-8", Uint8Array.of(0x61, 0xff), "binary"],
  ];
  test.each(forms)("writes %s in its form", (_, value, form) => {
    const written = serialize(makeEntry([["A", value]]));
    const head = `__REALTIME_TIMESTAMP=1\n__MONOTONIC_TIMESTAMP=0\n_BOOT_ID=${BOOT_ID}\n`;
    const field = form === "text" ? concat("A=", value, "\n") : binaryField("A", value);
    expect(text(written)).toBe(text(concat(head, field, "\n")));
  });

  test("begins at the offset and needs the room it asks for", () => {
    const entry = makeEntry([["A", "\n"]], { seqnum: 5 });
    const target = new Uint8Array(serializedSizeMax(entry) + 3);
    const end = serializeEntry(entry, target, 3);
    expect(text(target.subarray(3, end))).toBe(text(serialize(entry)));
    expect(() => serializeEntry(entry, target, 4)).toThrow(RangeError);
  });

  test("parsed again, gives the entry it came from", () => {
    const name = fc
      .stringMatching(/^[A-Z_][A-Z0-9_]{0,63}$/)
      .filter((text) => !text.startsWith("__") && text !== "_BOOT_ID");
    const value = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.string({ unit: "binary", maxLength: 40 }).map(bytesOf),
      fc.constantFrom("", "\n", "\n\n", "=", "A=1").map(bytesOf),
    );
    const usec = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 20 }),
        usec,
        fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        (fields, realtimeUsec, monotonicUsec, seqnum) => {
          const entry = makeEntry(fields, { realtimeUsec, monotonicUsec, seqnum });
          const bytes = serialize(entry);
          const expected: ParsedEntry = {
            fields: [
              `_BOOT_ID=${BOOT_ID}`,
              ...fields.map(([name, value]) => `${name}=${text(bytesOf(value))}`),
            ],
            realtimeUsec,
            monotonicUsec,
            bootId: BOOT_ID,
            seqnum,
            seqnumId: seqnum === 0 ? "" : SEQNUM_ID,
          };
          expect(parseChunks([concat(bytes, bytes)])).toEqual({
            entries: [expected, expected],
            refusals: [],
            trailing: 0,
            inherited: 0,
          });
        },
      ),
      { numRuns: 500, seed: 7 },
    );
  });
});
