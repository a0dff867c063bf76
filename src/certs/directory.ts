/**
 * The authority's directory: names of files as Netdata's script has them, modes and owners.
 *
 * The directory is root's, 0755, and so is what lies in it: daemons read there, but can neither put
 * an authority of their own in place of this one, nor a script of theirs in place of one that root is about to run.
 * Certificates and lists are public, 0644. Keys are root's, 0600, hosts' as well: a service gets its key from the service
 * manager (LoadCredential=), so that none is readable by a group. Those that are there when a directory is adopted stay as
 * they are.
 */
import { chmodSync, chownSync, realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import type { FileAccess } from "../platform/synced-file.ts";

export const DEFAULT_DIRECTORY = "/etc/ssl/systemd-journal";
const DIRECTORY_MODE = 0o755;

/** Files of an authority, in each of the stages of its life. */
export interface AuthorityFiles {
  certificate: string;
  key: string;
  index: string;
}

/** Which one: that which signs, the one before it, the one that will. */
export type Stage = "current" | "old" | "new";

export const AUTHORITY_FILES: Record<Stage, AuthorityFiles> = {
  /** `ca.pem` holds all that are trusted; the first is the one that signs. */
  current: { certificate: "ca.pem", key: "ca.key", index: "index" },
  old: { certificate: "ca-old.pem", key: "ca-old.key", index: "index-old" },
  new: { certificate: "ca-new.pem", key: "ca-new.key", index: "index-new" },
};

export const LISTS_FILE = "crl.pem";
export const SERIAL_FILE = "serial";
export const TOKENS_FILE = "tokens";
export const INDEX_ATTRIBUTES_FILE = "index.attr";

/** A host's files, by its name. */
export const certificateFile = (name: string): string => `${name}.pem`;
export const keyFile = (name: string): string => `${name}.key`;
export const requestFile = (name: string): string => `${name}.csr`;
export const bundleFile = (name: string): string => `${name}.bundle`;
export const scriptFile = (name: string): string => `runme-on-${name}.sh`;

export const PUBLIC_ACCESS: FileAccess = { mode: 0o644 };
export const SECRET_ACCESS: FileAccess = { mode: 0o600 };

/** Who, besides root and whoever runs this, could replace files in the directory; undefined = nobody. */
export function findIntruder(directory: string): string | undefined {
  for (let path = realpathSync(directory); ; path = dirname(path)) {
    const { uid, mode } = statSync(path);
    if (uid !== 0 && uid !== process.geteuid?.()) return `user ${uid}, who owns "${path}"`;
    // In a sticky directory (/tmp) everybody can add files, but none can replace another's.
    if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) {
      return `others, who may write to "${path}" (mode ${(mode & 0o7777).toString(8)})`;
    }
    if (path === "/") return undefined;
  }
}

/**
 * Makes the directory root's if it is a daemon's, as Netdata's script has it. The files are left as they are.
 * @returns what it was before, if it was changed
 * @throws AgentError E_CERT when that is not possible
 */
export function secureDirectory(directory: string): string | undefined {
  const path = realpathSync(directory);
  const intruder = findIntruder(path);
  if (intruder === undefined) return undefined;
  // Whoever could replace the directory itself could undo whatever is done to it.
  const intruderAbove = findIntruder(dirname(path));
  if (intruderAbove === undefined && process.geteuid?.() === 0) {
    const { uid, gid, mode } = statSync(path);
    chownSync(path, 0, 0);
    chmodSync(path, DIRECTORY_MODE);
    return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
  }
  const who = intruderAbove ?? intruder;
  const message = `Cannot use directory "${directory}": its files could be replaced by ${who}`;
  throw new AgentError("E_CERT", message, { hint: "Choose a directory below root's own" });
}
