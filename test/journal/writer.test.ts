import { afterAll, describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { hashJenkins, jenkins } from "../../src/bytes/lookup3.ts";
import { viewOf } from "../../src/bytes/view.ts";
import { AgentError } from "../../src/errors.ts";
import { ENTRY_FIELDS_MAX } from "../../src/journal/entry.ts";
import { FileState, HEADER } from "../../src/journal/format.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { seededRandom } from "../support/journal-damage.ts";
import {
  appendAll,
  BOOT_ID,
  complaints,
  exported,
  hostEntries,
  hostEntry,
  OPTIONS,
  OTHER_BOOT_ID,
  type PlainEntry,
  toEntry,
  toExported,
  writeJournal,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

let files = 0;
const nextPath = (): string => path.join(dir.path, `${files++}.journal`);
const readImage = (file: string): JournalImage => new JournalImage(fs.readFileSync(file));

/** `NAME=` and then bytes that do not compress. */
function noise(name: string, payloadSize: number, seed = payloadSize): Uint8Array {
  const bytes = Buffer.alloc(payloadSize);
  const random = seededRandom(seed);
  for (let i = 0; i < payloadSize; i++) bytes[i] = random() * 256;
  bytes.write(`${name}=`);
  return bytes;
}

/** Fails unless the file holds these entries, for us and for systemd, and is sound. */
function expectJournal(file: string, entries: readonly PlainEntry[]): void {
  const expected = entries.map(toExported);
  const stored = readImage(file).entries();
  expect(stored.map(({ seqnum }) => seqnum)).toEqual(entries.map(({ seqnum }) => seqnum));
  if (!hasSystemd()) return;
  expect(complaints(file)).toEqual([]);
  // A mismatch of megabytes is not worth printing.
  const shown = exported(file);
  expect(shown.map(({ cursor }) => cursor)).toEqual(expected.map(({ cursor }) => cursor));
  const wrong = shown.findIndex(
    ({ fields }, i) => fields.join("\n") !== expected[i]?.fields.join("\n"),
  );
  expect(wrong).toBe(-1);
}

const FORMATS = [true, false].flatMap((compact) =>
  [true, false].flatMap((keyedHash) =>
    [512, undefined].map((compressThresholdBytes) => ({
      name: `${compact ? "compact" : "regular"} ${keyedHash ? "keyed" : "unkeyed"} ${compressThresholdBytes === undefined ? "uncompressed" : "zstd"}`,
      format: { compact, keyedHash, compressThresholdBytes },
    })),
  ),
);

describe("JournalWriter in every format", () => {
  for (const { name, format } of FORMATS) {
    test(`writes a ${name} file that journalctl verifies and exports the same`, () => {
      const file = nextPath();
      const entries = hostEntries(300).map((entry, i) => ({
        ...entry,
        bootId: i < 200 ? BOOT_ID : OTHER_BOOT_ID,
        fields: [...entry.fields, `LONG=${"abcdefg ".repeat(i)}`, noise("NOISE", 600 + i)],
      }));
      writeJournal(file, entries, format);
      expectJournal(file, entries);
      const { header } = readImage(file);
      expect(header.state).toBe(FileState.archived);
      expect(header.entries).toBe(300);
      const isSmall = fs.statSync(file).size < 600_000;
      expect(isSmall).toBe(format.compressThresholdBytes !== undefined);
    });
  }
});

describe("JournalWriter stores payloads", () => {
  const KIB = 1024;
  const sizes = [
    ...[511, 512, 513, 4095, 4096, 4097, 8192, 65_536],
    ...[-8, -1, 0, 1, 8].map((delta) => 256 * KIB + delta),
    ...Array.from({ length: 24 }, (_, i) => 256 * KIB + i * 168),
    5 * KIB * KIB,
  ];
  for (const compressThresholdBytes of [undefined, 512]) {
    test(`of every size, ${compressThresholdBytes === undefined ? "raw" : "tried to compress"}`, () => {
      const file = nextPath();
      const entries = sizes.map((size, i) => hostEntry(i + 1, noise("NOISE", size)));
      writeJournal(file, entries, { compressThresholdBytes });
      expectJournal(file, entries);
    });
  }

  test("of several megabytes that compress, and finds them again", () => {
    const file = nextPath();
    const text = `TEXT=${"many times the same ".repeat(300_000)}`;
    const entries = [1, 2, 3].map((seqnum) => hostEntry(seqnum, text));
    writeJournal(file, entries);
    expectJournal(file, entries);
    expect(fs.statSync(file).size).toBeLessThan(200_000);
    expect(readImage(file).arrayCapacities(text)).toEqual([4]);
  });

  test("that are large and raw, and finds them again", () => {
    const file = nextPath();
    const blob = noise("BLOB", 300_000);
    const other = Buffer.from(blob);
    other[150_000] = (other[150_000] ?? 0) ^ 1;
    const entries = [blob, other, blob, other].map((field, i) => hostEntry(i + 1, field));
    writeJournal(file, entries, { compressThresholdBytes: undefined });
    expectJournal(file, entries);
    expect(fs.statSync(file).size).toBeLessThan(700_000);
  });

  test("of no value, one byte, NUL, line ends, bytes that are not UTF-8", () => {
    const file = nextPath();
    const values = ["", " ", "\0", "\n", "a\nb", "=", "=a=b=", "é\u{1f600}"];
    const bytes = [[0xff], [0xc3, 0x28], [0, 1, 2, 3], [10], [0x80, 10, 0]];
    const fields = [
      ...values.map((value, i) => `TEXT_${i}=${value}`),
      ...bytes.map((value, i) => Buffer.concat([Buffer.from(`BYTES_${i}=`), Buffer.from(value)])),
    ];
    const entries = [
      { seqnum: 1, fields },
      { seqnum: 2, fields: fields.toReversed() },
    ];
    writeJournal(file, entries);
    expectJournal(file, entries);
  });

  test("that differ in the first or the last byte only, or in length", () => {
    const file = nextPath();
    const values = ["", "a", "b", "aa", "ab", "ba"].flatMap((value) =>
      [0, 3, 4, 7, 8, 500, 505].map(
        (size) => `FIELD=${value[0] ?? ""}${"x".repeat(size)}${value[1] ?? ""}`,
      ),
    );
    const entries = [...values, ...values].map((field, i) => hostEntry(i + 1, field));
    writeJournal(file, entries);
    expectJournal(file, entries);
    const payloads = readImage(file)
      .data()
      .map(({ payload }) => payload);
    expect(payloads.filter((payload) => payload.startsWith("FIELD=")).sort()).toEqual(
      [...new Set(values)].sort(),
    );
  });
});

describe("JournalWriter stores entries", () => {
  test(`of ${ENTRY_FIELDS_MAX} fields, and of one`, () => {
    const file = nextPath();
    const fields = Array.from({ length: ENTRY_FIELDS_MAX - 1 }, (_, i) => `FIELD=${i * 7}`);
    const entries = [
      { seqnum: 1, fields },
      { seqnum: 2, fields: fields.toReversed() },
      { seqnum: 3, fields: [] },
    ];
    writeJournal(file, entries, { dataBuckets: 233 });
    expect(
      readImage(file)
        .entries()
        .map((entry) => entry.fields.length),
    ).toEqual([ENTRY_FIELDS_MAX, ENTRY_FIELDS_MAX, 1]);
    expectJournal(file, entries);
  });

  test("of too many fields never, as a fault of the program", () => {
    const fields = Array.from({ length: ENTRY_FIELDS_MAX }, (_, i) => `FIELD=${i}`);
    expect(() => writeJournal(nextPath(), [{ seqnum: 1, fields }])).toThrow(
      `Cannot append ${ENTRY_FIELDS_MAX + 1} fields`,
    );
  });

  test("with repeated fields: equal ones once, different ones each", () => {
    const file = nextPath();
    const fields = ["A=1", "B=1", "A=2", "A=1", "B=1", "A=1"];
    writeJournal(
      file,
      [1, 2].map((seqnum) => ({ seqnum, fields })),
    );
    const stored = readImage(file);
    for (const entry of stored.entries()) {
      expect(entry.fields).toEqual([`_BOOT_ID=${BOOT_ID}`, "A=1", "B=1", "A=2"]);
    }
    const counts = stored.data().map(({ payload, entries }) => [payload, entries.length]);
    expect(Object.fromEntries(counts)).toEqual({
      [`_BOOT_ID=${BOOT_ID}`]: 2,
      "A=1": 2,
      "B=1": 2,
      "A=2": 2,
    });
    if (hasSystemd()) expect(complaints(file)).toEqual([]);
  });

  test("with 2,000 field names, past the buckets for them", () => {
    const file = nextPath();
    const entries = Array.from({ length: 100 }, (_, i) => ({
      seqnum: i + 1,
      fields: Array.from({ length: 20 }, (_, k) => `FIELD_${i}_${k}=x`),
    }));
    writeJournal(file, entries, { dataBuckets: 4093 });
    expectJournal(file, entries);
    expect(readImage(file).header.fields).toBe(2001);
    expect(readImage(file).header.fieldHashChainDepth).toBeGreaterThan(0);
  });

  test("that share one field, in arrays of growing size", () => {
    // journal-file.c: link_entry_into_array(): double what is there, from 4 on.
    const capacities = [4, 8, 26, 78, 234, 702, 2106];
    for (const [count, arrays] of [
      [1, 0],
      [2, 1],
      [5, 1],
      [6, 2],
      [100, 4],
      [1053, 6],
      [1054, 7],
    ] as const) {
      const file = nextPath();
      const entries = hostEntries(count);
      writeJournal(file, entries, { dataBuckets: 4093 });
      expect(readImage(file).arrayCapacities("_HOSTNAME=host.example.net")).toEqual(
        capacities.slice(0, arrays),
      );
      expectJournal(file, entries);
    }
  });

  test("a hundred thousand with one field in common", () => {
    const file = nextPath();
    const shared = ["SHARED=1"];
    const entries = Array.from({ length: 100_000 }, (_, i) => ({ seqnum: i + 1, fields: shared }));
    writeJournal(file, entries);
    if (hasSystemd()) expect(complaints(file)).toEqual([]);
    const image = readImage(file);
    expect(image.data().map(({ entries }) => entries.length)).toEqual([100_000, 100_000]);
    expect(image.entries().every(({ seqnum }, i) => seqnum === i + 1)).toBe(true);
  });

  test("with the highest numbers and times", () => {
    const file = nextPath();
    const entries = [
      { seqnum: 2 ** 32 - 1, fields: ["A=1"], realtimeUsec: 1, monotonicUsec: 0 },
      { seqnum: 2 ** 32, fields: ["A=2"], realtimeUsec: 2 ** 32, monotonicUsec: 2 ** 32 },
      {
        seqnum: 2 ** 53 - 2,
        fields: ["A=3"],
        realtimeUsec: 2 ** 53 - 1,
        monotonicUsec: 2 ** 53 - 1,
      },
    ];
    writeJournal(file, entries);
    expect(readImage(file).entries()).toMatchObject(
      entries.map(({ seqnum, realtimeUsec, monotonicUsec }) => ({
        seqnum,
        realtimeUsec,
        monotonicUsec,
      })),
    );
    expectJournal(file, entries);
  });

  test("with the xor-hash of their cursor, else with that of their fields, repeated ones included", () => {
    const file = nextPath();
    const fields = ["A=1", "B=22", "A=1", "C=333"];
    writeJournal(file, [
      { seqnum: 1, fields, xorHash: "fedcba9876543210" },
      { seqnum: 2, fields },
      { seqnum: 3, fields, xorHash: "0000000000000001" },
    ]);
    let xor = 0n;
    for (const field of [`_BOOT_ID=${BOOT_ID}`, "B=22", "C=333"]) {
      hashJenkins(viewOf(Buffer.from(field)), 0, field.length);
      xor ^= (BigInt(jenkins.high >>> 0) << 32n) | BigInt(jenkins.low >>> 0);
    }
    expect(
      readImage(file)
        .entries()
        .map(({ xorHash }) => xorHash),
    ).toEqual(["fedcba9876543210", xor.toString(16).padStart(16, "0"), "0000000000000001"]);
  });
});

describe("JournalWriter.close()", () => {
  for (const [state, code] of [
    ["offline", 0],
    ["archived", 2],
  ] as const) {
    test(`cuts the file to what is used and marks it ${state}`, () => {
      const file = nextPath();
      const writer = JournalWriter.create(file, OPTIONS, new PageCache());
      appendAll(writer, hostEntries(10));
      expect(writer.isClosed).toBe(false);
      writer.close(state);
      expect(writer.isClosed).toBe(true);
      writer.close(state);
      const { header } = readImage(file);
      expect(header.state).toBe(code);
      expect(fs.statSync(file).size).toBe(header.headerSize + header.arenaSize);
      if (hasSystemd()) expect(complaints(file)).toEqual([]);
    });
  }

  test("is the end: an append is a fault of the program, the rest does nothing", async () => {
    const file = nextPath();
    const writer = JournalWriter.create(file, OPTIONS, new PageCache());
    appendAll(writer, hostEntries(3));
    writer.close("offline");
    expect(() => appendAll(writer, hostEntries(1, 4))).toThrow(RangeError);
    writer.publish();
    await writer.sync();
    expect(writer).toMatchObject({ entries: 3, tailSeqnum: 3, dataCount: 11 });
    expectJournal(file, hostEntries(3));
  });

  test("leaves an empty file sound", () => {
    const file = nextPath();
    JournalWriter.create(file, OPTIONS, new PageCache()).close("offline");
    expectJournal(file, []);
  });

  test("gives all memory of the cache back", () => {
    const cache = new PageCache(0);
    // Far more pages than the cache has; of 100 writers, each would else keep some.
    for (let i = 0; i < 100; i++) writeJournal(nextPath(), hostEntries(3), {}, cache);
    const file = nextPath();
    writeJournal(file, hostEntries(500), {}, cache);
    expectJournal(file, hostEntries(500));
  });

  test("waits with the descriptor for a sync that is under way", async () => {
    const file = nextPath();
    const writer = JournalWriter.create(file, OPTIONS, new PageCache());
    appendAll(writer, hostEntries(10));
    const { fdatasync } = fs;
    const spy = spyOn(fs, "fdatasync").mockImplementation(((
      fd: number,
      done: fs.NoParamCallback,
    ) => {
      setTimeout(() => fdatasync(fd, done), 20);
    }) as typeof fs.fdatasync);
    try {
      const first = writer.sync();
      await Bun.sleep(1);
      const second = writer.sync();
      const open = (): string[] =>
        fs.readdirSync("/proc/self/fd").map((fd) => {
          try {
            return fs.readlinkSync(`/proc/self/fd/${fd}`);
          } catch {
            return ""; // the one of the listing itself
          }
        });
      writer.close("offline");
      expect(open()).toContain(fs.realpathSync(file));
      await Promise.all([first, second]);
      await Bun.sleep(0);
      expect(open()).not.toContain(fs.realpathSync(file));
      expect(spy).toHaveBeenCalledTimes(1);
    } finally {
      spy.mockRestore();
    }
    expectJournal(file, hostEntries(10));
  });
});

describe("JournalWriter.sync()", () => {
  // The kernel reports pages that it could not write once and forgets them: a second sync would succeed.
  test.each(["EIO", "ENOSPC"])("never succeeds again once it failed with %s", async (errno) => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    appendAll(writer, hostEntries(10));
    const spy = spyOn(fs, "fdatasync").mockImplementation(((
      _fd: number,
      done: fs.NoParamCallback,
    ) => {
      done(Object.assign(new Error(`${errno}: of fdatasync`), { code: errno }));
    }) as typeof fs.fdatasync);
    const failure = {
      code: "E_IO",
      message: `Cannot sync journal file "${writer.path}": ${errno}: of fdatasync`,
    };
    const together = await Promise.allSettled([writer.sync(), writer.sync()]);
    spy.mockRestore();
    expect(together).toMatchObject([{ reason: failure }, { reason: failure }]);
    await expect(writer.sync()).rejects.toMatchObject(failure);
    expect(() => appendAll(writer, [hostEntry(11)])).toThrow(failure.message);
    writer.close("archived");
    expect(readImage(writer.path).header.state).toBe(FileState.online);
  });

  test.each([1, 2])("nor does the file end as a clean one after sync %d of close()", (nth) => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    appendAll(writer, hostEntries(10));
    let calls = 0;
    const spy = spyOn(fs, "fdatasyncSync").mockImplementation(() => {
      if (++calls === nth) throw Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" });
    });
    try {
      expect(() => writer.close("archived")).toThrow(
        expect.objectContaining({ code: "E_IO", hint: expect.stringContaining("Free space") }),
      );
    } finally {
      spy.mockRestore();
    }
    expect(writer.isClosed).toBe(true);
  });

  test("makes one fdatasync of what many callers wait for, and none when all is on disk", async () => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    const spy = spyOn(fs, "fdatasync");
    try {
      for (let turn = 1; turn < 4; turn++) {
        appendAll(writer, [hostEntry(turn)]);
        await Promise.all(Array.from({ length: 50 }, () => writer.sync()));
        expect(spy).toHaveBeenCalledTimes(turn);
        await writer.sync();
        expect(spy).toHaveBeenCalledTimes(turn);
        writer.publish();
      }
    } finally {
      spy.mockRestore();
    }
    writer.close("archived");
  });
});

