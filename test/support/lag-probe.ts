/** How old entries are when they are stored: seen in the headers of a receiver's files. */

import { formatId128 } from "../../src/bytes/id128.ts";
import { readUint64 } from "../../src/bytes/uint64.ts";
import { parseCursor } from "../../src/journal/cursor.ts";
import { HEADER } from "../../src/journal/format.ts";
import { readHeader } from "./entry-digests.ts";
import { journalFiles } from "./stored-journals.ts";

const INTERVAL_MS = 10;

/** From then on, all entries of a sequence up to this one were seen to be there. */
interface Sighting {
  seqnum: number;
  atUsec: number;
}

export interface LagFigures {
  count: number;
  medianMs: number;
  p99Ms: number;
  maxMs: number;
}

export class LagProbe implements Disposable {
  readonly #directory: string;
  readonly #timer: NodeJS.Timeout;
  /** By seqnum id, in the order of time. */
  readonly #sightings = new Map<string, Sighting[]>();

  constructor(directory: string) {
    this.#directory = directory;
    this.#timer = setInterval(() => this.#look(), INTERVAL_MS);
  }

  /** @param cursors of entries that came while it looked */
  figures(cursors: readonly string[]): LagFigures {
    const lags = cursors.map((cursor) => this.lagMs(cursor)).sort((a, b) => a - b);
    const at = (share: number): number =>
      Math.round(lags[Math.floor(share * (lags.length - 1))] ?? Number.NaN);
    return { count: lags.length, medianMs: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }

  /** From its time stamp to when it was seen. */
  lagMs(cursor: string): number {
    const { seqnumId, seqnum = 0, realtimeUsec = 0 } = parseCursor(cursor);
    const sightings =
      seqnumId === undefined ? [] : (this.#sightings.get(formatId128(seqnumId)) ?? []);
    const sighting = sightings[firstIndex(sightings, seqnum)];
    return sighting === undefined
      ? Number.POSITIVE_INFINITY
      : (sighting.atUsec - realtimeUsec) / 1000;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const file of journalFiles(this.#directory)) {
      const header = readHeader(file);
      const seqnum = readUint64(header, HEADER.tailEntrySeqnum);
      const id = formatId128(new Uint8Array(header.buffer), HEADER.seqnumId);
      const sightings = this.#sightings.get(id) ?? [];
      this.#sightings.set(id, sightings);
      if (seqnum > (sightings.at(-1)?.seqnum ?? 0))
        sightings.push({ seqnum, atUsec: Date.now() * 1000 });
    }
  }
}

/** Of the first that shows this number, or a later one. */
function firstIndex(sightings: readonly Sighting[], seqnum: number): number {
  let [low, high] = [0, sightings.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sightings[middle]?.seqnum ?? 0) < seqnum) low = middle + 1;
    else high = middle;
  }
  return low;
}
