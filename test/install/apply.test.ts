import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { readManifest } from "../../src/install/manifest.ts";
import type { Plan, PlanItem } from "../../src/install/plan.ts";
import { lockInstallation } from "../../src/install/recover.ts";
import { describeStep } from "../../src/install/steps.ts";
import { DyingDisk } from "../support/dying-disk.ts";
import {
  BINARY,
  clientPlan,
  DROP_IN,
  InstallRig,
  KEY,
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

/** The receiver's, its socket with a drop-in of its own. */
function socketPlan(port: string): Plan {
  const plan = serverPlan(rig);
  const path = `/etc/systemd/system/${SOCKET}.d/50-agent.conf`;
  const data = `[Socket]\nListenStream=\nListenStream=${port}\n`;
  const item: PlanItem = { kind: "file", path, mode: 0o644, data, purpose: "the port" };
  const units = plan.units.map((unit) =>
    unit.name === SOCKET ? { ...unit, dependsOn: [path] } : unit,
  );
  return { ...plan, items: [...plan.items, item], units };
}

describe("applyPlan()", () => {
  test("makes files, directories and links, runs commands, starts units, in this order", async () => {
    await rig.apply(serverPlan(rig), { options: { port: 1 } });
    expect(rig.read(BINARY)).toBe("the program, version 1");
    expect(statSync(rig.path(BINARY)).mode & 0o7777).toBe(0o755);
    expect(statSync(rig.path(KEY)).mode & 0o7777).toBe(0o600);
    expect(statSync(rig.path("/etc/ssl")).mode & 0o7777).toBe(0o755);
    const wants = "/etc/systemd/system/multi-user.target.wants/systemd-journal-remote.service";
    expect(readlinkSync(rig.path(wants))).toBe(
      "/lib/systemd/system/systemd-journal-remote.service",
    );
    expect(rig.commands).toEqual([
      "systemd-sysusers --root=ROOT journal-agent.conf",
      "systemd-tmpfiles --root=ROOT journal-agent.conf",
    ]);
    expect(rig.manager.takeLog()).toEqual(["daemon-reload", `start ${SOCKET}`, `start ${SERVICE}`]);
    const manifest = readManifest(rig.root);
    expect(manifest.roles.server?.options).toEqual({ port: 1 });
    expect(manifest.run).toBeNull();
    expect(statSync(rig.path("/var/lib/journal-agent/manifest.json")).mode & 0o7777).toBe(0o600);
  });

  test("does nothing the second time", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.takeLog();
    const before = rig.listing();
    const inode = statSync(rig.path("/var/lib/journal-agent/manifest.json")).ino;
    expect(await rig.apply(serverPlan(rig))).toEqual({ steps: [], warnings: [], performed: [] });
    expect(rig.listing()).toEqual(before);
    expect(statSync(rig.path("/var/lib/journal-agent/manifest.json")).ino).toBe(inode);
    expect(rig.manager.takeLog()).toEqual([]);
    expect(rig.commands).toHaveLength(2);
  });

  test("remembers other options though nothing else changes", async () => {
    await rig.apply(serverPlan(rig), { options: { a: 1 } });
    rig.manager.takeLog();
    expect((await rig.apply(serverPlan(rig), { options: { a: 2 } })).steps).toEqual([]);
    expect(readManifest(rig.root).roles.server?.options).toEqual({ a: 2 });
    expect(rig.manager.takeLog()).toEqual([]);
  });

  test("changes only what differs, and restarts only what depends on it", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.takeLog();
    await rig.apply(serverPlan(rig, { dropIn: "[Service]\nRestart=no\n" }));
    expect(rig.read(DROP_IN)).toBe("[Service]\nRestart=no\n");
    expect(rig.manager.takeLog()).toEqual(["daemon-reload", `restart ${SERVICE}`]);
    expect(rig.commands).toHaveLength(2);
  });

  test("removes what the plan has no longer, and restarts what depended on it", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.takeLog();
    const plan = serverPlan(rig, { without: DROP_IN });
    const units = plan.units.map((unit) => ({ ...unit, dependsOn: [] }));
    await rig.apply({ ...plan, units });
    expect(rig.has("/etc/systemd/system/systemd-journal-remote.service.d")).toBe(false);
    expect(rig.manager.takeLog()).toEqual(["daemon-reload", `restart ${SERVICE}`]);
  });

  test("stops units that the plan has no longer", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.takeLog();
    const plan = serverPlan(rig);
    await rig.apply({ ...plan, units: plan.units.slice(1) });
    expect(rig.manager.takeLog()).toEqual([`stop ${SOCKET}`]);
    expect(readManifest(rig.root).roles.server?.units).toHaveLength(1);
  });

  test("stops a service that runs without its socket, which systemd would not start otherwise", async () => {
    rig.manager.active.add(SERVICE);
    rig.manager.onStart = (unit) => {
      if (unit === SOCKET && rig.manager.active.has(SERVICE)) throw new Error("refused");
    };
    await rig.apply(serverPlan(rig));
    expect(rig.manager.takeLog()).toEqual([
      "daemon-reload",
      `stop ${SERVICE}`,
      `start ${SOCKET}`,
      `start ${SERVICE}`,
    ]);
  });

  test("a socket is stopped before its service, and both are started anew: no client comes between", async () => {
    const restarted = [`stop ${SOCKET}`, `stop ${SERVICE}`, `start ${SOCKET}`, `start ${SERVICE}`];
    rig.manager.clientsConnect(SOCKET, SERVICE);
    await rig.apply(socketPlan("19532"));
    rig.manager.takeLog();
    await rig.apply(socketPlan("19533"));
    expect(rig.manager.takeLog()).toEqual(["daemon-reload", ...restarted]);
    expect([...rig.manager.active]).toEqual([SOCKET, SERVICE]);
  });

  test("a socket whose services are one for each connection is restarted alone", async () => {
    const enroll = "journal-agent-enroll.socket";
    const plan = serverPlan(rig);
    const withSocket = (): Plan => ({
      ...plan,
      units: [{ name: enroll, activation: "start", dependsOn: [KEY] }],
    });
    await rig.apply(withSocket());
    rig.manager.takeLog();
    chmodSync(rig.path(KEY), 0o644);
    await rig.apply(withSocket());
    expect(rig.manager.takeLog()).toEqual([`restart ${enroll}`]);
  });

  test("performs what is no item first, and restarts what depends on it", async () => {
    const plan = serverPlan(rig);
    const certificate = "/etc/ssl/certificate.pem";
    const units = plan.units.map((unit) => ({ ...unit, dependsOn: [certificate] })).slice(1);
    await rig.apply({ ...plan, units });
    rig.manager.takeLog();
    const perform = () => Promise.resolve({ done: ["issued"], changed: [certificate] });
    const { performed, steps } = await rig.apply({ ...plan, units }, { perform });
    expect(performed).toEqual(["issued"]);
    expect(steps).toEqual([{ do: "restart", unit: SERVICE }]);
    expect(rig.manager.takeLog()).toEqual([`restart ${SERVICE}`]);
  });

  test("puts a mode right", async () => {
    await rig.apply(serverPlan(rig));
    chmodSync(rig.path(KEY), 0o644);
    const { steps } = await rig.apply(serverPlan(rig));
    expect(steps.flatMap((step) => (step.do === "item" ? [step.change.kind] : []))).toEqual([
      "mode",
    ]);
    expect(statSync(rig.path(KEY)).mode & 0o7777).toBe(0o600);
  });

  test("leaves directories that were there as they are", async () => {
    chmodSync(rig.path("/usr/local/bin"), 0o2775);
    mkdirSync(rig.path("/etc/ssl/journal-agent/server"), { recursive: true, mode: 0o700 });
    const before = statSync(rig.path("/etc/ssl/journal-agent/server")).mode;
    await rig.apply(serverPlan(rig));
    expect(statSync(rig.path("/usr/local/bin")).mode & 0o7777).toBe(0o2775);
    expect(statSync(rig.path("/etc/ssl/journal-agent/server")).mode).toBe(before);
  });

  test("leaves a link to a unit of the same name, but not one to nowhere", async () => {
    const wants = "/etc/systemd/system/multi-user.target.wants/systemd-journal-remote.service";
    mkdirSync(rig.path("/etc/systemd/system/multi-user.target.wants"));
    symlinkSync("/usr/lib/systemd/system/systemd-journal-remote.service", rig.path(wants));
    await rig.apply(serverPlan(rig));
    expect(readlinkSync(rig.path(wants))).toStartWith("/usr/lib/");
    await rig.restore();
    expect(readlinkSync(rig.path(wants))).toStartWith("/usr/lib/");
    rmSync(rig.path(wants));
    symlinkSync("/dev/null", rig.path(wants));
    await expect(rig.apply(serverPlan(rig))).rejects.toThrow("not made by this program");
  });

  test("with dryRun says what it would do and touches nothing", async () => {
    const before = rig.listing();
    const { steps } = await rig.apply(serverPlan(rig), { dryRun: true });
    expect(rig.listing()).toEqual(before);
    expect(rig.manager.log).toEqual([]);
    const owner =
      process.getuid?.() === 0 ? "root:root" : `${process.getuid?.()}:${process.getgid?.()}`;
    const lines = steps.flatMap((step) => describeStep(step, { root: "", withContent: true }));
    expect(lines).toContain(`create ${DROP_IN} 0644 ${owner}  the unit's drop-in`);
    expect(lines).toContain("    Restart=always");
    expect(lines).toContain("    (secret, 6 bytes)");
    expect(lines).toContain("run systemd-sysusers --root= journal-agent.conf  makes the user");
    expect(lines).toContain("run systemctl daemon-reload");
    expect(lines.at(-1)).toBe(`start ${SERVICE}`);
    expect(lines.join()).not.toContain("secret\n");
    expect((await rig.apply(serverPlan(rig))).steps).toEqual(steps);
  });

  test("without start neither starts nor restarts", async () => {
    await rig.apply(serverPlan(rig), { start: false });
    expect(rig.manager.takeLog()).toEqual(["daemon-reload"]);
  });

  test("does not go on where something else is in the way", async () => {
    mkdirSync(rig.path(BINARY));
    await expect(rig.apply(serverPlan(rig), { force: true })).rejects.toThrow(
      `Cannot make "${BINARY}": a directory is there, need a file or nothing`,
    );
  });

  test("does not run twice at once", () => {
    const lock = lockInstallation(rig.root);
    expect(() => lockInstallation(rig.root)).toThrow("another process does");
    lock.release();
    lockInstallation(rig.root).release();
  });
});

