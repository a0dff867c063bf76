import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FileState, HEADER } from "../../../src/journal/format.ts";
import { parseFileName } from "../../../src/serve/store/names.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { HeldSyncs } from "../../support/held-syncs.ts";
import { SEQNUM_ID } from "../../support/journal-entries.ts";
import { hasSystemd, makeJournal, sampleExport } from "../../support/journal-tools.ts";
import {
  damage,
  foundFiles,
  foundKeys,
  keysOf,
  longRange,
  openBelow,
  range,
  rigEntry,
  SMALLEST_FILES,
  StoreRig,
} from "../../support/store-rig.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

const IDS = ["a1", "b2", "c3"].map((pair) => pair.repeat(16));

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

function activePath(): string {
  return join(dir.path, "remote-web1.journal");
}

/** Puts a file where the sender's active one goes. */
function plant(content: string | Uint8Array): void {
  writeFileSync(activePath(), content);
}

/** Posts 100 entries in a new store, and 100 more in another; all of them must be there, and the names clean. */
async function expectService(): Promise<void> {
  for (const [from, to] of [
    [1, 100],
    [51, 200],
  ] as const) {
    const rig = await StoreRig.open(dir.path);
    await rig.post(range(from, to));
    await rig.close();
  }
  const ours = foundFiles(dir.path).filter(({ seqnumId }) => seqnumId === SEQNUM_ID);
  expect(ours.map(({ kind, seqnums }) => [kind, seqnums])).toEqual([
    ["active", range(1, 200).map(({ seqnum }) => seqnum)],
  ]);
  expect(openBelow(dir.path)).toEqual([]);
}

describe("SenderJournal, identity", () => {
  test("the first seqnum id gets the active name, others are born archived, and all go on", async () => {
    const turns = range(1, 300).map((entry, index) => {
      return { ...entry, seqnumId: IDS[index % 3] ?? "" };
    });
    for (const part of [turns.slice(0, 150), turns.slice(100)]) {
      const rig = await StoreRig.open(dir.path);
      await rig.post(part);
      expect(rig.store.openFiles).toBe(3);
      await rig.close();
    }
    const files = foundFiles(dir.path);
    expect(files.map(({ kind }) => kind)).toEqual(["active", "archived", "archived"]);
    expect(files.map(({ seqnumId }) => seqnumId)).toEqual(IDS);
    for (const { name, seqnumId, seqnums, state } of files) {
      expect(seqnums.length).toBe(100);
      expect(state).toBe(FileState.offline);
      const parsed = parseFileName(name);
      if (parsed?.kind !== "archived") continue;
      expect([parsed.base, parsed.seqnumIdHex, parsed.headSeqnum]).toEqual([
        "remote-web1",
        seqnumId,
        seqnums[0] ?? 0,
      ]);
    }
    expect(damage(dir.path)).toEqual([]);
  });

  test("the machine id is the sender's, or one of its name's", async () => {
    const rig = await StoreRig.open(dir.path);
    const id = "0123456789abcdef0123456789abcdef";
    for (const [sender, field] of [
      ["known", `_MACHINE_ID=${id}`],
      ["none", "PRIORITY=6"],
      ["null", `_MACHINE_ID=${"0".repeat(32)}`],
      ["bad", "_MACHINE_ID=xyz"],
    ] as const) {
      await rig.post([{ seqnum: 1, fields: ["MESSAGE=x", field] }], sender);
    }
    await rig.close();
    const ids = foundFiles(dir.path).map(({ name, machineId }) => [name, machineId] as const);
    const byName = new Map(ids);
    expect(byName.get("remote-known.journal")).toBe(id);
    expect(new Set(byName.values()).size).toBe(4);
    expect([...byName.values()]).not.toContain("0".repeat(32));
  });

  test("entries without identity get a sequence of ours, which goes on and drops nothing", async () => {
    const nameless = range(1, 50).map((entry) => ({ ...entry, seqnumId: "" }));
    for (let round = 0; round < 3; round++) {
      const rig = await StoreRig.open(dir.path);
      expect(await rig.post(nameless)).toEqual({ stored: 50, duplicates: 0 });
      expect(await rig.post(nameless.slice(0, 5))).toEqual({ stored: 5, duplicates: 0 });
      await rig.close();
    }
    const [file, ...others] = foundFiles(dir.path).toSorted(
      (a, b) => b.seqnums.length - a.seqnums.length,
    );
    const all = [file, ...others].flatMap((one) => one?.seqnums ?? []).sort((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: 165 }, (_, index) => index + 1));
    expect(new Set([file, ...others].map((one) => one?.seqnumId)).size).toBe(1);
    expect(damage(dir.path)).toEqual([]);
  });

  test("lastCursor() is that of the newest entry, in closed files and in open ones", async () => {
    const rig = await StoreRig.open(dir.path);
    expect(rig.store.lastCursor("web1")).toBeUndefined();
    await rig.post(range(1, 5, IDS[0]));
    await rig.post(range(6, 9, IDS[1]));
    const cursor = rig.store.lastCursor("web1");
    expect(cursor).toBe(`s=${IDS[1]};i=9;t=${(1_700_000_000_000_000 + 9000).toString(16)}`);
    await rig.close();
    const again = await StoreRig.open(dir.path);
    expect(again.store.lastCursor("web1")).toBe(cursor);
    await again.close();
  });
});

