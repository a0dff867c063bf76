import { describe, expect, test } from "bun:test";
import { AgentError } from "../../../src/errors.ts";
import { Complaints } from "../../../src/serve/sources/complaints.ts";
import { parseGateway } from "../../../src/serve/sources/gateway.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { TestClock } from "../../support/test-clock.ts";

const gateway = parseGateway("http://web1:19531");
const refused = new AgentError("E_PEER", "Cannot pull: refused", { hint: "is it on?" });

describe("Complaints", () => {
  test("tells each reason once, and that it is over once", () => {
    using captured = new CapturedLog();
    const complaints = new Complaints(gateway, new TestClock());
    complaints.clear();
    for (let attempt = 0; attempt < 5; attempt++) complaints.add(refused);
    const cut = new AgentError("E_PEER", "Cannot pull: cut");
    complaints.add(cut);
    expect(complaints.current).toBe(cut);
    complaints.clear();
    complaints.clear();
    expect(complaints.current).toBeUndefined();
    complaints.add(refused);
    complaints.clear();
    expect(captured.lines).toEqual([
      "warn: Cannot pull: refused; is it on?; it is tried again until it works",
      "warn: Cannot pull: cut; it is tried again until it works",
      'info: Pulling from "http://web1:19531/entries?follow" works again',
    ]);
  });

  test("tells a reason again after an hour", () => {
    const clock = new TestClock();
    using captured = new CapturedLog();
    const complaints = new Complaints(gateway, clock);
    complaints.add(refused);
    clock.nowMs = 3_599_999;
    complaints.add(refused);
    expect(captured.lines).toHaveLength(1);
    clock.nowMs = 3_600_000;
    complaints.add(refused);
    expect(captured.lines).toHaveLength(2);
  });

  test("does not let ever new reasons fill the log", () => {
    using captured = new CapturedLog();
    const complaints = new Complaints(gateway, new TestClock());
    for (let number = 0; number < 1000; number++) {
      complaints.add(new AgentError("E_PEER", `Cannot pull: request ${number} failed`));
    }
    expect(captured.lines).toHaveLength(20);
  });

  test("tells of a gap with both cursors, once", () => {
    using captured = new CapturedLog();
    const complaints = new Complaints(gateway, new TestClock());
    complaints.addGap("s=1;i=2", "s=1;i=9");
    complaints.addGap("s=1;i=2", "s=1;i=9");
    expect(captured.lines).toEqual([
      'warn: Entries of "web1" may be missing: the gateway no longer has the one stored last stored="s=1;i=2" first="s=1;i=9"',
    ]);
  });
});
