/**
 * The tokens that were made and have not ended: file `tokens` of the authority's directory, root's alone, a line of JSON
 * each. The secrets are not in it, only hashes of their public keys. It changes with the directory's other files, in one
 * transaction.
 *
 *   {"hash":"5f…","name":"web1","names":[{"type":"dns","value":"web1.example.net"}],"role":"client","days":825,
 *    "replaces":false,"expiresMs":1795340000000,"key":"9c…"}
 *
 * A token that was used stays until it ends, with the key it was used for: a host that has lost the answer asks again with
 * that key, and gets the same certificate. One that has ended stays a day longer, so that its host is told why.
 */
import { createHash, type KeyObject } from "node:crypto";
import { AgentError, reasonOf } from "../errors.ts";
import { type Authority, readOptionalText } from "./authority.ts";
import { SECRET_ACCESS, TOKENS_FILE } from "./directory.ts";
import type { AlternativeName } from "./names.ts";
import { DAY_MS, ROLES, type Role } from "./profiles.ts";
import type { NewFile } from "./transaction.ts";

export interface StoredToken {
  /** SHA-256 of the public key, which is `publicKeyOf` the secret; hexadecimal digits. */
  hash: string;
  name: string;
  /** Besides the host's own. */
  names: readonly AlternativeName[];
  role: Role;
  /** Of the certificate. */
  days: number;
  /** Whether a valid certificate of the name may be replaced. */
  replaces: boolean;
  expiresMs: number;
  /** SHA-256 of the public key it was used for, hexadecimal digits; undefined = it was not. */
  key?: string;
}

/** Of one authority, used ones and those of the last day among them. */
export const TOKENS_MAX = 10_000;
const KEPT_MS = DAY_MS;

/** @throws AgentError E_CERT for a file that is broken */
export function readTokens(authority: Pick<Authority, "path">): StoredToken[] {
  const path = authority.path(TOKENS_FILE);
  const lines = readOptionalText(path).split("\n");
  return lines.flatMap((line, index) => (line === "" ? [] : [parseLine(line, path, index + 1)]));
}

/** The file with these tokens, without those that ended more than a day ago. */
export function tokensFile(tokens: readonly StoredToken[], nowMs: number): NewFile {
  const kept = tokens.filter(({ expiresMs }) => expiresMs > nowMs - KEPT_MS);
  const data = kept.map((token) => `${JSON.stringify(token)}\n`).join("");
  return { name: TOKENS_FILE, data, ...SECRET_ACCESS };
}

/**
 * A further token, in place of the former ones of its name.
 * @throws AgentError E_LIMIT when there are too many
 */
export function withToken(
  tokens: readonly StoredToken[],
  token: StoredToken,
  nowMs: number,
): StoredToken[] {
  const others = withoutNames(tokens, new Set([token.name]));
  const room = TOKENS_MAX - 1;
  const kept = others.length > room ? others.filter((each) => each.expiresMs > nowMs) : others;
  if (kept.length <= room) return [...kept, token];
  const problem = `${kept.length} have not ended yet, need fewer than ${TOKENS_MAX}`;
  const hint = "agent certs token --list shows them; NAME --cancel makes one void";
  throw new AgentError("E_LIMIT", `Cannot make a token: ${problem}`, { hint });
}

export function withoutNames(
  tokens: readonly StoredToken[],
  names: ReadonlySet<string>,
): StoredToken[] {
  return tokens.filter(({ name }) => !names.has(name));
}

/** @param publicKey of the token, which is no secret: who shows it has to prove more */
export function findToken(
  tokens: readonly StoredToken[],
  publicKey: Uint8Array,
): StoredToken | undefined {
  const wanted = hashTokenKey(publicKey);
  return tokens.find(({ hash }) => hash === wanted);
}

/** How the file names a token. @param publicKey 32 bytes */
export function hashTokenKey(publicKey: Uint8Array): string {
  return hashBytes(publicKey);
}

/** How a token remembers the key of the host that it was used for. */
export function hashKey(publicKey: KeyObject): string {
  return hashBytes(publicKey.export({ type: "spki", format: "der" }));
}

function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function parseLine(line: string, path: string, number: number): StoredToken {
  let token: unknown;
  try {
    token = JSON.parse(line);
  } catch (error) {
    throw broken(path, number, reasonOf(error));
  }
  if (isToken(token)) return token;
  throw broken(path, number, "it is no token");
}

function broken(path: string, number: number, problem: string): AgentError {
  const message = `Cannot read tokens "${path}": line ${number} is broken (${problem})`;
  return new AgentError("E_CERT", message, {
    hint: "Without the file no token is valid: remove it",
  });
}

/** What is compared and what goes into certificates has to be as this program writes it. */
function isToken(value: unknown): value is StoredToken {
  if (typeof value !== "object" || value === null) return false;
  const { hash, name, names, role, days, replaces, expiresMs, key } = value as Partial<StoredToken>;
  return (
    isHash(hash) &&
    (key === undefined || isHash(key)) &&
    typeof name === "string" &&
    Array.isArray(names) &&
    ROLES.some((each) => each === role) &&
    Number.isSafeInteger(days) &&
    typeof replaces === "boolean" &&
    Number.isSafeInteger(expiresMs)
  );
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}
