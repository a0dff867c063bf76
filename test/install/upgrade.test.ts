import { afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "../../src/errors.ts";
import type { CheckResult } from "../../src/install/check.ts";
import type { ServiceManager } from "../../src/install/service-manager.ts";
import { type UpgradeOptions, upgrade } from "../../src/install/upgrade.ts";
import type { RunCommand } from "../../src/platform/run.ts";
import { TempDir } from "../support/temp-dir.ts";

const TRUE = readFileSync(Bun.which("true") ?? "");
const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** A program for this machine that says this version: it is written behind its end. */
function program(version: string): Buffer {
  return Buffer.concat([TRUE, Buffer.from(`\nversion=${version}\n`)]);
}

const OK: CheckResult = { what: "it works", problem: undefined, hint: undefined };

/** A host with version 1.2.0 installed, and two services, of which one runs. */
class Host implements Disposable {
  readonly dir = new TempDir();
  readonly target = this.dir.write("bin/agent", program("1.2.0"));
  readonly done: string[] = [];
  readonly said: string[] = [];
  recorded: string | undefined;
  /** Versions with which a unit does not start. */
  readonly broken = new Set<string>();
  checks: () => CheckResult[] = () => [OK];

  constructor() {
    chmodSync(this.target, 0o755);
  }

  get version(): string {
    return versionIn(this.target);
  }

  readonly manager: ServiceManager = {
    daemonReload: () => Promise.reject(new Error("not needed")),
    start: () => Promise.reject(new Error("not needed")),
    stop: () => Promise.reject(new Error("not needed")),
    restart: async (unit) => {
      this.done.push(`restart ${unit} with ${this.version}`);
      if (this.broken.has(this.version)) {
        throw new AgentError("E_CONFIG", `Cannot restart "${unit}": it is broken`, {
          hint: "Look",
        });
      }
    },
    state: async (unit) => ({
      active: unit === "idle.service" ? "inactive" : "active",
      problem: undefined,
    }),
  };

  async upgrade(source: string, more: Partial<UpgradeOptions> = {}) {
    return await upgrade({
      source,
      sha256: undefined,
      target: this.target,
      units: ["idle.service", "busy.service"],
      manager: this.manager,
      run: versionOf,
      check: async () => this.checks(),
      recordBinary: (hash) => {
        this.recorded = hash;
      },
      say: (line) => this.said.push(line),
      ...more,
    });
  }

  async refusal(source: string, more: Partial<UpgradeOptions> = {}): Promise<AgentError> {
    try {
      await this.upgrade(source, more);
    } catch (error) {
      if (error instanceof AgentError) return error;
      throw error;
    }
    throw new Error("It is upgraded");
  }

  /** It is as it was, and nothing lies about. */
  expectUntouched(): void {
    expect(this.version).toBe("1.2.0");
    expect(readdirSync(join(this.dir.path, "bin"))).toEqual(["agent"]);
    expect(this.done).toEqual([]);
    expect(this.recorded).toBeUndefined();
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}

function versionIn(path: string): string {
  return /version=(\S+)\n$/.exec(readFileSync(path, "latin1"))?.[1] ?? "none";
}

const versionOf: RunCommand = async ([path = "", option]) => {
  expect(option).toBe("--version");
  expect(statSync(path).mode & 0o777).toBe(0o755);
  return { status: 0, stdout: `agent ${versionIn(path)} (commit abc, Bun 1.4.5)\n`, stderr: "" };
};

test("a file is put in place, what runs is restarted, and the old one kept", async () => {
  using host = new Host();
  const fresh = program("1.3.0");
  const outcome = await host.upgrade(host.dir.write("download", fresh));
  expect(outcome).toEqual({
    isChanged: true,
    fromVersion: "1.2.0",
    toVersion: "1.3.0",
    previous: `${host.target}.previous`,
    checks: [OK],
  });
  expect(host.version).toBe("1.3.0");
  expect(statSync(host.target).mode & 0o7777).toBe(0o755);
  expect(versionIn(`${host.target}.previous`)).toBe("1.2.0");
  expect(readdirSync(join(host.dir.path, "bin")).sort()).toEqual(["agent", "agent.previous"]);
  expect(host.done).toEqual(["restart busy.service with 1.3.0"]);
  expect(host.recorded).toBe(sha256(fresh));
  expect(host.said).toEqual([]);
});

test("the same program changes nothing", async () => {
  using host = new Host();
  const same = host.dir.write("download", program("1.2.0"));
  expect(await host.upgrade(same)).toMatchObject({ isChanged: false, toVersion: "1.2.0" });
  host.expectUntouched();
});

test("an older one is installed with a warning", async () => {
  using host = new Host();
  expect((await host.upgrade(host.dir.write("download", program("1.1.9")))).isChanged).toBeTrue();
  expect(host.said).toEqual(["Warning: 1.1.9 is older than 1.2.0, which is installed"]);
});

test("a wrong checksum, architecture or answer changes nothing", async () => {
  using host = new Host();
  const download = host.dir.write("download", program("1.3.0"));
  const wrong = await host.refusal(download, { sha256: "0".repeat(64) });
  expect(wrong.message).toBe(
    `Cannot upgrade to "${download}": its SHA-256 is ${sha256(program("1.3.0"))}, need ${"0".repeat(64)}`,
  );
  expect((await host.refusal(download, { sha256: "abc" })).code).toBe("E_USAGE");
  const foreign = program("1.3.0");
  foreign.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
  const other = host.dir.write("foreign", foreign);
  expect((await host.refusal(other)).message).toStartWith(
    `Cannot install "${other}": wrong architecture: `,
  );
  expect((await host.refusal(host.dir.write("script", "#!/bin/sh\n"))).message).toContain(
    "it is no program",
  );
  expect((await host.refusal(join(host.dir.path, "none"))).code).toBe("E_IO");
  expect((await host.refusal(host.dir.write("empty", ""))).message).toEndWith("it is empty");
  host.expectUntouched();
});

test("the right checksum of a file, in capitals, is taken", async () => {
  using host = new Host();
  const fresh = program("1.3.0");
  const download = host.dir.write("download", fresh);
  await host.upgrade(download, { sha256: sha256(fresh).toUpperCase() });
  expect(host.version).toBe("1.3.0");
});

describe("goes back to the old one", () => {
  test("when a service does not start", async () => {
    using host = new Host();
    host.broken.add("1.3.0");
    const error = await host.refusal(host.dir.write("download", program("1.3.0")));
    expect(error.message).toBe(
      'Cannot upgrade to 1.3.0: Cannot restart "busy.service": it is broken; rolled back to 1.2.0',
    );
    expect(error.hint).toBe("Look");
    expect(host.version).toBe("1.2.0");
    expect(host.recorded).toBe(sha256(program("1.2.0")));
    expect(host.done).toEqual([
      "restart busy.service with 1.3.0",
      "restart busy.service with 1.2.0",
    ]);
  });

  test("when the check fails", async () => {
    using host = new Host();
    const lost = { what: "sent", problem: "The probe is lost", hint: "Search" };
    host.checks = () => (host.version === "1.3.0" ? [OK, lost] : [OK]);
    const error = await host.refusal(host.dir.write("download", program("1.3.0")));
    expect(error.message).toBe("Cannot upgrade to 1.3.0: The probe is lost; rolled back to 1.2.0");
    expect(host.version).toBe("1.2.0");
    expect(statSync(host.target).mode & 0o777).toBe(0o755);
    expect(host.done.at(-1)).toBe("restart busy.service with 1.2.0");
  });

  test("but not for what did not work before", async () => {
    using host = new Host();
    const down = { what: "answers", problem: "The receiver is down", hint: undefined };
    host.checks = () => [OK, down];
    const outcome = await host.upgrade(host.dir.write("download", program("1.3.0")));
    expect(host.version).toBe("1.3.0");
    expect(outcome.checks).toEqual([OK, down]);
    expect(host.said).toEqual(["Warning: before the upgrade: The receiver is down"]);
    const worse = { what: "sent", problem: "The probe is lost", hint: undefined };
    host.checks = () => (host.version === "1.4.0" ? [down, worse] : [down]);
    const error = await host.refusal(host.dir.write("download", program("1.4.0")));
    expect(error.message).toBe("Cannot upgrade to 1.4.0: The probe is lost; rolled back to 1.3.0");
  });

  test("when the manifest cannot be written", async () => {
    using host = new Host();
    let calls = 0;
    const error = await host.refusal(host.dir.write("download", program("1.3.0")), {
      recordBinary: () => {
        if (++calls === 1) throw new Error("ENOSPC: no space left on device");
      },
    });
    expect(error.message).toContain("ENOSPC");
    expect(host.version).toBe("1.2.0");
    expect(calls).toBe(2);
  });

  test("and says so when that does not start either", async () => {
    using host = new Host();
    host.broken.add("1.3.0").add("1.2.0");
    const error = await host.refusal(host.dir.write("download", program("1.3.0")));
    expect(error.message).toEndWith(
      'rolled back to 1.2.0, with which Cannot restart "busy.service": it is broken',
    );
  });
});

test("nothing is upgraded where nothing is installed", async () => {
  using host = new Host();
  const target = join(host.dir.path, "elsewhere/agent");
  const download = host.dir.write("download", program("1.3.0"));
  expect((await host.refusal(download, { target })).message).toStartWith(
    `Cannot upgrade "${target}": ENOENT`,
  );
});

describe("from a URL", () => {
  const servers: { stop(force: boolean): unknown }[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.stop(true);
  });

  /** Path → what is there. */
  const serve = (files: Record<string, string | Uint8Array | (() => Response)>) => {
    const asked: string[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        const { pathname } = new URL(request.url);
        asked.push(pathname);
        const file = files[pathname];
        if (typeof file === "function") return file();
        return file === undefined ? new Response("", { status: 404 }) : new Response(file);
      },
    });
    servers.push(server);
    return { base: `http://127.0.0.1:${server.port}`, asked };
  };
  const fresh = program("1.3.0");

  test("its checksum is beside it, in a file of its own", async () => {
    using host = new Host();
    const { base } = serve({ "/v1/agent": fresh, "/v1/agent.sha256": `${sha256(fresh)}\n` });
    await host.upgrade(`${base}/v1/agent`);
    expect(host.version).toBe("1.3.0");
    expect(host.said[0]).toStartWith(`Warning: "${base}/v1/agent" is not https:`);
  });

  test("or among those of the release", async () => {
    using host = new Host();
    const sums = `${"1".repeat(64)}  agent-linux-arm64\n${sha256(fresh)} *agent-linux-x64\n`;
    const { base } = serve({ "/v1/agent-linux-x64": fresh, "/v1/SHA256SUMS": sums });
    await host.upgrade(`${base}/v1/agent-linux-x64`);
    expect(host.version).toBe("1.3.0");
    const wrong = await host.refusal(`${base}/v1/agent-linux-arm64`);
    expect(wrong.message).toContain("status 404");
  });

  test("or given; without any it is not installed", async () => {
    using host = new Host();
    const { base, asked } = serve({ "/agent": fresh });
    const error = await host.refusal(`${base}/agent`);
    expect(error.message).toBe(
      `Cannot check "${base}/agent": neither "${base}/agent.sha256" nor "${base}/SHA256SUMS" has its SHA-256, need it`,
    );
    expect(asked).not.toContain("/agent");
    host.expectUntouched();
    host.said.length = 0;
    await host.upgrade(`${base}/agent`, { sha256: sha256(fresh) });
    expect(host.version).toBe("1.3.0");
    expect(host.said).toEqual([]);
  });

  test("what is installed already is not fetched", async () => {
    using host = new Host();
    const same = program("1.2.0");
    const { base, asked } = serve({ "/agent": same, "/agent.sha256": sha256(same) });
    expect((await host.upgrade(`${base}/agent`)).isChanged).toBeFalse();
    expect(asked).toEqual(["/agent.sha256"]);
    host.expectUntouched();
  });

  test("another program than the checksum's is not installed", async () => {
    using host = new Host();
    const { base } = serve({ "/agent": program("6.6.6"), "/agent.sha256": sha256(fresh) });
    expect((await host.refusal(`${base}/agent`)).message).toContain("its SHA-256 is");
    host.expectUntouched();
  });

  test("nor one that came in part, nor from where nobody is", async () => {
    using host = new Host();
    const cut = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${fresh.length}\r\n\r\n`);
          socket.end(fresh.subarray(0, 1000));
        },
      },
    });
    servers.push(cut);
    const url = `http://127.0.0.1:${cut.port}/agent`;
    const error = await host.refusal(url, { sha256: sha256(fresh) });
    expect(error.code).toBe("E_PEER");
    expect(error.message).toStartWith(`Cannot fetch "${url}": `);
    cut.stop(true);
    const gone = await host.refusal(url, { sha256: sha256(fresh) });
    expect(gone.message).toStartWith(`Cannot fetch "${url}": `);
    host.expectUntouched();
    expect(existsSync(`${host.target}.new`)).toBeFalse();
  });

  test("a server that fails is told apart from one that has no checksum", async () => {
    using host = new Host();
    const { base } = serve({ "/agent.sha256": () => new Response("", { status: 503 }) });
    expect((await host.refusal(`${base}/agent`)).message).toBe(
      `Cannot fetch "${base}/agent.sha256": status 503`,
    );
  });
});
