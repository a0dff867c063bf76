/** `agent certs token`: a host is promised a certificate before it has a key. */
import { randomBytes } from "node:crypto";
import { AgentError } from "../errors.ts";
import { type Authority, readAuthorityCertificate } from "./authority.ts";
import { AUTHORITY_FILES } from "./directory.ts";
import { readHost } from "./issue.ts";
import { type AlternativeName, alternativeNames } from "./names.ts";
import type { Role } from "./profiles.ts";
import { authorityFingerprint, formatToken, publicKeyOf, SECRET_SIZE } from "./token.ts";
import {
  hashTokenKey,
  readTokens,
  type StoredToken,
  tokensFile,
  withoutNames,
  withToken,
} from "./token-store.ts";

export interface TokenRequest {
  name: string;
  /** Besides the host's own. */
  names: readonly AlternativeName[];
  role: Role;
  /** Of the certificate. */
  days: number;
  /** How long the token is valid. */
  validMs: number;
  /** Although the name has a valid certificate, which the new one replaces. */
  force: boolean;
}

/**
 * Former tokens of the name are void.
 * @returns the token's text, which is nowhere else
 * @throws AgentError E_USAGE for a name with a valid certificate that is not to be replaced; E_LIMIT
 */
export function makeToken(
  authority: Authority,
  request: TokenRequest,
): { text: string; expiresMs: number } {
  const { name, names, role, days, validMs, force } = request;
  // Checked now: nobody is there to be told when the host comes.
  alternativeNames(name, names);
  refuseTaken(authority, name, force);
  const { x509 } = readAuthorityCertificate(authority.path(AUTHORITY_FILES.current.certificate));
  const secret = randomBytes(SECRET_SIZE);
  const expiresMs = authority.nowMs + validMs;
  const hash = hashTokenKey(publicKeyOf(secret));
  const stored = { hash, name, names, role, days, replaces: force, expiresMs };
  const tokens = withToken(readTokens(authority), stored, authority.nowMs);
  authority.commit({ replace: [tokensFile(tokens, authority.nowMs)] });
  return {
    text: formatToken({ fingerprint: authorityFingerprint(x509.raw), secret, name }),
    expiresMs,
  };
}

/** @throws AgentError E_USAGE when there is none */
export function cancelToken(authority: Authority, name: string): void {
  const tokens = readTokens(authority);
  const others = withoutNames(tokens, new Set([name]));
  if (others.length === tokens.length) {
    const hint = "agent certs token --list shows those there are";
    throw new AgentError("E_USAGE", `Cannot cancel the token of "${name}": there is none`, {
      hint,
    });
  }
  authority.commit({ replace: [tokensFile(others, authority.nowMs)] });
}

/** Where it stands with a token. */
export function tokenState(token: StoredToken, nowMs: number): "open" | "used" | "expired" {
  if (token.expiresMs <= nowMs) return "expired";
  return token.key === undefined ? "open" : "used";
}

function refuseTaken(authority: Authority, name: string, force: boolean): void {
  const host = readHost(authority, name);
  if (host.status !== "valid" || force) return;
  const until = host.certificate?.x509.validTo;
  const message = `Cannot make a token for "${name}": it has a certificate until ${until}`;
  const hint =
    "--force lets the host that has the token replace it; the former one stays valid until it is revoked";
  throw new AgentError("E_USAGE", message, { hint });
}
