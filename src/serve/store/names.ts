/**
 * Names of journal files: which file is whose, and back.
 *
 * All files of one sender share a base, `remote-<escaped name>`; with one output file for all
 * (`--split-mode=none --output=DIR/foo.journal`) the base is `foo`. The forms are systemd's
 * (journal-file.c: journal_file_archive(), journal_file_dispose()):
 *
 *   active    <base>.journal
 *   archived  <base>@<seqnum id>-<head seqnum>-<head realtime>.journal
 *   unclean   <base>@<realtime>-<random>.journal~    (ours: random from ffffffff on = in doubt)
 *
 * A name is read back from the right: the last 67 bytes decide whether a `.journal` is archived.
 * So `@` may stand in a sender's name, as in stock, as long as the name does not end like an archive.
 * (Netdata shows what stands before the first `@`: it files `root@a` and `root@b` both under `root`.
 * The files are two all the same.)
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { formatId128 } from "../../bytes/id128.ts";
import { AgentError } from "../../errors.ts";

export type JournalFileName =
  | { kind: "active"; base: string }
  | {
      kind: "archived";
      base: string;
      /** 32 lower-case hex digits. */
      seqnumIdHex: string;
      /** Rounded above 2^53, which only a foreign program writes. */
      headSeqnum: number;
      headRealtimeUsec: number;
    }
  | { kind: "unclean"; base: string /** When it was set aside. */; realtimeUsec: number };

const SUFFIX = ".journal";
const SENDER_PREFIX = "remote-";

const FILE_NAME_SIZE_MAX = 255; // NAME_MAX of every usual Linux file system
const ARCHIVE_TAIL_SIZE = "@".length + 32 + "-".length + 16 + "-".length + 16;
/** The archived form is the longest of the three, so a base of this size fits in all. */
const BASE_SIZE_MAX = FILE_NAME_SIZE_MAX - ARCHIVE_TAIL_SIZE - SUFFIX.length;
const ESCAPED_NAME_SIZE_MAX = BASE_SIZE_MAX - SENDER_PREFIX.length;

