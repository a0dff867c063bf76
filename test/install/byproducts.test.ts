/** The daemon that owns a directory is somebody else's by now, and runs while root works in there. */
import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { rememberByproduct, takeBackByproduct } from "../../src/install/byproducts.ts";
import {
  type ByproductBefore,
  backupPaths,
  makeStateDirectory,
} from "../../src/install/manifest.ts";
import { InstallRig, RECEIVED } from "../support/install-rig.ts";

const SUB = `${RECEIVED}/sub`;

let rig: InstallRig;
let restoreSpy: (() => void) | undefined;
beforeEach(() => {
  rig = new InstallRig();
  makeStateDirectory(rig.root, []);
  rig.write("/etc/secret", "of root alone", 0o600);
});
afterEach(() => {
  restoreSpy?.();
  restoreSpy = undefined;
  rig[Symbol.dispose]();
});

/** As the daemon sees `readdir` begin, or end: the directory is a link from then on, to where there are files of the same names. */
function swapAfterListing(path: string, target: string): void {
  const { readdirSync } = fs;
  const inode = fs.statSync(rig.path(path)).ino;
  const spy = spyOn(fs, "readdirSync").mockImplementation(((directory: string, options: object) => {
    const isIt = fs.statSync(directory).ino === inode;
    const entries = readdirSync(directory, options as { withFileTypes: true });
    if (isIt) replaceByLink(path, target);
    return entries;
  }) as typeof readdirSync);
  restoreSpy = () => spy.mockRestore();
}

function replaceByLink(path: string, target: string): void {
  fs.renameSync(rig.path(path), rig.path(`${RECEIVED}/moved`));
  fs.symlinkSync(target, rig.path(path));
}

function takeBack(before: ByproductBefore): void {
  takeBackByproduct(rig.root, RECEIVED, before, { isPurge: true, backupOf: backupPaths(rig.root) });
}

describe("links that come while root works there", () => {
  test("nothing elsewhere is removed", () => {
    rig.write(`${RECEIVED}/a.txt`, "x");
    const before = rememberByproduct(rig.root, RECEIVED);
    rig.write(`${SUB}/secret`, "x");
    swapAfterListing(SUB, "/etc");
    takeBack(before);
    expect(rig.read("/etc/secret")).toBe("of root alone");
  });

  test("nothing elsewhere is remembered, to be given to the daemon later", () => {
    rig.write(`${SUB}/secret`, "x");
    swapAfterListing(SUB, "/etc");
    const before = rememberByproduct(rig.root, RECEIVED);
    expect(Object.entries(before.inside).map(([name, { kind }]) => [name, kind])).toEqual([
      ["sub", "link"],
    ]);
  });

  test("of the same kind as a file: what was there is put back, and nothing is written elsewhere", () => {
    rig.write(`${SUB}/secret`, "mine", 0o644);
    const before = rememberByproduct(rig.root, RECEIVED);
    replaceByLink(SUB, rig.path("/etc"));
    takeBack(before);
    expect(rig.read("/etc/secret")).toBe("of root alone");
    expect(fs.lstatSync(rig.path(SUB)).isDirectory()).toBe(true);
    expect(rig.read(`${SUB}/secret`)).toBe("mine");
    expect(rig.has(`${RECEIVED}/moved`)).toBe(false);
  });
});

describe("an image whose manifest is somebody else's", () => {
  beforeEach(() => {
    fs.mkdirSync(rig.path(RECEIVED), { recursive: true });
  });

  test.each(["../../../../../outside", "sub/../../x", "..", "a//b", ""])(
    "is not left by the name %p",
    (name) => {
      const before = rememberByproduct(rig.root, RECEIVED);
      before.inside[name] = { kind: "link", target: "x", uid: 0, gid: 0 };
      expect(() => takeBack(before)).toThrow(`Cannot use the name "${name}"`);
    },
  );

  test("gets no files of this machine by its backups", () => {
    rig.write(`${RECEIVED}/a.txt`, "a");
    const before = rememberByproduct(rig.root, RECEIVED);
    rig.write(`${RECEIVED}/a.txt`, "b");
    const backup = rig.path("/var/lib/journal-agent/backup/1");
    fs.rmSync(backup);
    fs.symlinkSync(rig.binary, backup);
    expect(() => takeBack(before)).toThrow("ELOOP");
    const saved = before.inside["a.txt"];
    if (saved?.kind === "file") Object.assign(saved, { backup: `../../../../../agent` });
    expect(() => takeBack(before)).toThrow("ENOENT");
    expect(rig.read(`${RECEIVED}/a.txt`)).toBe("b");
  });
});

test("what is in the way of what was there keeps nothing from being put back", () => {
  rig.write(`${RECEIVED}/a.txt`, "a");
  rig.write(`${RECEIVED}/b.txt`, "b");
  rig.write(`${SUB}/c.txt`, "c");
  const listing = rig.installedListing();
  const before = rememberByproduct(rig.root, RECEIVED);
  for (const name of ["a.txt", "b.txt", "sub"]) {
    fs.rmSync(join(rig.path(RECEIVED), name), { recursive: true });
  }
  fs.mkdirSync(rig.path(`${RECEIVED}/a.txt/in/it`), { recursive: true });
  Bun.spawnSync(["mkfifo", rig.path(`${RECEIVED}/b.txt`), rig.path(SUB)]);
  takeBack(before);
  expect(rig.installedListing()).toEqual(listing);
});

test("a pipe that was a file a moment ago is not waited for", () => {
  rig.write("/etc/file", "x");
  const file = fs.lstatSync(rig.path("/etc/file"));
  fs.mkdirSync(rig.path(RECEIVED), { recursive: true });
  const before = rememberByproduct(rig.root, RECEIVED);
  Bun.spawnSync(["mkfifo", rig.path(`${RECEIVED}/pipe`)]);
  const { lstatSync } = fs;
  const spy = spyOn(fs, "lstatSync").mockImplementation(((path: string, options: object) =>
    path.endsWith("/pipe") ? file : lstatSync(path, options)) as typeof lstatSync);
  restoreSpy = () => spy.mockRestore();
  takeBack(before);
  expect(rig.has(`${RECEIVED}/pipe`)).toBe(false);
});
