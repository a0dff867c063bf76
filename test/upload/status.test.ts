import { expect, test } from "bun:test";
import type { PipelineProgress } from "../../src/upload/pipeline.ts";
import { formatProgress, formatTotals, RateMeter } from "../../src/upload/status.ts";

const IDLE: PipelineProgress = {
  url: "https://logs.example.net:19532/upload",
  entries: 5120,
  bytes: 4_000_000,
  backlog: 0,
  realtimeUsec: 1_700_000_000_000_000,
  quarantined: 0,
  losses: { vacuumed: 0, damaged: new Map() },
  problem: undefined,
  stateProblem: undefined,
};

test("formatProgress() says target, lag, rate and what went wrong", () => {
  const nowMs = 1_700_000_000_420;
  expect(formatProgress(IDLE, 0, nowMs)).toBe(
    "https://logs.example.net:19532/upload: up to date, 0/s, 5120 acknowledged",
  );
  expect(formatProgress({ ...IDLE, backlog: 12 }, 309.7, nowMs)).toBe(
    "https://logs.example.net:19532/upload: 12 entries (0.4 s) behind, 310/s, 5120 acknowledged",
  );
  const troubled: PipelineProgress = {
    ...IDLE,
    backlog: 7,
    realtimeUsec: 1_699_999_900_000_000,
    quarantined: 2,
    losses: { vacuumed: 30, damaged: new Map([["field-damaged", 4]]) },
    problem: 'Cannot upload to "https://logs.example.net:19532/upload": refused',
    stateProblem: "ENOSPC: no space left on device",
  };
  expect(formatProgress(troubled, 0, nowMs)).toBe(
    'https://logs.example.net:19532/upload: RETRYING (Cannot upload to "https://logs.example.net:19532/upload": refused), POSITION NOT SAVED (ENOSPC: no space left on device), 7 entries (1 min 40 s) behind, 0/s, 5120 acknowledged, 2 quarantined, 30 deleted before they were sent, 4 damaged',
  );
  const nothingYet = { ...IDLE, entries: 0, backlog: 3, realtimeUsec: undefined };
  expect(formatProgress(nothingYet, 0, nowMs)).toContain(": 3 entries behind,");
});

test("formatTotals() names every number, also those that are 0", () => {
  const losses = { vacuumed: 0, damaged: new Map([["entry-damaged", 1]]) };
  expect(formatTotals({ ...IDLE, losses })).toBe(
    'Finished url="https://logs.example.net:19532/upload" acknowledged=5120 bytes=4000000 left=0 quarantined=0 vacuumed=0 damaged-entry-damaged=1',
  );
});

test("RateMeter tells the rate since the last look", () => {
  const meter = new RateMeter(0);
  expect(meter.update(500, 1000)).toBe(500);
  expect(meter.update(500, 2000)).toBe(0);
  expect(meter.update(600, 2500)).toBe(200);
  expect(meter.update(600, 2500)).toBe(0);
});