describe("JournalWriter.complete()", () => {
  test.each(["offline", "archived"] as const)("ends as close() does: %s", async (state) => {
    const [now, later] = [nextPath(), nextPath()];
    const other = JournalWriter.create(now, OPTIONS, new PageCache());
    appendAll(other, hostEntries(10));
    other.close(state);
    const writer = JournalWriter.create(later, OPTIONS, new PageCache());
    appendAll(writer, hostEntries(10));
    await writer.complete(state);
    expect(writer.isClosed).toBe(true);
    expect(readImage(later).header.state).toBe(FileState[state]);
    expect(fs.readFileSync(later).equals(fs.readFileSync(now))).toBe(true);
    await writer.complete(state);
    expectJournal(later, hostEntries(10));
  });

  test("may be called off until it is done, and begun again", async () => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    const state = () => readImage(writer.path).header.state;
    appendAll(writer, hostEntries(10));
    const syncs: fs.NoParamCallback[] = [];
    const spy = spyOn(fs, "fdatasync").mockImplementation(((_: number, done: fs.NoParamCallback) =>
      syncs.push(done)) as unknown as typeof fs.fdatasync);
    const first = writer.complete("offline");
    await Bun.sleep(1);
    syncs.shift()?.(null);
    await Bun.sleep(1);
    expect([state(), syncs.length]).toEqual([FileState.offline, 1]);
    expect(writer.resume()).toBe(true);
    expect(state()).toBe(FileState.online);
    appendAll(writer, hostEntries(5, 11));
    const second = writer.complete("archived");
    for (let i = 0; i < 5; i++) {
      syncs.shift()?.(null);
      await Bun.sleep(1);
    }
    await Promise.all([first, second]);
    spy.mockRestore();
    expect([writer.isClosed, writer.resume(), state()]).toEqual([true, false, FileState.archived]);
    expectJournal(writer.path, hostEntries(15));
  });

  test("leaves it to close() when that is called meanwhile", async () => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    appendAll(writer, hostEntries(10));
    const completed = writer.complete("archived");
    writer.close("offline");
    await completed;
    expect(readImage(writer.path).header.state).toBe(FileState.offline);
    expectJournal(writer.path, hostEntries(10));
  });

  test("rejects when a sync fails, and is closed all the same", async () => {
    for (const nth of [1, 2]) {
      const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
      appendAll(writer, hostEntries(10));
      let calls = 0;
      const spy = spyOn(fs, "fdatasync").mockImplementation(((
        _: number,
        done: fs.NoParamCallback,
      ) =>
        done(
          ++calls === nth ? Object.assign(new Error("EIO"), { code: "EIO" }) : null,
        )) as typeof fs.fdatasync);
      await expect(writer.complete("archived")).rejects.toMatchObject({ code: "E_IO" });
      spy.mockRestore();
      expect([calls, writer.isClosed]).toEqual([nth, true]);
    }
  });
});

