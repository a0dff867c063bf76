/**
 * The journal programs of newer systemd versions, as readers of what we write and as our senders:
 * issue 2, points 1 and 2, with other versions than the host's.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileState, Incompatible } from "../../src/journal/format.ts";
import { decodeHeader, type JournalHeader } from "../../src/journal/header.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { type DebianTree, describeTrees } from "../support/debian-tree.ts";
import { noise } from "../support/encoded-bodies.ts";
import { binaryField, concat } from "../support/export-stream.ts";
import { curl, JOURNAL_TYPE } from "../support/front.ts";
import { sampleExport } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import { Receiver, type ReceiverOptions } from "../support/receiver.ts";
import {
  compareEntries,
  type ExportedEntry,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
} from "../support/stored-journals.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import {
  type Compression,
  formatEnvironment,
  journalFormats,
  makeTreeJournal,
  runTreeUpload,
  startTreeGateway,
  startTreeUpload,
  TreeJournald,
  treeEntries,
  treeExport,
  treeVerify,
  untilUploaded,
} from "../support/tree-programs.ts";
import { until } from "../support/until.ts";
import {
  bulky,
  bulkyExport,
  entryOf,
  largeAndSmall,
  linesOf,
  range,
  SAMPLES,
} from "../support/version-samples.ts";

const LIMIT_MS = 60_000;
const SENDER = "web1";
const SMALL_FILES = ["--max-file-size=512K", "--max-files=0"];
/** The version since which systemd-journal-upload can compress what it sends. */
const COMPRESSED_UPLOAD = 258;
/** The kernel holds up to 10 MB on the way: what is cut after about 10 MB of 24 is cut in the middle. */
const BULKY_ENTRIES = 6000;
const SLOW_BYTES = 20_000_000;

const FLAG_OF_COMPRESSION = {
  ZSTD: Incompatible.compressedZstd,
  XZ: Incompatible.compressedXz,
  LZ4: Incompatible.compressedLz4,
  NONE: 0,
} as const satisfies Record<Compression, number>;
const COMPRESSION_FLAGS =
  Incompatible.compressedZstd | Incompatible.compressedXz | Incompatible.compressedLz4;

/** The formats that we write, by name. */
const OUR_FORMATS = journalFormats("ZSTD", "NONE");
/** Those that systemd writes. */
const FORMATS = journalFormats("ZSTD", "XZ", "LZ4", "NONE");

const ACKNOWLEDGED = bulky(0, 200, 4);
const CUT_OFF = bulky(200, 700, 4);

const agent = useAgentBinary();
const work = new TempDir();
const pki = new TestPki();
const received = join(work.path, "received");
const cutOff = join(work.path, "cut-off");

let samples: Promise<void> | undefined;

beforeAll(() => pki.issue(SENDER));
afterAll(() => {
  pki[Symbol.dispose]();
  work[Symbol.dispose]();
});

await describeTrees(["bookworm-backports", "trixie", "sid"], (tree) => {
  describe("reading what was received", () => {
    // The same for all versions.
    beforeAll(async () => {
      samples ??= receiveSamples();
      await samples;
    }, LIMIT_MS);
    testReading(tree);
  });
  describe("journals it makes", () => testMade(tree));
  describe("systemd-journald", () => testJournald(tree));
  describe("systemd-journal-upload", () => testUpload(tree));
  describe("systemd-journal-gatewayd", () => testGateway(tree));
});

