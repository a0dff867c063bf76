import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../../src/errors.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { SmallDisk } from "../../support/small-disk.ts";
import {
  damage,
  foundFiles,
  foundKeys,
  keysOf,
  longRange,
  openBelow,
  range,
  SMALLEST_FILES,
  StoreRig,
} from "../../support/store-rig.ts";
import { until } from "../../support/until.ts";

const MIB = 1024 * 1024;

function noSpace(): AgentError {
  return new AgentError("E_NO_SPACE", "no space");
}

describe.skipIf(!SmallDisk.isPossible())("a store on a small tmpfs (needs root)", () => {
  let disk: SmallDisk;
  let directory: string;
  let log: CapturedLog;

  beforeEach(() => {
    disk = new SmallDisk(24 * MIB);
    directory = join(disk.path, "received");
    mkdirSync(directory);
    log = new CapturedLog();
  });
  afterEach(() => {
    log[Symbol.dispose]();
    disk[Symbol.dispose]();
  });

  /** What the request fails with; "" when it does not. */
  async function failureOf(request: Promise<unknown>): Promise<string> {
    try {
      await request;
      return "";
    } catch (error) {
      return String(Reflect.get(Object(error), "code"));
    }
  }

  test("KeepFree=: entries are refused while others fill the disk, and taken within seconds after", async () => {
    const rig = await StoreRig.open(directory, { retention: { keepFreeBytes: 4 * MIB } });
    await rig.post(range(1, 10));
    disk.leaveFree(3 * MIB);
    await rig.store.makeSpace(noSpace());
    expect(rig.store.fullReason).toContain(`less than KeepFree=${4 * MIB} bytes are free`);
    for (let i = 0; i < 20; i++) {
      expect(await failureOf(rig.post(range(11, 20)))).toBe("E_NO_SPACE");
    }
    expect(log.lines.filter((line) => line.includes("No entries are taken"))).toHaveLength(1);
    disk.release();
    // Without anybody asking.
    await until(() => rig.store.fullReason === undefined, 3000);
    expect(await rig.post(range(1, 20))).toEqual({ stored: 10, duplicates: 10 });
    expect(log.lines.filter((line) => line.includes("entries are taken"))).toHaveLength(2);
    await rig.close();
  });

  test("KeepFree=: old files of ours make room before anything is refused", async () => {
    const retention = { ...SMALLEST_FILES, keepFreeBytes: 4 * MIB };
    const rig = await StoreRig.open(directory, { retention });
    for (let from = 1; from < 12_000; from += 1000) await rig.post(longRange(from, from + 999));
    disk.leaveFree(3 * MIB);
    await rig.store.makeSpace(noSpace());
    expect(rig.store.fullReason).toBeUndefined();
    expect(disk.freeBytes).toBeGreaterThanOrEqual(4 * MIB);
    expect(await failureOf(rig.post(longRange(12_001, 12_500)))).toBe("");
    await rig.close();
  });

  test("a full disk: nothing acknowledged is lost, nothing is doubled, no descriptor leaks", async () => {
    const rig = await StoreRig.open(directory, { retention: SMALLEST_FILES });
    let acknowledged = 0;
    const senders = ["web1", "web2"];
    for (let round = 0; round < 6; round++) {
      // Sometimes too little for a new file, sometimes for a page, sometimes for the end of a file.
      disk.leaveFree([300_000, 64_000, 4096, 700_000, 0, 130_000][round] ?? 0);
      for (let tries = 0; tries < 6; tries++) {
        const batch = longRange(acknowledged + 1, acknowledged + 400);
        const codes = await Promise.all(
          senders.map((sender) => failureOf(rig.post(batch, sender))),
        );
        for (const code of codes) expect(["", "E_NO_SPACE"]).toContain(code);
        if (codes.every((code) => code === "")) acknowledged += 400;
      }
      expect(rig.store.fullReason).toBeDefined();
      disk.release();
      for (const sender of senders) {
        const batch = longRange(acknowledged + 1, acknowledged + 400);
        const { stored, duplicates } = await rig.post(batch, sender);
        expect(stored + duplicates).toBe(400);
      }
      acknowledged += 400;
      expect(rig.store.fullReason).toBeUndefined();
    }
    await rig.close();
    expect(openBelow(directory)).toEqual([]);
    expect(damage(directory)).toEqual([]);
    for (const sender of senders) {
      const files = foundFiles(directory).filter(({ name }) => name.startsWith(`remote-${sender}`));
      const seqnums = files.flatMap((file) => file.seqnums).sort((a, b) => a - b);
      expect(seqnums).toEqual(range(1, acknowledged).map(({ seqnum }) => seqnum));
    }
  }, 30_000);

  test("closed while the disk is full: what was acknowledged is there after a restart", async () => {
    const rig = await StoreRig.open(directory);
    await rig.post(longRange(1, 1000));
    disk.leaveFree(0);
    expect(await failureOf(rig.post(longRange(1001, 3000)))).toBe("E_NO_SPACE");
    await rig.close();
    expect(openBelow(directory)).toEqual([]);
    disk.release();
    const again = await StoreRig.open(directory);
    const { stored, duplicates } = await again.post(longRange(1, 3000));
    expect(stored + duplicates).toBe(3000);
    expect(duplicates).toBeGreaterThanOrEqual(1000);
    await again.close();
    expect(foundKeys(directory)).toEqual(keysOf(longRange(1, 3000)));
    expect(damage(directory)).toEqual([]);
  });

  test("a file system that becomes read-only: E_IO, and it goes on when it is writable again", async () => {
    const rig = await StoreRig.open(directory);
    await rig.post(range(1, 100));
    await rig.close();
    const again = await StoreRig.open(directory);
    remount("ro");
    for (let i = 0; i < 3; i++) expect(await failureOf(again.post(range(101, 200)))).toBe("E_IO");
    remount("rw");
    expect(await again.post(range(101, 200))).toEqual({ stored: 100, duplicates: 0 });
    await again.close();
    expect(openBelow(directory)).toEqual([]);
    expect(foundKeys(directory)).toEqual(keysOf(range(1, 200)));
  });

  test("a file that cannot be deleted is complained of once", async () => {
    const retention = { ...SMALLEST_FILES, maxUseBytes: MIB };
    const rig = await StoreRig.open(directory, { retention: SMALLEST_FILES });
    await rig.post(longRange(1, 6000));
    await rig.close();
    expect(readdirSync(directory).length).toBeGreaterThan(4);
    const [oldest = ""] = readdirSync(directory)
      .filter((name) => name.includes("@"))
      .sort();
    // A mount point cannot be unlinked.
    const stuck = join(directory, oldest);
    Bun.spawnSync(["mount", "--bind", stuck, stuck]);
    const limited = await StoreRig.open(directory, { retention });
    for (let i = 0; i < 5; i++) await limited.store.makeSpace(noSpace());
    await limited.close();
    Bun.spawnSync(["umount", stuck]);
    expect(log.lines.filter((line) => line.includes("Cannot delete"))).toHaveLength(1);
    expect(readdirSync(directory).length).toBeLessThan(4);
  });

  function remount(mode: "ro" | "rw"): void {
    const { exitCode, stderr } = Bun.spawnSync(["mount", "-o", `remount,${mode}`, disk.path]);
    if (exitCode !== 0) throw new Error(String(stderr));
  }
});
