import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { createSynced, replaceSynced } from "../../src/platform/synced-file.ts";
import { TempDir } from "../support/temp-dir.ts";

const accessOf = (path: string): string => {
  const { mode, uid, gid } = statSync(path);
  return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
};
const isRoot = process.getuid?.() === 0;
const OWN = `${process.getuid?.()}:${process.getgid?.()}`;

describe("createSynced()", () => {
  test("makes the file with mode and owner, whatever the umask is", () => {
    using dir = new TempDir();
    const former = process.umask(0o777);
    try {
      createSynced(join(dir.path, "a"), "text", { mode: 0o644 });
      if (isRoot) {
        createSynced(join(dir.path, "b"), "text", { mode: 0o640, owner: { uid: 12, gid: 34 } });
      }
    } finally {
      process.umask(former);
    }
    expect(accessOf(join(dir.path, "a"))).toBe(`644 ${OWN}`);
    if (isRoot) expect(accessOf(join(dir.path, "b"))).toBe("640 12:34");
    expect(readFileSync(join(dir.path, "a"), "utf8")).toBe("text");
  });

  test("replaces nothing and follows no link", () => {
    using dir = new TempDir();
    const victim = dir.write("victim", "mine");
    symlinkSync(victim, join(dir.path, "link"));
    symlinkSync(join(dir.path, "nowhere"), join(dir.path, "dangling"));
    for (const name of ["victim", "link", "dangling"]) {
      const create = () => createSynced(join(dir.path, name), "other", { mode: 0o600 });
      expect(create).toThrow("EEXIST");
    }
    expect(readFileSync(victim, "utf8")).toBe("mine");
    expect(readdirSync(dir.path).sort()).toEqual(["dangling", "link", "victim"]);
  });
});

describe("replaceSynced()", () => {
  test("puts a whole file in place of another, with new access, and leaves nothing else", () => {
    using dir = new TempDir();
    const path = dir.write("a", "old");
    dir.write(`a.${process.pid}.tmp`, "of a run that was killed");
    replaceSynced(path, new Uint8Array([110, 101, 119]), { mode: 0o600 });
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(accessOf(path)).toBe(`600 ${OWN}`);
    expect(readdirSync(dir.path)).toEqual(["a"]);
  });

  test("replaces a link, not what it points to", () => {
    using dir = new TempDir();
    const victim = dir.write("victim", "mine");
    symlinkSync(victim, join(dir.path, "link"));
    replaceSynced(join(dir.path, "link"), "new", { mode: 0o600 });
    expect(readFileSync(victim, "utf8")).toBe("mine");
    expect(readFileSync(join(dir.path, "link"), "utf8")).toBe("new");
  });

  test("leaves the old file when it fails", () => {
    using dir = new TempDir();
    const path = dir.write("a", "old");
    mkdirSync(`${path}.${process.pid}.tmp/x`, { recursive: true });
    expect(() => replaceSynced(path, "new", { mode: 0o600 })).toThrow("EISDIR");
    expect(readFileSync(path, "utf8")).toBe("old");
  });
});
