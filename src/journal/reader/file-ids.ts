/**
 * Numbers of open journal files, by which what is known of their contents is kept. They are small, so that one and an
 * offset together are still an exact number; they begin anew when all were given.
 */

const IDS = 2 ** 17;

const inUse = new Set<number>();
let last = 0;
let round = 0;

/** Different from those of all open files. */
export function takeFileId(): number {
  do {
    last = (last + 1) % IDS;
    if (last === 0) round++;
  } while (last === 0 || inUse.has(last));
  inUse.add(last);
  return last;
}

export function releaseFileId(id: number): void {
  inUse.delete(id);
}

/** Changes when ids begin anew: one that was known may be another file's from then on. */
export function fileIdRound(): number {
  return round;
}
