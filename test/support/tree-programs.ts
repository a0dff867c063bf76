/** systemd's journal programs of a {@link DebianTree}, as the tests start them. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DebianTree, TREE_MACHINE_ID } from "./debian-tree.ts";
import type { JournalVariant } from "./journal-tools.ts";
import { isListening } from "./ports.ts";
import { type ExportedEntry, journalFiles, parseExport } from "./stored-journals.ts";
import type { TestPki } from "./tls.ts";
import { until } from "./until.ts";

const PROGRAMS = "/usr/lib/systemd";

/** Algorithms of SYSTEMD_JOURNAL_COMPRESS since systemd 254. */
export type Compression = "ZSTD" | "XZ" | "LZ4" | "NONE";

export interface JournalFormat extends JournalVariant {
  compression: Compression;
}

/** The variables by which systemd's programs and ours choose a format. */
export function formatEnvironment(format: JournalFormat): Record<string, string> {
  return {
    SYSTEMD_JOURNAL_COMPACT: format.compact === false ? "0" : "1",
    SYSTEMD_JOURNAL_KEYED_HASH: format.keyed === false ? "0" : "1",
    SYSTEMD_JOURNAL_COMPRESS: format.compression,
  };
}

/** Every layout with each of the algorithms, by name. */
export function journalFormats(
  ...compressions: Compression[]
): [name: string, format: JournalFormat][] {
  return [true, false].flatMap((compact) =>
    [true, false].flatMap((keyed) =>
      compressions.map((compression): [string, JournalFormat] => [
        `${compact ? "compact" : "regular"} ${keyed ? "keyed" : "unkeyed"} ${compression}`,
        { compact, keyed, compression },
      ]),
    ),
  );
}

/** Has its systemd-journal-remote write `file`, or append to it. */
export function makeTreeJournal(
  tree: DebianTree,
  file: string,
  exportStream: string | Uint8Array,
  format: JournalFormat = { compression: "ZSTD" },
): void {
  const input = `${file}.export`;
  writeFileSync(input, exportStream);
  const env = formatEnvironment(format);
  tree.run([`${PROGRAMS}/systemd-journal-remote`, "-o", file, input], { env });
  rmSync(input);
}

/** Output of its `journalctl -o export` with these options, e.g. "--directory=…". */
export function treeExport(tree: DebianTree, ...options: string[]): Buffer {
  return tree.run(["journalctl", "--quiet", "--output=export", ...options]);
}

/**
 * Entries of a journal file, or of every file of a directory by itself: of all together, journalctl
 * would hide what is there twice.
 */
export function treeEntries(tree: DebianTree, path: string): ExportedEntry[] {
  const files = isDirectory(path) ? journalFiles(path) : [path];
  return files.flatMap((file) => parseExport(treeExport(tree, `--file=${file}`)));
}

/** Throws unless its journalctl finds the file sound. */
export function treeVerify(tree: DebianTree, file: string): void {
  tree.run(["journalctl", "--verify", `--file=${file}`]);
}

export interface UploadOptions {
  pki: TestPki;
  /** Name of the certificate. */
  sender: string;
  /** A file or a directory of them. */
  journal: string;
  port: number;
  /** Another one for each upload from the beginning. */
  state: string;
  runDir?: string;
  follow?: boolean;
}

export function startTreeUpload(tree: DebianTree, options: UploadOptions) {
  const { pki, sender, journal, port, state, runDir, follow = false } = options;
  const command = [
    `${PROGRAMS}/systemd-journal-upload`,
    `--url=https://127.0.0.1:${port}`,
    ...pki.uploadArgs(sender),
    journalOption(journal),
    `--save-state=${state}`,
    `--follow=${follow}`,
  ];
  return tree.spawn(command, runDir === undefined ? {} : { runDir });
}

/** Resolves at its end; rejects when it fails. */
export async function runTreeUpload(tree: DebianTree, options: UploadOptions): Promise<void> {
  await using child = startTreeUpload(tree, options);
  const stderr = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`systemd-journal-upload: ${stderr}`);
}

/** Resolves when the last entry has been acknowledged. */
export async function untilUploaded(tree: DebianTree, options: UploadOptions): Promise<void> {
  const { journal, state } = options;
  // Looked up each time: journald may add one of its own.
  const lastCursor = () =>
    parseExport(treeExport(tree, journalOption(journal), "--lines=1"))[0]?.cursor ?? "none";
  const isUploaded = () => readFileSync(state, "latin1").includes(lastCursor());
  await until(() => existsSync(state) && isUploaded(), 10_000);
}

