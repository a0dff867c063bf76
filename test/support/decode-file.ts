/** Decodes a file in a process of its own: `bun decode-file.ts ENCODING FILE REPEAT`; prints JSON. */
import { createDecoder } from "../../src/serve/decoding/decoder.ts";

const [encoding = "", path = "", repeat = "1"] = process.argv.slice(2);
let decodedBytes = 0;
let pieceMax = 0;
let heldMax = 0;
const decoder = createDecoder(encoding, (bytes) => {
  decodedBytes += bytes.length;
  pieceMax = Math.max(pieceMax, bytes.length);
  heldMax = Math.max(heldMax, decoder?.heldBytes ?? 0);
});
let turns = 0;
const timer = setInterval(() => turns++, 1);
const body = await Bun.file(path).bytes();
for (let i = 0; i < Number(repeat); i++) {
  for (let at = 0; at < body.length; at += 65_536) {
    await decoder?.push(body.subarray(at, at + 65_536));
  }
}
await decoder?.end();
clearInterval(timer);
// Not resourceUsage().maxRSS, which begins with the peak of the parent.
const status = await Bun.file("/proc/self/status").text();
const peakRssBytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
console.log(JSON.stringify({ decodedBytes, pieceMax, heldMax, turns, peakRssBytes }));
