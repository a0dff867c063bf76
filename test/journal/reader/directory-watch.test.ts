import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { DirectoryWatch } from "../../../src/journal/reader/directory-watch.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

function watchInto(seen: Map<string, boolean>): DirectoryWatch {
  return new DirectoryWatch((path, isNew) => seen.set(path, (seen.get(path) ?? false) || isNew));
}

test("tells of writes, and of the same size set anew, which is what journald does", async () => {
  const path = dir.write("a.journal", "0123456789");
  const fd = fs.openSync(path, "r+");
  const seen = new Map<string, boolean>();
  const watch = watchInto(seen);
  watch.update([dir.path]);
  fs.writeSync(fd, "x");
  await until(() => seen.get(path) === false);
  seen.clear();
  fs.ftruncateSync(fd, 10);
  await until(() => seen.get(path) === false);
  watch.close();
  seen.clear();
  fs.writeSync(fd, "x");
  await Bun.sleep(20);
  expect(seen.size).toBe(0);
  fs.closeSync(fd);
});

test("tells of new names, and of those that are gone", async () => {
  const seen = new Map<string, boolean>();
  const watch = watchInto(seen);
  watch.update([dir.path]);
  const path = dir.write("b.journal", "x");
  await until(() => seen.get(path) === true);
  seen.clear();
  fs.renameSync(path, join(dir.path, "c.journal"));
  await until(() => seen.get(path) === true && seen.get(join(dir.path, "c.journal")) === true);
  seen.clear();
  fs.rmSync(join(dir.path, "c.journal"));
  await until(() => seen.get(join(dir.path, "c.journal")) === true);
  watch.close();
});

test("notices at an update that a directory was replaced, and leaves those that are not wanted", async () => {
  const folder = join(dir.path, "folder");
  fs.mkdirSync(folder);
  const seen = new Map<string, boolean>();
  const watch = watchInto(seen);
  watch.update([folder, join(dir.path, "none")]);
  fs.renameSync(folder, join(dir.path, "moved"));
  fs.mkdirSync(folder);
  watch.update([folder]);
  fs.writeFileSync(join(folder, "d"), "x");
  await until(() => seen.has(join(folder, "d")));
  watch.update([]);
  seen.clear();
  fs.writeFileSync(join(folder, "e"), "x");
  await Bun.sleep(20);
  expect(seen.size).toBe(0);
  watch.close();
});