describe("a file edited by hand", () => {
  beforeEach(async () => {
    await rig.apply(serverPlan(rig));
    rig.write(DROP_IN, "[Service]\n# mine\n");
    rig.manager.takeLog();
  });

  test("stays, with a warning, if it need not change", async () => {
    const { steps, warnings } = await rig.apply(serverPlan(rig));
    expect(steps).toEqual([]);
    expect(warnings).toEqual([`Left as it is: "${DROP_IN}", edited by hand`]);
    expect(rig.read(DROP_IN)).toContain("# mine");
  });

  test("that would have to change stops everything before it begins, and is named", async () => {
    const key = "other key";
    const plan = serverPlan(rig, { dropIn: "new" });
    rig.write(KEY, "mine");
    const items = plan.items.map((item) => (item.path === KEY ? { ...item, data: key } : item));
    const before = rig.listing();
    const failure = await rig.apply({ ...plan, items }).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "E_CONFIG",
      message: `Cannot replace files: "${KEY}", "${DROP_IN}" edited by hand`,
      hint: expect.stringContaining("--force"),
    });
    expect(rig.listing()).toEqual(before);
  });

  test("is replaced with force, its content kept once", async () => {
    await rig.apply(serverPlan(rig), { force: true });
    expect(rig.read(DROP_IN)).toBe("[Service]\nRestart=always\n");
    const [saved] = readManifest(rig.root).overwritten;
    expect(rig.read(`/var/lib/journal-agent/backup/${saved?.backup}`)).toBe("[Service]\n# mine\n");
    rig.write(DROP_IN, "[Service]\n# mine\n");
    await rig.apply(serverPlan(rig), { force: true });
    expect(readManifest(rig.root).overwritten).toHaveLength(1);
  });

  test("is not removed by uninstall without force", async () => {
    await expect(rig.restore()).rejects.toThrow(`Cannot remove files: "${DROP_IN}" edited by hand`);
    expect(rig.has(BINARY)).toBe(true);
    await rig.restore({ force: true });
    expect(rig.has(DROP_IN)).toBe(false);
  });

  test("to what is planned next is ours again", async () => {
    const plan = serverPlan(rig, { dropIn: "[Service]\n# mine\n" });
    expect((await rig.apply(plan)).steps).toEqual([]);
    await rig.restore();
    expect(rig.has(DROP_IN)).toBe(false);
  });

  test("may be gone: it is made again", async () => {
    rmSync(rig.path(DROP_IN));
    await rig.apply(serverPlan(rig));
    expect(rig.has(DROP_IN)).toBe(true);
  });
});