describe("SenderJournal, what it finds in the directory", () => {
  test("an unclean file is set aside, and still consulted", async () => {
    const rig = await StoreRig.open(dir.path);
    await rig.post([...range(1, 100), ...range(1, 50, IDS[0])]);
    using left = rig.snapshot();
    await rig.close();
    const again = await StoreRig.open(left.path);
    expect(await again.post([...range(1, 120), ...range(1, 50, IDS[0])])).toEqual({
      stored: 20,
      duplicates: 150,
    });
    await again.close();
    expect(foundFiles(left.path).map(({ kind, seqnums }) => [kind, seqnums.length])).toEqual(
      expect.arrayContaining([
        ["active", 20],
        ["unclean", 50],
        ["unclean", 100],
      ]),
    );
    const third = await StoreRig.open(left.path);
    expect(await third.post(range(1, 120))).toEqual({ stored: 0, duplicates: 120 });
    await third.close();
    expect(damage(left.path)).toEqual([]);
  });

  const planted: [string, () => void][] = [
    ["an empty file", () => plant("")],
    ["a file of zeros", () => plant(new Uint8Array(8192))],
    ["garbage", () => plant("no journal at all\n".repeat(1000))],
    ["a damaged header", () => plant(`LPKSHHRH${"\xff".repeat(400)}`)],
    ["a directory", () => mkdirSync(activePath())],
    ["a link that leads nowhere", () => symlinkSync("/nonexistent/place", activePath())],
    ["a link to itself", () => symlinkSync("remote-web1.journal", activePath())],
    ["a FIFO", () => Bun.spawnSync(["mkfifo", activePath()])],
  ];
  for (const [what, make] of planted) {
    test(`${what} under the active name does not stand in the way`, async () => {
      make();
      await expectService();
    });
  }

  test("garbage under archived and unclean names is left alone", async () => {
    const names = [
      `remote-web1@${"5e".repeat(16)}-0000000000000001-0006000000000000.journal`,
      "remote-web1@0006000000000000-0123456789abcdef.journal~",
    ];
    for (const name of names) dir.write(name, "garbage ".repeat(1000));
    const rig = await StoreRig.open(dir.path);
    await rig.post(range(1, 10));
    await rig.close();
    expect(readdirSync(dir.path).sort()).toEqual([...names, "remote-web1.journal"].sort());
  });

  describe.skipIf(!hasSystemd())("files of systemd-journal-remote (needs it)", () => {
    for (const compact of [true, false]) {
      test(`an OFFLINE one, compact ${compact}, is archived under its own name`, async () => {
        makeJournal(activePath(), sampleExport(50), { compact });
        const before = readFileSync(activePath());
        await expectService();
        const [stock, ...others] = foundFiles(dir.path).filter(({ kind }) => kind === "archived");
        expect(others).toEqual([]);
        expect(stock?.seqnums.length).toBe(50);
        const parsed = parseFileName(stock?.name ?? "");
        expect(parsed?.kind === "archived" ? parsed.seqnumIdHex : "").toBe(stock?.seqnumId ?? "");
        expect(readFileSync(join(dir.path, stock?.name ?? "")).equals(before)).toBe(true);
      });
    }

    for (const [name, state, kind] of [
      ["ONLINE", FileState.online, "unclean"],
      ["ARCHIVED", FileState.archived, "archived"],
    ] as const) {
      test(`an ${name} one leaves the active name`, async () => {
        makeJournal(activePath(), sampleExport(50));
        const bytes = readFileSync(activePath());
        bytes[HEADER.state] = state;
        plant(bytes);
        await expectService();
        const stock = foundFiles(dir.path).filter(({ seqnumId }) => seqnumId !== SEQNUM_ID);
        expect(stock.map((file) => [file.kind, file.seqnums.length])).toEqual([[kind, 50]]);
      });
    }
  });

  test("a file of another format is archived, and another one is begun", async () => {
    const rig = await StoreRig.open(dir.path);
    await rig.post(range(1, 100));
    await rig.close();
    const format = { compressThresholdBytes: undefined, compact: false, keyedHash: true };
    const other = await StoreRig.open(dir.path, { format });
    expect(await other.post(range(51, 150))).toEqual({ stored: 50, duplicates: 50 });
    await other.close();
    expect(foundFiles(dir.path).map(({ kind, seqnums }) => [kind, seqnums.length])).toEqual([
      ["active", 50],
      ["archived", 100],
    ]);
  });
});

