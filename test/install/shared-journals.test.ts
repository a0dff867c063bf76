import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { readManifest } from "../../src/install/manifest.ts";
import type { Plan } from "../../src/install/plan.ts";
import {
  findUnshared,
  shareJournals,
  takeBackJournals,
} from "../../src/install/shared-journals.ts";
import { describeStep } from "../../src/install/steps.ts";
import { DyingDisk } from "../support/dying-disk.ts";
import { BINARY, InstallRig, RECEIVED, SERVICE, serverPlan } from "../support/install-rig.ts";
import { journalHead } from "../support/journal-head.ts";
import { TempDir } from "../support/temp-dir.ts";

const GROUP = "readers";
/** Only root may give files away: for others it is the mode alone that changes. */
const OWN_GID = process.getegid?.() ?? 0;
const GID = process.geteuid?.() === 0 ? 4711 : OWN_GID;
const SHARED = { directory: RECEIVED, group: GROUP };
const A = `${RECEIVED}/remote-a.journal`;
const B = `${RECEIVED}/remote-b.journal`;
const idOf = (byte: number) => byte.toString(16).padStart(2, "0").repeat(16);

/** "640 4711" */
const accessOf = (path: string) => {
  const { mode, gid } = statSync(path);
  return `${(mode & 0o7777).toString(8)} ${gid}`;
};
const SHARED_ACCESS = `640 ${GID}`;

describe("journals in a directory", () => {
  let dir: TempDir;
  const at = (path: string) => join(dir.path, path);
  const place = (path: string, id: number, mode: number) => {
    dir.write(path, journalHead(id));
    chmodSync(at(path), mode);
  };
  const share = () => {
    const before = findUnshared(dir.path, SHARED);
    shareJournals(dir.path, SHARED, before);
    return before;
  };
  beforeEach(() => {
    dir = new TempDir();
    dir.write("etc/group", `other:x:1:\n${GROUP}:x:${GID}:\n`);
  });
  afterEach(() => dir[Symbol.dispose]());

  test("are shared with a group that only reads them, and given back whatever they are called by then", () => {
    place(A, 1, 0o620);
    place(B, 2, 0o600);
    const before = share();
    expect(before).toEqual({
      [idOf(1)]: { gid: OWN_GID, mode: 0o620 },
      [idOf(2)]: { gid: OWN_GID, mode: 0o600 },
    });
    expect([accessOf(at(A)), accessOf(at(B))]).toEqual([SHARED_ACCESS, SHARED_ACCESS]);
    expect(findUnshared(dir.path, SHARED)).toEqual({});
    renameSync(at(A), at(`${RECEIVED}/remote-a@0.journal`));
    rmSync(at(B));
    place(A, 3, 0o644);
    takeBackJournals(dir.path, RECEIVED, before);
    expect(accessOf(at(`${RECEIVED}/remote-a@0.journal`))).toBe(`620 ${OWN_GID}`);
    expect(accessOf(at(A))).toBe(`644 ${OWN_GID}`);
  });

  test("that came after they were listed are left alone", () => {
    place(A, 1, 0o600);
    const before = findUnshared(dir.path, SHARED);
    place(B, 2, 0o600);
    shareJournals(dir.path, SHARED, before);
    expect(accessOf(at(A))).toBe(SHARED_ACCESS);
    expect(accessOf(at(B))).toBe(`600 ${OWN_GID}`);
  });

  test("never are links, files with a second name, other files, or what is in directories below", () => {
    place("secret", 1, 0o600);
    place("twice", 2, 0o600);
    mkdirSync(at(RECEIVED), { recursive: true });
    symlinkSync(at("secret"), at(A));
    linkSync(at("twice"), at(B));
    place(`${RECEIVED}/below/remote-c.journal`, 3, 0o600);
    dir.write(`${RECEIVED}/notes`, "x".repeat(100));
    dir.write(`${RECEIVED}/empty.journal`, "");
    Bun.spawnSync(["mkfifo", at(`${RECEIVED}/pipe.journal`)]);
    expect(share()).toEqual({});
    const access = { gid: OWN_GID, mode: 0o666 };
    const ids = Object.fromEntries([1, 2, 3].map((id) => [idOf(id), access]));
    shareJournals(dir.path, SHARED, ids);
    takeBackJournals(dir.path, RECEIVED, ids);
    for (const path of ["secret", "twice", `${RECEIVED}/below/remote-c.journal`]) {
      expect(accessOf(at(path))).toBe(`600 ${OWN_GID}`);
    }
  });

  test("do not become programs that run as their owner", () => {
    place(A, 1, 0o600);
    chmodSync(at(A), 0o6700);
    const before = share();
    expect(accessOf(at(A))).toBe(`740 ${GID}`);
    takeBackJournals(dir.path, RECEIVED, before);
    expect(accessOf(at(A))).toBe(`700 ${OWN_GID}`);
  });

  test("are none where there is no directory, or no such group", () => {
    expect(share()).toEqual({});
    takeBackJournals(dir.path, RECEIVED, { [idOf(1)]: { gid: 0, mode: 0 } });
    place(A, 1, 0o600);
    expect(findUnshared(dir.path, { ...SHARED, group: "nobody-here" })).toEqual({});
  });
});

