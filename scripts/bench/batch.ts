/**
 * What the batch format costs an entry: `bun scripts/bench/batch.ts FILE.export [ENTRIES]`
 * encodes, checks, and stores entries from blocks, one after the other on one thread.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { readBlock } from "../../src/batch-format/block-reader.ts";
import { BatchDecoder } from "../../src/batch-format/decoder.ts";
import { BatchEncoder } from "../../src/batch-format/encoder.ts";
import { randomId128 } from "../../src/bytes/id128.ts";
import { ExportParser } from "../../src/export-format/parser.ts";
import { newEntry } from "../../src/journal/entry.ts";
import { FieldDictionary } from "../../src/journal/field-dictionary.ts";
import { PageCache } from "../../src/journal/page-cache.ts";
import { newJournalEntry } from "../../src/journal/reader/journal-entry.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { RecordCache } from "../../test/support/record-cache.ts";

const BODY_SIZE = 4 << 20;
const CHUNK_SIZE = 64 << 10;
const PUBLISH_INTERVAL_MS = 250;
const [file, limitText] = process.argv.slice(2);
if (file === undefined) throw new Error("Usage: batch.ts FILE.export [ENTRIES]");
const limit = Number(limitText ?? 200_000);

/** Microseconds this thread has run: without the engine's compiler and collector threads. */
function threadUsec(): number {
  const [ns] = fs.readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ");
  return Number(ns) / 1000;
}

function measure<T>(name: string, count: number, run: () => T): T {
  const startMs = performance.now();
  const startUsec = threadUsec();
  const result = run();
  const ms = performance.now() - startMs;
  const each = (threadUsec() - startUsec) / count;
  console.log(
    `${name}: ${Math.round((count / ms) * 1000)}/s, ${each.toFixed(2)} us of this thread each`,
  );
  return result;
}

/** Encodes the file's entries, `encodeUsec` of it being the encoder's. */
function encode(source: string): { bodies: Uint8Array[]; count: number; encodeUsec: number } {
  const bodies: Uint8Array[] = [];
  const encoder = new BatchEncoder();
  const records = new RecordCache();
  // Many at a time, so that reading the clock costs nothing; small ones, so that they stay in the processor's cache.
  const ring = Array.from({ length: 200 }, () => {
    return { ...newJournalEntry(records.cache), records: new Int32Array(256) };
  });
  let filled = 0;
  let count = 0;
  let generation = 0;
  let encodeUsec = 0;
  const drain = (): void => {
    const start = threadUsec();
    for (let i = 0; i < filled; i++) {
      const entry = ring[i];
      if (entry === undefined || !encoder.add(entry)) throw new Error("An entry does not fit");
      if (encoder.size >= BODY_SIZE) bodies.push(encoder.finish());
    }
    encodeUsec += threadUsec() - start;
    count += filled;
    filled = 0;
  };
  encoder.begin();
  const parser = new ExportParser({
    onEntry(entry) {
      if (count + filled >= limit) return;
      // What was read before the cache forgets has to be encoded before.
      if (records.cache.recordCount > 56 * 1024 - 1100) drain();
      records.toJournalEntry(entry, ring[filled++]);
      if (filled === ring.length || generation !== records.cache.generation) drain();
      generation = records.cache.generation;
    },
    onRefused() {},
  });
  const chunk = new Uint8Array(1 << 20);
  const fd = fs.openSync(source, "r");
  for (let size = 1; size > 0 && count + filled < limit; ) {
    size = fs.readSync(fd, chunk);
    parser.push(chunk.subarray(0, size));
  }
  fs.closeSync(fd);
  drain();
  bodies.push(encoder.finish());
  return { bodies, count, encodeUsec };
}

const { bodies, count, encodeUsec } = encode(file);
const bytes = bodies.reduce((sum, body) => sum + body.length, 0);
console.log(`${count} entries in ${bodies.length} bodies, ${Math.round(bytes / count)} bytes each`);
console.log(`encode: ${(encodeUsec / count).toFixed(2)} us of this thread each`);

/** Feeds all bodies in chunks. */
function decode(onBody: () => (block: Uint8Array) => void): void {
  for (const body of bodies) {
    const decoder = new BatchDecoder({
      onBlock: onBody(),
      onRefused(reason) {
        throw new Error(`Refused: ${reason}`);
      },
    });
    for (let at = 0; at < body.length; at += CHUNK_SIZE) {
      decoder.push(body.subarray(at, at + CHUNK_SIZE));
    }
  }
}

for (let round = 0; round < 2; round++) {
  measure("check", count, () => decode(() => () => {}));
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "bench-batch-"));
try {
  const blocks: { block: Uint8Array; isFirst: boolean }[] = [];
  decode(() => {
    let isFirst = true;
    return (block) => {
      blocks.push({ block: block.slice(), isFirst });
      isFirst = false;
    };
  });
  const cache = new PageCache();
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
        seqnumId: randomId128(),
        dataBuckets: 233_016,
        sizeMaxBytes: 128 << 20,
      },
      cache,
    );
  for (let round = 0; round < 2; round++) {
    let publishMs = 0;
    measure("store", count, () => {
      let writer = create();
      let seqnum = 0;
      let publishedMs = performance.now();
      const entry = newEntry();
      let dictionary = new FieldDictionary();
      for (const { block, isFirst } of blocks) {
        if (isFirst) dictionary = new FieldDictionary();
        readBlock(block, dictionary, entry, (one) => {
          if (writer.rotationReason(one) !== undefined) {
            writer.close("archived");
            writer = create();
          }
          writer.append(one, ++seqnum);
        });
        const nowMs = performance.now();
        if (nowMs - publishedMs < PUBLISH_INTERVAL_MS) continue;
        writer.publish();
        publishedMs = performance.now();
        publishMs += publishedMs - nowMs;
      }
      writer.close("archived");
    });
    console.log(`of it publishing: ${((publishMs * 1000) / count).toFixed(2)} us each`);
  }
  console.log(`peak RSS ${Math.round(process.resourceUsage().maxRSS / 1024)} MB, ${files} files`);
} finally {
  fs.rmSync(directory, { recursive: true });
}
