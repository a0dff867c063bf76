import { expect, test } from "bun:test";
import { mkdirSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Position } from "../../src/upload/delivery-types.ts";
import { readState } from "../../src/upload/state.ts";
import { StateKeeper } from "../../src/upload/state-keeper.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { listCursor } from "../support/list-source.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

function position(seqnum: number): Position {
  return { cursor: listCursor(seqnum), tails: new Map() };
}

test("StateKeeper writes what was noted soon, several at once", async () => {
  using dir = new TempDir();
  const path = join(dir.path, "state");
  const keeper = new StateKeeper({ path, target: undefined });
  for (let i = 1; i <= 100; i++) keeper.note(position(i));
  expect(readState(path)).toBeUndefined();
  await until(() => readState(path) !== undefined, 1000);
  expect(readState(path)?.position.cursor).toBe(listCursor(100));
  const { ino } = statSync(path);
  await Bun.sleep(300);
  expect(statSync(path).ino).toBe(ino);
});

test("StateKeeper writes at once when asked to, however many ask", async () => {
  using dir = new TempDir();
  const path = join(dir.path, "state");
  const keeper = new StateKeeper({ path, target: "http://a.example.net:1/upload" });
  for (let i = 1; i <= 20; i++) {
    keeper.note(position(i));
    void keeper.flush();
  }
  await keeper.flush();
  expect(readState(path)).toEqual({
    position: position(20),
    target: "http://a.example.net:1/upload",
  });
});

test("StateKeeper goes on when it cannot write, says so once, and writes when it can", async () => {
  using dir = new TempDir();
  using captured = new CapturedLog();
  const path = join(dir.path, "state");
  const keeper = new StateKeeper({ path, target: undefined });
  mkdirSync(`${path}.tmp`);
  for (let i = 1; i <= 3; i++) {
    keeper.note(position(i));
    await keeper.flush();
  }
  expect(keeper.problem).toContain("EISDIR");
  rmdirSync(`${path}.tmp`);
  await keeper.flush();
  expect(keeper.problem).toBeUndefined();
  expect(readState(path)?.position.cursor).toBe(listCursor(3));
  expect(captured.lines).toHaveLength(2);
  expect(captured.lines[0]).toContain(`Cannot write state file "${path}"`);
  expect(captured.lines[1]).toContain("can be written again");
});

test("StateKeeper without a file keeps nothing", async () => {
  const keeper = new StateKeeper({ path: undefined, target: undefined });
  keeper.note(position(1));
  await keeper.flush();
  expect(keeper.problem).toBeUndefined();
});