describe("JournalWriter.create()", () => {
  test("refuses a name that is taken and leaves that file alone", () => {
    const file = nextPath();
    writeJournal(file, hostEntries(3));
    expect(() => JournalWriter.create(file, OPTIONS, new PageCache())).toThrow(AgentError);
    expectJournal(file, hostEntries(3));
  });

  test("says where there is no directory", () => {
    const file = path.join(dir.path, "missing", "a.journal");
    expect(() => JournalWriter.create(file, OPTIONS, new PageCache())).toThrow(
      `Cannot create journal file "${file}": ENOENT`,
    );
  });

  test("makes a file that no other user can read", () => {
    const file = nextPath();
    writeJournal(file, []);
    expect(fs.statSync(file).mode & 0o007).toBe(0);
  });
});

describe("JournalWriter.moveTo()", () => {
  test("goes on in the same file under the new name", () => {
    const [from, to] = [nextPath(), nextPath()];
    const writer = JournalWriter.create(from, OPTIONS, new PageCache());
    appendAll(writer, hostEntries(2));
    writer.moveTo(to);
    expect(writer.path).toBe(to);
    appendAll(writer, hostEntries(2, 3));
    expect(writer.isUnlinked()).toBe(false);
    writer.close("archived");
    expect(fs.existsSync(from)).toBe(false);
    expectJournal(to, hostEntries(4));
  });

  test("tells when the file is deleted", () => {
    const writer = JournalWriter.create(nextPath(), OPTIONS, new PageCache());
    fs.rmSync(writer.path);
    expect(writer.isUnlinked()).toBe(true);
    expect(() => writer.moveTo(nextPath())).toThrow("Cannot rename journal file");
    writer.close("archived");
  });
});

