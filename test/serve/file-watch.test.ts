import { afterEach, expect, test } from "bun:test";
import { renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { FileWatch } from "../../src/serve/file-watch.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

let watch: FileWatch | undefined;
afterEach(() => watch?.close());

function start(files: string[], pollMs: number) {
  const seen = { changes: 0 };
  watch = new FileWatch(files, () => seen.changes++, { settleMs: 30, pollMs });
  return seen;
}

test("FileWatch sees a write, a replacement, a removal and a new file", async () => {
  using dir = new TempDir();
  const file = dir.write("key", "one");
  const seen = start([file], 60_000);
  const steps = [
    () => writeFileSync(file, "two!"),
    () => renameSync(dir.write("new", "three"), file),
    () => rmSync(file),
    () => writeFileSync(file, "four"),
  ];
  for (const [index, step] of steps.entries()) {
    step();
    await until(() => seen.changes === index + 1);
  }
});

test("FileWatch takes changes that follow each other as one", async () => {
  using dir = new TempDir();
  const files = [dir.write("key", "1"), dir.write("cert", "1")];
  const seen = start(files, 60_000);
  for (const file of files) {
    writeFileSync(file, "22");
    await Bun.sleep(5);
  }
  await until(() => seen.changes > 0);
  await Bun.sleep(100);
  expect(seen.changes).toBe(1);
});

test("FileWatch does not mind other files of the folder", async () => {
  using dir = new TempDir();
  const seen = start([dir.write("key", "1")], 60_000);
  dir.write("other", "1");
  await Bun.sleep(150);
  expect(seen.changes).toBe(0);
});

test("FileWatch finds by polling what the folder does not tell, such as a symlink's target", async () => {
  using dir = new TempDir();
  const target = dir.write("elsewhere/key", "1");
  dir.write("live/x", "");
  symlinkSync(target, `${dir.path}/live/key`);
  const seen = start([`${dir.path}/live/key`, "/nonexistent/folder/key"], 50);
  writeFileSync(target, "22");
  await until(() => seen.changes === 1);
});

test("FileWatch is quiet after close()", async () => {
  using dir = new TempDir();
  const file = dir.write("key", "1");
  const seen = start([file], 20);
  watch?.close();
  writeFileSync(file, "22");
  await Bun.sleep(100);
  expect(seen.changes).toBe(0);
});