const ARCHIVED = /^(.*)@([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{16})\.journal$/s;
const UNCLEAN = /^(.*)@([0-9a-f]{16})-[0-9a-f]{16}\.journal~$/s;
/** Beginning of the random number of a file in doubt: a name is what can still be written when a disk fails. */
const DOUBT_MARK = "ffffffff";
const DOUBTFUL = /@[0-9a-f]{16}-ffffffff[0-9a-f]{8}\.journal~$/;
/** What stock's vacuum may take for an archive's end: it parses the numbers with scanf. */
const ARCHIVE_LIKE_END = /@[0-9a-fA-F]{32}-.{16}-.{16}$/s;

const HASH_DIGITS = 32;
const HASHED_END = /~[0-9a-f]{32}$/;

/** The base of a sender's files. Two names never give the same base; see `escapeSenderName`. */
export function senderBase(name: string): string {
  return SENDER_PREFIX + escapeSenderName(name);
}

/** Whether a base is one that `senderBase` makes, not some other program's. */
export function isSenderBase(base: string): boolean {
  return base.startsWith(SENDER_PREFIX);
}

/**
 * A sender's name as it stands in file names. Stock's escaping, byte for byte
 * (journal-remote.c: open_output()), except for names that cannot have a file of their own that way:
 *
 * - too long for the archived form: over 173 bytes when escaped (stock: every request fails);
 * - ending like an archive, `web1@<32 hex>-…-…`: the file would be one of `web1`'s;
 * - ending like the names made here, so that nobody is called what another one's name becomes;
 * - not Unicode (a lone surrogate): the bytes of all such characters are the same.
 *
 * Those become `<beginning, at most 140 bytes, up to the first @>~<128 bits of SHA-256>`.
 * Names that differ in case, or in Unicode normalisation, are different senders and different files.
 * The empty name is allowed: its files are `remote-.journal` and so on.
 */
export function escapeSenderName(name: string): string {
  const escaped = escapeBytes(new TextEncoder().encode(name));
  const hasOwnFile =
    escaped.length <= ESCAPED_NAME_SIZE_MAX &&
    !ARCHIVE_LIKE_END.test(escaped) &&
    !HASHED_END.test(escaped) &&
    name.isWellFormed();
  return hasOwnFile ? escaped : hashedName(name, escaped);
}

/**
 * The base for `--split-mode=none`: the output file's name without `.journal`.
 * @throws AgentError E_USAGE when the file could not be rotated under that name.
 */
export function outputFileBase(path: string): string {
  const fileName = basename(path);
  if (!fileName.endsWith(SUFFIX)) {
    throw new AgentError("E_USAGE", `Cannot write to "${path}": its name must end in ".journal"`);
  }
  if (ARCHIVE_LIKE_END.test(fileName.slice(0, -SUFFIX.length))) {
    throw new AgentError(
      "E_USAGE",
      `Cannot write to "${path}": it is named like an archived file, which is never written to`,
      { hint: "Name the active file: the part before the last @, and .journal" },
    );
  }
  const base = fileName.slice(0, -SUFFIX.length);
  const size = Buffer.byteLength(base);
  if (size > BASE_SIZE_MAX) {
    throw new AgentError(
      "E_USAGE",
      `Cannot write to "${path}": its name has ${size} bytes before ".journal", at most ${BASE_SIZE_MAX} leave room for the names of archived files`,
    );
  }
  return base;
}

export function activeFileName(base: string): string {
  return base + SUFFIX;
}

/** @param seqnumId 16 bytes */
export function archivedFileName(
  base: string,
  seqnumId: Uint8Array,
  headSeqnum: number,
  headRealtimeUsec: number,
): string {
  return `${base}@${formatId128(seqnumId)}-${hex64(headSeqnum)}-${hex64(headRealtimeUsec)}${SUFFIX}`;
}

/**
 * The name under which a file that cannot be continued is set aside.
 * @param base the sender's, also for a file that stood under its archived name
 * @param realtimeUsec now
 * @param random 8 bytes
 * @param isDoubtful the name is to say that nobody knows what of the file is on disk
 */
export function uncleanFileName(
  base: string,
  realtimeUsec: number,
  random: Uint8Array,
  isDoubtful = false,
): string {
  const digits = Buffer.from(random).toString("hex");
  const number = isDoubtful ? DOUBT_MARK + digits.slice(DOUBT_MARK.length) : digits;
  return `${base}@${hex64(realtimeUsec)}-${number}${SUFFIX}~`;
}

/** Whether a file was set aside with nobody knowing what of it is on disk: nothing in it counts as stored. */
export function isDoubtfulFileName(fileName: string): boolean {
  return DOUBTFUL.test(fileName);
}

/** What a file in a journal directory is, by its name alone; undefined = none of ours. */
export function parseFileName(fileName: string): JournalFileName | undefined {
  const unclean = UNCLEAN.exec(fileName);
  if (unclean !== null) {
    const [, base = "", realtime = ""] = unclean;
    return { kind: "unclean", base, realtimeUsec: Number.parseInt(realtime, 16) };
  }
  const archived = ARCHIVED.exec(fileName);
  if (archived !== null) {
    const [, base = "", seqnumIdHex = "", seqnum = "", realtime = ""] = archived;
    const headSeqnum = Number.parseInt(seqnum, 16);
    const headRealtimeUsec = Number.parseInt(realtime, 16);
    return { kind: "archived", base, seqnumIdHex, headSeqnum, headRealtimeUsec };
  }
  if (!fileName.endsWith(SUFFIX)) return undefined;
  return { kind: "active", base: fileName.slice(0, -SUFFIX.length) };
}

function escapeBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const isPlain = byte > 0x20 && byte < 0x7f && byte !== 0x2f && byte !== 0x5c; // not "/" or "\"
    text += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

function hashedName(name: string, escaped: string): string {
  // UTF-16, because lone surrogates have no bytes of their own in UTF-8.
  const digest = createHash("sha256").update(name, "utf16le").digest("hex");
  const beginning = escaped
    .slice(0, ESCAPED_NAME_SIZE_MAX - "~".length - HASH_DIGITS)
    .replace(/\\x?[0-9a-f]?$/, "") // half an escape
    .replace(/@.*$/s, "");
  return `${beginning}~${digest.slice(0, HASH_DIGITS)}`;
}

function hex64(value: number): string {
  return value.toString(16).padStart(16, "0");
}