test("the header's tail fields are those of the last entry", () => {
  const file = nextPath();
  const entries = [
    { seqnum: 5, fields: ["A=1"], realtimeUsec: 900, monotonicUsec: 9 },
    { seqnum: 8, fields: ["A=1"], realtimeUsec: 800, monotonicUsec: 3, bootId: OTHER_BOOT_ID },
  ];
  writeJournal(file, entries);
  expect(readImage(file).header).toMatchObject({
    headEntrySeqnum: 5,
    tailEntrySeqnum: 8,
    headEntryRealtime: 900,
    tailEntryRealtime: 800,
    tailEntryMonotonic: 3,
    tailEntryBootId: toEntry(entries[1] as PlainEntry).bootId,
    compatibleFlags: 0,
  });
  expect(fs.readFileSync(file).subarray(HEADER.reserved, HEADER.fileId)).toEqual(Buffer.alloc(7));
});

test("a file with a large hash table does not remember what was in the one before", () => {
  for (const [i, count] of [300, 200, 400].entries()) {
    const file = nextPath();
    const entries = hostEntries(count).map((entry) => ({
      ...entry,
      fields: [...entry.fields, `FILE=${i}`, `TURN=${entry.seqnum % (i + 2)}`],
    }));
    writeJournal(file, entries, { dataBuckets: 100_000 });
    expectJournal(file, entries);
  }
});
