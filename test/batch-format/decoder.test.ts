import { describe, expect, test } from "bun:test";
import { BatchDecoder } from "../../src/batch-format/decoder.ts";
import {
  BLOCK_SIZE_MAX,
  DEFINITIONS_MAX,
  DICTIONARY_SIZE_MAX,
} from "../../src/batch-format/format.ts";
import {
  block,
  decodeAll,
  decodeChunks,
  type PlainBatchEntry,
  type PlainDefinition,
} from "../support/batch-bodies.ts";
import { concat } from "../support/export-stream.ts";

const NULL_ID = "00".repeat(16);

/** Numbers of the entries that are decoded, and why others are not. */
function outcome(body: Uint8Array, limits = {}) {
  const { refusals, error } = decodeChunks([body], limits);
  const seqnums = error === undefined ? decodeAll(body).map(({ seqnum }) => seqnum) : [];
  return { reasons: refusals.map(({ reason }) => reason), error, seqnums };
}

describe("BatchDecoder refuses single entries", () => {
  const cases: [string, PlainBatchEntry, string, PlainDefinition?][] = [
    ["no time", { realtimeUsec: 0 }, "bad-timestamp"],
    ["a negative time", { realtimeUsec: -5 }, "bad-timestamp"],
    ["half a microsecond", { realtimeUsec: 1.5 }, "bad-timestamp"],
    ["a time past 2^53-1", { realtimeUsec: 2 ** 53 }, "bad-timestamp"],
    ["NaN", { realtimeUsec: Number.NaN }, "bad-timestamp"],
    ["endless monotonic time", { monotonicUsec: Number.POSITIVE_INFINITY }, "bad-timestamp"],
    ["negative monotonic time", { monotonicUsec: -1 }, "bad-timestamp"],
    ["a null boot id", { bootId: NULL_ID }, "no-boot-id"],
    ["a negative number", { seqnum: -1 }, "bad-identity"],
    ["a broken number", { seqnum: 0.5 }, "bad-identity"],
    ["a number without its id", { seqnumId: NULL_ID }, "bad-identity"],
    ["an unknown flag", { flags: 2 }, "bad-flags"],
    ["the flag that only we set", { flags: 1 << 15 }, "bad-flags"],
    ["an origin that is not told", { origin: 7 }, "bad-origin"],
    ["no fields", { fields: [] }, "no-fields"],
    ["an undefined field", { fields: [0, 3] }, "bad-number"],
    ["field 2^16-1", { fields: [0xffff] }, "bad-number"],
    ["too many fields", { fields: new Array(1089).fill(0) }, "too-many-fields"],
    ["a small letter", { fields: [0, 2] }, "bad-name", "Message=x"],
    ["a digit first", { fields: [2] }, "bad-name", "1A=x"],
    ["a name of 65", { fields: [2] }, "bad-name", `${"A".repeat(65)}=x`],
    ["a reserved name", { fields: [2] }, "bad-name", "__CURSOR=x"],
    ["no name", { fields: [2] }, "bad-name", "=x"],
    ["no =", { fields: [2] }, "bad-name", { payload: "ABC", nameLength: 2 }],
    ["a name that is all", { fields: [2] }, "bad-name", { payload: "ABC", nameLength: 3 }],
    ["a name beyond it", { fields: [2] }, "bad-name", { payload: "A=", nameLength: 0xffffffff }],
    ["an empty field", { fields: [2] }, "bad-name", { payload: "", nameLength: 0 }],
  ];
  for (const [name, entry, reason, definition = "C=3"] of cases) {
    test(`for ${name}`, () => {
      const definitions = ["A=1", "B=2", definition];
      const good = { fields: [0, 1] };
      const body = concat(
        block({
          definitions,
          entries: [
            { ...good, seqnum: 1 },
            { seqnum: 2, ...entry },
            { ...good, seqnum: 3 },
          ],
        }),
        block({ definitions: ["D=4"], entries: [{ fields: [3], seqnum: 4 }] }),
      );
      expect(outcome(body)).toEqual({ reasons: [reason], error: undefined, seqnums: [1, 3, 4] });
    });
  }

  test("over the limits of the settings", () => {
    const definitions = ["A=123456789", "B=2", "C=3"];
    const entries = [[0], [1, 2], [0, 1], [1, 1, 1]].map((fields) => ({ fields }));
    const body = block({ definitions, entries });
    const reasonsOf = (limits: object) => outcome(body, limits).reasons;
    expect(reasonsOf({ fieldSizeMax: 10 })).toEqual(["field-too-large", "field-too-large"]);
    expect(reasonsOf({ fieldSizeMax: 11 })).toEqual([]);
    expect(reasonsOf({ entrySizeMax: 13 })).toEqual(["entry-too-large"]);
    expect(reasonsOf({ entrySizeMax: 14 })).toEqual([]);
    expect(reasonsOf({ fieldsMax: 2 })).toEqual(["too-many-fields"]);
  });

  test("and says where they begin in the body", () => {
    const first = block({ definitions: ["A=1"], entries: [{}] });
    const body = concat(first, block({ entries: [{}, { fields: [1] }] }));
    const { refusals } = decodeChunks([body]);
    expect(refusals).toEqual([{ reason: "bad-number", offset: first.length + 24 + 32 + 48 }]);
  });
});

