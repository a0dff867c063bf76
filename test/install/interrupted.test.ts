import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readManifest } from "../../src/install/manifest.ts";
import type { Plan } from "../../src/install/plan.ts";
import { DyingDisk } from "../support/dying-disk.ts";
import { clientPlan, DROP_IN, InstallRig, KEY, serverPlan } from "../support/install-rig.ts";

/** Killed at each of some hundred steps, and taken further each time. */
const TIMEOUT_MS = 60_000;

/** @returns whether it got to the end */
async function runUntilKilled(
  rig: InstallRig,
  at: number,
  action: () => Promise<unknown>,
): Promise<boolean> {
  using disk = new DyingDisk({ kind: "killed", at });
  rig.disk = disk;
  await action().catch(() => undefined);
  rig.disk = undefined;
  return !disk.hasFailed;
}

/** With the speed of a disk that syncs nothing. */
async function undisturbed(action: () => Promise<void>): Promise<void> {
  using _disk = new DyingDisk();
  await action();
}

/**
 * Runs `check` for an action killed at each of its steps, each time in a new rig.
 * @param stride only at one of so many steps: where another test takes all of them
 */
async function atEveryStep(
  set: (rig: InstallRig) => Promise<void>,
  action: (rig: InstallRig) => Promise<unknown>,
  check: (rig: InstallRig) => Promise<void>,
  stride = 1,
): Promise<void> {
  for (let at = 1; ; at += stride) {
    using rig = new InstallRig();
    await undisturbed(() => set(rig));
    const isDone = await runUntilKilled(rig, at, () => action(rig));
    await undisturbed(() => check(rig));
    if (!isDone) continue;
    expect(at).toBeGreaterThan(40);
    return;
  }
}

/** The tools make them only when they change accounts: not if those are still there. */
function withoutCopies(listing: Record<string, string>): Record<string, string> {
  const lines = Object.entries(listing);
  return Object.fromEntries(lines.filter(([path]) => !/^etc\/(.*-|\.pwd\.lock)$/.test(path)));
}

const nothing = (): Promise<void> => Promise.resolve();
const other = (rig: InstallRig): Plan => serverPlan(rig, { dropIn: "other", without: KEY });

