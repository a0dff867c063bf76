import { expect, test } from "bun:test";
import { isGlob } from "../../src/upload/glob.ts";
import { mangleUnitName } from "../../src/upload/units.ts";
import { hostEntries, writeJournal } from "../support/journal-entries.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const CASES: Record<string, string> = {
  sshd: "sshd.service",
  "sshd.service": "sshd.service",
  "ssh.socket": "ssh.socket",
  "sshd.conf": "sshd.conf.service",
  "user@1000": "user@1000.service",
  "user@.service": "user@.service",
  "@.service": "@.service.service",
  "/home": "home.mount",
  "/": "-.mount",
  "/boot/efi/": "boot-efi.mount",
  "/srv/my-data": "srv-my\\x2ddata.mount",
  "/.hidden": "\\x2ehidden.mount",
  "/dev/sda1": "dev-sda1.device",
  "/sys/module//x": "sys-module-x.device",
  "a b": "a\\x20b.service",
  "a/b": "a-b.service",
  ä: "\\xc3\\xa4.service",
  "ssh*": "ssh*",
  "session-[0-9].scope": "session-[0-9].scope",
  "ssh *": "ssh\\x20*",
  "[^a]*": "[\\x5ea]*",
  "/a/../b": "-a-..-b.service",
  "/dev": "dev.mount",
  "/dev/": "dev.mount",
};

for (const [name, unit] of Object.entries(CASES)) {
  test(`mangleUnitName("${name}")`, () => {
    expect(mangleUnitName(name)).toBe(unit);
  });
}

test("mangleUnitName() refuses an empty name", () => {
  expect(() => mangleUnitName("")).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
});

test.if(hasSystemd())("mangleUnitName() gives the name that journalctl -u looks for", () => {
  using dir = new TempDir();
  const path = `${dir.path}/one.journal`;
  writeJournal(path, hostEntries(1));
  const names = Object.keys(CASES).filter((name) => !isGlob(name));
  const wrong = names.filter((name) => {
    const { stderr } = Bun.spawnSync(["journalctl", "--file", path, "-n0", "-u", name], {
      env: { ...Bun.env, SYSTEMD_LOG_LEVEL: "debug" },
    });
    // The filter is logged with each "\\" as two.
    const unit = mangleUnitName(name).replaceAll("\\", "\\\\");
    return !stderr.toString().includes(`OR _SYSTEMD_UNIT=${unit})`);
  });
  expect(wrong).toEqual([]);
});
