import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Quarantine } from "../../src/upload/quarantine.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { TempDir } from "../support/temp-dir.ts";

const REASON = 'Cannot upload to "http://192.0.2.1/": status 400, need 2xx';

function entry(text: string): { pieces: Uint8Array[]; cursor: string; reason: string } {
  return {
    pieces: [Buffer.from(`MESSAGE=${text}\n`), Buffer.from("\n")],
    cursor: text,
    reason: REASON,
  };
}

describe("Quarantine", () => {
  test("appends entries, counts them and logs where each one is", async () => {
    using dir = new TempDir();
    using captured = new CapturedLog();
    const path = join(dir.path, "new/quarantine");
    const quarantine = new Quarantine({ path, sizeMax: 1000 });
    await quarantine.add(entry("a"));
    await quarantine.add({ ...entry("b"), cursor: undefined });
    expect(readFileSync(path, "utf8")).toBe("MESSAGE=a\n\nMESSAGE=b\n\n");
    expect(statSync(path).mode & 0o007).toBe(0);
    expect(quarantine.count).toBe(2);
    expect(captured.lines).toEqual([
      `warn: Entry "a" is refused and passed over: ${REASON}; it is kept in "${path}" quarantined=1`,
      `warn: An entry is refused and passed over: ${REASON}; it is kept in "${path}" quarantined=2`,
    ]);
  });

  test("keeps to its size, with one generation before", async () => {
    using dir = new TempDir();
    using _captured = new CapturedLog();
    const path = join(dir.path, "quarantine");
    const quarantine = new Quarantine({ path, sizeMax: 25 });
    for (const text of ["a", "b", "c", "d", "e"]) await quarantine.add(entry(text));
    expect(readFileSync(path, "utf8")).toBe("MESSAGE=e\n\n");
    expect(readFileSync(`${path}.1`, "utf8")).toBe("MESSAGE=c\n\nMESSAGE=d\n\n");
    expect(quarantine.count).toBe(5);
  });

  test("counts what it cannot keep: too large, no file, no directory", async () => {
    using dir = new TempDir();
    using captured = new CapturedLog();
    const path = join(dir.path, "quarantine");
    const small = new Quarantine({ path, sizeMax: 5 });
    await small.add(entry("large"));
    const none = new Quarantine({ path: undefined, sizeMax: 100 });
    await none.add(entry("nowhere"));
    mkdirSync(path);
    const broken = new Quarantine({ path, sizeMax: 2 ** 30 });
    await broken.add(entry("a"));
    await broken.add(entry("b"));
    expect([small.count, none.count, broken.count]).toEqual([1, 1, 2]);
    expect(captured.lines.filter((line) => line.includes("Cannot write to"))).toHaveLength(1);
    expect(existsSync(`${path}.1`)).toBe(false);
  });
});