describe("killed at any step", () => {
  let before: Record<string, string>;
  let installed: Record<string, string>;
  let changed: Record<string, string>;

  beforeEach(async () => {
    using rig = new InstallRig();
    before = rig.listing();
    await rig.apply(serverPlan(rig));
    installed = rig.installedListing();
    await rig.apply(other(rig));
    changed = rig.installedListing();
  });

  test(
    "a first installation is completed by the next",
    async () => {
      await atEveryStep(
        nothing,
        (rig) => rig.apply(serverPlan(rig)),
        async (rig) => {
          await rig.apply(serverPlan(rig));
          expect(rig.installedListing()).toEqual(installed);
          expect(rig.manager.active.size).toBe(2);
          await rig.restore();
          expect(rig.listing()).toEqual(before);
        },
        3,
      );
    },
    TIMEOUT_MS,
  );

  test(
    "a first installation is taken back by uninstall",
    async () => {
      await atEveryStep(
        nothing,
        (rig) => rig.apply(serverPlan(rig)),
        async (rig) => {
          await rig.restore();
          expect(rig.listing()).toEqual(before);
          expect(rig.manager.active.size).toBe(0);
        },
      );
    },
    TIMEOUT_MS,
  );

  test(
    "a later installation is completed by the next",
    async () => {
      await atEveryStep(
        async (rig) => void (await rig.apply(serverPlan(rig))),
        (rig) => rig.apply(other(rig)),
        async (rig) => {
          await rig.apply(other(rig));
          expect(rig.installedListing()).toEqual(changed);
          await rig.restore();
          expect(rig.listing()).toEqual(before);
        },
      );
    },
    TIMEOUT_MS,
  );

  test(
    "uninstall is completed by the next, without --force where it has put files back already",
    async () => {
      using first = new InstallRig();
      first.write(DROP_IN, "somebody's");
      const wanted = first.listing();
      await atEveryStep(
        async (rig) => {
          rig.write(DROP_IN, "somebody's");
          await rig.apply(serverPlan(rig), { force: true });
        },
        (rig) => rig.restore(),
        async (rig) => {
          await rig.restore();
          expect(rig.listing()).toEqual(wanted);
          expect(rig.manager.active.size).toBe(0);
        },
      );
    },
    TIMEOUT_MS,
  );

  test(
    "uninstall may be followed by an installation",
    async () => {
      await atEveryStep(
        async (rig) => void (await rig.apply(serverPlan(rig))),
        (rig) => rig.restore(),
        async (rig) => {
          await rig.apply(serverPlan(rig));
          expect(withoutCopies(rig.installedListing())).toEqual(withoutCopies(installed));
          await rig.restore();
          expect(rig.listing()).toEqual(before);
        },
        3,
      );
    },
    TIMEOUT_MS,
  );

  test(
    "uninstall of one role leaves the other whole",
    async () => {
      await atEveryStep(
        async (rig) => {
          await rig.apply(clientPlan(rig));
          await rig.apply(serverPlan(rig));
        },
        (rig) => rig.restore({ roles: ["server"] }),
        async (rig) => {
          await rig.restore({ roles: ["server"] });
          expect((await rig.apply(clientPlan(rig))).steps).toEqual([]);
          await rig.restore();
          expect(rig.listing()).toEqual(before);
        },
        3,
      );
    },
    TIMEOUT_MS,
  );

  test(
    "and again while that is taken back: a third run goes on",
    async () => {
      let kills = 0;
      for (let at = 15; ; at += 11) {
        using rig = new InstallRig();
        if (await runUntilKilled(rig, at, () => rig.apply(serverPlan(rig)))) break;
        for (let again = 1; ; again += 2) {
          kills++;
          if (await runUntilKilled(rig, again, () => rig.restore())) break;
        }
        await rig.restore();
        expect(rig.listing()).toEqual(before);
      }
      expect(kills).toBeGreaterThan(40);
    },
    TIMEOUT_MS,
  );
});

describe("an interrupted run", () => {
  let rig: InstallRig;
  beforeEach(() => {
    rig = new InstallRig();
  });
  afterEach(() => rig[Symbol.dispose]());

  test("that had restarted units restarts them with the former files", async () => {
    await rig.apply(serverPlan(rig));
    rig.manager.onStart = () => {
      // As if it were killed here: nothing behind this is done.
      rig.disk = new DyingDisk({ kind: "killed", at: 1 });
      throw new Error("killed");
    };
    await rig.apply(serverPlan(rig, { dropIn: "other" })).catch(() => undefined);
    rig.manager.onStart = undefined;
    rig.disk?.[Symbol.dispose]();
    rig.disk = undefined;
    expect(readManifest(rig.root).run).not.toBeNull();
    rig.manager.takeLog();
    await rig.apply(serverPlan(rig));
    expect(rig.manager.takeLog()).toEqual([
      "daemon-reload",
      "start systemd-journal-remote.socket",
      "restart systemd-journal-remote.service",
    ]);
  });

  test("leaves nothing of a manifest that was not written to its end", async () => {
    const before = rig.listing();
    // Named after a process that is gone.
    const rest = "/var/lib/journal-agent/manifest.json.99999999.tmp";
    rig.write(rest, "{");
    await rig.restore();
    expect(rig.listing()).toEqual(before);
    await rig.apply(serverPlan(rig));
    rig.write(rest, "{");
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });

  test("leaves a dry run nothing to change", async () => {
    await runUntilKilled(rig, 90, () => rig.apply(serverPlan(rig)));
    const before = rig.listing();
    const { warnings } = await rig.apply(serverPlan(rig), { dryRun: true });
    expect(warnings).toEqual(["An interrupted run will be taken back first"]);
    expect(rig.listing()).toEqual(before);
  });
});