function journalOption(path: string): string {
  return `--${isDirectory(path) ? "directory" : "file"}=${path}`;
}

function isDirectory(path: string): boolean {
  return statSync(path).isDirectory();
}

export interface RemoteOptions {
  scheme: "http" | "https";
  port: number;
  /** A file: all senders' entries. */
  output: string;
  pki: TestPki;
}

/** Its systemd-journal-remote at a port of loopback; resolves when it listens. */
export async function startTreeRemote(tree: DebianTree, options: RemoteOptions) {
  const child = tree.spawn([`${PROGRAMS}/systemd-journal-remote`, ...remoteArgs(options)]);
  try {
    await until(() => isListening(options.port), 10_000);
    return child;
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** The options of any systemd-journal-remote. */
export function remoteArgs({ scheme, port, output, pki }: RemoteOptions): string[] {
  const tls = [`--key=${pki.path("server.key")}`, `--cert=${pki.path("server.pem")}`];
  return [
    `--listen-${scheme}=127.0.0.1:${port}`,
    ...["--split-mode=none", `--output=${output}`],
    ...(scheme === "https" ? tls : []),
  ];
}

/** Its systemd-journal-gatewayd at a port of loopback. @param pki of the server; none = HTTP. */
export function startTreeGateway(tree: DebianTree, journal: string, port: number, pki?: TestPki) {
  const tls =
    pki === undefined
      ? []
      : [`--cert=${pki.path("server.pem")}`, `--key=${pki.path("server.key")}`];
  return tree.spawn([
    ...["systemd-socket-activate", `--listen=127.0.0.1:${port}`],
    ...[`${PROGRAMS}/systemd-journal-gatewayd`, `--file=${journal}`, ...tls],
  ]);
}

/**
 * Its journald, as the instance of a namespace: of the host it collects nothing, neither kernel
 * messages nor audit.
 */
export class TreeJournald {
  /** Where its journals are. */
  readonly directory: string;
  readonly #tree: DebianTree;
  readonly #socketPath: string;
  readonly #child: ReturnType<DebianTree["spawn"]>;

  /** @param runDir new and empty; short, since the path of its socket has 107 bytes at most. */
  constructor(tree: DebianTree, runDir: string) {
    this.#tree = tree;
    this.directory = join(runDir, `log/journal/${TREE_MACHINE_ID}.t`);
    this.#socketPath = join(runDir, "systemd/journal.t/stdout");
    mkdirSync(join(runDir, "systemd/journald@t.conf.d"), { recursive: true });
    // A value of its own would switch the audit of the whole host on or off.
    const config = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nAudit=\n";
    writeFileSync(join(runDir, "systemd/journald@t.conf.d/test.conf"), config);
    for (const folder of ["systemd/journal.t", "log"]) mkdirSync(join(runDir, folder));
    // It opens an audit socket unless it is handed other sockets.
    const activate = ["systemd-socket-activate", "--listen=/run/systemd/journal.t/stdout"];
    const command = [...activate, `${PROGRAMS}/systemd-journald`, "t"];
    this.#child = tree.spawn(command, { runDir });
  }

  /** Resolves when they are in its journal: as the output of a service, one message a line. */
  async log(lines: readonly string[]): Promise<void> {
    // Identifier, unit, priority, whether lines have one, and whether to forward to three places.
    const head = ["test", "", "6", "1", "0", "0", "0"];
    let unsent = Buffer.from([...head, ...lines, ""].join("\n"));
    const send = (socket: Bun.Socket): void => {
      unsent = unsent.subarray(socket.write(unsent));
      if (unsent.length === 0) socket.end();
    };
    await this.#connect({ open: send, drain: send });
    const last = `\nMESSAGE=${lines.at(-1)}\n`;
    const options = [`--directory=${this.directory}`, "--lines=1"];
    await until(
      () => existsSync(this.directory) && treeExport(this.#tree, ...options).includes(last),
    );
  }

  /** Archives its files and begins new ones. */
  rotate(): void {
    this.#child.kill("SIGUSR2");
  }

  /** Resolves when its files are complete. */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    if ((await this.#child.exited) !== 0) throw new Error("journald failed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  /** Again and again while it starts. */
  async #connect(socket: Bun.SocketHandler): Promise<void> {
    const deadlineMs = performance.now() + 5000;
    for (;;) {
      try {
        await Bun.connect({ unix: this.#socketPath, socket });
        return;
      } catch (error) {
        if (performance.now() > deadlineMs) throw error;
        await Bun.sleep(10);
      }
    }
  }
}
