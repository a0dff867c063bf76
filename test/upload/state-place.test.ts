import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { formatState } from "../../src/upload/state.ts";
import { fileNameOf, findStatePlace, type StatePlace } from "../../src/upload/state-place.ts";
import { listCursor } from "../support/list-source.ts";
import { TempDir } from "../support/temp-dir.ts";

const A = "https://a.example.net:19532/upload";
const B = "https://b.example.net:19532/upload";

function state(seqnum: number, target?: string): string {
  return formatState({ position: { cursor: listCursor(seqnum), tails: new Map() }, target });
}

function find(stateFile: string, url: string | undefined, isFirst: boolean): StatePlace {
  return findStatePlace({ stateFile, url, isFirst, isIgnored: false });
}

describe("findStatePlace()", () => {
  test("gives the first receiver the state file, and the others files beside it", () => {
    using dir = new TempDir();
    const path = join(dir.path, "state");
    expect(find(path, A, true)).toEqual({ path, saved: undefined });
    expect(find(path, B, false).path).toBe(`${path}.${fileNameOf(B)}`);
    dir.write("state", state(5));
    expect(find(path, A, true).saved?.position.cursor).toBe(listCursor(5));
    expect(find(path, B, false).saved).toBeUndefined();
  });

  test("finds each one's own position when they are put in another order", () => {
    using dir = new TempDir();
    const path = dir.write("state", state(5, A));
    dir.write(`state.${fileNameOf(B)}`, state(3, B));
    const cursorOf = (url: string, isFirst: boolean) =>
      find(path, url, isFirst).saved?.position.cursor;
    expect(cursorOf(B, true)).toBe(listCursor(3));
    expect(cursorOf(A, false)).toBe(listCursor(5));
    // Also when what is first now was not first before, and the one before has sent nothing.
    dir.write(`fresh.${fileNameOf(B)}`, state(3, B));
    const fresh = join(dir.path, "fresh");
    expect(find(fresh, B, true).saved?.position.cursor).toBe(listCursor(3));
    expect(find(fresh, A, false).path).toBe(`${fresh}.${fileNameOf(A)}`);
    expect(cursorOf("https://c.example.net:19532/upload", true)).toBeUndefined();
  });
});

test("findStatePlace() passes over a file that cannot be used only when it is not", () => {
  using dir = new TempDir();
  const stateFile = dir.write("state", "");
  for (const url of [undefined, A]) {
    const place = { stateFile, url, isFirst: true };
    expect(() => findStatePlace({ ...place, isIgnored: false })).toThrow("Cannot use state file");
    expect(findStatePlace({ ...place, isIgnored: true })).toEqual({
      path: stateFile,
      saved: undefined,
    });
  }
});

test("findStatePlace() has one place for several receivers, whoever it was written for", () => {
  using dir = new TempDir();
  const path = dir.write("state", state(5, A));
  expect(find(path, undefined, true)).toMatchObject({ path, saved: { target: A } });
});

test("fileNameOf() keeps names apart that look alike, and within what file systems allow", () => {
  expect(fileNameOf(A)).toMatch(/^a\.example\.net_19532_upload-[0-9a-f]{8}$/);
  expect(fileNameOf("https://h/a:b")).not.toBe(fileNameOf("https://h/a/b"));
  expect(fileNameOf(`https://h/${"x".repeat(5000)}`).length).toBeLessThan(120);
});
