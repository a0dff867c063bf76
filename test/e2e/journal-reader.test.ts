/** Our reader on what systemd's programs write, of several versions and in all their formats: issue 3, points 1 and 4. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { EntrySource } from "../../src/upload/delivery-types.ts";
import { openSource } from "../../src/upload/source.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { type DebianTree, describeTrees } from "../support/debian-tree.ts";
import { drain, messageOf } from "../support/reader-journals.ts";
import { exportSet, openSet, withoutSeqnums } from "../support/set-export.ts";
import { sourceSettings } from "../support/source-settings.ts";
import { journalFiles } from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import {
  journalFormats,
  makeTreeJournal,
  TreeJournald,
  treeExport,
} from "../support/tree-programs.ts";
import { until } from "../support/until.ts";
import { largeAndSmall, linesOf, SAMPLES } from "../support/version-samples.ts";

const FORMATS = journalFormats("ZSTD", "XZ", "LZ4", "NONE");
const LIMIT_MS = 60_000;

const work = new TempDir();
afterAll(() => work[Symbol.dispose]());

await describeTrees(["bookworm-backports", "trixie", "sid"], (tree) => {
  describe("journals it makes", () => testMade(tree));
  describe("systemd-journald", () => testJournald(tree));
});

function newDirectory(path = join(work.path, crypto.randomUUID())): string {
  mkdirSync(path, { recursive: true });
  return path;
}

function theirs(tree: DebianTree, ...options: string[]): string {
  return withoutSeqnums(treeExport(tree, ...options).toString("latin1"));
}

function testMade(tree: DebianTree): void {
  const made = join(work.path, tree.suite, "made");

  beforeAll(() => {
    newDirectory(made);
    const stream = Buffer.concat([Buffer.from(largeAndSmall()), ...SAMPLES]);
    for (const [name, format] of FORMATS) {
      makeTreeJournal(tree, join(made, `${name}.journal`), stream, format);
    }
  }, LIMIT_MS);

  test.each(FORMATS)("are read as it exports them: %s", (name) => {
    const file = join(made, `${name}.journal`);
    const { set, problems } = openSet();
    set.rescan([file]);
    expect(exportSet(set) === theirs(tree, `--file=${file}`)).toBe(true);
    expect([problems, [...set.damaged]]).toEqual([[], []]);
    set.close();
  });
}

/** Takes entries as they come, and has their messages. */
async function follow(source: EntrySource, messages: string[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (let entry = source.next(); entry !== undefined; entry = source.next()) {
      messages.push(messageOf(entry));
    }
    await source.wait(signal);
  }
}

function testJournald(tree: DebianTree): void {
  test(
    "is followed through rotations, nothing missing, nothing torn, in its order",
    async () => {
      await using journald = new TreeJournald(tree, newDirectory(join(work.path, tree.suite, "a")));
      await journald.log(["begin"]);
      const { directory } = journald;
      const source = openSource(sourceSettings(directory, { follow: true }), undefined);
      const messages: string[] = [];
      const stop = new AbortController();
      const done = follow(source, messages, stop.signal);
      for (const round of ["first", "second", "third", "fourth"]) {
        for (let i = 0; i < 1000; i += 250) await journald.log(linesOf(round, i, i + 250));
        journald.rotate();
      }
      await journald.stop();
      const expected = theirs(tree, `--directory=${directory}`);
      const last = (expected.match(/^MESSAGE[=\n]/gm) ?? []).length;
      await until(() => messages.length >= last);
      stop.abort();
      await done;
      expect([source.losses.vacuumed, [...source.losses.damaged]]).toEqual([0, []]);
      source.close();
      expect(journalFiles(directory).length).toBeGreaterThanOrEqual(4);
      expect(messages.filter((message) => /^(first|second|third|fourth) /.test(message))).toEqual(
        ["first", "second", "third", "fourth"].flatMap((round) => linesOf(round, 0, 1000)),
      );
      const again = openSource(sourceSettings(directory), undefined);
      expect(exportSet(again) === expected).toBe(true);
      again.close();
    },
    LIMIT_MS,
  );

  test(
    "deletes what was not read, and the entries are counted, not taken for damaged ones",
    async () => {
      await using journald = new TreeJournald(tree, newDirectory(join(work.path, tree.suite, "b")));
      await journald.log(["begin"]);
      for (let i = 0; i < 3000; i += 250) await journald.log(linesOf("first", i, i + 250));
      const { directory } = journald;
      using log = new CapturedLog();
      const source = openSource(sourceSettings(directory, { follow: true }), undefined);
      const before = drain(source, 100);
      journald.rotate();
      await until(() => journalFiles(directory).length === 2);
      await journald.log(linesOf("second", 0, 10));
      const [archived = ""] = journalFiles(directory).filter((file) => file.includes("@"));
      const entries = (theirs(tree, `--file=${archived}`).match(/^__CURSOR=/gm) ?? []).length;
      expect(statSync(archived).size).toBeGreaterThan(1_000_000);
      tree.run(["journalctl", `--directory=${directory}`, "--vacuum-files=1"]);
      expect(journalFiles(directory).length).toBe(1);
      const after: string[] = [];
      const stop = new AbortController();
      const done = follow(source, after, stop.signal);
      await until(() => after.includes("second 9"));
      stop.abort();
      await done;
      const read = [...before, ...after].filter((message) => message.startsWith("first "));
      const rest =
        entries -
        (before.length + after.filter((message) => !message.startsWith("second ")).length);
      expect(read).toEqual(linesOf("first", 0, read.length));
      expect(source.losses.vacuumed).toBeGreaterThan(0);
      expect(Math.abs(source.losses.vacuumed - rest)).toBeLessThanOrEqual(2);
      expect([...source.losses.damaged]).toEqual([]);
      expect(log.lines).toEqual([expect.stringContaining("entries were deleted before")]);
      source.close();
    },
    LIMIT_MS,
  );
}
