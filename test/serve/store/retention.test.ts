import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { AgentError } from "../../../src/errors.ts";
import { type DiskLimits, readFileSystemSpace } from "../../../src/serve/store/disk-limits.ts";
import { archivedFileName, isSenderBase, uncleanFileName } from "../../../src/serve/store/names.ts";
import {
  enforceRetention,
  type HeaderFacts,
  type RetentionOptions,
  type RetentionResult,
  scanDirectory,
} from "../../../src/serve/store/retention.ts";

const KIB = 1024;
const MIB_IN_KIB = 1024;
const ID = new Uint8Array(16).fill(7);
const NOW_USEC = 2_000_000_000e6;

const NO_LIMITS: DiskLimits = {
  maxUseBytes: 0,
  minUseBytes: 0,
  maxFileSizeBytes: 0,
  keepFreeBytes: 0,
  maxFiles: 0,
};

const root = mkdtempSync(join(tmpdir(), "agent-retention-"));
let directory = "";
let headers: Map<string, HeaderFacts>;

beforeEach(() => {
  directory = mkdtempSync(join(root, "case-"));
  headers = new Map();
});
afterAll(() => rmSync(root, { recursive: true }));

const isRoot = process.getuid?.() === 0;
const canMount = isRoot && tryMount();

function tryMount(): boolean {
  const target = mkdtempSync(join(root, "mount-"));
  if (!Bun.spawnSync(["mount", "-t", "tmpfs", "tmpfs", target]).success) return false;
  return Bun.spawnSync(["umount", target]).success;
}

/** Writes a file that takes this much on disk; its header says what is given. */
function put(fileName: string, sizeKib: number, header?: Partial<HeaderFacts>): void {
  const path = join(directory, fileName);
  writeFileSync(path, Buffer.alloc(sizeKib * KIB, 1));
  headers.set(path, { entries: 1, tailRealtimeUsec: 1, ...header });
}

const archived = (base: string, seqnum: number) => archivedFileName(base, ID, seqnum, seqnum);

function optionsWith(limits: Partial<DiskLimits>, rest: Partial<RetentionOptions>) {
  return {
    directory,
    isOurs: isSenderBase,
    isFileOpen: () => false,
    readHeader: (path: string) => headers.get(path),
    limits: { ...NO_LIMITS, ...limits },
    maxRetentionSec: 0,
    nowUsec: NOW_USEC,
    readFreeBytes: () => undefined,
    ...rest,
  };
}

function enforce(
  limits: Partial<DiskLimits>,
  rest: Partial<RetentionOptions> = {},
): Promise<RetentionResult> {
  return enforceRetention(optionsWith(limits, rest));
}

/** Whether a file is one of these. */
function openNow(...names: string[]): (path: string) => boolean {
  return (path) => names.includes(basename(path));
}

function namesOf(result: RetentionResult): string[] {
  return result.deletions.map(({ file }) => basename(file.path));
}

describe("scanDirectory()", () => {
  test("sees our journal files, their size on disk and newest entry, and nothing else", async () => {
    put("remote-web1.journal", 8, { entries: 3, tailRealtimeUsec: 1000 });
    put(archived("remote-web1", 1), 4);
    put(uncleanFileName("remote-web1", 1, new Uint8Array(8)), 4);
    put("system.journal", 4);
    put("foo.journal", 4);
    put("remote-notes.txt", 4);
    mkdirSync(join(directory, "remote-directory.journal"));
    symlinkSync("remote-web1.journal", join(directory, "remote-link.journal"));
    const isFileOpen = openNow("remote-web1.journal");
    const { files, failures } = await scanDirectory(optionsWith({}, { isFileOpen }));
    expect(failures).toEqual([]);
    expect(files.map(({ name }) => name.kind).sort()).toEqual(["active", "archived", "unclean"]);
    const path = join(directory, "remote-web1.journal");
    const { ino, mtimeMs } = statSync(path);
    expect(files.find((file) => file.isOpen)).toEqual({
      path,
      name: { kind: "active", base: "remote-web1" },
      sizeBytes: 8 * KIB,
      entries: 3,
      newestUsec: 1000,
      isOpen: true,
      inode: ino,
      mtimeMs,
    });
  });

  test("takes the time of writing where the header has no time, or one in the future", async () => {
    put("remote-none.journal", 1, { entries: 0, tailRealtimeUsec: 0 });
    put("remote-future.journal", 1, { tailRealtimeUsec: 3_000_000_000e6 });
    put("remote-broken.journal", 1);
    headers.delete(join(directory, "remote-broken.journal"));
    put("remote-cut.journal", 0);
    for (const name of readdirSync(directory)) utimesSync(join(directory, name), 1e9, 1e9);
    const { files } = await scanDirectory(optionsWith({}, {}));
    expect(files.map(({ newestUsec }) => newestUsec)).toEqual([1e15, 1e15, 1e15, 1e15]);
    const entries = new Map(files.map((file) => [file.name.base, file.entries]));
    expect(entries.get("remote-broken")).toBeUndefined();
    expect(entries.get("remote-cut")).toBe(0);
  });

  test("counts what a sparse file takes, not its length", async () => {
    put("remote-sparse.journal", 4);
    truncateSync(join(directory, "remote-sparse.journal"), 8192 * KIB);
    const { files } = await scanDirectory(optionsWith({}, {}));
    expect(files[0]?.sizeBytes).toBe(4 * KIB);
  });

  test("throws E_IO when the directory cannot be read", async () => {
    const missing = join(directory, "missing");
    const error = await scanDirectory(optionsWith({}, { directory: missing })).catch((e) => e);
    expect(error).toBeInstanceOf(AgentError);
    expect(error.code).toBe("E_IO");
    expect(error.message).toStartWith(`Cannot list "${missing}": ENOENT`);
  });

  test("lets other work run while it is at it", async () => {
    for (let i = 0; i < 40; i++) put(`remote-web${i}.journal`, 1);
    const readHeader = (path: string) => {
      Bun.sleepSync(1);
      return headers.get(path);
    };
    let turns = 0;
    const ticking = setInterval(() => turns++, 0);
    await scanDirectory(optionsWith({}, { readHeader }));
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(1);
  });
});

