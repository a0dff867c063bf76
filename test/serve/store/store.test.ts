import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import fs, { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileState } from "../../../src/journal/format.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { HeldSyncs } from "../../support/held-syncs.ts";
import {
  damage,
  foundFiles,
  foundKeys,
  keysOf,
  longRange,
  openBelow,
  type RigEntry,
  range,
  rigEntry,
  SMALLEST_FILES,
  StoreRig,
} from "../../support/store-rig.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

let dir: TempDir;
let log: CapturedLog;

beforeEach(() => {
  dir = new TempDir();
  log = new CapturedLog();
});
afterEach(() => {
  log[Symbol.dispose]();
  dir[Symbol.dispose]();
});

/** An entry without identity. */
function rigOwn(message: string): RigEntry {
  return { seqnum: 0, seqnumId: "", fields: [`MESSAGE=${message}`] };
}

function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, Bun.sleep(30).then(() => false)]);
}

describe("Store, durability", () => {
  test("commit() waits for the sync of every file of the sender, rotated ones too", async () => {
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    using syncs = new HeldSyncs();
    const commit = rig.post([...longRange(1, 2500), ...range(1, 5, "0a".repeat(16))]);
    await until(() => syncs.waiting.length >= 4);
    const held = syncs.waiting.splice(0, syncs.waiting.length - 1);
    for (const { done } of held) done(null);
    expect(await isSettled(commit)).toBe(false);
    syncs.release();
    expect(await isSettled(commit)).toBe(true);
    expect(await commit).toEqual({ stored: 2505, duplicates: 0 });
    syncs[Symbol.dispose]();
    await rig.close();
  });

  test("duplicates of entries that are not on disk yet wait for them", async () => {
    const rig = await StoreRig.open(dir.path);
    using syncs = new HeldSyncs();
    const sink = rig.store.openSink("web1");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    const repeated = rig.post(range(1, 10));
    await until(() => syncs.waiting.length === 1);
    expect(await isSettled(repeated)).toBe(false);
    syncs.release();
    expect(await repeated).toEqual({ stored: 0, duplicates: 10 });
    syncs[Symbol.dispose]();
    sink.close();
    await rig.close();
  });

  // The kernel tells of lost pages once, and syncs "successfully" without them the next time.
  describe.each(["EIO", "ENOSPC"])("a sync that fails with %s", (errno) => {
    const failure = Object.assign(new Error(`${errno}: of fdatasync`), { code: errno });

    test("has the file given up, and what it got is stored again", async () => {
      const rig = await StoreRig.open(dir.path);
      await rig.post(range(1, 10));
      using syncs = new HeldSyncs();
      const failing = [rig.post(range(11, 20)), rig.post(range(11, 25))];
      await until(() => syncs.waiting.length === 1);
      syncs.release(failure);
      const results = await Promise.allSettled(failing);
      expect(results).toMatchObject([
        { status: "rejected", reason: { code: "E_IO" } },
        { status: "rejected", reason: { code: "E_IO" } },
      ]);
      syncs[Symbol.dispose]();
      expect((await rig.post(range(11, 25))).stored).toBe(15);
      await rig.close();
      const [active] = foundFiles(dir.path);
      expect(active?.kind).toBe("active");
      expect(active?.seqnums).toEqual(range(11, 25).map(({ seqnum }) => seqnum));
      expect(openBelow(dir.path)).toEqual([]);
    });

    test("in the background has the request refused that its entries came with", async () => {
      const rig = await StoreRig.open(dir.path);
      using syncs = new HeldSyncs();
      const sink = rig.store.openSink("web1");
      for (const entry of range(1, 10)) sink.add(rigEntry(entry));
      await until(() => syncs.waiting.length === 1, 4000);
      syncs.release(failure);
      syncs[Symbol.dispose]();
      await expect(sink.commit()).rejects.toMatchObject({ code: "E_IO" });
      sink.close();
      expect((await rig.post(range(1, 10))).stored).toBe(10);
      await rig.close();
    });

    test("is remembered by the next process: what the file holds comes and is stored again", async () => {
      const rig = await StoreRig.open(dir.path);
      await rig.post([...range(1, 10), rigOwn("before")]);
      using syncs = new HeldSyncs();
      const failing = rig.post([...range(11, 20), rigOwn("lost, perhaps")]);
      await until(() => syncs.waiting.length === 2);
      syncs.release(failure);
      await expect(failing).rejects.toMatchObject({ code: "E_IO" });
      syncs[Symbol.dispose]();
      await rig.close();
      const again = await StoreRig.open(dir.path);
      expect(await again.post([...range(1, 20), rigOwn("after")])).toEqual({
        stored: 21,
        duplicates: 0,
      });
      await again.close();
      // The numbers of the receiver's own are never given twice, whatever becomes of what had them.
      const own = foundFiles(dir.path).filter(({ messages }) => messages.includes("after"));
      expect(own.map(({ seqnums }) => seqnums)).toEqual([[3]]);
    });

    test("on what a killed process left is no success either when tried again", async () => {
      const killed = await StoreRig.open(dir.path);
      await killed.post(range(1, 10));
      using left = killed.snapshot();
      await killed.close();
      const rig = await StoreRig.open(left.path);
      const sync = spyOn(fs, "fdatasyncSync").mockImplementationOnce(() => {
        throw failure;
      });
      for (const expected of [
        { stored: 10, duplicates: 0 },
        { stored: 0, duplicates: 10 },
      ]) {
        expect(await rig.post(range(1, 10))).toEqual(expected);
      }
      sync.mockRestore();
      await rig.close();
      const again = await StoreRig.open(left.path);
      expect((await again.post(range(1, 10))).duplicates).toBe(10);
      await again.close();
      expect(foundFiles(left.path).map(({ kind }) => kind)).toEqual(["active", "unclean"]);
    });
  });

  test("a stream that never ends is published at once and synced within seconds", async () => {
    const rig = await StoreRig.open(dir.path);
    const sync = spyOn(fs, "fdatasync");
    const sink = rig.store.openSink("web1");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    await until(() => foundKeys(dir.path).length === 10, 1000);
    await until(() => sync.mock.calls.length === 1, 3000);
    sink.add(rigEntry({ seqnum: 11, fields: ["MESSAGE=one more"] }));
    await until(() => sync.mock.calls.length === 2, 3000);
    sync.mockRestore();
    expect(foundKeys(dir.path).length).toBe(11);
    sink.close();
    await rig.close();
  });

  test("a write that found the disk full is tried again, and complained of once", async () => {
    const rig = await StoreRig.open(dir.path);
    const sink = rig.store.openSink("web1");
    sink.add(rigEntry({ seqnum: 1, fields: ["MESSAGE=one"] }));
    await sink.commit();
    const write = spyOn(fs, "writeSync").mockImplementation(() => {
      throw Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" });
    });
    sink.add(rigEntry({ seqnum: 2, fields: ["MESSAGE=two"] }));
    // Once to publish, then every two seconds to sync.
    await until(() => write.mock.calls.length === 3, 6000);
    expect(rig.store.fullReason).toContain("ENOSPC");
    write.mockRestore();
    await until(() => rig.store.fullReason === undefined, 3000);
    await sink.commit();
    sink.close();
    await rig.close();
    expect(foundFiles(dir.path).map(({ seqnums }) => seqnums)).toEqual([[1, 2]]);
    // To publish and to sync are two things that failed.
    expect(log.lines.filter((line) => line.includes("ENOSPC"))).toHaveLength(2);
  }, 15_000);

  test("close() with open sinks leaves every file OFFLINE and sound", async () => {
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    for (let n = 0; n < 20; n++) {
      const sink = rig.store.openSink(`web${n}`);
      for (const entry of longRange(1, 100)) sink.add(rigEntry(entry));
    }
    const busy = rig.store.openSink("busy");
    for (const entry of longRange(1, 3000)) busy.add(rigEntry(entry));
    await rig.close();
    const files = foundFiles(dir.path);
    for (const { state, kind } of files) {
      expect(state).toBe(kind === "active" ? FileState.offline : FileState.archived);
    }
    expect(files.filter(({ kind }) => kind === "active").length).toBe(21);
    expect(damage(dir.path)).toEqual([]);
    expect(openBelow(dir.path)).toEqual([]);
  });
});

