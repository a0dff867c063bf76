import { describe, expect, test } from "bun:test";
import { ENTRY_FIELDS_MAX } from "../../src/journal/entry.ts";
import {
  BOOT_ID,
  binaryField,
  concat,
  entry,
  messages,
  type ParsedStream,
  parseChunks,
  reasons,
  SEQNUM_ID,
  sampleEntry,
  sizeOf,
} from "../support/export-stream.ts";
import { BOOT_FIELD, GOOD, HEAD, REFUSED } from "./refused-entries.ts";

const OTHER_BOOT_ID = "0123456789abcdef0123456789ABCDEF";
const DASHED_BOOT_ID = "01234567-89ab-cdef-0123-456789abcdef";

function parse(...parts: (string | Uint8Array)[]): ParsedStream {
  return parseChunks([concat(...parts)]);
}

describe("push() hands on good entries", () => {
  const fieldCases: [string, (string | Uint8Array)[], string[]][] = [
    ["text", ["A=1", "B=x y"], ["A=1", "B=x y"]],
    ["empty text", ["A="], ["A="]],
    ["value with '='", ["A=b=c="], ["A=b=c="]],
    [
      "NUL and other bytes in text",
      [concat("A=\0\x01\t", [0xff, 0x80].map((b) => Uint8Array.of(b))[0] ?? "", "\n")],
      ["A=\0\x01\t\xff"],
    ],
    ["value ending in CR", ["A=1\r"], ["A=1\r"]],
    ["repeated fields", ["A=1", "A=2", "A=1"], ["A=1", "A=2", "A=1"]],
    ["binary", [binaryField("A", "one\n\ntwo=2\n")], ["A=one\n\ntwo=2\n"]],
    ["empty binary", [binaryField("A", "")], ["A="]],
    ["binary between text", ["A=1", binaryField("B", "\n"), "C=3"], ["A=1", "B=\n", "C=3"]],
    ["binary repeated", [binaryField("B", "x"), binaryField("B", "y")], ["B=x", "B=y"]],
    ["binary name of 64 bytes", [binaryField("N".repeat(64), "x")], [`${"N".repeat(64)}=x`]],
    ["text name of 64 bytes", [`${"N".repeat(64)}=x`], [`${"N".repeat(64)}=x`]],
    [
      "trusted fields",
      ["_UID=0", "_=x", "_B=1", "_BOOT_IX=2"],
      ["_UID=0", "_=x", "_B=1", "_BOOT_IX=2"],
    ],
    ["digits inside names", ["A1_2=x"], ["A1_2=x"]],
    ["binary _BOOT_ID as a field only", [binaryField("_BOOT_ID", "x")], ["_BOOT_ID=x"]],
    ["unknown dunder dropped", ["__FUTURE=1", "A=1", "__=2"], ["A=1"]],
    ["binary dunder dropped", [binaryField("__REALTIME_TIMESTAMP", "7"), "A=1"], ["A=1"]],
    ["value of 300 bytes", [`A=${"v".repeat(300)}`], [`A=${"v".repeat(300)}`]],
  ];
  test.each(fieldCases)("%s", (_, fields, expected) => {
    const stream = parse(entry(HEAD, ...fields), GOOD);
    expect(stream.refusals).toEqual([]);
    expect(stream.entries[0]?.fields).toEqual([BOOT_FIELD, ...expected]);
    expect(stream.entries[0]?.realtimeUsec).toBe(1_700_000_000_000_000);
    expect(stream.entries[0]?.bootId).toBe(BOOT_ID);
    expect(messages(stream)[1]).toBe("next");
    expect(stream.trailing).toBe(0);
  });

  test("values of every length around a word, after names of every length", () => {
    const fields: string[] = [];
    for (let name = 1; name <= 8; name++) {
      for (let value = 0; value <= 80; value++)
        fields.push(`${"N".repeat(name)}=${"\x0b".repeat(value)}`);
    }
    expect(parse(entry(HEAD, ...fields)).entries[0]?.fields.slice(1)).toEqual(fields);
  });

  test("as many fields as a journal takes", () => {
    const fields = Array.from({ length: ENTRY_FIELDS_MAX - 1 }, (_, i) => `F${i}=${i}`);
    const stream = parse(entry(HEAD, ...fields), GOOD);
    expect(stream.entries[0]?.fields).toEqual([BOOT_FIELD, ...fields]);
    expect(stream.entries[1]?.fields).toHaveLength(2);
  });

  test("`__` lines after the fields, as journald forwards them to a socket", () => {
    const stream = parse(
      entry("MESSAGE=a", BOOT_FIELD, "__REALTIME_TIMESTAMP=9", "__MONOTONIC_TIMESTAMP=8"),
    );
    expect(stream.entries).toEqual([
      {
        fields: ["MESSAGE=a", BOOT_FIELD],
        realtimeUsec: 9,
        monotonicUsec: 8,
        bootId: BOOT_ID,
        seqnum: 0,
        seqnumId: "",
      },
    ]);
  });

  test("empty lines around entries, none of them refused", () => {
    const stream = parse("\n\n", GOOD, "\n\n\n", GOOD, "\r\n\n");
    expect(stream.entries).toHaveLength(2);
    expect(stream.refusals).toEqual([]);
    expect(stream.trailing).toBe(0);
  });

  test("an empty stream", () => {
    expect(parse()).toEqual({ entries: [], refusals: [], trailing: 0, inherited: 0 });
  });
});