describe("an installation", () => {
  let rig: InstallRig;
  let plan: Plan;
  beforeEach(() => {
    rig = new InstallRig();
    writeFileSync(rig.path("/etc/group"), `${GROUP}:x:${GID}:\n`, { flag: "a" });
    rig.write(A, journalHead(1), 0o600);
    chownSync(rig.path(A), -1, OWN_GID);
    plan = { ...serverPlan(rig), sharedJournals: SHARED };
  });
  afterEach(() => rig[Symbol.dispose]());

  const linesOf = (steps: Parameters<typeof describeStep>[0][]) =>
    steps.flatMap((step) => describeStep(step, { root: "", withContent: false }));

  test("shares what was received before, and has nothing to do the next time", async () => {
    rig.manager.onStart = () => expect(accessOf(rig.path(A))).toBe(SHARED_ACCESS);
    const { steps } = await rig.apply(plan);
    expect(linesOf(steps)).toContain(`let group ${GROUP} read 1 journal in ${RECEIVED}`);
    expect((await rig.apply(plan)).steps).toEqual([]);
    expect(readManifest(rig.root).journals[RECEIVED]?.before).toEqual({
      [idOf(1)]: { gid: OWN_GID, mode: 0o600 },
    });
  });

  test("shares later what came in another way, and knows all of it", async () => {
    await rig.apply(plan);
    rig.write(B, journalHead(2), 0o600);
    rig.manager.takeLog();
    const { steps } = await rig.apply(plan);
    expect(linesOf(steps)).toEqual([`let group ${GROUP} read 1 journal in ${RECEIVED}`]);
    expect(rig.manager.takeLog()).toEqual([]);
    await rig.restore({ purge: false });
    for (const path of [A, B]) expect(accessOf(rig.path(path))).toBe(`600 ${OWN_GID}`);
  });

  test.each([false, true])("is taken back, with --purge %p", async (purge) => {
    await rig.apply(plan);
    renameSync(rig.path(A), rig.path(B));
    rig.manager.active.add(SERVICE);
    const { steps } = await rig.restore({ purge });
    expect(linesOf(steps)).toContain(`restore group and mode of 1 journal in ${RECEIVED}`);
    expect(accessOf(rig.path(B))).toBe(`600 ${OWN_GID}`);
    expect(readManifest(rig.root).journals).toEqual({});
    await rig.apply(plan);
    expect(accessOf(rig.path(B))).toBe(SHARED_ACCESS);
  });

  test("that fails leaves them as they were", async () => {
    rig.manager.broken.add(SERVICE);
    await expect(rig.apply(plan)).rejects.toThrow("broken");
    expect(accessOf(rig.path(A))).toBe(`600 ${OWN_GID}`);
    expect(rig.has(BINARY)).toBe(false);
  });

  test("or its end, killed at any step, leaves what gives them back", async () => {
    const killedAt = async (at: number, action: () => Promise<unknown>) => {
      using disk = new DyingDisk({ kind: "killed", at });
      rig.disk = disk;
      await action().catch(() => undefined);
      rig.disk = undefined;
      return disk.hasFailed;
    };
    const expectGivenBack = async () => {
      using _disk = new DyingDisk();
      await rig.restore({ purge: false });
      expect(accessOf(rig.path(A))).toBe(`600 ${OWN_GID}`);
    };
    let at = 1;
    while (await killedAt(at++, () => rig.apply(plan))) await expectGivenBack();
    expect(at).toBeGreaterThan(40);
    expect(accessOf(rig.path(A))).toBe(SHARED_ACCESS);
    for (at = 1; await killedAt(at, () => rig.restore({ purge: false })); at++) {
      await expectGivenBack();
      await rig.apply(plan);
    }
    expect(at).toBeGreaterThan(20);
  }, 60_000);

  test("with dryRun says so, and touches nothing", async () => {
    const { steps } = await rig.apply(plan, { dryRun: true });
    expect(linesOf(steps)).toContain(`let group ${GROUP} read 1 journal in ${RECEIVED}`);
    expect(accessOf(rig.path(A))).toBe(`600 ${OWN_GID}`);
  });
});
