import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { readManifest } from "../../src/install/manifest.ts";
import type { Plan } from "../../src/install/plan.ts";
import { describeStep } from "../../src/install/steps.ts";
import {
  BINARY,
  clientPlan,
  DROP_IN,
  InstallRig,
  RECEIVED,
  SERVICE,
  SOCKET,
  serverPlan,
} from "../support/install-rig.ts";
import { journalHead } from "../support/journal-head.ts";

let rig: InstallRig;
beforeEach(() => {
  rig = new InstallRig();
});
afterEach(() => rig[Symbol.dispose]());

describe("restore()", () => {
  test("stops units, removes files, and starts what was active before, with the files of before", async () => {
    rig.manager.active.add(SERVICE);
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    rig.manager.takeLog();
    rig.manager.onStart = () => expect(rig.has(DROP_IN)).toBe(false);
    await rig.restore();
    expect(rig.listing()).toEqual(before);
    expect(rig.manager.takeLog()).toEqual([
      `stop ${SOCKET}`,
      `stop ${SERVICE}`,
      "daemon-reload",
      `start ${SERVICE}`,
    ]);
  });

  test("brings back files, links, modes as they were before the first of several runs", async () => {
    rig.write(BINARY, "another program", 0o4711);
    mkdirSync(rig.path("/etc/systemd/system/systemd-journal-remote.service.d"));
    symlinkSync("/nowhere", rig.path(DROP_IN));
    const before = rig.listing();
    await rig.apply(serverPlan(rig), { force: true });
    await rig.apply(serverPlan(rig, { dropIn: "second" }));
    await rig.apply(serverPlan(rig, { dropIn: "third" }));
    await rig.restore();
    expect(rig.listing()).toEqual(before);
    expect(readlinkSync(rig.path(DROP_IN))).toBe("/nowhere");
  });

  test("keeps directories that somebody uses by now, and removes them later", async () => {
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    const mine = "/etc/systemd/system/systemd-journal-remote.service.d/mine.conf";
    rig.write(mine, "x");
    await rig.restore({ purge: false });
    expect(rig.has(mine)).toBe(true);
    rmSync(rig.path(mine));
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });

  test("with dryRun says what it would do and touches nothing", async () => {
    await rig.apply(serverPlan(rig));
    const before = rig.listing();
    rig.manager.takeLog();
    const { steps } = await rig.restore({ dryRun: true });
    const lines = steps.flatMap((step) => describeStep(step, { root: "", withContent: true }));
    expect(lines).toContain(`remove ${DROP_IN}`);
    expect(lines).toContain("remove users and groups systemd-journal-remote");
    expect(lines[0]).toBe(`stop ${SOCKET}`);
    expect(rig.listing()).toEqual(before);
    expect(rig.manager.log).toEqual([]);
  });

  test("has nothing to do where nothing is installed", async () => {
    const before = rig.listing();
    expect(await rig.restore()).toEqual({ steps: [], warnings: [], kept: [] });
    expect(rig.listing()).toEqual(before);
  });

  test("goes on when a unit does not start", async () => {
    rig.manager.active.add(SERVICE);
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    rig.manager.broken.add(SERVICE);
    const { warnings } = await rig.restore();
    expect(warnings).toEqual([`Cannot start "${SERVICE}": broken`]);
    expect(rig.listing()).toEqual(before);
  });

  test("leaves no service running that a client starts while it is removed", async () => {
    rig.manager.clientsConnect(SOCKET, SERVICE);
    await rig.apply(serverPlan(rig));
    await rig.restore();
    expect([...rig.manager.active]).toEqual([]);
  });

  test("stops a template by its instances", async () => {
    const plan = serverPlan(rig);
    const template = { name: "a@.service", activation: "none" as const, dependsOn: [] };
    await rig.apply({ ...plan, units: [...plan.units, template] });
    rig.manager.takeLog();
    await rig.restore();
    expect(rig.manager.takeLog()).toContain("stop a@*.service");
  });

  test("does not start a unit that only the other role's installation had started", async () => {
    const timer = { name: "renew.timer", activation: "start" as const, dependsOn: [] };
    const withTimer = (plan: Plan): Plan => ({ ...plan, units: [...plan.units, timer] });
    await rig.apply(withTimer(serverPlan(rig)));
    await rig.apply(withTimer(clientPlan(rig)));
    await rig.restore({ roles: ["server"] });
    expect(rig.manager.active.has("renew.timer")).toBe(true);
    await rig.restore({ roles: ["client"] });
    expect([...rig.manager.active]).toEqual([]);
  });
});

