/**
 * The journal programs of newer systemd versions, as readers of what we write and as our senders:
 * issue 2, points 1 and 2, with other versions than the host's.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeLz4Block } from "../../src/bytes/lz4-block.ts";
import { Incompatible } from "../../src/journal/format.ts";
import { decodeHeader } from "../../src/journal/header.ts";
import type { Decompress } from "../../src/journal/verify/payload.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { CompressedInput } from "../../src/serve/decoding/compressed-input.ts";
import { DecodedOutput } from "../../src/serve/decoding/decoded-output.ts";
import { decodeXz } from "../../src/serve/decoding/xz.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { type DebianTree, openDebianTree, type Suite } from "../support/debian-tree.ts";
import { binaryField, concat, sampleEntry, textField } from "../support/export-stream.ts";
import { curl, JOURNAL_TYPE } from "../support/front.ts";
import { sampleExport } from "../support/journal-tools.ts";
import { freePort, Receiver } from "../support/receiver.ts";
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
import { until } from "../support/until.ts";

const SUITES: readonly Suite[] = ["bookworm-backports", "trixie", "sid"];
const LIMIT_MS = 60_000;
const PROGRAMS = "/usr/lib/systemd";
const SMALL_FILES = ["--max-file-size=512K", "--max-files=0"];
/** The version since which systemd-journal-upload compresses what it sends. */
const COMPRESSED_UPLOAD = 258;
/** The kernel holds up to 10 MB on the way: what is cut after at most 8 MB of 24 is cut in the middle. */
const BULKY_ENTRIES = 6000;
const BULKY_BYTES = 3000;
const SLOW_BYTES = 20_000_000;

/** Values of SYSTEMD_JOURNAL_COMPACT and SYSTEMD_JOURNAL_KEYED_HASH. */
const LAYOUTS = ["1", "0"].flatMap((compact) => ["1", "0"].map((keyed) => ({ compact, keyed })));
/** Values of SYSTEMD_JOURNAL_COMPRESS, and the flag of files with payloads compressed so. */
const COMPRESSIONS = {
  ZSTD: Incompatible.compressedZstd,
  XZ: Incompatible.compressedXz,
  LZ4: Incompatible.compressedLz4,
  NONE: 0,
};
type Compression = keyof typeof COMPRESSIONS;
type Layout = (typeof LAYOUTS)[number];
/** The formats that we write. */
const WRITTEN = LAYOUTS.flatMap((layout) =>
  (["ZSTD", "NONE"] as const).map((by) => ({ layout, by })),
);
/** Three sequences, two of them interleaved; of the first, older entries come late, and oldest last. */
const SAMPLES = [
  concat(
    ...range(200, 400).flatMap((index) => [entryOf(index, 1), entryOf(index - 200, 2)]),
    ...oddFields().map((field, index) => entryOf(index, 3, field)),
  ),
  concat(...range(100, 200).map((index) => entryOf(index, 1))),
  concat(...range(0, 100).map((index) => entryOf(index, 1))),
];
const ACKNOWLEDGED = bulky(0, 200, 4);
const CUT_OFF = bulky(200, 1500, 4);

const agent = useAgentBinary();
const trees = await Promise.all(SUITES.map(openDebianTree));
const work = new TempDir();
const pki = new TestPki();
const received = join(work.path, "received");
const cutOff = join(work.path, "cut-off");

beforeAll(async () => {
  pki.issue("web1");
  if (trees.every((tree) => typeof tree === "string")) return;
  await receiveSamples();
  await receiveCutOff();
}, LIMIT_MS);
afterAll(() => {
  pki[Symbol.dispose]();
  work[Symbol.dispose]();
});

for (const [index, suite] of SUITES.entries()) {
  const tree = trees[index] ?? "";
  if (typeof tree === "string") {
    test.skip(`programs of ${suite}: ${tree}`, () => undefined);
  } else {
    describe(`systemd ${tree.systemdVersion} of ${suite}`, () => {
      const place = join(work.path, suite);
      beforeAll(() => void mkdirSync(place));
      describe("reading what was received", () => testReading(tree, place));
      describe("journals it makes", () => testMade(tree, join(place, "made")));
      describe("systemd-journal-upload", () => testUpload(tree, place));
      describe("systemd-journal-gatewayd", () => testGateway(tree, place));
    });
  }
}

