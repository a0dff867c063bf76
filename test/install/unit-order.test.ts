import { expect, test } from "bun:test";
import { inStopOrder, serviceOf } from "../../src/install/unit-order.ts";

test("inStopOrder() has sockets first, and else what was started last", () => {
  const names = ["a.socket", "b.service", "c.socket", "c.service", "d.timer"];
  const units = names.map((name) => ({ name }));
  expect(inStopOrder(units).map(({ name }) => name)).toEqual([
    "c.socket",
    "a.socket",
    "d.timer",
    "c.service",
    "b.service",
  ]);
  expect(units.map(({ name }) => name)).toEqual(names);
});

test("serviceOf() is a socket's service", () => {
  expect(serviceOf("a.socket")).toBe("a.service");
  expect(serviceOf("a.socket.service")).toBeUndefined();
});
