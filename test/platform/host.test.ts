import { expect, test } from "bun:test";
import { machineId, openFilesLimit } from "../../src/platform/host.ts";

test("openFilesLimit() is what the process is held to", () => {
  const script = `import { openFilesLimit } from "${import.meta.dir}/../../src/platform/host.ts"; console.log(openFilesLimit());`;
  const command = ["sh", "-c", 'ulimit -n 321; exec "$0" -e "$1"', process.execPath, script];
  expect(Bun.spawnSync(command).stdout.toString().trim()).toBe("321");
  expect(openFilesLimit()).toBeGreaterThan(100);
});

test("machineId() names this machine, and the same each time", () => {
  expect(machineId()).toBe(machineId());
  expect(machineId()).not.toBe("");
});
