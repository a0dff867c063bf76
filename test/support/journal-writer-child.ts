/** Writes the journal file named by the first argument, publishing at odd moments, until it is killed. */
import { PageCache } from "../../src/journal/page-cache.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { seededRandom } from "./journal-damage.ts";
import { appendAll, hostEntry, OPTIONS } from "./journal-entries.ts";

const [file, cacheBytes] = process.argv.slice(2);
if (file === undefined) throw new Error("Usage: journal-writer-child.ts FILE [CACHE-BYTES]");
const random = seededRandom(1);
// Small arrays and buckets, so that everything is extended all the time.
const options = { ...OPTIONS, dataBuckets: 4001, compressThresholdBytes: undefined };
const writer = JournalWriter.create(file, options, new PageCache(Number(cacheBytes ?? 0)));
for (let seqnum = 1; ; seqnum++) {
  appendAll(writer, [hostEntry(seqnum, `BODY=${seqnum} ${"x".repeat(random() * 1500)}`)]);
  if (random() < 0.05) writer.publish();
  if (seqnum % 20 === 0) await Bun.sleep(0);
}
