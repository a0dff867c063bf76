/** An authority that is in use: its directory locked, what an interrupted run left put right, its keys read. */
import type { KeyObject, X509Certificate } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
} from "node:fs";
import { join } from "node:path";
import { AgentError, errnoOf } from "../errors.ts";
import { lockPath, type ProcessLock } from "../platform/process-lock.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import {
  AUTHORITY_FILES,
  LISTS_FILE,
  PUBLIC_ACCESS,
  type Stage,
  secureDirectory,
} from "./directory.ts";
import { type IndexEntry, parseIndex } from "./index-file.ts";
import { isEncrypted, isSameKey, readPrivateKey } from "./keys.ts";
import { CLOCK_MIN_MS, DAY_MS, LIST_DAYS } from "./profiles.ts";
import { createRevocationList, readListDates } from "./revocation-list.ts";
import {
  asFileError,
  type Change,
  commitChange,
  isChangePending,
  type NewFile,
  recoverChange,
} from "./transaction.ts";
import { readAuthorityKeyId, type SigningKey } from "./x509.ts";

export interface AuthorityOptions {
  directory: string;
  nowMs: number;
  /** Asked for once, when a key is encrypted; undefined = there is none. */
  passphrase(): Promise<string | undefined>;
  /** Something the operator should know that does not stop the command. */
  report(message: string): void;
  /** How long to wait for another command to end; default: half a minute. */
  patienceMs?: number;
}

/** An authority's certificate with its key and the list of what it issued. */
export interface Signer extends SigningKey {
  stage: Stage;
  x509: X509Certificate;
}

export interface ListsOptions {
  /** Instead of what the index files say. */
  indexes?: ReadonlyMap<Stage, readonly IndexEntry[]>;
  /** How long they are valid. */
  days?: number;
  /** Whose lists; default: of all there are. */
  stages?: readonly Stage[];
}

/** How long a command waits for another one to end. */
const LOCK_PATIENCE_MS = 30_000;
const LOCK_POLL_MS = 20;

export class Authority {
  readonly directory: string;
  readonly nowMs: number;
  readonly report: (message: string) => void;
  readonly #options: AuthorityOptions;
  readonly #lock: ProcessLock;
  #passphrase: Promise<string | undefined> | undefined;
  readonly #signers = new Map<Stage, Promise<Signer>>();

  private constructor(options: AuthorityOptions, lock: ProcessLock) {
    this.directory = options.directory;
    this.nowMs = options.nowMs;
    this.report = options.report;
    this.#options = options;
    this.#lock = lock;
  }

  /**
   * For a command that changes it. Waits for one that is under way.
   * @throws AgentError E_CERT without an authority there, or with a clock that is not set; E_BUSY; E_IO
   */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const { directory, nowMs, report } = options;
    requireAuthority(directory);
    requireClock(nowMs);
    try {
      const former = secureDirectory(directory);
      if (former !== undefined) {
        report(
          `Directory "${directory}" was ${former}: its owner could replace the authority, so it is root's now`,
        );
      }
      const lock = await lockDirectory(directory, options.patienceMs);
      const authority = new Authority(options, lock);
      authority.#recover();
      return authority;
    } catch (error) {
      throw asFileError(error);
    }
  }

  /** Lets other commands in. */
  [Symbol.dispose](): void {
    this.#lock.release();
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  /** @throws AgentError E_CERT for a key that is not the certificate's, or cannot be read */
  signer(stage: Stage = "current"): Promise<Signer> {
    const known = this.#signers.get(stage);
    if (known !== undefined) return known;
    const signer = this.#readSigner(stage);
    this.#signers.set(stage, signer);
    return signer;
  }

  /** Those there are at the moment; more than one while authorities change. */
  stages(): Stage[] {
    const stages: Stage[] = ["current", "old", "new"];
    return stages.filter((stage) => existsSync(this.path(AUTHORITY_FILES[stage].certificate)));
  }

  /** Of the index file: as it is, for a search without reading every line. */
  readIndex(stage: Stage = "current"): Buffer {
    return readOptional(this.path(AUTHORITY_FILES[stage].index));
  }

  passphrase(): Promise<string | undefined> {
    this.#passphrase ??= this.#options.passphrase();
    return this.#passphrase;
  }

  /** @throws AgentError E_IO, E_NO_SPACE */
  commit(change: Change): void {
    try {
      commitChange(this.directory, change);
    } catch (error) {
      throw asFileError(error);
    }
  }

  /** All authorities' lists of revoked certificates. */
  async listsFile(options: ListsOptions = {}): Promise<NewFile & { data: string }> {
    const { indexes, days = LIST_DAYS, stages = this.stages() } = options;
    const lists = await Promise.all(
      stages.map(async (stage) => {
        const path = this.path(AUTHORITY_FILES[stage].index);
        const index =
          indexes?.get(stage) ?? parseIndex(this.readIndex(stage).toString("latin1"), path);
        return await this.#createList(await this.signer(stage), index, days);
      }),
    );
    return { name: LISTS_FILE, data: lists.join(""), ...PUBLIC_ACCESS };
  }

  /** A new list, if the present one has passed half of its life or is missing. */
  async dueListsFile(): Promise<NewFile[]> {
    const dates = readListDates(readOptionalText(this.path(LISTS_FILE)));
    const end = dates?.nextUpdateMs ?? 0;
    const isFresh = dates !== undefined && this.nowMs < (dates.thisUpdateMs + end) / 2;
    return isFresh ? [] : [await this.listsFile()];
  }

  async #createList(signer: Signer, index: readonly IndexEntry[], days: number): Promise<string> {
    const end = Date.parse(signer.x509.validTo);
    return createRevocationList({
      certificate: signer.x509.raw,
      keyId: await readAuthorityKeyId(signer.certificate),
      key: signer.key,
      thisUpdateMs: this.nowMs,
      nextUpdateMs: Math.max(this.nowMs + DAY_MS, Math.min(end, this.nowMs + days * DAY_MS)),
      entries: index.flatMap((entry) => revokedOf(entry, this.nowMs)),
    });
  }

  #recover(): void {
    const outcome = recoverChange(this.directory);
    if (outcome !== undefined) this.report(`An interrupted run was ${outcome}`);
  }

  async #readSigner(stage: Stage): Promise<Signer> {
    const files = AUTHORITY_FILES[stage];
    const { pem, x509 } = readAuthorityCertificate(this.path(files.certificate));
    const keyPath = this.path(files.key);
    const keyPem = readRequired(keyPath, "the authority's key");
    const passphrase = isEncrypted(keyPem) ? await this.passphrase() : undefined;
    const key = readPrivateKey(keyPem, keyPath, passphrase);
    requireOwnKey(key, x509, keyPath, this.path(files.certificate));
    return { stage, certificate: pem, x509, key };
  }
}

