import { expect, test } from "bun:test";
import { log } from "../src/log.ts";
import { CapturedLog } from "./support/captured-log.ts";

test("equal lines are told one by one, at once, and in their order", () => {
  using captured = new CapturedLog();
  for (let i = 0; i < 10; i++) log.warn("the same");
  expect(captured.lines).toHaveLength(10);
  log.warn("another");
  expect(captured.lines.slice(9)).toEqual(["warn: the same", "warn: another"]);
});
