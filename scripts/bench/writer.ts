/**
 * What an entry costs: `bun scripts/bench/writer.ts FILE.export [ENTRIES]`
 * parses only, then parses and appends, and prints both with the share of publishing.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseId128, randomId128 } from "../../src/bytes/id128.ts";
import { ExportParser } from "../../src/export-format/parser.ts";
import type { Entry } from "../../src/journal/entry.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";

const CHUNK_SIZE = 1 << 20;
const PUBLISH_BYTES = 16 << 20;
const [file, limitText] = process.argv.slice(2);
if (file === undefined) throw new Error("Usage: writer.ts FILE.export [ENTRIES]");
const limit = Number(limitText ?? Number.POSITIVE_INFINITY);

class Enough extends Error {}

function feed(source: string, onEntry: (entry: Entry) => void, onChunk: () => void): number {
  let entries = 0;
  const parser = new ExportParser({
    onEntry(entry) {
      onEntry(entry);
      if (++entries >= limit) throw new Enough();
    },
    onRefused() {},
  });
  const chunk = new Uint8Array(CHUNK_SIZE);
  const fd = fs.openSync(source, "r");
  try {
    for (let count = 1; count > 0; ) {
      count = fs.readSync(fd, chunk);
      parser.push(chunk.subarray(0, count));
      onChunk();
    }
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  }
  fs.closeSync(fd);
  return entries;
}

/** Microseconds this thread has run: without the engine's compiler and collector threads. */
function threadUsec(): number {
  const [ns] = fs.readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ");
  return Number(ns) / 1000;
}

interface Start {
  ms: number;
  threadUsec: number;
  cpu: NodeJS.CpuUsage;
}

function begin(): Start {
  return { ms: performance.now(), threadUsec: threadUsec(), cpu: process.cpuUsage() };
}

function report(name: string, entries: number, start: Start): void {
  const ms = performance.now() - start.ms;
  const thread = threadUsec() - start.threadUsec;
  const { user, system } = process.cpuUsage(start.cpu);
  const each = (us: number): string => (us / entries).toFixed(2);
  console.log(
    `${name}: ${entries} entries, ${Math.round((entries / ms) * 1000)}/s, wall ${each(ms * 1000)} us, this thread ${each(thread)} us, all threads ${each(user)} user + ${each(system)} system us each`,
  );
}

for (let round = 0; round < 2; round++) {
  const start = begin();
  const count = feed(
    file,
    () => {},
    () => {},
  );
  report("parse", count, start);
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "bench-writer-"));
try {
  const cache = new PageCache();
  const seqnumId = parseId128("739ad463348b4ceca5a9e69c95a3c93f") ?? randomId128();
  let files = 0;
  const create = (): JournalWriter =>
    JournalWriter.create(
      path.join(directory, `${files++}.journal`),
      {
        compact: true,
        keyedHash: true,
        compressThresholdBytes: 512,
        fileId: randomId128(),
        machineId: randomId128(),
        seqnumId,
        dataBuckets: 233_016,
        sizeMaxBytes: 128 << 20,
      },
      cache,
    );
  let writer = create();
  let seqnum = 0;
  let publishMs = 0;
  let sincePublish = 0;
  const start = begin();
  const count = feed(
    file,
    (entry) => {
      if (writer.rotationReason(entry) !== undefined) {
        writer.close("archived");
        writer = create();
      }
      writer.append(entry, ++seqnum);
    },
    () => {
      sincePublish += CHUNK_SIZE;
      if (sincePublish < PUBLISH_BYTES) return;
      sincePublish = 0;
      const before = performance.now();
      writer.publish();
      publishMs += performance.now() - before;
    },
  );
  writer.close("archived");
  report("parse and append", count, start);
  console.log(`of it publishing: ${((publishMs * 1000) / count).toFixed(2)} us each`);
  console.log(`peak RSS ${Math.round(process.resourceUsage().maxRSS / 1024)} MB, ${files} files`);
} finally {
  fs.rmSync(directory, { recursive: true });
}