function testReading(tree: DebianTree): void {
  const sent = SAMPLES.flatMap(entriesIn);
  const anyFormat = join(received, OUR_FORMATS[0]?.[0] ?? "");

  test.each(OUR_FORMATS)(
    "%s: each file verifies, the entries are those sent, cursor for cursor",
    (name) => {
      expectSound(tree, join(received, name));
      expectEntries(treeEntries(tree, join(received, name)), sent);
    },
    LIMIT_MS,
  );

  test("all files together: entries in the order of their times", () => {
    const merged = parseExport(treeExport(tree, `--directory=${anyFormat}`));
    expectEntries(merged, sent);
    const times = merged.map(realtimeOf);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test("matches, backwards, from a cursor on, unique values, boots", () => {
    const from = `--directory=${anyFormat}`;
    const cursors = (...options: string[]) =>
      parseExport(treeExport(tree, from, ...options)).map(({ cursor }) => cursor);
    const all = cursors();
    const [one = ""] = all.slice(300);
    const matching = sent.filter(({ fields }) => fields.includes("UNIT=unit-3"));
    expect(matching.length).toBeGreaterThan(50);
    expect(cursors("UNIT=unit-3").toSorted()).toEqual(matching.map((e) => e.cursor).toSorted());
    expect(cursors("--reverse")).toEqual(all.toReversed());
    expect(cursors(`--after-cursor=${one}`)).toEqual(all.slice(301));
    expect(cursors("--reverse", `--cursor=${one}`)).toEqual(all.slice(0, 301).toReversed());
    const tags = tree.run(["journalctl", "--quiet", from, "--field=TAG"]).toString();
    expect(tags.trim().split("\n").toSorted()).toEqual(["a", "a=b", "b"]);
    const boots = tree.run(["journalctl", "--quiet", from, "--list-boots"]).toString();
    expect(boots.trim().split("\n").length).toBe(boots.includes("IDX") ? 2 : 1);
  });

  test("its --verify sees damage", () => {
    const [file = ""] = journalFiles(anyFormat);
    const bytes = readFileSync(file);
    bytes[bytes.indexOf("MESSAGE=") + 8] = 0x55;
    expect(() => treeVerify(tree, work.write("damaged.journal", bytes))).toThrow("exit 1");
  });

  test(
    "cut off by kill -9: all that was acknowledged is there, before a restart and after",
    () => {
      const all = [ACKNOWLEDGED, CUT_OFF].flatMap(entriesIn);
      const killed = compareEntries(treeEntries(tree, join(cutOff, "killed")), all);
      expect(killed).toEqual({ ...NO_DIFFERENCE, missing: killed.missing });
      const acknowledged = entriesIn(ACKNOWLEDGED).map(({ cursor }) => cursor);
      expect(acknowledged.filter((cursor) => killed.missing.includes(cursor))).toEqual([]);
      expect(journalFiles(join(cutOff, "restarted"), ".journal~")).not.toEqual([]);
      expectSound(tree, join(cutOff, "restarted"));
      expectEntries(treeEntries(tree, join(cutOff, "restarted")), all);
    },
    LIMIT_MS,
  );

  test(
    "journalctl -f follows live files through rotations, and new ones",
    async () => {
      const output = newDirectory();
      await using receiver = await startReceiver(output, { args: SMALL_FILES });
      const first = bulky(0, 1, 0);
      const batches = range(0, 6).map((batch) => bulky(1 + 60 * batch, 61 + 60 * batch, batch % 2));
      await post(receiver, first);
      const options = ["--quiet", "--output=export", "--follow", "--no-tail"];
      const child = tree.spawn(["journalctl", ...options, `--directory=${output}`]);
      try {
        const shown = collect(child.stdout);
        let count = 1;
        for (const batch of batches) {
          await post(receiver, batch);
          count += 60;
          await until(() => shown().toString("latin1").split("\n\n").length > count, 15_000);
        }
        expectEntries(parseExport(shown()), [first, ...batches].flatMap(entriesIn));
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(journalFiles(output).length).toBeGreaterThan(3);
    },
    LIMIT_MS,
  );
}

function testMade(tree: DebianTree): void {
  const made = join(work.path, tree.suite, "made");
  let streams: Buffer[];

  beforeAll(() => {
    newDirectory(made);
    for (const [name, format] of FORMATS) {
      makeTreeJournal(tree, join(made, `${name}.journal`), largeAndSmall(), format);
    }
    streams = journalFiles(made).map((file) => treeExport(tree, `--file=${file}`));
  }, LIMIT_MS);

  test(
    "are stored as it exports them; a second time adds nothing",
    async () => {
      expect(streams.every((stream) => stream.includes("\n__SEQNUM_ID="))).toBe(true);
      const sent = streams.flatMap(parseExport);
      const output = newDirectory();
      for (const [stored, duplicates] of [
        [sent.length, 0],
        [0, sent.length],
      ]) {
        await using receiver = await startReceiver(output);
        for (const stream of streams) await post(receiver, stream);
        expect(await receiver.stop()).toBe(0);
        expect(receiver.log).toContain(`stored=${stored} duplicates=${duplicates} refused=0`);
      }
      expectEntries(treeEntries(tree, output), sent);
      expectSound(tree, output);
    },
    LIMIT_MS,
  );

  test.each(FORMATS)("satisfy our verifier: %s", (name, { compression }) => {
    const file = join(made, `${name}.journal`);
    const flags = headerOf(file).incompatibleFlags;
    expect(flags & COMPRESSION_FLAGS).toBe(FLAG_OF_COMPRESSION[compression]);
    const { problems, notes } = verifyJournalFile(file);
    expect({ problems, notes }).toEqual({ problems: [], notes: [] });
  });
}

function testJournald(tree: DebianTree): void {
  test(
    "its live files are uploaded through a rotation and a kill -9, and satisfy our verifier",
    async () => {
      const [place, output] = [newDirectory(), newDirectory()];
      const state = join(place, "state");
      await using journald = new TreeJournald(tree, newDirectory(join(work.path, tree.suite)));
      const { directory } = journald;
      await using receiver = await startReceiver(output);
      const options = { pki, sender: SENDER, journal: directory, port: receiver.port, state };
      for (const round of ["first", "second", "third"]) {
        await journald.log(linesOf(round, 0, 200));
        const child = startTreeUpload(tree, { ...options, follow: true });
        try {
          await untilUploaded(tree, options);
          await journald.log(linesOf(round, 200, 300));
          await untilUploaded(tree, options);
        } finally {
          child.kill("SIGKILL");
          await child.exited;
        }
        if (round === "first") journald.rotate();
      }
      await journald.stop();
      await runTreeUpload(tree, { ...options });
      expect(await receiver.stop()).toBe(0);
      expect(journalFiles(directory).length).toBe(2);
      const sent = treeEntries(tree, directory);
      expect(sent.length).toBeGreaterThan(900);
      expectEntries(treeEntries(tree, output), sent);
      for (const file of journalFiles(directory)) {
        const { problems, notes } = verifyJournalFile(file);
        expect({ problems, notes }).toEqual({ problems: [], notes: [] });
      }
    },
    LIMIT_MS,
  );
}

function testUpload(tree: DebianTree): void {
  test(
    "killed, cut off by the network and by kill -9 of the receiver: everything once",
    async () => {
      const [place, output] = [newDirectory(), newDirectory()];
      const journal = join(place, "bulky.journal");
      makeTreeJournal(tree, journal, bulkyExport(BULKY_ENTRIES));
      const state = join(place, "state");
      const port = await freePort();
      for (const end of ["sender", "network", "receiver"]) {
        await using receiver = await startReceiver(output, { port });
        using proxy = await TcpProxy.open(port);
        proxy.rateBytes = SLOW_BYTES;
        const options = { pki, sender: SENDER, journal, port: proxy.port, state };
        await using child = startTreeUpload(tree, options);
        await until(() => proxy.bytesUp > 5_000_000 && hasEntries(output), 20_000);
        expect(child.exitCode).toBe(null);
        if (end === "sender") child.kill("SIGKILL");
        else if (end === "network") proxy.cut();
        else await receiver.kill();
        await child.exited;
        expect(child.signalCode).toBe(end === "sender" ? "SIGKILL" : null);
        expect(existsSync(state)).toBe(false);
      }
      await using receiver = await startReceiver(output, { port });
      await runTreeUpload(tree, { pki, sender: SENDER, journal, port, state });
      expect(await receiver.stop()).toBe(0);
      const [, duplicates] = /duplicates=(\d+) refused=0/.exec(receiver.log) ?? [];
      expect(Number(duplicates)).toBeGreaterThan(0);
      expectEntries(treeEntries(tree, output), treeEntries(tree, journal));
    },
    LIMIT_MS,
  );

  test(
    "what it sends again after a restart is stored once",
    async () => {
      const [place, output] = [newDirectory(), newDirectory()];
      const journal = join(place, "growing.journal");
      await using receiver = await startReceiver(output);
      const state = join(place, "state");
      const options = { pki, sender: SENDER, journal, port: receiver.port, state };
      for (const entries of [50, 100, 150]) {
        makeTreeJournal(tree, journal, sampleExport(entries));
        await runTreeUpload(tree, options);
      }
      expect(await receiver.stop()).toBe(0);
      // It repeats the last entry that it has an answer for.
      expect(receiver.log).toContain("stored=300 duplicates=2 refused=0");
      expectEntries(treeEntries(tree, output), treeEntries(tree, journal));
    },
    LIMIT_MS,
  );

  // Versions that can compress would die of such a value, were they told that they may.
  test(
    "a value that does not shrink, in a later request of one connection",
    async () => {
      const [place, output] = [newDirectory(), newDirectory()];
      const [journal, state] = [join(place, "noise.journal"), join(place, "state")];
      await using receiver = await startReceiver(output);
      makeTreeJournal(tree, journal, sampleExport(10));
      const options = { pki, sender: SENDER, journal, port: receiver.port, state, follow: true };
      const child = startTreeUpload(tree, options);
      try {
        await untilUploaded(tree, options);
        const value = binaryField("COREDUMP", noise(300_000));
        const stream = concat(...range(0, 5).map((index) => entryOf(index, 1, value)));
        makeTreeJournal(tree, journal, stream);
        await untilUploaded(tree, options);
        expect(child.exitCode).toBe(null);
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(await receiver.stop()).toBe(0);
      expectEntries(treeEntries(tree, output), treeEntries(tree, journal));
    },
    LIMIT_MS,
  );

  const encodings = tree.systemdVersion < COMPRESSED_UPLOAD ? [] : ["zstd", "xz", "lz4", "gzip"];
  test.each(encodings)(
    "compressed by %s, through a restart",
    async (encoding) => {
      const [place, output] = [newDirectory(), newDirectory()];
      const config = `[Upload]\nCompression=${encoding}\nForceCompression=yes\n`;
      const configDir = newDirectory(join(place, "systemd/journal-upload.conf.d"));
      writeFileSync(join(configDir, "test.conf"), config);
      const [journal, state] = [join(place, "dull.journal"), join(place, "state")];
      await using receiver = await startReceiver(output);
      using proxy = await TcpProxy.open(receiver.port);
      const options = { pki, sender: SENDER, journal, port: proxy.port, state, runDir: place };
      for (let round = 1; round <= 2; round++) {
        makeTreeJournal(tree, journal, largeAndSmall());
        await runTreeUpload(tree, options);
      }
      expect(await receiver.stop()).toBe(0);
      const stream = treeExport(tree, `--file=${journal}`);
      const sent = parseExport(stream);
      expect(receiver.log).toContain(`stored=${sent.length} duplicates=1 refused=0`);
      expectEntries(treeEntries(tree, output), sent);
      expect(proxy.bytesUp).toBeLessThan(stream.length / 3);
    },
    LIMIT_MS,
  );
}

function testGateway(tree: DebianTree): void {
  test(
    "is followed, through a restart, cursor for cursor",
    async () => {
      await follow({ protocol: "http", rounds: 2 });
    },
    LIMIT_MS,
  );

  test(
    "is followed over TLS",
    async () => {
      await follow({ protocol: "https", rounds: 1 });
    },
    LIMIT_MS,
  );

  async function follow({ protocol, rounds }: { protocol: "http" | "https"; rounds: number }) {
    const [place, output, port] = [newDirectory(), newDirectory(), await freePort()];
    const journal = join(place, "system.journal");
    makeTreeJournal(tree, journal, largeAndSmall());
    await using receiver = await startReceiver(output, {
      args: [`--url=${protocol}://127.0.0.1:${port}`],
    });
    for (let round = 1; round <= rounds; round++) {
      const child = startTreeGateway(tree, journal, port, protocol === "https" ? pki : undefined);
      try {
        await untilStored();
        makeTreeJournal(tree, journal, sampleExport(20));
        await untilStored();
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      makeTreeJournal(tree, journal, sampleExport(30));
    }
    expect(await receiver.stop()).toBe(0);

    /** Until all that the journal holds now is stored. */
    async function untilStored(): Promise<void> {
      const sent = treeEntries(tree, journal);
      const deadlineMs = performance.now() + 20_000;
      while (treeEntries(tree, output).length < sent.length && performance.now() < deadlineMs) {
        await Bun.sleep(50);
      }
      expectEntries(treeEntries(tree, output), sent);
    }
  }
}

/** What each version has to read. */
async function receiveSamples(): Promise<void> {
  await receiveFormats();
  await receiveCutOff();
}

/** The samples in each format that we write. */
async function receiveFormats(): Promise<void> {
  for (const [name, format] of OUR_FORMATS) {
    const output = newDirectory(join(received, name));
    await using receiver = await startReceiver(output, { env: formatEnvironment(format) });
    for (const stream of SAMPLES) await post(receiver, stream);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain("duplicates=0 refused=0");
  }
}

/** A receiver killed in the middle of a request: its files then, and after all came again. */
async function receiveCutOff(): Promise<void> {
  const output = newDirectory(join(cutOff, "restarted"));
  const current = join(output, `remote-${SENDER}.journal`);
  {
    await using receiver = await startReceiver(output, { args: SMALL_FILES });
    await post(receiver, ACKNOWLEDGED);
    const before = headerOf(current);
    const sending = postWith(receiver, CUT_OFF, "--limit-rate", "300K");
    await until(() => headerOf(current).entries > before.entries + 10, 10_000);
    await receiver.kill();
    expect((await sending).exitCode).not.toBe(0);
  }
  expect(headerOf(current).state).toBe(FileState.online);
  cpSync(output, join(cutOff, "killed"), { recursive: true });
  await using receiver = await startReceiver(output, { args: SMALL_FILES });
  for (const stream of [ACKNOWLEDGED, CUT_OFF]) await post(receiver, stream);
  expect(await receiver.stop()).toBe(0);
}

function startReceiver(
  output: string,
  options: Pick<ReceiverOptions, "args" | "env" | "port"> = {},
): Promise<Receiver> {
  return Receiver.start({ command: [agent.path, "serve"], output, pki, ...options });
}

function postWith(receiver: Receiver, body: Uint8Array, ...curlArgs: string[]) {
  const file = work.write("body.export", body);
  const args = ["-H", JOURNAL_TYPE, "--data-binary", `@${file}`, ...curlArgs];
  return curl(...pki.curlArgs(SENDER), ...args, receiver.url);
}

async function post(receiver: Receiver, body: Uint8Array): Promise<void> {
  const { status, stderr } = await postWith(receiver, body);
  expect({ status, stderr }).toEqual({ status: 202, stderr: "" });
}

/** In any order; shows a few cursors when there are many differences. */
function expectEntries(stored: readonly ExportedEntry[], sent: readonly ExportedEntry[]): void {
  expect(sent.length).toBeGreaterThan(0);
  const { missing, unexpected, twice, changed } = compareEntries(stored, sent);
  const some = [missing, unexpected, twice, changed].map((differences) => differences.slice(0, 3));
  expect({ some, stored: stored.length }).toEqual({ some: [[], [], [], []], stored: sent.length });
}

function expectSound(tree: DebianTree, directory: string): void {
  const files = journalFiles(directory);
  expect(files).not.toEqual([]);
  for (const file of files) treeVerify(tree, file);
}

function hasEntries(directory: string): boolean {
  try {
    return journalFiles(directory).some((file) => headerOf(file).entries > 0);
  } catch {
    // The header comes after the file, and files are renamed.
    return false;
  }
}

function headerOf(file: string): JournalHeader {
  const bytes = readFileSync(file);
  return decodeHeader(bytes, bytes.length);
}

function entriesIn(stream: Uint8Array): ExportedEntry[] {
  return parseExport(Buffer.from(stream));
}

function realtimeOf({ fields }: ExportedEntry): number {
  const name = "__REALTIME_TIMESTAMP=";
  return Number(fields.find((field) => field.startsWith(name))?.slice(name.length));
}

/** Reads on; the function returned gives all that came so far. */
function collect(output: ReadableStream<Uint8Array>): () => Buffer {
  const chunks: Uint8Array[] = [];
  void (async () => {
    for await (const chunk of output) chunks.push(chunk);
  })();
  return () => Buffer.concat(chunks);
}

function newDirectory(path = join(work.path, crypto.randomUUID())): string {
  mkdirSync(path, { recursive: true });
  return path;
}
