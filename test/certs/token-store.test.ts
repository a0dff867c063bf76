import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import {
  findToken,
  hashTokenKey,
  readTokens,
  type StoredToken,
  TOKENS_MAX,
  tokensFile,
  withoutNames,
  withToken,
} from "../../src/certs/token-store.ts";
import { TempDir } from "../support/temp-dir.ts";

const NOW = Date.UTC(2026, 10, 22);
const HOUR_MS = 3_600_000;

function token(name: string, more: Partial<StoredToken> = {}): StoredToken {
  const hash = hashTokenKey(Buffer.from(name));
  return {
    ...{ hash, name, names: [], role: "client", days: 825, replaces: false },
    expiresMs: NOW + HOUR_MS,
    ...more,
  };
}

function read(text: string): StoredToken[] {
  using dir = new TempDir();
  dir.write("tokens", text);
  return readTokens({ path: (file) => join(dir.path, file) });
}

describe("the file of tokens", () => {
  test("is root's, and reads back", () => {
    const names = [{ type: "dns", value: "web1.example.net" }] as const;
    const tokens = [
      token("web1", { names, replaces: true }),
      token("web2", { key: "a".repeat(64) }),
    ];
    const file = tokensFile(tokens, NOW);
    expect(file).toMatchObject({ name: "tokens", mode: 0o600 });
    expect(read(String(file.data))).toEqual(tokens);
  });

  test("a missing one has none", () => {
    expect(readTokens({ path: () => "/nonexistent/tokens" })).toEqual([]);
  });

  test("a token that has ended stays a day", () => {
    const at = (ageMs: number): StoredToken => token(`web${ageMs}`, { expiresMs: NOW - ageMs });
    const tokens = [at(-1), at(0), at(23 * HOUR_MS), at(24 * HOUR_MS), at(48 * HOUR_MS)];
    expect(read(String(tokensFile(tokens, NOW).data))).toEqual(tokens.slice(0, 3));
  });

  test.each([
    ["{", "line 2 is broken"],
    ["[]", "it is no token"],
    ["null", "it is no token"],
    [JSON.stringify(token("web1", { hash: "zz" })), "it is no token"],
    [JSON.stringify(token("web1", { days: 1.5 })), "it is no token"],
    [JSON.stringify(token("web1", { role: "root" as "client" })), "it is no token"],
    [JSON.stringify(token("web1", { key: "x" })), "it is no token"],
  ])("refuses %s", (line, problem) => {
    expect(() => read(`${JSON.stringify(token("web0"))}\n${line}\n`)).toThrow(problem);
  });
});

test("a new token takes the place of those of its name", () => {
  const tokens = [token("web1", { key: "b".repeat(64) }), token("web2")];
  const next = token("web1", { hash: "c".repeat(64) });
  expect(withToken(tokens, next, NOW)).toEqual([token("web2"), next]);
  expect(withoutNames(tokens, new Set(["web2", "web3"]))).toEqual(tokens.slice(0, 1));
});

test("there are no more than the maximum; those that have ended make room", () => {
  const many = Array.from({ length: TOKENS_MAX }, (_, i) => token(`web${i}`));
  expect(() => withToken(many, token("one-more"), NOW)).toThrow("need fewer than");
  expect(withToken(many, token("web7"), NOW)).toHaveLength(TOKENS_MAX);
  const ended = [token("web0", { expiresMs: NOW - 1 }), ...many.slice(1)];
  const kept = withToken(ended, token("one-more"), NOW);
  expect([kept.length, kept[0]?.name, kept.at(-1)?.name]).toEqual([TOKENS_MAX, "web1", "one-more"]);
});

test("findToken() knows a token by the whole public key", () => {
  const key = randomBytes(32);
  const tokens = [token("web1"), token("web2", { hash: hashTokenKey(key) }), token("web3")];
  expect(findToken(tokens, key)?.name).toBe("web2");
  expect(findToken(tokens, key.subarray(0, 31))).toBeUndefined();
  const tampered = Buffer.from(key);
  tampered[31] = (tampered[31] ?? 0) ^ 1;
  expect(findToken(tokens, tampered)).toBeUndefined();
  expect(findToken([], key)).toBeUndefined();
});
