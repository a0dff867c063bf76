import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { dropInPath } from "../../src/install/roles/items.ts";
import { findOtherProgram } from "../../src/install/unit-program.ts";
import type { RunCommand } from "../../src/platform/run.ts";
import { TempDir } from "../support/temp-dir.ts";

const UNIT = "systemd-journal-remote.service";
const PROGRAM = "/usr/local/bin/agent";
const STOCK = "/lib/systemd/systemd-journal-remote";
const OURS = dropInPath(UNIT);

let dir: TempDir;
beforeEach(() => {
  dir = new TempDir();
});
afterEach(() => dir[Symbol.dispose]());

/** A service manager that knows one unit. */
const find = (command: string, dropIns: readonly string[]) => {
  const [path] = command.split(" ");
  const lines = [
    `ExecStart={ path=${path} ; argv[]=${command} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }`,
    `DropInPaths=${dropIns.join(" ")}`,
  ];
  const run: RunCommand = async (argv) => {
    expect(argv).toEqual(["systemctl", "show", "--property=ExecStart,DropInPaths", UNIT]);
    return { status: 0, stdout: `${lines.join("\n")}\n`, stderr: "" };
  };
  return findOtherProgram(run, UNIT, PROGRAM);
};

test("a unit runs our program, by itself or by means of another", async () => {
  expect(await find(`${PROGRAM} serve`, [OURS])).toBeUndefined();
  expect(await find(`/usr/bin/nice ${PROGRAM} serve`, [OURS])).toBeUndefined();
  expect(await find(`/usr/bin/nice ${PROGRAM}2 serve`, [OURS])).toBeDefined();
});

test("of drop-ins behind ours, the last that sets ExecStart= is to blame", async () => {
  const before = dir.write("10-http.conf", `[Service]\nExecStart=${STOCK}\n`);
  const first = dir.write("60-a.conf", `[Service]\nExecStart=\nExecStart=${STOCK} -a\n`);
  const last = dir.write("override.conf", `[Service]\n ExecStart = ${STOCK} -b\n`);
  const other = dir.write("z.conf", "[Service]\n#ExecStart=no\nExecStartPre=/bin/true\n");
  const other2 = join(dir.path, "gone.conf");
  expect(await find(`${STOCK} -b`, [before, OURS, first, last, other, other2])).toEqual({
    problem: `"${UNIT}" runs "${STOCK}" instead of "${PROGRAM}": "${last}" sets ExecStart=`,
    hint: `Remove ExecStart= from it, or give the file a name that sorts before 50-agent.conf; then: systemctl daemon-reload; systemctl restart ${UNIT}`,
  });
  const unknown = await find(STOCK, [before, OURS, other]);
  expect(unknown?.problem).toBe(`"${UNIT}" runs "${STOCK}" instead of "${PROGRAM}"`);
  expect(unknown?.hint).toEndWith(`systemctl cat ${UNIT}`);
});

test("where the whole unit is ours, any drop-in may be to blame, and a name is no help", async () => {
  const dropIn = dir.write("10-http.conf", `[Service]\nExecStart=\nExecStart=${STOCK}\n`);
  const other = await find(STOCK, [dropIn]);
  expect(other?.problem).toEndWith(`: "${dropIn}" sets ExecStart=`);
  expect(other?.hint).toStartWith("Remove ExecStart= from it; then");
});

test("a unit that starts no program is none of another's", async () => {
  const run: RunCommand = async () => ({ status: 0, stdout: "DropInPaths=\n", stderr: "" });
  expect(await findOtherProgram(run, "systemd-journal-remote.socket", PROGRAM)).toBeUndefined();
});
