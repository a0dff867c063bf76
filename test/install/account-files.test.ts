import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { accountNames, accountPaths } from "../../src/install/account-files.ts";
import { describeStep } from "../../src/install/steps.ts";
import { InstallRig, serverPlan } from "../support/install-rig.ts";

test("accountNames() reads users and groups, and nothing else", () => {
  const text = '# u no\nu a - "x"\nu! b 5\ng c -\nm a c\nr - 1-2\nu "d" -\nu a\n';
  expect(accountNames(text)).toEqual(["a", "b", "c", "d"]);
});

test("accountPaths() adds what the tools make beside the files", () => {
  expect(accountPaths(["/etc/passwd", "/var/cache/x"])).toEqual([
    "/etc/.pwd.lock",
    "/etc/passwd",
    "/etc/passwd-",
    "/var/cache/x",
  ]);
});

describe("uninstall --purge", () => {
  let rig: InstallRig;
  beforeEach(() => {
    rig = new InstallRig();
  });
  afterEach(() => rig[Symbol.dispose]());

  test("removes the accounts that were added, and what the tools left", async () => {
    rig.write("/etc/shadow-", "older", 0o600);
    const before = rig.listing();
    const timeBefore = statSync(rig.path("/etc/passwd")).mtimeMs;
    await rig.apply(serverPlan(rig));
    expect(rig.read("/etc/passwd")).toContain("systemd-journal-remote:");
    expect(rig.read("/etc/shadow-")).not.toBe("older");
    await rig.restore();
    expect(rig.listing()).toEqual(before);
    expect(Math.abs(statSync(rig.path("/etc/passwd")).mtimeMs - timeBefore)).toBeLessThan(0.01);
  });

  test("keeps accounts that others added since, and members", async () => {
    await rig.apply(serverPlan(rig));
    const passwd = rig.read("/etc/passwd");
    rig.write("/etc/passwd", `${passwd}eve:x:1000:1000::/nonexistent:/bin/sh\n`, 0o640);
    rig.write("/etc/passwd-", passwd);
    const group = rig
      .read("/etc/group")
      .replace("adm:x:4:joe", "adm:x:4:joe,eve,systemd-journal-remote");
    rig.write("/etc/group", group);
    await rig.restore();
    expect(rig.read("/etc/passwd")).toBe(
      "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\neve:x:1000:1000::/nonexistent:/bin/sh\n",
    );
    expect(statSync(rig.path("/etc/passwd")).mode & 0o7777).toBe(0o640);
    expect(rig.read("/etc/group")).toBe("root:x:0:\nadm:x:4:joe,eve\n");
    // Somebody else's by now.
    expect(rig.read("/etc/passwd-")).toBe(passwd);
  });

  test("leaves an account that was there before", async () => {
    const line = "systemd-journal-remote:x:50:50::/:/usr/sbin/nologin\n";
    rig.write("/etc/passwd", `${rig.read("/etc/passwd")}${line}`);
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });

  test("names only accounts that it removes: not a group that the distribution has", async () => {
    rig.write("/etc/group", `${rig.read("/etc/group")}systemd-journal:x:101:joe\n`);
    const plan = serverPlan(rig);
    const items = plan.items.map((item) =>
      item.path === "/etc/sysusers.d/journal-agent.conf" && item.kind === "file"
        ? { ...item, data: `g systemd-journal -\n${item.data}` }
        : item,
    );
    const before = rig.listing();
    await rig.apply({ ...plan, items });
    const { steps } = await rig.restore({ dryRun: true });
    expect(steps).toContainEqual({
      do: "take back accounts",
      names: ["systemd-journal-remote"],
    });
    const { kept } = await rig.restore({ purge: false });
    expect(kept).toEqual(["/var/log/journal/remote", "account systemd-journal-remote"]);
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });

  test("names none where all were there before, and takes back what the tools left", async () => {
    for (const name of ["passwd", "group", "shadow", "gshadow"]) {
      const line = "systemd-journal-remote:x:50::\n";
      rig.write(`/etc/${name}`, `${rig.read(`/etc/${name}`)}${line}`);
    }
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    const { steps } = await rig.restore();
    const [step] = steps.filter((each) => each.do === "take back accounts");
    expect(step && describeStep(step, { root: "", withContent: true })).toEqual([
      "restore the files of users and groups",
    ]);
    expect(rig.listing()).toEqual(before);
  });

  test("without purge keeps them, and a later purge removes them", async () => {
    const before = rig.listing();
    await rig.apply(serverPlan(rig));
    const { kept } = await rig.restore({ purge: false });
    expect(kept).toEqual(["/var/log/journal/remote", "account systemd-journal-remote"]);
    expect(rig.read("/etc/passwd")).toContain("systemd-journal-remote:");
    await rig.restore();
    expect(rig.listing()).toEqual(before);
  });
});

/** As root: it writes files for root. */
const hasSysusers = process.getuid?.() === 0 && Bun.which("systemd-sysusers") !== null;

test.skipIf(!hasSysusers)("what systemd-sysusers itself does is taken back", async () => {
  using rig = new InstallRig();
  rig.write("/etc/shadow", rig.read("/etc/shadow"), 0o640);
  const before = rig.listing();
  const plan = serverPlan(rig);
  const host = {
    ...rig.host,
    run: async (argv: readonly string[]) => {
      if (argv[0] !== "systemd-sysusers") return { status: 0, stdout: "", stderr: "" };
      const { exitCode, stderr } = Bun.spawnSync([...argv]);
      return { status: exitCode, stdout: "", stderr: stderr.toString() };
    },
  };
  await rig.apply(plan, {}, host);
  expect(rig.read("/etc/passwd")).toContain("systemd-journal-remote:");
  expect(rig.read("/etc/shadow")).toContain("systemd-journal-remote:");
  await rig.restore();
  expect(rig.listing()).toEqual(before);
});