describe("Store, bounds", () => {
  test("an idle sender holds no descriptor, connected or not, and goes on where it was", async () => {
    const rig = await StoreRig.open(dir.path, {}, { idleCloseMs: 0 });
    const sink = rig.store.openSink("web1");
    for (let round = 0; round < 2; round++) {
      const entries = range(round * 10 + 1, round * 10 + 10);
      for (const entry of entries) sink.add(rigEntry(entry));
      // Recognised in closed files, too: that must not keep them open.
      for (const entry of range(1, 10)) sink.add(rigEntry(entry));
      await until(() => rig.store.openFiles === 0 && openBelow(dir.path).length === 0, 4000);
      expect(foundFiles(dir.path).map(({ state }) => state)).toEqual([FileState.offline]);
    }
    await sink.commit();
    expect([sink.stored, sink.duplicates]).toEqual([20, 20]);
    sink.close();
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(range(1, 20)));
    expect(damage(dir.path)).toEqual([]);
  });

  test("neither a full file nor an idle one holds up the thread while it is closed", async () => {
    const syncNow = spyOn(fs, "fdatasyncSync");
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES }, { idleCloseMs: 0 });
    await rig.post(longRange(1, 3000));
    await until(() => openBelow(dir.path).length === 0, 4000);
    const states = foundFiles(dir.path).map(({ state }) => state);
    expect(states.filter((state) => state === FileState.offline)).toHaveLength(1);
    expect(states.filter((state) => state === FileState.archived).length).toBe(states.length - 1);
    expect(states.length).toBeGreaterThan(1);
    await rig.close();
    expect(syncNow).not.toHaveBeenCalled();
    syncNow.mockRestore();
    expect(damage(dir.path)).toEqual([]);
  });

  // The first sync is that of the entries, the second that of the state in the header.
  test.each([1, 2])("entries that come during sync %d of a closing file are kept", async (nth) => {
    const rig = await StoreRig.open(dir.path, {}, { idleCloseMs: 0 });
    using syncs = new HeldSyncs();
    const sink = rig.store.openSink("web1");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    await until(() => syncs.waiting.length === 1, 4000);
    if (nth === 2) {
      syncs.release();
      await until(() => syncs.waiting.length === 1, 4000);
    }
    expect((await rig.store.lastCursor("web1"))?.includes("i=a;")).toBe(true);
    for (const entry of range(5, 20)) sink.add(rigEntry(entry));
    const commit = sink.commit();
    expect(await isSettled(commit)).toBe(false);
    syncs[Symbol.dispose]();
    await commit;
    expect([sink.stored, sink.duplicates]).toEqual([20, 6]);
    sink.close();
    const [file, ...others] = foundFiles(dir.path);
    expect([file?.state, file?.seqnums.length, others]).toEqual([FileState.online, 20, []]);
    await until(() => openBelow(dir.path).length === 0, 4000);
    expect(foundFiles(dir.path).map(({ state }) => state)).toEqual([FileState.offline]);
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(range(1, 20)));
    expect(damage(dir.path)).toEqual([]);
  });

  test("a closing file whose state cannot be synced is given up; what it holds is on disk", async () => {
    const rig = await StoreRig.open(dir.path, {}, { idleCloseMs: 0 });
    using syncs = new HeldSyncs();
    const posted = rig.post(range(1, 10));
    await until(() => syncs.waiting.length === 1);
    syncs.release();
    await posted;
    await until(() => syncs.waiting.length === 1, 4000);
    syncs.release(Object.assign(new Error("EIO: of fdatasync"), { code: "EIO" }));
    syncs[Symbol.dispose]();
    await until(() => openBelow(dir.path).length === 0);
    await rig.close();
    expect(foundFiles(dir.path).map(({ kind, seqnums }) => [kind, seqnums.length])).toEqual([
      ["unclean", 10],
    ]);
  });

  test("entries that come while an idle file is being closed are kept", async () => {
    const rig = await StoreRig.open(dir.path, {}, { idleCloseMs: 0 });
    using syncs = new HeldSyncs();
    const sink = rig.store.openSink("web1");
    for (const entry of range(1, 10)) sink.add(rigEntry(entry));
    await until(() => syncs.waiting.length === 1, 4000);
    for (const entry of range(11, 20)) sink.add(rigEntry(entry));
    const commit = sink.commit();
    syncs.release();
    await Bun.sleep(20);
    syncs[Symbol.dispose]();
    await commit;
    sink.close();
    expect((await rig.post(range(1, 20))).duplicates).toBe(20);
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(range(1, 20)));
    expect(damage(dir.path)).toEqual([]);
  });

  test("no more files are open than may be, and no more senders are known", async () => {
    const bounds = { openFilesMax: 3, knownSendersMax: 4 };
    const rig = await StoreRig.open(dir.path, {}, bounds);
    const names = Array.from({ length: 10 }, (_, n) => `web${n}`);
    for (const name of names) await rig.post(range(1, 5), name);
    expect(rig.store.openFiles).toBe(10);
    await until(() => rig.store.openFiles <= 3, 3000);
    await until(() => rig.store.knownSenders <= 4, 8000);
    for (const name of names) {
      expect(await rig.post(range(1, 6), name)).toEqual({ stored: 1, duplicates: 5 });
    }
    await rig.close();
    expect(foundFiles(dir.path).map(({ seqnums }) => seqnums)).toEqual(
      names.map(() => [1, 2, 3, 4, 5, 6]),
    );
  }, 15_000);

  test("recognises what is in files that are full but not completed yet", async () => {
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    const [first, second] = [rig.store.openSink("web1"), rig.store.openSink("web1")];
    for (const sink of [first, second]) {
      for (const entry of longRange(1, 3000)) sink.add(rigEntry(entry));
    }
    expect(rig.store.openFiles).toBe(1);
    expect([first.stored, first.duplicates]).toEqual([3000, 0]);
    expect([second.stored, second.duplicates]).toEqual([0, 3000]);
    await rig.close();
  });
});