describe("enforceRetention()", () => {
  test("deletes by every rule, tells of each deletion at once, and leaves the rest", async () => {
    put("remote-web1.journal", 8);
    put(archived("remote-web1", 1), 4, { entries: 0 });
    for (let n = 2; n <= 6; n++) {
      put(archived("remote-web1", n), 16, { tailRealtimeUsec: n * 100e6 });
    }
    put(archived("remote-quiet", 1), 4, { tailRealtimeUsec: 300e6 });
    put("remote-quiet.journal", 4);
    put("system.journal", 400);
    const seen: string[] = [];
    const result = await enforce(
      { maxUseBytes: 52 * KIB, maxFiles: 4 },
      {
        isFileOpen: openNow("remote-web1.journal", "remote-quiet.journal"),
        nowUsec: 1000e6,
        maxRetentionSec: 750, // older than 250e6
        onDeleted: ({ file, reason }) => {
          expect(existsSync(file.path)).toBe(false);
          seen.push(`${reason} ${basename(file.path)}`);
        },
      },
    );
    expect(seen).toEqual([
      `empty ${archived("remote-web1", 1)}`,
      `expired ${archived("remote-web1", 2)}`,
      `max-use ${archived("remote-web1", 3)}`,
      `max-use ${archived("remote-web1", 4)}`,
      `max-files ${archived("remote-web1", 5)}`,
    ]);
    expect(namesOf(result)).toEqual(seen.map((line) => line.replace(/^.* /, "")));
    expect(result).toMatchObject({ usedBytes: 32 * KIB, fileCount: 4, failures: [] });
    expect(result.exceeded).toEqual({ maxUse: false, keepFree: false, maxFiles: false });
    const left = ["remote-quiet.journal", archived("remote-quiet", 1), "remote-web1.journal"];
    left.push(archived("remote-web1", 6), "system.journal");
    expect(readdirSync(directory).sort()).toEqual(left.sort());
  });

  test("passes over what was opened, rewritten, replaced or removed since the scan", async () => {
    const names = [1, 2, 3, 4, 5].map((n) => archived("remote-web1", n));
    const [opened = "", written = "", replaced = "", removed = "", untouched = ""] = names;
    for (const name of names) put(name, 4);
    let nowOpen = openNow();
    const afterScan = () => {
      nowOpen = openNow(opened);
      utimesSync(join(directory, written), 1e9, 1e9);
      put("new", 4);
      const { mtimeMs } = statSync(join(directory, replaced));
      utimesSync(join(directory, "new"), mtimeMs / 1000, mtimeMs / 1000);
      renameSync(join(directory, "new"), join(directory, replaced));
      rmSync(join(directory, removed));
      return undefined;
    };
    const result = await enforce(
      { maxUseBytes: 1 },
      { isFileOpen: (path) => nowOpen(path), readFreeBytes: afterScan },
    );
    expect(namesOf(result)).toEqual([untouched]);
    expect(result).toMatchObject({ usedBytes: 12 * KIB, fileCount: 3, failures: [] });
    expect(result.exceeded.maxUse).toBe(true);
    expect(readdirSync(directory).sort()).toEqual([opened, written, replaced].sort());
  });

  test("deletes another file in place of one that was opened since the scan", async () => {
    for (let n = 1; n <= 4; n++) put(archived("remote-web1", n), 4);
    let nowOpen = openNow();
    const afterScan = () => {
      nowOpen = openNow(archived("remote-web1", 1));
      return undefined;
    };
    const result = await enforce(
      { maxUseBytes: 8 * KIB },
      { isFileOpen: (path) => nowOpen(path), readFreeBytes: afterScan },
    );
    expect(namesOf(result)).toEqual([archived("remote-web1", 2), archived("remote-web1", 3)]);
    expect(result).toMatchObject({ usedBytes: 8 * KIB, exceeded: { maxUse: false } });
  });
});

