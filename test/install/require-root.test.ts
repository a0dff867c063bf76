import { expect, test } from "bun:test";
import { requireRoot } from "../../src/install/require-root.ts";

test("only root sets a machine up", () => {
  expect(() => requireRoot("install", 1000)).toThrow(
    "Cannot install: this is user 1000, need root",
  );
  expect(() => requireRoot("install", 0)).not.toThrow();
});
