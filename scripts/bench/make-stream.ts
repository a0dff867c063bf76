/**
 * Makes a long export stream out of a short one: `bun scripts/bench/make-stream.ts IN MEGABYTES OUT`.
 * IN is what `journalctl -o export` writes; see test/support/scaled-stream.ts for what varies.
 */
import { readFileSync } from "node:fs";
import { ScaledStream } from "../../test/support/scaled-stream.ts";

const [source, megabytes = "", target] = process.argv.slice(2);
if (source === undefined || target === undefined || !/^\d+$/.test(megabytes)) {
  throw new Error("Usage: make-stream.ts IN MEGABYTES OUT");
}
const stream = new ScaledStream(readFileSync(source));
const { entries, bytes } = stream.writeFile(target, Number(megabytes) * 1e6);
console.log(`${target}: ${entries} entries, ${bytes} bytes`);
