/** Anything written is read back as it was. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { PageCache } from "../../src/journal/page-cache.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { JournalWriter } from "../../src/journal/writer.ts";
import { seededRandom } from "../support/journal-damage.ts";
import {
  BOOT_ID,
  exported,
  hostEntry,
  OPTIONS,
  OTHER_BOOT_ID,
  type PlainEntry,
  toEntry,
  toExported,
} from "../support/journal-entries.ts";
import { JournalImage } from "../support/journal-image.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const names = fc.oneof(
  fc.constantFrom("A", "B", "MESSAGE", "_PID", `N${"9".repeat(63)}`),
  fc
    .stringMatching(/^[A-Z_][A-Z0-9_]{0,10}$/)
    .filter((name) => !name.startsWith("__") && name !== "_BOOT_ID"),
);
const values = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: "grapheme", maxLength: 20 }) },
  { weight: 2, arbitrary: fc.constantFrom("", "1", "same") },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.nat(9000).map((size) => "long ".repeat(size / 5)) },
);
const fields = fc.array(
  fc
    .tuple(names, values)
    .map(([name, value]) => Buffer.concat([Buffer.from(`${name}=`), Buffer.from(value)])),
  { minLength: 1, maxLength: 30 },
);
const steps = fc.record({
  fields,
  gap: fc.oneof(fc.constant(1), fc.nat(1000), fc.constant(2 ** 33)),
  later: fc.nat(1_000_000),
  isOtherBoot: fc.boolean(),
  action: fc.constantFrom("none", "none", "none", "publish", "reopen"),
});

interface Step extends PlainEntry {
  action: string;
}

/** Steps as entries whose numbers and times rise. */
function entriesOf(
  of: readonly (typeof steps extends fc.Arbitrary<infer T> ? T : never)[],
): Step[] {
  let [seqnum, time] = [0, 1];
  return of.map(({ fields, gap, later, isOtherBoot, action }) => {
    seqnum += Math.max(1, gap);
    time += later;
    const bootId = isOtherBoot ? OTHER_BOOT_ID : BOOT_ID;
    return { seqnum, fields, realtimeUsec: time, monotonicUsec: time, bootId, action };
  });
}

function toImageEntry({ seqnum, fields, realtimeUsec, bootId }: PlainEntry): unknown {
  return {
    seqnum,
    realtimeUsec,
    bootId,
    fields: [
      ...new Set([`_BOOT_ID=${bootId}`, ...fields.map((f) => Buffer.from(f).toString("latin1"))]),
    ].sort(),
  };
}

describe("JournalWriter", () => {
  test("gives random entries back, through publishes and reopenings, in every format", () => {
    let runs = 0;
    fc.assert(
      fc.property(
        fc.array(steps, { minLength: 1, maxLength: 40 }),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom(undefined, 8, 512),
        (of, compact, keyedHash, compressThresholdBytes) => {
          const entries = entriesOf(of);
          const options = {
            ...OPTIONS,
            compact,
            keyedHash,
            compressThresholdBytes,
            dataBuckets: 61,
          };
          const file = path.join(dir.path, `${runs++}.journal`);
          const cache = new PageCache(0);
          let writer = JournalWriter.create(file, options, cache);
          for (const entry of entries) {
            writer.append(toEntry(entry), entry.seqnum);
            if (entry.action === "publish") writer.publish();
            if (entry.action !== "reopen") continue;
            writer.close("offline");
            writer = JournalWriter.reopen(file, options, cache);
          }
          writer.close("archived");
          expect(verifyJournalFile(file).problems).toEqual([]);
          const stored = new JournalImage(fs.readFileSync(file)).entries();
          expect(
            stored.map(({ seqnum, realtimeUsec, bootId, fields }) => ({
              seqnum,
              realtimeUsec,
              bootId,
              fields: fields.sort(),
            })),
          ).toEqual(entries.map(toImageEntry) as never);
          if (hasSystemd() && runs % 10 === 0) {
            expect(exported(file)).toEqual(entries.map(toExported));
          }
          fs.rmSync(file);
        },
      ),
      { numRuns: 150, seed: 20 },
    );
  }, 30_000);

  test("writes the same with the smallest cache and several files at once as with a large one", () => {
    const count = 700;
    const writeAll = (names: string[], cache: PageCache): void => {
      const random = seededRandom(9);
      const writers = names.map((name, i) =>
        JournalWriter.create(
          path.join(dir.path, name),
          { ...OPTIONS, compact: i % 2 === 0, dataBuckets: 1021 },
          cache,
        ),
      );
      const numbers = writers.map(() => 0);
      for (let i = 0; i < count * writers.length; i++) {
        const at = Math.floor(random() * writers.length);
        const seqnum = (numbers[at] ?? 0) + 1;
        numbers[at] = seqnum;
        const body = `BODY=${seqnum} ${"x".repeat(random() * 500)}`;
        const large = random() < 0.002 ? [`LARGE=${seqnum}${"z".repeat(300_000)}`] : [];
        const fields = [body, `GROUP=${seqnum % 50}`, `AGAIN=${Math.floor(random() * 300)}`];
        writers[at]?.append(toEntry(hostEntry(seqnum, ...fields, ...large)), seqnum);
        if (random() < 0.01) writers[at]?.publish();
      }
      for (const writer of writers) writer.close("archived");
    };
    const [small, large] = ["small", "large"].map((kind) =>
      [0, 1, 2, 3].map((i) => `${kind}-${i}.journal`),
    ) as [string[], string[]];
    writeAll(small, new PageCache(0));
    writeAll(large, new PageCache());
    for (const [i, name] of small.entries()) {
      const [a, b] = [name, large[i] ?? ""].map((of) => fs.readFileSync(path.join(dir.path, of)));
      expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
      expect(verifyJournalFile(path.join(dir.path, name)).problems).toEqual([]);
    }
  });
});
