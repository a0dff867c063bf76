/**
 * Journals made by newer systemd versions, read and sent by us, and their receivers: issue 3, points 1 and 2, with
 * other versions than the host's.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type DebianTree, describeTrees } from "../support/debian-tree.ts";
import { noise } from "../support/encoded-bodies.ts";
import { binaryField, concat, sampleEntry, textField } from "../support/export-stream.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import { exportSet, openSet } from "../support/set-export.ts";
import { journalctlExport, journalFiles, parseExport } from "../support/stored-journals.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import {
  type JournalFormat,
  journalFormats,
  makeTreeJournal,
  startTreeRemote,
  treeExport,
} from "../support/tree-programs.ts";
import { useUploadRig } from "../support/upload-rig.ts";
import { expectSameContents, expectSameStream, uploadAll } from "../support/uploads.ts";
import { entryOf, range, SAMPLES } from "../support/version-samples.ts";

const LIMIT_MS = 60_000;
/** The version since which systemd-journal-remote announces encodings. */
const COMPRESSED_UPLOAD = 258;

const FORMATS = journalFormats("ZSTD", "XZ", "LZ4", "NONE");
/** Each layout and each algorithm once. */
const SENT_FORMATS = FORMATS.filter(([name]) =>
  [
    "compact keyed ZSTD",
    "compact unkeyed XZ",
    "regular keyed LZ4",
    "regular unkeyed NONE",
  ].includes(name),
);

/** Entries of three hosts, whose clocks only go forward. */
const ORDERED = range(0, 3).map((host) =>
  concat(...range(0, 300).map((index) => entryOf(index, host, oddField(index)))),
);

const rig = useUploadRig();

await describeTrees(["bookworm-backports", "trixie", "sid"], (tree) => {
  describe.skipIf(!hasSystemd())("journals it makes (needs systemd)", () => testJournals(tree));
  describe("systemd-journal-remote", () => testRemote(tree));
  if (tree.systemdVersion >= COMPRESSED_UPLOAD) {
    describe("systemd-journal-remote that announces encodings", () => testEncodings(tree));
  }
});

function testJournals(tree: DebianTree): void {
  test.each(FORMATS)(
    "%s: read in journalctl's order, byte for byte",
    (_, format) => {
      const directory = makeJournals(tree, format);
      const { set, problems } = openSet();
      set.rescan(journalFiles(directory));
      const ours = exportSet(set);
      set.close();
      expect(problems).toEqual([]);
      expect(ours.length).toBeGreaterThan(100_000);
      // Not toBe(): it would show all of it.
      expect(ours === journalctlExport(`--directory=${directory}`).toString("latin1")).toBe(true);
      const theirs = treeExport(tree, `--directory=${directory}`).toString("latin1");
      expect(ours === withoutNumbers(theirs)).toBe(true);
    },
    LIMIT_MS,
  );

  test.each(SENT_FORMATS)(
    "%s: are the same at agent serve, cursors included",
    async (_, format) => {
      const [directory, output] = [makeJournals(tree, format, ORDERED), rig.newDirectory()];
      const receiver = await rig.startReceiver(output);
      const { agent, pki } = rig;
      const args = [`--directory=${directory}`];
      await uploadAll({ agent, url: `https://127.0.0.1:${receiver.port}`, args, pki });
      expect(await receiver.stop()).toBe(0);
      expectSameStream(
        parseExport(treeExport(tree, `--directory=${output}`)),
        parseExport(treeExport(tree, `--directory=${directory}`)),
      );
    },
    LIMIT_MS,
  );
}

function testRemote(tree: DebianTree): void {
  test.each(["http", "https"] as const)(
    "stores the same entries over %s",
    async (scheme) => {
      const directory = makeJournals(tree, { compression: "ZSTD" });
      await send(tree, scheme, directory);
    },
    LIMIT_MS,
  );
}