function testReading(tree: DebianTree, place: string): void {
  const sent = SAMPLES.flatMap(entriesIn);
  const first = join(received, nameOf({ compact: "1", keyed: "1" }, "ZSTD"));

  test.each(WRITTEN.map(({ layout, by }) => nameOf(layout, by)))(
    "%s: each file verifies, entries are those sent, cursor for cursor",
    (name) => {
      const directory = join(received, name);
      expectSound(tree, directory);
      expect(compareEntries(entriesOf(tree, directory), sent)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  test("of all files together, they are in the order of their times", () => {
    const merged = parseExport(exportOf(tree, `--directory=${first}`));
    expect(compareEntries(merged, sent)).toEqual(NO_DIFFERENCE);
    const times = merged.map(realtimeOf);
    expect(times).toEqual(times.toSorted());
  });

  test("its --verify sees damage", () => {
    const [file = ""] = journalFiles(first);
    const bytes = readFileSync(file);
    bytes.fill(0x55, bytes.indexOf("MESSAGE=") + 8, bytes.indexOf("MESSAGE=") + 9);
    const damaged = join(place, "damaged.journal");
    writeFileSync(damaged, bytes);
    expect(() => verify(tree, damaged)).toThrow("exit 1");
  });

  test("cut off by kill -9: nothing acknowledged is lost, before a restart and after", () => {
    const all = [ACKNOWLEDGED, CUT_OFF].flatMap(entriesIn);
    const killed = compareEntries(entriesOf(tree, join(cutOff, "killed")), all);
    expect(killed).toEqual({ ...NO_DIFFERENCE, missing: killed.missing });
    const acknowledged = entriesIn(ACKNOWLEDGED).map(({ cursor }) => cursor);
    expect(acknowledged.filter((cursor) => killed.missing.includes(cursor))).toEqual([]);
    expectSound(tree, join(cutOff, "restarted"));
    expect(journalFiles(join(cutOff, "restarted"), ".journal~")).not.toEqual([]);
    const stored = entriesOf(tree, join(cutOff, "restarted"));
    expect(compareEntries(stored, all)).toEqual(NO_DIFFERENCE);
  });

  test(
    "journalctl -f follows live files through rotations, and new ones",
    async () => {
      const output = newDirectory();
      await using receiver = await startReceiver(output, { args: SMALL_FILES });
      const batches = range(0, 6).map((batch) => bulky(60 * batch, 60 * (batch + 1), batch % 2));
      await post(receiver, batches[0] ?? ACKNOWLEDGED);
      const options = ["--quiet", "--output=export", "--follow", "--no-tail"];
      const child = tree.spawn(["journalctl", ...options, `--directory=${output}`]);
      try {
        const shown = collect(child.stdout);
        for (const [batch, body] of batches.entries()) {
          if (batch > 0) await post(receiver, body);
          await until(() => shown().toString("latin1").split("\n\n").length > 60 * (batch + 1));
        }
        const sent = batches.flatMap(entriesIn);
        expect(compareEntries(parseExport(shown()), sent)).toEqual(NO_DIFFERENCE);
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(journalFiles(output).length).toBeGreaterThan(3);
    },
    LIMIT_MS,
  );
}

function testMade(tree: DebianTree, made: string): void {
  const kinds = LAYOUTS.flatMap((layout) =>
    (Object.keys(COMPRESSIONS) as Compression[]).map((by) => ({ layout, by })),
  );
  let streams: Buffer[];

  beforeAll(() => {
    mkdirSync(made);
    for (const { layout, by } of kinds) {
      const file = join(made, `${nameOf(layout, by)}.journal`);
      makeJournal(tree, file, largeAndSmall(), formatEnvironment(layout, by));
    }
    streams = journalFiles(made).map((file) => exportOf(tree, "--file", file));
  }, LIMIT_MS);

  test(
    "are stored as it exports them; a second time adds nothing",
    async () => {
      expect(streams.every((stream) => stream.includes("\n__SEQNUM_ID="))).toBe(true);
      const expected = streams.flatMap(parseExport);
      const output = newDirectory();
      for (const outcome of ["stored=@ duplicates=0", "stored=0 duplicates=@"]) {
        await using receiver = await startReceiver(output);
        for (const stream of streams) await post(receiver, stream);
        expect(await receiver.stop()).toBe(0);
        expect(receiver.log).toContain(outcome.replace("@", `${expected.length}`));
      }
      expect(compareEntries(entriesOf(tree, output), expected)).toEqual(NO_DIFFERENCE);
      expectSound(tree, output);
    },
    LIMIT_MS,
  );

  test.each(kinds)("satisfy our verifier: $layout $by", ({ layout, by }) => {
    const file = join(made, `${nameOf(layout, by)}.journal`);
    const bytes = readFileSync(file);
    const flags = decodeHeader(bytes, bytes.length).incompatibleFlags;
    const all = COMPRESSIONS.XZ | COMPRESSIONS.LZ4 | COMPRESSIONS.ZSTD;
    expect(flags & all).toBe(COMPRESSIONS[by]);
    const { problems, notes } = verifyJournalFile(file, { decompress });
    expect({ problems, notes }).toEqual({ problems: [], notes: [] });
  });
}

function testUpload(tree: DebianTree, place: string): void {
  const source = join(place, "bulky.journal");

  beforeAll(() => makeJournal(tree, source, bulkyExport()), LIMIT_MS);

  test(
    "killed, cut off by the network and by kill -9 of the receiver: everything once",
    async () => {
      const output = newDirectory();
      const state = join(place, "cut.state");
      const port = await freePort();
      for (const end of ["sender", "network", "receiver"]) {
        await using receiver = await startReceiver(output, { port });
        using proxy = await TcpProxy.open(port);
        proxy.rateBytes = SLOW_BYTES;
        const child = startUpload(tree, { journal: source, port: proxy.port, state });
        await until(() => proxy.bytesUp > 5_000_000, LIMIT_MS);
        if (end === "sender") child.kill("SIGKILL");
        else if (end === "network") proxy.cut();
        else await receiver.kill();
        expect(await child.exited).toBe(end === "sender" ? 137 : 1);
        expect(existsSync(state)).toBe(false);
      }
      await using receiver = await startReceiver(output, { port });
      await upload(tree, { journal: source, port, state });
      expect(await receiver.stop()).toBe(0);
      const [, stored, duplicates] =
        /stored=(\d+) duplicates=(\d+) refused=0/.exec(receiver.log) ?? [];
      expect(Number(stored) + Number(duplicates)).toBe(BULKY_ENTRIES);
      expect(Number(duplicates)).toBeGreaterThan(500);
      const sent = parseExport(exportOf(tree, "--file", source));
      expect(compareEntries(entriesOf(tree, output), sent)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  test(
    "what it sends again after a restart is stored once",
    async () => {
      const output = newDirectory();
      const journal = join(place, "growing.journal");
      const state = join(place, "growing.state");
      await using receiver = await startReceiver(output);
      for (const entries of [50, 100, 150]) {
        makeJournal(tree, journal, sampleExport(entries));
        await upload(tree, { journal, port: receiver.port, state });
      }
      expect(await receiver.stop()).toBe(0);
      // The last entry it has an answer for comes twice.
      expect(receiver.log).toContain("stored=300 duplicates=2 refused=0");
      const sent = parseExport(exportOf(tree, "--file", journal));
      expect(compareEntries(entriesOf(tree, output), sent)).toEqual(NO_DIFFERENCE);
    },
    LIMIT_MS,
  );

  if (tree.systemdVersion < COMPRESSED_UPLOAD) return;

  test.each(["zstd", "xz", "lz4", "gzip"])(
    "compressed by %s from the first request on, and after a restart",
    async (encoding) => {
      const [output, configDir] = [newDirectory(), newDirectory()];
      mkdirSync(join(configDir, "journal-upload.conf.d"));
      const config = `[Upload]\nCompression=${encoding}\nForceCompression=yes\n`;
      writeFileSync(join(configDir, "journal-upload.conf.d/test.conf"), config);
      const journal = join(configDir, "dull.journal");
      const state = join(configDir, "state");
      await using receiver = await startReceiver(output);
      using proxy = await TcpProxy.open(receiver.port);
      for (let round = 1; round <= 2; round++) {
        makeJournal(tree, journal, largeAndSmall());
        await upload(tree, { journal, port: proxy.port, state, configDir });
      }
      expect(await receiver.stop()).toBe(0);
      const stream = exportOf(tree, "--file", journal);
      const sent = parseExport(stream);
      expect(receiver.log).toContain(`stored=${sent.length} duplicates=1 refused=0`);
      expect(compareEntries(entriesOf(tree, output), sent)).toEqual(NO_DIFFERENCE);
      expect(proxy.bytesUp).toBeLessThan(stream.length / 3);
    },
    LIMIT_MS,
  );

  test(
    "compressed from the second request on, since the answer to the first allows it",
    async () => {
      const output = newDirectory();
      const journal = join(output, "../negotiated.journal");
      const state = join(output, "../negotiated.state");
      await using receiver = await startReceiver(output);
      using proxy = await TcpProxy.open(receiver.port);
      makeJournal(tree, journal, largeAndSmall());
      const child = startUpload(tree, { journal, port: proxy.port, state, follow: true });
      try {
        const plainBytes = await sentUpTo(lastCursor(tree, journal));
        makeJournal(tree, journal, largeAndSmall());
        const compressedBytes = (await sentUpTo(lastCursor(tree, journal))) - plainBytes;
        expect(compressedBytes).toBeLessThan(plainBytes / 3);
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
      expect(await receiver.stop()).toBe(0);
      const sent = parseExport(exportOf(tree, "--file", journal));
      expect(compareEntries(entriesOf(tree, output), sent)).toEqual(NO_DIFFERENCE);

      async function sentUpTo(cursor: string): Promise<number> {
        await until(
          () => existsSync(state) && readFileSync(state, "latin1").includes(cursor),
          9000,
        );
        return proxy.bytesUp;
      }
    },
    LIMIT_MS,
  );
}

function testGateway(tree: DebianTree, place: string): void {
  test.each(["http", "https"])(
    "is followed over %s, through a restart, cursor for cursor",
    async (protocol) => {
      const [output, port] = [newDirectory(), await freePort()];
      const journal = join(place, `${protocol}.journal`);
      const url = `--url=${protocol}://127.0.0.1:${port}`;
      makeJournal(tree, journal, largeAndSmall());
      await using receiver = await startReceiver(output, { args: [url] });
      for (let round = 1; round <= 2; round++) {
        const gateway = startGateway(tree, journal, port, protocol === "https");
        try {
          await untilStored();
          makeJournal(tree, journal, sampleExport(20));
          await untilStored();
        } finally {
          gateway.kill("SIGKILL");
          await gateway.exited;
        }
        makeJournal(tree, journal, sampleExport(30));
      }
      expect(await receiver.stop()).toBe(0);

      /** Until all that the journal holds now is stored, each entry once. */
      async function untilStored(): Promise<void> {
        const sent = parseExport(exportOf(tree, "--file", journal));
        const deadlineMs = performance.now() + 20_000;
        while (performance.now() < deadlineMs) {
          if (entriesOf(tree, output).length >= sent.length) break;
          await Bun.sleep(100);
        }
        expect(compareEntries(entriesOf(tree, output), sent)).toEqual(NO_DIFFERENCE);
      }
    },
    LIMIT_MS,
  );
}

/** What each version has to read, written once for all of them. */
async function receiveSamples(): Promise<void> {
  for (const { layout, by } of WRITTEN) {
    const output = newDirectory(join(received, nameOf(layout, by)));
    await using receiver = await startReceiver(output, { env: formatEnvironment(layout, by) });
    for (const stream of SAMPLES) await post(receiver, stream);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain("duplicates=0 refused=0");
  }
}

/** A receiver killed in the middle of the second stream: its files then, and after all came again. */
async function receiveCutOff(): Promise<void> {
  const output = newDirectory(join(cutOff, "restarted"));
  {
    await using receiver = await startReceiver(output, { args: SMALL_FILES });
    await post(receiver, ACKNOWLEDGED);
    const file = work.write("cut-off.export", CUT_OFF);
    const args = ["-H", JOURNAL_TYPE, "--data-binary", `@${file}`, "--limit-rate", "4M"];
    const sending = curl(...pki.curlArgs("web1"), ...args, receiver.url);
    await until(() => journalFiles(output).length > 3, 10_000);
    await receiver.kill();
    expect((await sending).status).not.toBe(202);
  }
  cpSync(output, join(cutOff, "killed"), { recursive: true });
  await using receiver = await startReceiver(output, { args: SMALL_FILES });
  for (const stream of [ACKNOWLEDGED, CUT_OFF]) await post(receiver, stream);
  expect(await receiver.stop()).toBe(0);
}

function oddFields(): Uint8Array[] {
  return [
    binaryField("MESSAGE", "two\nlines"),
    concat(textField("EMPTY", ""), "TAG=a\nTAG=b\nTAG=a=b\n"),
    binaryField("COREDUMP", crypto.getRandomValues(new Uint8Array(60_000))),
    textField("LONG", "long and dull ".repeat(40_000)),
    concat(...range(0, 300).map((field) => `FIELD_${field}=${field}\n`)),
  ];
}

/** @param sequence of one digit */
function entryOf(index: number, sequence: number, field?: Uint8Array): Uint8Array {
  const dull = index % 10 === 0 ? [`CODE_FILE=${`path/to/file-${index}/`.repeat(60)}`] : [];
  const fields = [...dull, ...(field === undefined ? [] : [field])];
  return sampleEntry(index, { seqnumId: `${sequence}a`.repeat(16), fields });
}

/** Entries with a value of their own that does not compress. */
function bulky(from: number, to: number, sequence: number): Uint8Array {
  const entries = range(from, to).map((index) =>
    entryOf(index, sequence, textField("DETAIL", randomText())),
  );
  return concat(...entries);
}

function bulkyExport(): string {
  return sampleExport(BULKY_ENTRIES).replace(
    /^MESSAGE=.*$/gm,
    (message) => `${message}\nDETAIL=${randomText()}`,
  );
}

function randomText(): string {
  return crypto.getRandomValues(Buffer.alloc(BULKY_BYTES)).toString("base64");
}

/** Without identity. Some values are large enough to be compressed, one is of many kilobytes. */
function largeAndSmall(): string {
  return `${sampleExport(300)}__REALTIME_TIMESTAMP=1700000009000000
__MONOTONIC_TIMESTAMP=90000000
_BOOT_ID=6c7c6013a26343b29e964691ff25d04c
MESSAGE=${"long and dull ".repeat(40_000)}

`;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

function nameOf({ compact, keyed }: Layout, compression: Compression): string {
  return `compact=${compact} keyed=${keyed} ${compression}`;
}

function formatEnvironment({ compact, keyed }: Layout, compression: Compression) {
  return {
    SYSTEMD_JOURNAL_COMPACT: compact,
    SYSTEMD_JOURNAL_KEYED_HASH: keyed,
    SYSTEMD_JOURNAL_COMPRESS: compression,
  };
}

/** As the verifier is given what it lacks. */
const decompress: Decompress = (algorithm, payload, rawSizeMax) => {
  if (algorithm === "xz") return unpackXz(payload);
  if (algorithm !== "lz4") return undefined;
  const rawSize = Number(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true));
  const raw = rawSize > rawSizeMax ? undefined : decodeLz4Block(payload.subarray(8), rawSize);
  if (raw === undefined) throw new Error(`not a block of ${rawSize} bytes`);
  return raw;
};

function unpackXz(payload: Uint8Array): Uint8Array {
  const pieces: Uint8Array[] = [];
  const input = new CompressedInput("xz");
  const decoding = decodeXz(input, new DecodedOutput((piece) => pieces.push(piece.slice())));
  input.supply(payload);
  input.end();
  // What it stops for is only to let others work.
  while (decoding.next().done !== true);
  return Buffer.concat(pieces);
}

/** Has the tree's systemd-journal-remote write `file`, or append to it. */
function makeJournal(
  tree: DebianTree,
  file: string,
  stream: string,
  env: Readonly<Record<string, string>> = {},
): void {
  const input = work.write("made.export", stream);
  tree.run([`${PROGRAMS}/systemd-journal-remote`, "-o", file, input], { env });
}

function exportOf(tree: DebianTree, ...options: string[]): Buffer {
  return tree.run(["journalctl", "--quiet", "--output=export", ...options]);
}

/** Entries of every file by itself: together, journalctl would hide what is there twice. */
function entriesOf(tree: DebianTree, directory: string): ExportedEntry[] {
  return journalFiles(directory).flatMap((file) => parseExport(exportOf(tree, "--file", file)));
}

function entriesIn(stream: Uint8Array): ExportedEntry[] {
  return parseExport(Buffer.from(stream));
}

function realtimeOf({ fields }: ExportedEntry): number {
  const name = "__REALTIME_TIMESTAMP=";
  return Number(fields.find((field) => field.startsWith(name))?.slice(name.length));
}

function lastCursor(tree: DebianTree, journal: string): string {
  const entries = parseExport(exportOf(tree, "--lines=1", "--file", journal));
  return entries[0]?.cursor ?? "";
}

/** Throws unless it finds the file sound. */
function verify(tree: DebianTree, file: string): void {
  tree.run(["journalctl", "--verify", "--file", file]);
}

function expectSound(tree: DebianTree, directory: string): void {
  const files = journalFiles(directory);
  expect(files).not.toEqual([]);
  for (const file of files) verify(tree, file);
}

interface Upload {
  journal: string;
  port: number;
  /** Another one for each upload from the beginning. */
  state: string;
  configDir?: string;
  follow?: boolean;
}

function startUpload(tree: DebianTree, upload: Upload) {
  const { journal, port, state, configDir, follow = false } = upload;
  const options = [
    `--url=https://127.0.0.1:${port}`,
    `--key=${pki.path("web1.key")}`,
    `--cert=${pki.path("web1.pem")}`,
    `--trust=${pki.path("ca.pem")}`,
    `--file=${journal}`,
    `--save-state=${state}`,
    `--follow=${follow}`,
  ];
  const command = [`${PROGRAMS}/systemd-journal-upload`, ...options];
  return tree.spawn(command, configDir === undefined ? {} : { configDir });
}

/** Runs it to its end; throws unless it succeeds. */
async function upload(tree: DebianTree, options: Upload): Promise<void> {
  const child = startUpload(tree, options);
  const stderr = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`systemd-journal-upload: ${stderr}`);
}

function startGateway(tree: DebianTree, journal: string, port: number, isTls: boolean) {
  const options = [`--cert=${pki.path("server.pem")}`, `--key=${pki.path("server.key")}`];
  return tree.spawn([
    ...["systemd-socket-activate", `--listen=127.0.0.1:${port}`],
    ...[`${PROGRAMS}/systemd-journal-gatewayd`, `--file=${journal}`],
    ...(isTls ? options : []),
  ]);
}

function startReceiver(
  output: string,
  options: { args?: string[]; env?: Record<string, string>; port?: number } = {},
): Promise<Receiver> {
  return Receiver.start({ command: [agent.path, "serve"], output, pki, ...options });
}

async function post(receiver: Receiver, body: Uint8Array): Promise<void> {
  const file = work.write("body.export", body);
  const args = ["-H", JOURNAL_TYPE, "--data-binary", `@${file}`];
  const { status, stderr } = await curl(...pki.curlArgs("web1"), ...args, receiver.url);
  if (status !== 202) console.log(receiver.log);
  expect({ status, stderr }).toEqual({ status: 202, stderr: "" });
}

/** @returns what came so far. */
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
