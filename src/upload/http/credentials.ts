/** Who we say we are inside a request: a bearer token, or user and password. */
import { readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { AgentError } from "../../errors.ts";
import { unreadableReason } from "../../platform/pem-files.ts";

export interface CredentialFiles {
  /** Holds the token. */
  bearerTokenFile: string | undefined;
  /** Holds "user:password". */
  basicAuthFile: string | undefined;
  /** Where the service manager puts credentials, which are named by a bare name ($CREDENTIALS_DIRECTORY). */
  credentialsDirectory: string | undefined;
}

/** RFC 6750 2.1. */
const BEARER_TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/**
 * The value of "Authorization"; a file wins over what the URL holds.
 * @param userinfo "user:password" of the URL.
 * @throws AgentError E_CONFIG when a file cannot be used.
 */
export function readAuthorization(
  files: CredentialFiles,
  userinfo: string | undefined,
): string | undefined {
  const { bearerTokenFile, basicAuthFile } = files;
  const directory = files.credentialsDirectory;
  if (bearerTokenFile !== undefined) {
    const token = readSecret(credentialPath(bearerTokenFile, directory), "bearer token");
    if (BEARER_TOKEN.test(token)) return `Bearer ${token}`;
    throw unusable("bearer token", bearerTokenFile, "it holds more than one token's letters");
  }
  if (basicAuthFile !== undefined) {
    const pair = readSecret(credentialPath(basicAuthFile, directory), "password");
    if (pair.includes(":")) return formatBasic(pair);
    throw unusable("password", basicAuthFile, 'it holds no colon, "user:password" is needed');
  }
  return userinfo === undefined ? undefined : formatBasic(userinfo);
}

/** @param userinfo "user:password", or "user". */
export function formatBasic(userinfo: string): string {
  const pair = userinfo.includes(":") ? userinfo : `${userinfo}:`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

/** The files `readAuthorization()` reads. */
export function credentialFileNames(files: CredentialFiles): string[] {
  return [files.bearerTokenFile, files.basicAuthFile]
    .filter((file) => file !== undefined)
    .map((file) => credentialPath(file, files.credentialsDirectory));
}

/** systemd's credentials are files of a folder that only the service manager knows. */
function credentialPath(file: string, directory: string | undefined): string {
  return isAbsolute(file) || directory === undefined ? file : join(directory, file);
}

function readSecret(file: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw unusable(what, file, unreadableReason(cause), cause);
  }
  const secret = text.replace(/[\r\n]{1,8}$/, "");
  if (secret === "") throw unusable(what, file, "it is empty");
  if (/\p{Cc}/u.test(secret)) throw unusable(what, file, "one line is needed");
  return secret;
}

/** Without the secret itself. */
function unusable(what: string, file: string, problem: string, cause?: unknown): AgentError {
  const hint = "BearerTokenFile= and BasicAuthFile= name files that this user may read";
  return new AgentError("E_CONFIG", `Cannot use ${what} of "${file}": ${problem}`, { hint, cause });
}