describe("push() interprets the `__` lines", () => {
  const timeCases: [string, number][] = [
    ["1", 1],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ["0x1f", 31],
    ["0XAb", 171],
    [" \t+42", 42],
    ["0042", 42],
  ];
  test.each(timeCases)("realtime %p", (value, expected) => {
    const stream = parse(entry(`__REALTIME_TIMESTAMP=${value}`, BOOT_FIELD));
    expect(stream.entries[0]?.realtimeUsec).toBe(expected);
  });

  test("monotonic 0", () => {
    const stream = parse(GOOD, entry("__MONOTONIC_TIMESTAMP=0", "A=1"));
    expect(stream.entries[1]?.monotonicUsec).toBe(0);
  });

  test("of repeated lines the last counts, every _BOOT_ID is a field", () => {
    const other = `_BOOT_ID=${OTHER_BOOT_ID}`;
    const stream = parse(
      entry("__REALTIME_TIMESTAMP=5", "__REALTIME_TIMESTAMP=6", BOOT_FIELD, other),
    );
    expect(stream.entries[0]?.realtimeUsec).toBe(6);
    expect(stream.entries[0]?.bootId).toBe(OTHER_BOOT_ID.toLowerCase());
    expect(stream.entries[0]?.fields).toEqual([BOOT_FIELD, other]);
  });

  test("boot id with dashes, kept as written in the field", () => {
    const stream = parse(entry("__REALTIME_TIMESTAMP=5", `_BOOT_ID=${DASHED_BOOT_ID}`));
    expect(stream.entries[0]?.bootId).toBe(DASHED_BOOT_ID.replaceAll("-", ""));
    expect(stream.entries[0]?.fields).toEqual([`_BOOT_ID=${DASHED_BOOT_ID}`]);
  });

  const cursor = `__CURSOR=s=${SEQNUM_ID};i=1f;b=${BOOT_ID};m=1;t=2;x=3`;
  const otherId = `__SEQNUM_ID=${DASHED_BOOT_ID}`;
  const nullId = "0".repeat(32);
  const identityCases: [string, string[], number, string][] = [
    ["number and id", ["__SEQNUM=77", `__SEQNUM_ID=${SEQNUM_ID}`], 77, SEQNUM_ID],
    ["id and number", [`__SEQNUM_ID=${SEQNUM_ID}`, "__SEQNUM=0x10"], 16, SEQNUM_ID],
    ["cursor", [cursor], 31, SEQNUM_ID],
    ["cursor of parts in another order", [`__CURSOR=i=2;x=1;s=${SEQNUM_ID}`], 2, SEQNUM_ID],
    [
      "both: the lines win",
      [cursor, "__SEQNUM=77", otherId],
      77,
      DASHED_BOOT_ID.replaceAll("-", ""),
    ],
    ["number without id: cursor", ["__SEQNUM=77", cursor], 31, SEQNUM_ID],
    ["id without number: cursor", [otherId, cursor], 31, SEQNUM_ID],
    ["number without id or cursor", ["__SEQNUM=77"], 0, ""],
    ["number 0", ["__SEQNUM=0", otherId], 0, ""],
    ["number above 2^53-1", ["__SEQNUM=9007199254740992", otherId], 0, ""],
    ["number that is none", ["__SEQNUM=7x", otherId], 0, ""],
    ["null id", ["__SEQNUM=7", `__SEQNUM_ID=${nullId}`], 0, ""],
    ["bad id", ["__SEQNUM=7", "__SEQNUM_ID=xyz"], 0, ""],
    ["cursor without number", [`__CURSOR=s=${SEQNUM_ID};b=${BOOT_ID}`], 0, ""],
    ["cursor without id", [`__CURSOR=i=5;b=${BOOT_ID}`], 0, ""],
    ["cursor with number 0", [`__CURSOR=s=${SEQNUM_ID};i=0`], 0, ""],
    ["cursor with null id", [`__CURSOR=s=${nullId};i=5`], 0, ""],
    ["cursor with too large a number", [`__CURSOR=s=${SEQNUM_ID};i=20000000000000`], 0, ""],
    ["cursor of nonsense", ["__CURSOR=;;=;s;i=;s=12"], 0, ""],
    ["empty cursor", ["__CURSOR="], 0, ""],
  ];
  test.each(identityCases)("identity from %s", (_, lines, seqnum, seqnumId) => {
    const stream = parse(entry(HEAD, ...lines));
    expect(stream.refusals).toEqual([]);
    expect(stream.entries[0]?.seqnum).toBe(seqnum);
    expect(stream.entries[0]?.seqnumId).toBe(seqnumId);
  });

  test("nothing of an identity is left for the next entry", () => {
    const stream = parse(
      entry(HEAD, "__SEQNUM=77", `__SEQNUM_ID=${SEQNUM_ID}`),
      entry(HEAD, "__SEQNUM=78"),
      entry(HEAD, otherId),
      entry(HEAD, cursor),
      entry(HEAD, cursor.replace("__CURSOR", "_XCURSOR")),
    );
    expect(stream.entries.map(({ seqnum }) => seqnum)).toEqual([77, 0, 0, 31, 0]);
  });
});

