import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../support/temp-dir.ts";

const ROOT = join(import.meta.dir, "../..");
const DEMO = join(ROOT, "scripts/demo");
/** All that the demo needs of a machine once node_modules is there. */
const COMMANDS = ["sh", "dirname", "find"];
const LIMIT_MS = 60_000;

describe.skipIf(!existsSync("/proc/self/cwd"))("scripts/demo", () => {
  test(
    "shows and checks every step, and leaves nothing",
    async () => {
      using dir = new TempDir();
      const demo = startDemo(dir);
      const { status, stdout, stderr } = await demo.end();
      expect(stderr).toBe("");
      expect(stdout).toContain("acknowledged=51 ");
      expect(stdout).toContain("acknowledged=0 ");
      expect(stdout).toContain("Client certificate not signed by recognized authority");
      expect(stdout).toContain("stored=51 duplicates=51 refused=0");
      expect(stdout).toContain("remote-web1.journal: 51 entries");
      expect(stdout).toContain("every step was checked");
      expect(status).toBe(0);
      expectNothingLeft(demo.temporary);
    },
    LIMIT_MS,
  );

  test.skipIf(Bun.which("journalctl") === null)(
    "shows entries and compares cursors with journalctl where there is one",
    async () => {
      using dir = new TempDir();
      const demo = startDemo(dir, ["journalctl"]);
      const { status, stdout, stderr } = await demo.end();
      expect(stderr).toBe("");
      expect(stdout).toContain("ConnectionRefusedError");
      expect(stdout).toContain("51 entries are stored, each with the cursor it had on web1");
      expect(status).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "fails when a step does, and leaves nothing",
    async () => {
      using dir = new TempDir();
      const demo = startDemo(dir, [], {
        journalctl: '#!/bin/sh\n[ "$1" = --version ] && echo "systemd 252 (252)" && exit\nexit 3\n',
      });
      const { status, stderr } = await demo.end();
      expect(stderr).toContain('The demo failed: "journalctl');
      expect(status).toBe(1);
      expectNothingLeft(demo.temporary);
    },
    LIMIT_MS,
  );

  test.each([
    ["SIGINT", "1. Build", 130],
    ["SIGTERM", "Listening", 143],
    ["SIGHUP", "6. Look", 129],
  ] as const)(
    'ends on %s at "%s" with status %d, and leaves nothing',
    async (signal, moment, expected) => {
      using dir = new TempDir();
      const demo = startDemo(dir);
      await demo.says(moment);
      demo.kill(signal);
      const { status, stderr } = await demo.end();
      expect(stderr).toContain(`Interrupted by ${signal}`);
      expect(status).toBe(expected);
      expectNothingLeft(demo.temporary);
    },
    LIMIT_MS,
  );
});

interface RunningDemo {
  /** Its TMPDIR. */
  temporary: string;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when it has written this to stdout. */
  says(text: string): Promise<void>;
  end(): Promise<{ status: number; stdout: string; stderr: string }>;
}

/**
 * @param commands of this machine it may use, besides the necessary ones
 * @param scripts others, by name
 */
function startDemo(
  dir: TempDir,
  commands: readonly string[] = [],
  scripts: Record<string, string> = {},
): RunningDemo {
  const bin = join(dir.path, "bin");
  const temporary = join(dir.path, "tmp");
  mkdirSync(bin);
  mkdirSync(temporary);
  for (const name of [...COMMANDS, ...commands]) {
    symlinkSync(Bun.which(name) ?? name, join(bin, name));
  }
  for (const [name, text] of Object.entries(scripts)) {
    chmodSync(dir.write(`bin/${name}`, text), 0o755);
  }
  const child = Bun.spawn([DEMO], {
    env: { PATH: bin, TMPDIR: temporary, HOME: dir.path, https_proxy: "http://127.0.0.1:9/" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let stdout = "";
  const reading = (async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) stdout += decoder.decode(chunk, { stream: true });
  })();
  const stderr = new Response(child.stderr).text();
  return {
    temporary,
    kill: (signal) => child.kill(signal),
    says: async (text) => {
      while (!stdout.includes(text)) {
        if (child.exitCode !== null) throw new Error(`It ended without "${text}":\n${stdout}`);
        await Bun.sleep(5);
      }
    },
    end: async () => {
      const [status] = await Promise.all([child.exited, reading]);
      return { status, stdout, stderr: await stderr };
    },
  };
}

/** Neither files nor processes; the latter run in there. */
function expectNothingLeft(temporary: string): void {
  expect(readdirSync(temporary)).toEqual([]);
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  expect(processes.filter((id) => workingDirectory(id).startsWith(temporary))).toEqual([]);
}

function workingDirectory(id: string): string {
  try {
    return readlinkSync(`/proc/${id}/cwd`);
  } catch {
    return ""; // Ended just now, or somebody else's.
  }
}
