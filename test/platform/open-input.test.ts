import { afterAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { closeSync, fstatSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openInput, STDIN_FD } from "../../src/platform/open-input.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());
const never = new AbortController().signal;

test("openInput() opens a file, and standard input for a dash", async () => {
  const input = await openInput(dir.write("file", "text"), never);
  expect(readFileSync(input.fd, "utf8")).toBe("text");
  expect(input.stats.size).toBe(4);
  await input.close();
  const stdin = await openInput("-", never);
  expect(stdin.fd).toBe(STDIN_FD);
  await stdin.close();
  expect(() => fstatSync(STDIN_FD)).not.toThrow();
});

test("openInput() refuses a folder, and what is not there", async () => {
  const folder = expect.objectContaining({
    code: "E_IO",
    message: `Cannot open "${dir.path}": it is a directory, a file is needed`,
  });
  expect(await openInput(dir.path, never).catch((error: unknown) => error)).toEqual(folder);
  const missing = expect.objectContaining({
    code: "E_IO",
    message: expect.stringContaining("ENOENT"),
  });
  const path = join(dir.path, "missing");
  expect(await openInput(path, never).catch((error: unknown) => error)).toEqual(missing);
});

test("openInput() waits for the writer of a pipe, or the signal", async () => {
  const path = join(dir.path, "fifo");
  expect(spawnSync("mkfifo", [path]).status).toBe(0);
  const opening = openInput(path, never);
  const writer = openSync(path, "r+");
  writeSync(writer, "a");
  const input = await opening;
  expect(input.stats.isFIFO()).toBe(true);
  await input.close();
  closeSync(writer);
  const controller = new AbortController();
  const waiting = openInput(path, controller.signal);
  controller.abort();
  await (await waiting).close();
  const late = await openInput(path, controller.signal);
  await late.close();
});