describe("SenderJournal, files that somebody meddles with", () => {
  const meddling: [string, () => void][] = [
    ["deleted", () => rmSync(activePath())],
    ["renamed", () => renameSync(activePath(), join(dir.path, "taken-away"))],
    ["cut", () => truncateSync(activePath(), 4096)],
    ["cut to nothing", () => truncateSync(activePath(), 0)],
    [
      "replaced",
      () => {
        rmSync(activePath());
        plant("something else");
      },
    ],
  ];
  for (const [how, meddle] of meddling) {
    test(`${how} while open: the request fails, the next one is stored`, async () => {
      const rig = await StoreRig.open(dir.path);
      await rig.post(range(1, 100));
      meddle();
      const failure = rig.post(range(101, 200));
      await expect(failure).rejects.toMatchObject({ name: "AgentError", code: "E_IO" });
      await failure.catch(() => undefined);
      expect(await rig.post(range(101, 200))).toEqual({ stored: 100, duplicates: 0 });
      expect(await rig.post(range(101, 200))).toEqual({ stored: 0, duplicates: 100 });
      await rig.close();
      expect(openBelow(dir.path)).toEqual([]);
      const found = readdirSync(dir.path).filter((name) => name.endsWith(".journal"));
      expect(damage(dir.path)).toEqual([]);
      expect(found.length).toBe(1);
      expect(log.lines.filter((line) => line.includes("Gave up writing"))).toHaveLength(1);
      expect(log.lines.filter((line) => line.startsWith("error"))).toEqual([]);
    });
  }

  test("a full file that is deleted before it is on disk fails the request", async () => {
    const rig = await StoreRig.open(dir.path, { retention: SMALLEST_FILES });
    const sink = rig.store.openSink("web1");
    for (const entry of longRange(1, 3000)) sink.add(rigEntry(entry));
    for (const { name, kind } of foundFiles(dir.path)) {
      if (kind === "archived") rmSync(join(dir.path, name));
    }
    await expect(sink.commit()).rejects.toMatchObject({ code: "E_IO" });
    await sink.commit().catch(() => undefined);
    sink.close();
    expect((await rig.post(longRange(1, 3000))).stored).toBeGreaterThan(500);
    await rig.close();
    expect(foundKeys(dir.path)).toEqual(keysOf(longRange(1, 3000)));
    expect(openBelow(dir.path)).toEqual([]);
  });

  test("two requests share the loss: neither is acknowledged", async () => {
    const rig = await StoreRig.open(dir.path);
    const [first, second] = [rig.store.openSink("web1"), rig.store.openSink("web1")];
    for (const entry of range(1, 50)) first.add(rigEntry(entry));
    for (const entry of range(1, 50)) second.add(rigEntry(entry));
    expect([first.stored, second.duplicates]).toEqual([50, 50]);
    rmSync(activePath());
    const results = await Promise.allSettled([first.commit(), second.commit()]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    first.close();
    second.close();
    expect(await rig.post(range(1, 50))).toEqual({ stored: 50, duplicates: 0 });
    await rig.close();
  });

  test("the directory is gone: requests fail, and go on when it is back", async () => {
    const output = join(dir.path, "out");
    mkdirSync(output);
    const rig = await StoreRig.open(output);
    await rig.post(range(1, 10));
    renameSync(output, `${output}-away`);
    for (const entries of [range(11, 20), range(11, 20)]) {
      const failure = rig.post(entries);
      await expect(failure).rejects.toMatchObject({ name: "AgentError", code: "E_IO" });
      await failure.catch(() => undefined);
    }
    renameSync(`${output}-away`, output);
    expect((await rig.post(range(11, 20))).stored).toBe(10);
    await rig.close();
    expect(openBelow(dir.path)).toEqual([]);
    expect(existsSync(join(output, "remote-web1.journal"))).toBe(true);
  });
});

test("SenderJournal keeps few files open for however many seqnum ids", async () => {
  const rig = await StoreRig.open(dir.path);
  const ids = Array.from({ length: 300 }, (_, index) => {
    return (index + 1).toString(16).padStart(4, "0").repeat(8);
  });
  const first = ids.flatMap((id) => range(1, 2, id));
  const second = ids.flatMap((id) => range(3, 4, id));
  expect((await rig.post(first)).stored).toBe(600);
  expect(rig.store.openFiles).toBeLessThanOrEqual(256);
  expect((await rig.post([...first, ...second])).stored).toBe(600);
  expect(rig.store.openFiles).toBeLessThanOrEqual(256);
  await rig.close();
  expect(openBelow(dir.path)).toEqual([]);
  expect(foundKeys(dir.path)).toEqual(keysOf([...first, ...second]));
  expect(foundFiles(dir.path).length).toBe(300);
}, 30_000); // A thousand syncs, and the disk may be busy.

test("SenderJournal keeps what comes for a file that is closed, taken back, and closed again", async () => {
  const rig = await StoreRig.open(dir.path);
  const others = Array.from({ length: 256 }, (_, index) => {
    return (index + 1).toString(16).padStart(4, "0").repeat(8);
  });
  const sink = rig.store.openSink("web1");
  const addToAll = (seqnum: number): void => {
    for (const id of [SEQNUM_ID, ...others]) {
      for (const entry of range(seqnum, seqnum, id)) sink.add(rigEntry(entry));
    }
  };
  using syncs = new HeldSyncs();
  // Each round closes the first one's file, for there are too many. Held are the syncs of its entries, then of its state.
  for (const seqnum of [1, 2, 3]) {
    addToAll(seqnum);
    await until(() => syncs.waiting.length > 0);
    syncs.release();
    await until(() => syncs.waiting.length > 0);
  }
  syncs[Symbol.dispose]();
  await sink.commit();
  sink.close();
  await rig.close();
  expect(foundKeys(dir.path)).toEqual(
    keysOf([SEQNUM_ID, ...others].flatMap((id) => range(1, 3, id))),
  );
  expect(damage(dir.path)).toEqual([]);
}, 30_000);