function testEncodings(tree: DebianTree): void {
  const directory = rig.newDirectory();
  let streamSize: number;

  beforeAll(() => {
    // Many batches; what does not compress at the beginning, between others, and by itself.
    const stream = concat(...range(0, 6000).map((index) => dullEntry(index)));
    makeTreeJournal(tree, join(directory, "system.journal"), stream);
    streamSize = treeExport(tree, `--directory=${directory}`).length;
  }, LIMIT_MS);

  const options = ["zstd", "xz:1", "lz4", "gzip"].flatMap((encoding) =>
    ["no", "yes"].map((force) => [`--compression=${encoding}`, `--force-compression=${force}`]),
  );

  test.each(options.map((args) => [args.join(" "), args]))(
    "%s: over TLS it saves most of the bytes, and everything arrives",
    async (_, args) => {
      const { bytesUp } = await send(tree, "https", directory, args);
      expect(bytesUp).toBeLessThan(streamSize / 2);
    },
    LIMIT_MS,
  );

  test.each(options.map((args) => [args.join(" "), args]))(
    "%s: without TLS everything arrives, as it is",
    async (_, args) => {
      const { bytesUp, log } = await send(tree, "http", directory, args);
      expect(bytesUp).toBeGreaterThan(streamSize);
      expect(log.match(/gets plain bodies/g)).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test.each(["http", "https"] as const)(
    "what does not compress arrives over %s",
    async (scheme) => {
      const noisy = rig.newDirectory();
      const stream = concat(...range(0, 100).map((index) => noisyEntry(index, 30_000)));
      makeTreeJournal(tree, join(noisy, "system.journal"), stream);
      for (const encoding of ["zstd", "xz:1", "lz4", "gzip"]) {
        const args = [`--compression=${encoding}`, "--force-compression=yes"];
        await send(tree, scheme, noisy, args);
      }
    },
    LIMIT_MS,
  );
}

/** Sends a directory to its receiver, which has to have the same then. */
async function send(
  tree: DebianTree,
  scheme: "http" | "https",
  directory: string,
  args: readonly string[] = [],
): Promise<{ bytesUp: number; log: string }> {
  const [port, output] = [await freePort(), join(rig.newDirectory(), "all.journal")];
  const { agent, pki } = rig;
  const child = await startTreeRemote(tree, { scheme, port, output, pki });
  try {
    using proxy = await TcpProxy.open(port);
    const log = await uploadAll({
      agent,
      url: `${scheme}://127.0.0.1:${proxy.port}`,
      args: [`--directory=${directory}`, ...args],
      ...(scheme === "https" ? { pki } : {}),
    });
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expectSameContents(
      parseExport(treeExport(tree, `--file=${output}`)),
      parseExport(treeExport(tree, `--directory=${directory}`)),
    );
    return { bytesUp: proxy.bytesUp, log };
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

/** Three files whose entries take turns, with fields of every kind. */
function makeJournals(tree: DebianTree, format: JournalFormat, streams = SAMPLES): string {
  const directory = rig.newDirectory();
  for (const [index, stream] of streams.entries()) {
    makeTreeJournal(tree, join(directory, `host-${index}.journal`), stream, format);
  }
  return directory;
}

function oddField(index: number): Uint8Array | undefined {
  if (index % 50 === 7) return binaryField("NOISE", noise(5000, index + 1));
  return index % 50 === 8 ? textField("EMPTY", "") : undefined;
}

/** Every five hundredth does not compress. */
function dullEntry(index: number): Uint8Array {
  return index % 500 === 0
    ? noisyEntry(index, 40_000)
    : sampleEntry(index, { fields: [`DETAIL=${"long and dull ".repeat(60)}${index}`] });
}

function noisyEntry(index: number, size: number): Uint8Array {
  return sampleEntry(index, { fields: [binaryField("NOISE", noise(size, index + 1))] });
}

/** systemd 252 does not write these lines. */
function withoutNumbers(text: string): string {
  return text.replace(/^__SEQNUM(_ID)?=[0-9a-f]+\n/gm, "");
}