test("a file that was there before is only replaced with force, and comes back", async () => {
  rig.write(DROP_IN, "somebody's", 0o640);
  const before = rig.listing();
  await expect(rig.apply(serverPlan(rig))).rejects.toThrow(`"${DROP_IN}" not made by this program`);
  expect(rig.listing()).toEqual(before);
  await rig.apply(serverPlan(rig), { force: true });
  expect(rig.read(DROP_IN)).toContain("Restart=always");
  await rig.restore();
  expect(rig.listing()).toEqual(before);
});

describe("a failure in the middle takes everything back", () => {
  test("of a command", async () => {
    const before = rig.listing();
    rig.commandFails = true;
    const failure = await rig.apply(serverPlan(rig)).catch((error: unknown) => error);
    expect(String(failure)).toContain(
      `Cannot install the server: Cannot run "systemd-sysusers --root=${rig.root} journal-agent.conf": exit status 1, need 0: it does not work; everything is as it was before`,
    );
    expect(rig.listing()).toEqual(before);
    expect(rig.manager.log).toEqual(["daemon-reload"]);
  });

  test("of a unit, and what ran before runs again with the former files", async () => {
    await rig.apply(serverPlan(rig));
    const before = rig.installedListing();
    rig.manager.active.delete(SOCKET);
    rig.manager.takeLog();
    rig.manager.broken.add(SERVICE);
    const plan = serverPlan(rig, { dropIn: "bad" });
    const units = [...plan.units].reverse();
    await expect(rig.apply({ ...plan, units })).rejects.toThrow("everything is as it was before");
    expect(rig.installedListing()).toEqual(before);
    expect(rig.manager.takeLog()).toEqual([
      "daemon-reload",
      `restart ${SERVICE}`,
      `stop ${SOCKET}`,
      `stop ${SERVICE}`,
      "daemon-reload",
      `start ${SERVICE}`,
    ]);
  });

  test("of a socket that was started anew, and no client comes between", async () => {
    rig.manager.clientsConnect(SOCKET, SERVICE);
    await rig.apply(socketPlan("19532"));
    const before = rig.installedListing();
    const timer = { name: "renew.timer", activation: "start" as const, dependsOn: [] };
    rig.manager.broken.add(timer.name);
    const plan = socketPlan("19533");
    rig.manager.takeLog();
    await expect(rig.apply({ ...plan, units: [...plan.units, timer] })).rejects.toThrow(
      /everything is as it was before$/,
    );
    expect(rig.installedListing()).toEqual(before);
    expect(rig.manager.takeLog().slice(-6)).toEqual([
      `stop ${SOCKET}`,
      "stop renew.timer",
      `stop ${SERVICE}`,
      "daemon-reload",
      `start ${SOCKET}`,
      `start ${SERVICE}`,
    ]);
    expect([...rig.manager.active]).toEqual([SOCKET, SERVICE]);
  });

  test("of a socket, for which a service was stopped", async () => {
    rig.manager.active.add(SERVICE);
    rig.manager.broken.add(SOCKET);
    await expect(rig.apply(serverPlan(rig))).rejects.toThrow(`Cannot start "${SOCKET}": broken`);
    expect([...rig.manager.active]).toEqual([SERVICE]);
    expect(rig.manager.takeLog().slice(-2)).toEqual(["daemon-reload", `start ${SERVICE}`]);
  });

  test("and says so when a unit does not come back", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.broken.add(SERVICE);
    const failure = await rig.apply(serverPlan(rig, { dropIn: "bad" })).catch(String);
    expect(failure).toContain(
      `everything is as it was before, but for this: Cannot start "${SERVICE}": broken`,
    );
  });

  test("but a bug is thrown as it is", async () => {
    const before = rig.listing();
    const perform = () => Promise.reject(new TypeError("a bug"));
    await expect(rig.apply(serverPlan(rig), { perform })).rejects.toThrow(TypeError);
    expect(rig.listing()).toEqual(before);
  });

  test("but entries that were received meanwhile stay", async () => {
    const journal = `${RECEIVED}/remote-a.journal`;
    rig.manager.onStart = (unit) => {
      if (unit === SERVICE) rig.write(journal, journalHead(1));
    };
    const plan = serverPlan(rig);
    const timer = { name: "renew.timer", activation: "start" as const, dependsOn: [] };
    rig.manager.broken.add(timer.name);
    await expect(rig.apply({ ...plan, units: [...plan.units, timer] })).rejects.toThrow("broken");
    expect([...rig.manager.active]).toEqual([]);
    expect(rig.has(journal)).toBe(true);
    expect(rig.has(BINARY)).toBe(false);
  });

  test("of the disk, at every step of a first installation", async () => {
    const before = rig.listing();
    await failAtEveryStep(
      () => rig.apply(serverPlan(rig)),
      () => {
        expect(rig.listing()).toEqual(before);
      },
    );
  });

  test("of the disk, at every step of a later one", async () => {
    await rig.apply(serverPlan(rig));
    const before = rig.installedListing();
    const manifest = readManifest(rig.root);
    await failAtEveryStep(
      () => rig.apply(serverPlan(rig, { dropIn: "other", without: KEY })),
      () => {
        expect(rig.installedListing()).toEqual(before);
        expect(readManifest(rig.root)).toEqual(manifest);
      },
    );
  });
});

