import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { parentsOf, resolveIn } from "../../src/install/rooted-path.ts";
import { TempDir } from "../support/temp-dir.ts";

/** An image with links, as merged ones have, and as an attacker would make them. */
function image(): TempDir & { root: string } {
  const dir = new TempDir();
  const root = join(dir.path, "image");
  mkdirSync(join(root, "usr/lib/systemd/system"), { recursive: true });
  mkdirSync(join(root, "etc/systemd"), { recursive: true });
  symlinkSync("usr/lib", join(root, "lib"));
  symlinkSync("/lib/systemd/system", join(root, "etc/systemd/system"));
  symlinkSync("../../../../../../../../etc", join(root, "etc/up"));
  symlinkSync("/", join(root, "top"));
  symlinkSync("/etc/loop", join(root, "etc/loop"));
  return Object.assign(dir, { root });
}

test.each([
  ["/usr/local/bin/agent", "/usr/local/bin/agent"],
  ["/lib/systemd", "/usr/lib/systemd"],
  ["/etc/systemd/system/a.service.d/b.conf", "/usr/lib/systemd/system/a.service.d/b.conf"],
  ["/etc/up/passwd", "/etc/passwd"],
  ["/top/etc/systemd/system/a", "/usr/lib/systemd/system/a"],
  ["/../../etc/x", "/etc/x"],
  ["/lib", "/lib"],
])("resolveIn() takes %s to %s of the image, and never out of it", (path, expected) => {
  using dir = image();
  expect(resolveIn(dir.root, path)).toBe(`${dir.root}${expected}`);
});

test("resolveIn() follows the last part if it is asked to", () => {
  using dir = image();
  expect(resolveIn(dir.root, "/lib", true)).toBe(`${dir.root}/usr/lib`);
});

test("resolveIn() gives up on links in a circle", () => {
  using dir = image();
  expect(() => resolveIn(dir.root, "/etc/loop/x")).toThrow("links in a circle");
});

test("resolveIn() leaves paths of this machine to the kernel", () => {
  expect(resolveIn("", "/lib/../x")).toBe("/lib/../x");
});

test("parentsOf() has all of them, the highest first", () => {
  expect(parentsOf("/a/b/c")).toEqual(["/a", "/a/b"]);
  expect(parentsOf("/a")).toEqual([]);
});