describe("push() lets entries inherit", () => {
  test("times and boot id, never the identity", () => {
    const stream = parse(sampleEntry(3), entry("MESSAGE=bare"));
    const [first, second] = stream.entries;
    expect(first?.seqnum).toBe(4);
    expect(second).toEqual({
      fields: ["MESSAGE=bare"],
      realtimeUsec: first?.realtimeUsec ?? 0,
      monotonicUsec: first?.monotonicUsec ?? 0,
      bootId: BOOT_ID,
      seqnum: 0,
      seqnumId: "",
    });
    expect(stream.inherited).toBe(1);
  });

  test("each value by itself", () => {
    const stream = parse(
      GOOD,
      entry("__REALTIME_TIMESTAMP=7", "A=1"),
      entry(`_BOOT_ID=${OTHER_BOOT_ID}`),
    );
    expect(stream.entries[1]).toMatchObject({
      realtimeUsec: 7,
      monotonicUsec: 5_000_000,
      bootId: BOOT_ID,
    });
    expect(stream.entries[2]).toMatchObject({
      realtimeUsec: 7,
      bootId: OTHER_BOOT_ID.toLowerCase(),
    });
    expect(stream.inherited).toBe(2);
  });

  test("from the last entry that was handed on, not from a refused one", () => {
    const bad = entry(
      "__REALTIME_TIMESTAMP=7",
      "__MONOTONIC_TIMESTAMP=8",
      `_BOOT_ID=${OTHER_BOOT_ID}`,
      "bad=1",
    );
    const onlyHead = entry("__REALTIME_TIMESTAMP=7", "__MONOTONIC_TIMESTAMP=8");
    const stream = parse(GOOD, bad, onlyHead, entry("A=1"));
    expect(reasons(stream)).toEqual(["bad-name", "no-fields"]);
    expect(stream.entries[1]).toMatchObject({
      realtimeUsec: 1_700_000_000_000_000,
      monotonicUsec: 5_000_000,
      bootId: BOOT_ID,
    });
  });

  test("nothing at the beginning: monotonic time is then 0, and that is not inherited", () => {
    const stream = parse(entry("__REALTIME_TIMESTAMP=7", BOOT_FIELD));
    expect(stream.entries[0]?.monotonicUsec).toBe(0);
    expect(stream.inherited).toBe(0);
  });
});