/** Until a run has more steps than the one at which it should fail. */
async function failAtEveryStep(action: () => Promise<unknown>, check: () => void): Promise<void> {
  for (let at = 1; ; at++) {
    let failure: unknown;
    let hasFailed = false;
    {
      using disk = new DyingDisk({ kind: "full", at });
      rig.disk = disk;
      failure = await action().catch((error: unknown) => error);
      hasFailed = disk.hasFailed;
    }
    rig.disk = undefined;
    if (!hasFailed) {
      expect(at).toBeGreaterThan(40);
      return;
    }
    expect(failure).toMatchObject({ code: "E_NO_SPACE" });
    check();
  }
}

test("two roles share what both need", async () => {
  const before = rig.listing();
  await rig.apply(serverPlan(rig));
  await rig.apply(clientPlan(rig));
  expect(readManifest(rig.root).items[BINARY]?.roles).toEqual(["server", "client"]);
  await rig.restore({ roles: ["server"] });
  expect(rig.has(BINARY)).toBe(true);
  expect(rig.has(DROP_IN)).toBe(false);
  expect(rig.read("/etc/passwd")).not.toContain("systemd-journal-remote");
  expect([...rig.manager.active]).toEqual(["systemd-journal-upload.service"]);
  await rig.restore();
  expect(rig.listing()).toEqual(before);
});

test("a manifest of another version, or a damaged one, is an error", async () => {
  rig.write("/var/lib/journal-agent/manifest.json", '{"version":2}');
  await expect(rig.apply(serverPlan(rig))).rejects.toThrow("version 2, need 1");
  rig.write("/var/lib/journal-agent/manifest.json", '{"version":');
  await expect(rig.restore()).rejects.toThrow("damaged");
});
