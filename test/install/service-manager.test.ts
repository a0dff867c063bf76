import { afterAll, beforeAll, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import { waitForEntry, writeProbe } from "../../src/install/probe.ts";
import {
  lastLines,
  type ServiceManager,
  systemctlManager,
} from "../../src/install/service-manager.ts";
import { type RunCommand, runCommand } from "../../src/platform/run.ts";
import { type BootedMachine, describeMachines } from "../support/booted-machine.ts";

async function errorOf(promise: Promise<unknown>): Promise<AgentError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  throw new Error("It does not fail");
}

test("what a unit has logged is shown without what a terminal would take for commands", async () => {
  const stdout = "gone \x1b[2J\u009b31m\rsoon\n\nnext ü\n";
  const run: RunCommand = async () => ({ status: 0, stdout, stderr: "" });
  expect(await lastLines(run, "a.service", 2)).toEqual(["gone ?[2J?31m?soon", "next ü"]);
});

/** INPUT COMMAND...: runs a command; prints its output, status and errors. */
const CAPTURE = 'printf %s "$0" | "$@" 2> /run/errors; printf "\\0%d\\0" $?; cat /run/errors';

await describeMachines("systemctl", (boot) => {
  let machine: BootedMachine;
  let run: RunCommand;
  let manager: ServiceManager;

  beforeAll(async () => {
    machine = await boot({
      files: {
        "etc/systemd/system/good.service": "[Service]\nExecStart=/bin/sleep infinity\n",
        "etc/systemd/system/bad.service":
          "[Service]\nType=notify\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n" +
          "ExecStart=/bin/sh -c 'echo the disk is on fire >&2; exit 78'\n",
        "etc/systemd/system/late.service":
          "[Service]\nExecStart=/bin/sh -c 'echo \"<3>gone soon\"; exit 5'\nRestart=always\nRestartSec=1h\n",
      },
    });
    machine.link("etc/systemd/system/masked.service", "/dev/null");
    run = async (argv, { input = "" } = {}) => {
      const said = await machine.run("sh", "-c", CAPTURE, input, ...argv);
      const [stdout = "", status, stderr = ""] = said.split("\0");
      return { status: Number(status), stdout, stderr };
    };
    manager = systemctlManager(run);
    await manager.daemonReload();
  }, 60_000);

  afterAll(async () => {
    await machine?.[Symbol.asyncDispose]();
  });

  test("a unit is started, restarted and stopped, also when it does not run", async () => {
    expect(await manager.state("good.service")).toEqual({ active: "inactive", problem: undefined });
    await manager.start("good.service");
    expect(await manager.state("good.service")).toEqual({ active: "active", problem: undefined });
    const pid = await machine.run("systemctl", "show", "--property=MainPID", "good.service");
    await manager.restart("good.service");
    expect(await machine.run("systemctl", "show", "--property=MainPID", "good.service")).not.toBe(
      pid,
    );
    await manager.stop("good.service");
    await manager.stop("good.service");
    await manager.stop("nowhere.service");
    expect((await manager.state("good.service")).active).toBe("inactive");
  });

  test("one that does not start says why, with the end of its log, as often as it is tried", async () => {
    for (let i = 0; i < 3; i++) {
      const error = await errorOf(manager.start("bad.service"));
      expect(error.message).toStartWith('Cannot start "bad.service": its process failed');
      expect(error.message).toContain("exit status 78");
      expect(error.message).toContain("\n  the disk is on fire");
      expect(error.hint).toBe("See more with: journalctl --unit=bad.service");
    }
    expect(await manager.state("bad.service")).toMatchObject({ active: "failed" });
  });

  test("one that ended is not well, and its last error is known", async () => {
    await manager.start("late.service");
    let state = await manager.state("late.service");
    for (let i = 0; i < 100 && state.problem === undefined; i++) {
      await Bun.sleep(50);
      state = await manager.state("late.service");
    }
    expect(state).toEqual({ active: "activating", problem: "its process failed, exit status 5" });
    expect(await lastLines(run, "late.service", 1, "err")).toEqual(["gone soon"]);
    expect(await lastLines(run, "good.service", 1, "err")).toEqual([]);
  });

  test("a probe in the journal is found in journald's files", async () => {
    const nowUsec = Date.now() * 1000;
    const message = await writeProbe(run, undefined, crypto.randomUUID());
    const cursor = await waitForEntry(
      { directory: machine.journals },
      message,
      nowUsec,
      AbortSignal.timeout(10_000),
    );
    const shown = await machine.run("journalctl", "--output=json", `--cursor=${cursor}`, "-n1");
    expect(JSON.parse(shown)).toMatchObject({
      __CURSOR: cursor,
      MESSAGE: message,
      PRIORITY: "6",
      SYSLOG_IDENTIFIER: "agent-install",
    });
  });

  test("a unit that is masked, or not there, is told of", async () => {
    expect((await manager.state("masked.service")).problem).toBe("it is masked");
    expect((await manager.state("nowhere.service")).problem).toBe("there is no such unit");
    const error = await errorOf(manager.start("nowhere.service"));
    expect(error.message).toStartWith('Cannot start "nowhere.service": there is no such unit');
  });
});

test("without a service manager its own words are shown", async () => {
  const refusing: RunCommand = async () => ({
    status: 1,
    stdout: "",
    stderr: "System has not been booted with systemd as init system (PID 1). Can't operate.\n",
  });
  const error = await errorOf(systemctlManager(refusing).daemonReload());
  expect(error.message).toBe(
    "Cannot reload the service manager: System has not been booted with systemd as init system (PID 1). Can't operate.",
  );
  const missing = systemctlManager((_, options) => runCommand(["/nowhere/systemctl"], options));
  expect((await errorOf(missing.start("a.service"))).message).toContain("ENOENT");
});