describe("push() refuses the entry, once, and goes on with the next", () => {
  test.each(REFUSED)("%s", (_, bytes, reason) => {
    const stream = parse(sampleEntry(0), bytes, GOOD);
    expect(reasons(stream)).toEqual([reason]);
    expect(stream.refusals[0]?.offset).toBe(sampleEntry(0).length);
    expect(stream.refusals[0]?.detail).toMatch(/^[ -~…]{10,200}$/);
    expect(messages(stream)).toEqual(["message 0", "next"]);
    expect(stream.trailing).toBe(0);
  });

  test("without a time, nothing to inherit", () => {
    const stream = parse(entry("A=1", BOOT_FIELD), GOOD);
    expect(reasons(stream)).toEqual(["no-realtime"]);
    expect(messages(stream)).toEqual(["next"]);
  });

  test("without a boot id, nothing to inherit", () => {
    const stream = parse(entry("__REALTIME_TIMESTAMP=5", binaryField("_BOOT_ID", BOOT_ID)), GOOD);
    expect(reasons(stream)).toEqual(["no-boot-id"]);
    expect(messages(stream)).toEqual(["next"]);
  });

  test("several in a row, each at its own offset", () => {
    const bad = entry("a=1");
    const stream = parse(bad, bad, GOOD, bad, GOOD);
    expect(stream.refusals.map(({ offset }) => offset)).toEqual([0, 5, 10 + GOOD.length]);
    expect(stream.entries).toHaveLength(2);
  });

  test("a stream that begins inside an entry", () => {
    const whole = sampleEntry(1, { fields: [binaryField("TEXT", "one\ntwo\nthree"), "LAST=1"] });
    const tail = sampleEntry(2);
    const refused = new Set<string>();
    for (let cut = 1; cut < whole.length - 2; cut++) {
      const stream = parse(whole.subarray(cut), tail);
      for (const reason of reasons(stream)) refused.add(reason);
      expect(messages(stream).at(-1)).toBe("message 2");
      expect(stream.entries.length + stream.refusals.length).toBe(2);
    }
    expect([...refused].sort()).toEqual(["bad-name", "no-realtime"]);
  });

  test("the detail shows the sender's bytes escaped and cut", () => {
    const stream = parse(entry(`__REALTIME_TIMESTAMP=\x1b"\\é${"9".repeat(100)}`));
    expect(stream.refusals[0]?.detail).toBe(
      `time is "\\u001b\\"\\\\\\u00c3\\u00a9${"9".repeat(59)}…", need 1 .. 2^53-1`,
    );
  });
});

describe("end()", () => {
  test("counts the bytes of the unfinished entry, at every length", () => {
    const whole = sampleEntry(0);
    const unfinished = sampleEntry(1, { fields: [binaryField("B", "\n\n")] });
    for (let length = 1; length < unfinished.length; length++) {
      const stream = parse(whole, unfinished.subarray(0, length));
      expect(stream.trailing).toBe(length);
      expect(stream.entries).toHaveLength(1);
      expect(stream.refusals).toEqual([
        {
          reason: "truncated",
          offset: whole.length,
          detail: expect.stringContaining(`${length} bytes`),
        },
      ]);
    }
  });

  test("inside a refused entry does not refuse it again", () => {
    const cases = ["a=1\n", "a=1", "a=1\nB", "a=1\nB\n123", concat("a=1\nB\n", sizeOf(9), "12")];
    for (const tail of cases) {
      const stream = parse(GOOD, tail);
      expect(reasons(stream)).toEqual(["bad-name"]);
      expect(stream.trailing).toBe(concat(tail).length);
    }
  });
});