describe("BatchDecoder takes", () => {
  test("an empty body, and empty blocks", () => {
    expect(outcome(new Uint8Array(0))).toEqual({ reasons: [], error: undefined, seqnums: [] });
    const body = concat(block({}), block({ definitions: ["A=1"] }), block({ entries: [{}] }));
    expect(outcome(body)).toEqual({ reasons: [], error: undefined, seqnums: [1] });
  });

  test("values of any bytes, and names of up to 64", () => {
    const definitions = [`A=${"\0\n\xff="}`, `${"N".repeat(64)}=`];
    const body = block({ definitions, entries: [{ fields: [1, 0] }] });
    expect(decodeAll(body)[0]?.fields).toEqual([
      [definitions[1], 64],
      [definitions[0], 1],
    ]);
  });
});

describe("A block that starts the numbers anew", () => {
  const anew = block({
    flags: 1,
    definitions: ["C=3"],
    entries: [{ fields: [0] }, { fields: [1] }, { seqnum: 9, fields: [0, 0] }],
  });
  const body = concat(block({ definitions: ["A=1", "B=2"], entries: [{ fields: [1, 0] }] }), anew);

  test("ends what was defined before it", () => {
    expect(outcome(body)).toEqual({
      reasons: ["bad-number"],
      error: undefined,
      seqnums: [1, 1, 9],
    });
    expect(decodeAll(body).map(({ fields }) => fields.map(([text]) => text))).toEqual([
      ["B=2", "A=1"],
      ["C=3"],
      ["C=3", "C=3"],
    ]);
  });

  test("may be the first one", () => {
    expect(decodeAll(anew)).toHaveLength(2);
  });

  test("makes room, in memory that counts as held all the same", () => {
    const many = block({ flags: 1, definitions: new Array(50_000).fill("A=1") });
    const large = block({ flags: 1, definitions: [`A=${"x".repeat(40 << 20)}`] });
    const decoder = new BatchDecoder({ onBlock() {}, onRefused() {} });
    for (const bytes of [many, many, large, large, many, block({ flags: 1 })]) decoder.push(bytes);
    expect(decoder.bufferedBytes).toBeGreaterThan(40 << 20);
    expect(decoder.bufferedBytes).toBeLessThan(41 << 20);
  });
});