describe.skipIf(!canMount)("enforceRetention() on a file system of its own (root)", () => {
  const mounts: string[] = [];

  function mount(args: string[], target: string): void {
    const { success, stderr } = Bun.spawnSync(["mount", ...args, target]);
    if (!success) throw new Error(`Cannot mount "${target}": ${stderr}`);
    mounts.push(target);
  }

  beforeEach(() => mount(["-t", "tmpfs", "-o", "size=16m", "tmpfs"], directory));
  afterEach(() => {
    for (const target of mounts.splice(0).reverse()) Bun.spawnSync(["umount", target]);
  });

  const freeBytes = () => readFileSystemSpace(directory)?.freeBytes;

  test("keeps the space that KeepFree= asks for, of senders by turns", async () => {
    for (let n = 1; n <= 6; n++) put(archived("remote-web1", n), 1 * MIB_IN_KIB);
    put(archived("remote-quiet", 1), 1 * MIB_IN_KIB);
    put("filler", 4 * MIB_IN_KIB); // 5 MiB are left
    expect(freeBytes()).toBe(5 * MIB_IN_KIB * KIB);
    const limits = { keepFreeBytes: 7 * MIB_IN_KIB * KIB };
    const result = await enforce(limits, { readFreeBytes: freeBytes });
    expect(namesOf(result)).toEqual([archived("remote-web1", 1), archived("remote-web1", 2)]);
    expect(result.exceeded.keepFree).toBe(false);
    expect(freeBytes()).toBe(limits.keepFreeBytes);
  });

  test("keeps the history when others leave no space anyway", async () => {
    for (let n = 1; n <= 3; n++) put(archived("remote-web1", n), 1 * MIB_IN_KIB);
    put("filler", 13 * MIB_IN_KIB);
    expect(freeBytes()).toBe(0);
    const limits = { keepFreeBytes: 4 * MIB_IN_KIB * KIB };
    const result = await enforce(limits, { readFreeBytes: freeBytes });
    expect(namesOf(result)).toEqual([]);
    expect(result.exceeded.keepFree).toBe(true);
  });

  test("deletes others in place of a file that cannot be deleted, and reports it", async () => {
    for (let n = 1; n <= 4; n++) put(archived("remote-web1", n), 4);
    const stuck = join(directory, archived("remote-web1", 1));
    mount(["--bind", stuck], stuck); // unlink: EBUSY
    const result = await enforce({ maxUseBytes: 8 * KIB });
    expect(namesOf(result)).toEqual([archived("remote-web1", 2), archived("remote-web1", 3)]);
    expect(result).toMatchObject({ usedBytes: 8 * KIB, fileCount: 2 });
    expect(result.failures.map(({ code }) => code)).toEqual(["E_IO"]);
    expect(result.failures[0]?.message).toStartWith(`Cannot delete "${stuck}": EBUSY`);
  });

  test("reports a directory where nothing can be deleted, and ends", async () => {
    for (let n = 1; n <= 50; n++) put(archived("remote-web1", n), 4);
    Bun.spawnSync(["mount", "-o", "remount,ro", directory]);
    expectNothingDeleted(await enforce({ maxUseBytes: 100 * KIB }), "EROFS");
  });
});

// Permissions do not stop root, who has the read-only file system above.
if (!isRoot) {
  test("enforceRetention() reports a directory where nothing can be deleted, and ends", async () => {
    for (let n = 1; n <= 50; n++) put(archived("remote-web1", n), 4);
    chmodSync(directory, 0o500);
    const result = await enforce({ maxUseBytes: 100 * KIB });
    chmodSync(directory, 0o700);
    expectNothingDeleted(result, "EACCES");
  });
}

function expectNothingDeleted(result: RetentionResult, errno: string): void {
  expect(result.deletions).toEqual([]);
  expect(result).toMatchObject({ usedBytes: 200 * KIB, fileCount: 50 });
  expect(result.exceeded.maxUse).toBe(true);
  expect(result.failures).toHaveLength(50); // 25 to begin with, then those next in line
  for (const { message } of result.failures) expect(message).toContain(`: ${errno}`);
}