describe("by-products", () => {
  test("that were not there are removed by purge only, with directories made for them", async () => {
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    rig.write(`${RECEIVED}/remote-a.journal`, journalHead(1));
    rig.write("/var/lib/private/state/cursor", "x");
    const { kept } = await rig.restore({ purge: false });
    expect(rig.has(`${RECEIVED}/remote-a.journal`)).toBe(true);
    expect(kept).toContain(RECEIVED);
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });

  test("leave what others have made above them", async () => {
    await rig.apply(serverPlan(rig));
    rig.write("/var/lib/private/state/cursor", "x");
    rig.write("/var/lib/private/other/file", "x");
    await rig.restore();
    expect(rig.has("/var/lib/private/state")).toBe(false);
    expect(rig.has("/var/lib/private/other/file")).toBe(true);
  });

  test("that were there come back as they were; journals of before stay, though renamed", async () => {
    rig.write(`${RECEIVED}/old.journal`, journalHead(1));
    rig.write(`${RECEIVED}/sub/notes`, "mine", 0o600);
    rig.write(`${RECEIVED}/large`, new Uint8Array(2 << 20));
    symlinkSync("notes", rig.path(`${RECEIVED}/sub/link`));
    chmodSync(rig.path(RECEIVED), 0o750);
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    expect(statSync(rig.path(RECEIVED)).mode & 0o7777).toBe(0o2755);
    renameSync(rig.path(`${RECEIVED}/old.journal`), rig.path(`${RECEIVED}/old@1.journal`));
    rig.write(`${RECEIVED}/old.journal`, journalHead(2));
    rig.write(`${RECEIVED}/sub/notes`, "changed");
    rmSync(rig.path(`${RECEIVED}/sub/link`));
    rig.write(`${RECEIVED}/new/deep/remote.journal`, journalHead(3));
    rig.write(`${RECEIVED}/large`, "other");
    await rig.restore();
    expect(rig.read(`${RECEIVED}/large`)).toBe("other");
    rig.write(`${RECEIVED}/large`, new Uint8Array(2 << 20));
    renameSync(rig.path(`${RECEIVED}/old@1.journal`), rig.path(`${RECEIVED}/old.journal`));
    expect(rig.listing()).toEqual(before);
  });

  test("of an earlier run are remembered as they were before the first", async () => {
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    rig.write(`${RECEIVED}/a.journal`, journalHead(1));
    await rig.restore({ purge: false });
    await rig.apply(serverPlan(rig));
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });
});

test("an image is not left by its links", async () => {
  rmSync(rig.path("/etc/systemd/system"), { recursive: true });
  mkdirSync(rig.path("/usr/lib/systemd/system"), { recursive: true });
  symlinkSync("/usr/lib/systemd/system", rig.path("/etc/systemd/system"));
  symlinkSync("/etc", rig.path("/etc/ssl"));
  const before = rig.listing();
  const host = { ...rig.host, manager: undefined };
  const { steps } = await rig.apply(serverPlan(rig), {}, host);
  expect(steps.some((step) => step.do === "start" || step.do === "reload")).toBe(false);
  const inside = "/usr/lib/systemd/system/systemd-journal-remote.service.d/50-agent.conf";
  expect(rig.read(inside)).toContain("Restart");
  expect(rig.read("/etc/journal-agent/server/key.pem")).toBe("secret");
  expect(rig.commands[0]).toContain("--root=ROOT ");
  await rig.restore();
  expect(rig.listing()).toEqual(before);
});

test("where the image has nothing at all, nothing is left of it", async () => {
  for (const path of ["/var", "/usr", "/etc/systemd"]) rmSync(rig.path(path), { recursive: true });
  const before = rig.listing();
  await rig.apply(serverPlan(rig));
  expect(readManifest(rig.root).parents).toEqual(["/var", "/var/lib"]);
  await rig.restore();
  expect(rig.listing()).toEqual(before);
});
