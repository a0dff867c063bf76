import { describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import { journalIoError, journalSyncError } from "../../src/journal/io-error.ts";

describe("journalIoError()", () => {
  const cases = [
    ["ENOSPC", "E_NO_SPACE", true],
    ["EDQUOT", "E_NO_SPACE", true],
    ["EIO", "E_IO", false],
    ["EFBIG", "E_IO", false],
    [undefined, "E_IO", false],
  ] as const;
  for (const [errno, code, hasHint] of cases) {
    test(`makes ${errno ?? "an error without a number"} ${code}, with its cause`, () => {
      const cause = Object.assign(new Error(`${errno}: what happened`), { code: errno });
      const error = journalIoError("write", "/a/b.journal", cause);
      expect(error).toMatchObject({
        code,
        cause,
        message: `Cannot write journal file "/a/b.journal": ${errno}: what happened`,
      });
      expect(error.hint !== undefined).toBe(hasHint);
    });
  }

  test("leaves an AgentError as it is", () => {
    const error = new AgentError("E_LIMIT", "Cannot grow");
    expect(journalIoError("write", "/a/b.journal", error)).toBe(error);
  });

  test("takes anything that is thrown", () => {
    expect(journalIoError("open", "x", "text").message).toBe('Cannot open journal file "x": text');
  });
});

describe("journalSyncError()", () => {
  test.each([
    ["ENOSPC", true],
    ["EDQUOT", true],
    ["EIO", false],
  ])("makes %s E_IO: trying again would lie", (errno, hasHint) => {
    const cause = Object.assign(new Error(`${errno}: what happened`), { code: errno });
    const error = journalSyncError("/a/b.journal", cause);
    expect(error).toMatchObject({
      code: "E_IO",
      cause,
      message: `Cannot sync journal file "/a/b.journal": ${errno}: what happened`,
    });
    expect(error.hint !== undefined).toBe(hasHint);
  });
});
