import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { basename, join } from "node:path";
import { CapturedLog } from "../../support/captured-log.ts";
import { DamagedReadings } from "../../support/reader-damage.ts";
import { plain, writeFile } from "../../support/reader-journals.ts";
import { TempDir } from "../../support/temp-dir.ts";

/** More of it: scripts/bench/read-damage.ts. */
const [PLACES, TIMES] = [60, 240];
const LIMIT_MS = 60_000;

const { AGENT_SHARED_DATA: DATA = join(import.meta.dir, "../../../../shared/data") } = Bun.env;
const REAL = fs.existsSync(DATA)
  ? fs.readdirSync(DATA).filter((name) => /journal~?\.zst$/.test(name))
  : [];

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

/** Entries of three boots with shared, long and large fields. */
function writeSample(compact: boolean, keyedHash: boolean): string {
  const entries = Array.from({ length: 300 }, (_, i) => {
    const fields = [
      `_SYSTEMD_UNIT=unit-${i % 7}.service`,
      `LONG=${"long and dull ".repeat(i % 50)}`,
    ];
    if (i % 100 === 50) fields.push(`LARGE=${i}${"x".repeat(50_000)}`);
    return plain(i + 1, { boot: 1 + Math.floor(i / 100), fields });
  });
  const name = `${compact ? "compact" : "regular"}-${keyedHash ? "keyed" : "unkeyed"}.journal`;
  return writeFile(dir.path, name, entries, 1, { compact, keyedHash });
}

function expectNoHarm(path: string, scale: number): void {
  using log = new CapturedLog();
  const readings = new DamagedReadings(path);
  readings.truncate(PLACES * scale);
  readings.mutate(TIMES * scale, 1);
  const { report } = readings;
  expect(report.problems).toEqual([]);
  expect(report.readings).toBe((PLACES + TIMES) * scale);
  expect(report.entries).toBeGreaterThan(report.readings);
  expect(report.passedOver).toBeGreaterThan(0);
  expect(log.lines.filter((line) => !line.startsWith("warn: Damaged index"))).toEqual([]);
}

for (const [compact, keyed] of [
  [true, true],
  [false, false],
] as const) {
  const name = `${compact ? "compact, keyed" : "regular, unkeyed"}`;
  test(
    `a ${name} journal does no harm, wherever it is cut or damaged`,
    () => expectNoHarm(writeSample(compact, keyed), 1),
    LIMIT_MS,
  );
}

for (const name of REAL) {
  test(
    `${basename(name, ".zst")} of a real machine does no harm, wherever it is cut or damaged`,
    () => {
      const bytes = Bun.zstdDecompressSync(fs.readFileSync(join(DATA, name)));
      const path = dir.write(basename(name, ".zst"), bytes);
      expectNoHarm(path, 0.5);
    },
    LIMIT_MS,
  );
}
