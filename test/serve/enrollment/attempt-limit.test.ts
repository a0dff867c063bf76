import { describe, expect, test } from "bun:test";
import {
  ATTEMPT_WINDOW_MS,
  AttemptLimit,
  networkOf,
} from "../../../src/serve/enrollment/attempt-limit.ts";

function limited(perOwnerMax: number, totalMax: number) {
  const clock = { nowMs: 1000 };
  return { clock, limit: new AttemptLimit({ perOwnerMax, totalMax }, () => clock.nowMs) };
}

describe("AttemptLimit", () => {
  test("of one owner, for a minute from the first attempt on", () => {
    const { clock, limit } = limited(2, 100);
    expect(limit.begin("a")).toBeDefined();
    clock.nowMs += 10_000;
    expect(limit.begin("a")).toBeDefined();
    expect(limit.begin("a")).toBeUndefined();
    expect(limit.waitSec("a")).toBe(50);
    expect(limit.waitSec("b")).toBe(0);
    clock.nowMs += 49_999;
    expect(limit.waitSec("a")).toBe(1);
    expect(limit.begin("a")).toBeUndefined();
    clock.nowMs += 1;
    expect(limit.begin("a")).toBeDefined();
    expect(limit.begin("a")).toBeUndefined();
  });

  test("of all together, however many owners there are", () => {
    const { clock, limit } = limited(2, 5);
    const begun = Array.from({ length: 100 }, (_, i) => limit.begin(`address ${i}`));
    expect(begun.filter(Boolean)).toHaveLength(5);
    expect(limit.waitSec("new")).toBe(60);
    clock.nowMs += ATTEMPT_WINDOW_MS;
    expect(limit.begin("new")).toBeDefined();
  });

  test("what succeeds does not count, what is under way does", () => {
    const { limit } = limited(2, 2);
    const first = limit.begin("a");
    limit.begin("a");
    expect(limit.begin("a")).toBeUndefined();
    first?.takeBack();
    first?.takeBack();
    expect(limit.begin("a")).toBeDefined();
    expect(limit.begin("a")).toBeUndefined();
    expect(limit.begin("b")).toBeUndefined();
  });
});

test.each([
  ["192.0.2.7", "192.0.2.7"],
  ["this-host", "this-host"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
  ["[2001:db8::7]", "2001:db8:0:0::/64"],
  ["2001:DB8:0001::7", "2001:db8:1:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
])("networkOf(%s) is %s", (address, network) => {
  expect(networkOf(address)).toBe(network);
});