describe("Store, retention", () => {
  test("runs after a rotation; what is deleted is no longer counted as stored", async () => {
    const retention = { ...SMALLEST_FILES, maxFiles: 3 };
    const rig = await StoreRig.open(dir.path, { retention });
    for (let from = 1; from < 8000; from += 1000) await rig.post(longRange(from, from + 999));
    await until(() => readdirSync(dir.path).length === 3, 3000);
    const kept = foundKeys(dir.path);
    const { stored } = await rig.post(longRange(1, 500));
    expect(stored).toBe(500);
    await rig.close();
    expect(kept.length).toBeGreaterThan(500);
    expect(log.lines.some((line) => /info: Deleted ".*": reason=max-files/.test(line))).toBe(true);
  });

  test("runs at the start, and leaves other programs' files alone", async () => {
    const old = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    await old.post(longRange(1, 4000));
    await old.close();
    dir.write("system.journal", "not ours");
    const rig = await StoreRig.open(dir.path, { retention: { maxFiles: 1 } });
    const names = readdirSync(dir.path).filter((name) => name.startsWith("remote-"));
    expect(names.length).toBe(2);
    expect(existsSync(join(dir.path, "system.journal"))).toBe(true);
    await rig.close();
  });
});

describe("Store, output", () => {
  test("split-mode none: all senders share one file, and identity decides", async () => {
    const output = join(dir.path, "all.journal");
    dir.write("remote-web9.journal", "another program's");
    const open = () => StoreRig.open(dir.path, { output, splitMode: "none" });
    const rig = await open();
    await rig.post(range(1, 10), "web1");
    await rig.post(range(1, 10, "0a".repeat(16)), "web2");
    expect(await rig.post(range(1, 10), "web3")).toEqual({ stored: 0, duplicates: 10 });
    await rig.close();
    const again = await open();
    expect(await again.post(range(1, 12), "web2")).toEqual({ stored: 2, duplicates: 10 });
    await again.close();
    expect(foundFiles(dir.path).map(({ kind, seqnums }) => [kind, seqnums.length])).toEqual([
      ["active", 12],
      ["archived", 10],
    ]);
    expect(readdirSync(dir.path)).toContain("remote-web9.journal");
  });

  test("a directory that cannot be written to is told of before anything is taken", async () => {
    const missing = join(dir.path, "missing");
    await expect(StoreRig.open(missing)).rejects.toMatchObject({
      code: "E_IO",
      message: `Cannot write to "${missing}": it needs to be a writable directory`,
      hint: expect.stringContaining("install -d"),
    });
    mkdirSync(missing);
    await (await StoreRig.open(missing)).close();
  });

  test("removes files whose writer was killed before they had a header", async () => {
    const archived = `remote-web1@${"5e".repeat(16)}-0000000000000001-0006000000000000.journal`;
    const unborn = [
      dir.write("remote-web1.journal", ""),
      dir.write(archived, new Uint8Array(8192)),
    ];
    const others = [
      dir.write("remote-web2.journal", ""),
      dir.write("remote-web1@web.journal", ""),
      dir.write(archived.replace("5e", "5f"), "LPKSHHRH, but not a journal".padEnd(4096)),
    ];
    const rig = await StoreRig.open(dir.path);
    await rig.post(longRange(1, 3000));
    await rig.close();
    expect(statSync(unborn[0] ?? "").size).toBeGreaterThan(4096);
    expect(existsSync(unborn[1] ?? "")).toBe(false);
    expect(others.map((path) => existsSync(path))).toEqual([true, true, true]);
  });

  test("files that appear or go while it runs do no harm", async () => {
    const rig = await StoreRig.open(dir.path, {}, { idleCloseMs: 0 });
    await rig.post(range(1, 10));
    await until(() => openBelow(dir.path).length === 0, 4000);
    rmSync(join(dir.path, "remote-web1.journal"));
    dir.write("remote-web2.journal", "appeared");
    expect(await rig.post(range(1, 10))).toEqual({ stored: 10, duplicates: 0 });
    expect(await rig.post(range(1, 10), "web2")).toEqual({ stored: 10, duplicates: 0 });
    await rig.close();
    expect(foundKeys(dir.path).length).toBe(20);
  });
});
