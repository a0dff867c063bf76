import { expect, test } from "bun:test";
import { portOwners } from "../../src/install/port-owner.ts";
import type { RunCommand } from "../../src/platform/run.ts";

/** Names itself, listens, says where. */
const LISTENER = `
  require("fs").writeFileSync("/proc/self/comm", "a\\x1b[2J\\nb");
  const server = require("net").createServer().listen(0, "127.0.0.1", () => console.log(server.address().port));
`;

test("a process that listens is shown by its name, without what a terminal would take for commands", async () => {
  const run: RunCommand = async () => ({ status: 0, stdout: "", stderr: "" });
  await using child = Bun.spawn([process.execPath, "-e", LISTENER], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const owners = await portOwners(Number(new TextDecoder().decode(value)), run);
  expect(owners).toMatchObject([{ pid: child.pid, program: "a?[2J?b" }]);
});
