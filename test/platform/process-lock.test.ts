import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { lockPath, type ProcessLock } from "../../src/platform/process-lock.ts";
import { TempDir } from "../support/temp-dir.ts";

const MODULE = join(import.meta.dir, "../../src/platform/process-lock.ts");

function lock(path: string, purpose: "serve" | "upload" = "serve"): ProcessLock {
  return lockPath(path, { purpose, hint: "Use another one" });
}

test("lockPath() lets one in, by whatever path, until it releases", () => {
  using dir = new TempDir();
  const output = join(dir.path, "out");
  mkdirSync(output);
  symlinkSync(output, join(dir.path, "alias"));
  const places = [
    [output, join(dir.path, "alias"), `${output}/`, join(dir.path, "./out")],
    [
      join(output, "all.journal"),
      join(dir.path, "alias/all.journal"),
      `${output}/../out/all.journal`,
    ],
  ];
  for (const [first = "", ...others] of places) {
    const held = lock(first);
    for (const path of [first, ...others]) {
      expect(() => lock(path)).toThrow(`Cannot write to "${path}": another process does`);
    }
    held.release();
    lock(others[0] ?? "").release();
  }
});

test("lockPath() keeps places and purposes apart", () => {
  using dir = new TempDir();
  const locks = ["", "/a.journal", "/b.journal"].map((name) => lock(dir.path + name));
  locks.push(lock(dir.path, "upload"));
  for (const held of locks) held.release();
});

const HOLDER = `import { lockPath } from ${JSON.stringify(MODULE)};
lockPath(process.argv[1] ?? "", { purpose: "serve", hint: "" });
console.log("held");
await Bun.sleep(60_000);`;

/** Another process that has the lock. */
async function holdElsewhere(path: string, ...wrapper: string[]): Promise<Bun.Subprocess> {
  const command = [...wrapper, process.execPath, "-e", HOLDER, path];
  const child = Bun.spawn(command, { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  expect(Buffer.from(value ?? []).toString()).toBe("held\n");
  return child;
}

test("a lock ends with its process, and leaves nothing behind when it is released", async () => {
  using dir = new TempDir();
  await using holder = await holdElsewhere(dir.path);
  expect(() => lock(dir.path)).toThrow("another process does");
  expect(readdirSync(dir.path)).toEqual([".agent-serve.lock"]);
  holder.kill("SIGKILL");
  await holder.exited;
  lock(dir.path).release();
  expect(readdirSync(dir.path)).toEqual([]);
});

const canUnshare = process.getuid?.() === 0 && Bun.which("unshare") !== null;
test.skipIf(!canUnshare)("a service with a network namespace of its own is seen", async () => {
  using dir = new TempDir();
  await using holder = await holdElsewhere(dir.path, "unshare", "--net");
  expect(() => lock(dir.path)).toThrow("another process does");
  holder.kill("SIGKILL");
});

test("who waits for a lock that is released gets one that others see", async () => {
  using dir = new TempDir();
  const held: ProcessLock[] = [];
  for (let round = 0; round < 100; round++) {
    held.push(lock(dir.path));
    expect(() => lock(dir.path)).toThrow("another process does");
    held.pop()?.release();
  }
  expect(() => lock(join(dir.path, "none/x.journal"))).toThrow("no such file or directory");
});
