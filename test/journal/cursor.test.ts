import { describe, expect, test } from "bun:test";
import { formatCursor, parseCursor } from "../../src/journal/cursor.ts";
import { id128 } from "../support/journal-entries.ts";

const S = "739ad463348b4ceca5a9e69c95a3c93f";
const B = "6c7c6013a26343b29e964691ff25d04c";
const WHOLE = `s=${S};i=1f;b=${B};m=4c4b40;t=60a24183cc480;x=6403dc2a4ea5f87a`;

describe("parseCursor()", () => {
  test("reads what formatCursor() writes, in any order", () => {
    const cursor = parseCursor(WHOLE);
    expect(cursor).toEqual({
      seqnumId: id128(S),
      seqnum: 31,
      bootId: id128(B),
      monotonicUsec: 5_000_000,
      realtimeUsec: 1_700_000_002_000_000,
      xorHash: { high: 0x6403dc2a, low: 0x4ea5f87a },
    });
    expect(parseCursor(WHOLE.split(";").reverse().join(";"))).toEqual(cursor);
    expect(formatCursor(cursor as Required<typeof cursor>)).toBe(WHOLE);
  });

  for (const parts of [`s=${S};i=1`, `b=${B};m=1`, "t=1", `t=1;x=5;y=9`, ` t=1 ; x=0`]) {
    test(`takes "${parts}"`, () => {
      expect(() => parseCursor(parts)).not.toThrow();
    });
  }

  const broken: [string, string][] = [
    ["", '"" is no part of one'],
    ["x=5", "it has no place"],
    [`s=${S};m=1;b=${B.slice(1)}`, `"${B.slice(1)}" is no id`],
    [`s=${S}`, "it has no place"],
    ["t=1;", '"" is no part of one'],
    ["t=xyz", '"t=xyz" is no part of one'],
    ["t=20000000000000000", '"20000000000000000" is no number'],
    ["t=ffffffffffffffff", '"ffffffffffffffff" is no number'],
    ["t=1;x=11111111111111111", '"x=11111111111111111" is no hash'],
  ];
  for (const [text, problem] of broken) {
    test(`refuses "${text}"`, () => {
      const message = `Cannot use cursor "${text}": ${problem}, need one as journalctl shows it`;
      expect(() => parseCursor(text)).toThrow(message);
    });
  }
});

test("formatCursor() writes hashes as systemd does, without leading zeros", () => {
  const cursor = parseCursor(WHOLE) as Required<ReturnType<typeof parseCursor>>;
  const cases: [number, number, string][] = [
    [0, 0, "x=0"],
    [0, 0xabc, "x=abc"],
    [1, 0xabc, "x=100000abc"],
    [0xffffffff, 0, "x=ffffffff00000000"],
  ];
  for (const [high, low, text] of cases) {
    expect(formatCursor({ ...cursor, xorHash: { high, low } })).toEndWith(`;${text}`);
  }
});