describe("BatchDecoder ends with", () => {
  const good = { definitions: ["A=1"], entries: [{}] };
  const cases: [string, Uint8Array, string][] = [
    ["another signature", block({ ...good, signature: 0x3242414a }), "E_EXPORT_SYNTAX"],
    ["a size that is no multiple of 8", block({ ...good, sizeOff: 4 }), "E_EXPORT_SYNTAX"],
    ["no size", block({ sizeOff: -24 }), "E_EXPORT_SYNTAX"],
    ["8 bytes left over", concat(block({ ...good, sizeOff: 8 }), new Uint8Array(8)), "E_EXPORT_"],
    ["8 bytes missing", block({ ...good, sizeOff: -8 }), "E_EXPORT_SYNTAX"],
    ["an unknown flag", block({ ...good, flags: 2 }), "E_EXPORT_SYNTAX"],
    ["an origin too few", block({ ...good, originsOff: 1 }), "E_EXPORT_SYNTAX"],
    ["2^32-1 origins", block({ ...good, originsOff: 0xfffffffe }), "E_EXPORT_SYNTAX"],
    ["an entry too few", block({ ...good, entriesOff: 1 }), "E_EXPORT_SYNTAX"],
    ["an entry too many", block({ ...good, entriesOff: -1 }), "E_EXPORT_SYNTAX"],
    ["a definition too few", block({ ...good, definitionsOff: 1 }), "E_EXPORT_SYNTAX"],
    ["2^32-1 definitions", block({ ...good, definitionsOff: 0xfffffffe }), "E_EXPORT_SYNTAX"],
    ["2^32-1 entries", block({ ...good, entriesOff: 0xfffffffe }), "E_EXPORT_SYNTAX"],
    [
      "a definition that reaches too far",
      block({ definitions: [{ payload: "A=1", size: 17 }] }),
      "E_EXPORT_SYNTAX",
    ],
    [
      "2^32-1 fields",
      block({ definitions: ["A=1"], entries: [{ fieldCount: 0xffffffff }] }),
      "E_EXPORT_SYNTAX",
    ],
    [
      "a large block of many definitions",
      block({ definitions: Array.from({ length: 9 }, (_, n) => `A=${n}${"x".repeat(130_000)}`) }),
      "E_EXPORT_SYNTAX",
    ],
    [
      "a field too large for the dictionary",
      block({ definitions: ["A=1"], sizeOff: DICTIONARY_SIZE_MAX }),
      "E_LIMIT",
    ],
  ];
  for (const [name, body, code] of cases) {
    test(name, () => {
      const before = block({ definitions: ["A=1"], entries: [{}] });
      const decoded = decodeChunks([concat(before, body)]);
      expect(decoded.error).toStartWith(`${code}`);
      expect(decoded.blocks).toBe(Buffer.from(before).toString("latin1"));
      expect(decodeChunks([...before, ...body].map((byte) => Uint8Array.of(byte)))).toEqual(
        decoded,
      );
    }, 20_000);
  }

  test("more definitions than there may be", () => {
    const many = block({ definitions: new Array(50_000).fill("A=1") });
    const decoder = new BatchDecoder({ onBlock() {}, onRefused() {} });
    decoder.push(many);
    decoder.push(block({ definitions: new Array(DEFINITIONS_MAX - 50_000).fill("A=1") }));
    expect(() => decoder.push(block({ definitions: ["A=1"] }))).toThrow(
      "65537 fields, 65536 is the most",
    );
  });

  test("more bytes of definitions than there may be", () => {
    const many = block({ definitions: [`A=${"x".repeat(BLOCK_SIZE_MAX - 34)}`] });
    expect(many.length).toBe(BLOCK_SIZE_MAX);
    const decoder = new BatchDecoder({ onBlock() {}, onRefused() {} });
    for (let i = 0; i < 64; i++) decoder.push(many);
    expect(() => decoder.push(many)).toThrow("67108864 is the most");
  });
});

describe("BatchDecoder.bufferedBytes", () => {
  test("counts the unfinished block and the dictionary, and no more than came", () => {
    const decoder = new BatchDecoder({ onBlock() {}, onRefused() {} });
    expect(decoder.bufferedBytes).toBe(0);
    decoder.push(block({ definitions: [`A=${"x".repeat(1000)}`], entries: [{}] }));
    const known = decoder.bufferedBytes;
    expect(known).toBeGreaterThan(1000);
    expect(known).toBeLessThan(1100);
    const large = block({ definitions: [`A=${"x".repeat(50 << 20)}`] });
    decoder.push(large.subarray(0, 16));
    expect(decoder.bufferedBytes).toBeLessThan(200_000);
    decoder.push(large.subarray(16, 1 << 20));
    expect(decoder.bufferedBytes).toBeLessThan(3 << 20);
    decoder.push(large.subarray(1 << 20));
    expect(decoder.bufferedBytes).toBeGreaterThan(50 << 20);
    expect(decoder.bufferedBytes).toBeLessThan(51 << 20);
    expect(decoder.end()).toBe(0);
  });
});