/**
 * For a command that only reads. What an interrupted run left is put right if the caller may.
 * @throws AgentError E_CERT without an authority there
 */
export async function settleDirectory(options: AuthorityOptions): Promise<void> {
  requireAuthority(options.directory);
  if (!isChangePending(options.directory)) return;
  try {
    using _authority = await Authority.open(options);
  } catch (error) {
    if (errnoOf(error instanceof AgentError ? error.cause : error) !== "EACCES") throw error;
  }
}

/** The one that signs: the first of the file. @throws AgentError E_CERT */
export function readAuthorityCertificate(path: string): Certificate {
  const [first] = readCertificates(readRequired(path, "the authority's certificate"), path);
  if (first === undefined) {
    throw new AgentError("E_CERT", `Cannot use "${path}": no PEM certificate in it`);
  }
  if (!first.facts.isAuthority) {
    throw new AgentError("E_CERT", `Cannot use "${path}": its certificate is not an authority's`);
  }
  return first;
}

/** @throws AgentError E_CERT when the machine's clock cannot be right */
export function requireClock(nowMs: number): void {
  if (nowMs >= CLOCK_MIN_MS) return;
  const now = new Date(nowMs).toISOString();
  const message = `Cannot date certificates: the clock says ${now}, need the right time`;
  throw new AgentError("E_CERT", message, { hint: "Set it: timedatectl set-ntp true" });
}

/** Text of a file that may be missing: then there is nothing in it. */
export function readOptionalText(path: string): string {
  return readOptional(path).toString("latin1");
}

/** The same as bytes. */
export function readOptional(path: string): Buffer {
  try {
    return readRegularFile(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return Buffer.alloc(0);
    throw asFileError(error);
  }
}

/** @throws AgentError E_CERT when it is missing */
export function readRequired(path: string, what: string): string {
  try {
    return readRegularFile(path).toString("latin1");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw asFileError(error);
    const message = `Cannot read ${what} "${path}": no such file`;
    throw new AgentError("E_CERT", message, { cause: error });
  }
}

/**
 * Of what a daemon may have left in the directory before it was root's: not a pipe, on which root would wait for ever, nor
 * through a link, which may lead to a secret.
 */
function readRegularFile(path: string): Buffer {
  const link = lstatSync(path);
  if (link.isSymbolicLink() && link.uid !== 0 && link.uid !== process.geteuid?.()) {
    const problem = `it is a link that user ${link.uid} has made`;
    const hint = "Put the file itself there, or a link of root's";
    throw new AgentError("E_CERT", `Cannot read "${path}": ${problem}`, { hint });
  }
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (fstatSync(fd).isFile()) return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
  throw new AgentError("E_CERT", `Cannot read "${path}": it is not a regular file`);
}

function requireAuthority(directory: string): void {
  const path = join(directory, AUTHORITY_FILES.current.certificate);
  if (existsSync(path) || isChangePending(directory)) return;
  const hint = `Make one: agent certs init --directory=${directory}`;
  throw new AgentError("E_CERT", `Cannot find an authority in "${directory}": no ca.pem`, { hint });
}

function requireOwnKey(key: KeyObject, x509: X509Certificate, keyPath: string, path: string): void {
  if (isSameKey(key, x509.publicKey)) return;
  throw new AgentError("E_CERT", `Cannot sign: the key "${keyPath}" is not that of "${path}"`);
}

/** What the list says of an entry. Those expired for a month are on no list: they are refused anyway. */
function revokedOf(
  { status, expiresMs, serial, revokedMs, reason = "unspecified" }: IndexEntry,
  nowMs: number,
): { serial: string; revokedMs: number; reason: typeof reason }[] {
  if (status !== "R" || expiresMs < nowMs - 30 * DAY_MS) return [];
  return [{ serial, revokedMs: revokedMs ?? nowMs, reason }];
}

/** @throws AgentError E_BUSY */
export async function lockDirectory(
  directory: string,
  patienceMs: number = LOCK_PATIENCE_MS,
): Promise<ProcessLock> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    try {
      const hint = "Another agent certs command is at work there";
      return lockPath(directory, { purpose: "certs", hint });
    } catch (error) {
      const isHeld = error instanceof AgentError && error.code === "E_CONFIG";
      if (!isHeld) throw error;
      if (performance.now() > deadlineMs) {
        throw new AgentError("E_BUSY", error.message, { cause: error, hint: error.hint ?? "" });
      }
    }
    await Bun.sleep(LOCK_POLL_MS);
  }
}
