import { expect, test } from "bun:test";
import { findGroup, findUser } from "../../src/platform/accounts.ts";

test("findUser() and findGroup() know the machine's accounts, by their whole name", () => {
  expect(findUser("root")).toBe(0);
  expect(findGroup("root")).toBe(0);
  for (const name of ["roo", "no-such-account", ""]) {
    expect(findUser(name)).toBeUndefined();
    expect(findGroup(name)).toBeUndefined();
  }
});
