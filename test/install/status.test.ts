import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { look } from "../../src/install/disk-state.ts";
import type { SavedOptions } from "../../src/install/install-request.ts";
import { type Manifest, newManifest } from "../../src/install/manifest.ts";
import type { Role } from "../../src/install/plan.ts";
import type { ServiceManager } from "../../src/install/service-manager.ts";
import { formatStatus, gatherStatus } from "../../src/install/status.ts";
import type { RunCommand } from "../../src/platform/run.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const DROP_IN = "/etc/systemd/system/systemd-journal-remote.service.d/50-agent.conf";
const CERTIFICATE = "/etc/ssl/journal-agent/server/certificate.pem";
const AUTHORITY = "/etc/ssl/journal-agent/server/authority.pem";

let pki: TestPki;
beforeAll(() => {
  pki = new TestPki();
});
afterAll(() => pki[Symbol.dispose]());

const EMPTY = newManifest();

const SERVER: SavedOptions = {
  daemon: "agent",
  prefix: "/usr/local",
  port: 19_532,
  enroll: true,
  servers: [],
  namespaces: [],
  names: [],
  places: { key: "/none", certificate: CERTIFICATE, authority: AUTHORITY, lists: undefined },
  isLocalAuthority: false,
};
const CLIENT: SavedOptions = {
  ...SERVER,
  enroll: false,
  servers: ["https://logs.example.net:19532"],
  places: { key: "/none", certificate: "/none.pem", authority: AUTHORITY, lists: undefined },
};

/** An image with what was installed in it. */
class Image implements Disposable {
  readonly #dir = new TempDir();
  readonly root = this.#dir.path;

  constructor() {
    this.#dir.write("usr/local/bin/agent", "a program");
    this.#dir.write(DROP_IN, "[Service]\n");
    for (const [path, name] of [
      [CERTIFICATE, "server.pem"],
      [AUTHORITY, "ca.pem"],
    ] as const) {
      this.#dir.write(path, Bun.spawnSync(["cat", pki.path(name)]).stdout);
    }
    this.#dir.write("var/log/journal/remote/remote-web1.journal", Buffer.alloc(8192, 1));
    this.#dir.write("var/log/journal/remote/remote-db1.journal~", Buffer.alloc(4096, 1));
    this.#dir.write("var/log/journal/remote/notes.txt", "no journal");
  }

  manifest(roles: Partial<Record<Role, SavedOptions>>): Manifest {
    const record = (path: string) => ({
      roles: ["server" as const],
      written: look(this.root, path),
      before: { kind: "nothing" as const },
    });
    const items = Object.fromEntries(
      ["/usr/local/bin/agent", DROP_IN, CERTIFICATE].map((path) => [path, record(path)]),
    );
    const installed = Object.entries(roles).map(([role, options]) => {
      const name = role === "server" ? "systemd-journal-remote" : "systemd-journal-upload";
      const units = [{ name: `${name}.service`, dependsOn: [], wasActive: false }];
      return [role, { options, units }];
    });
    return { ...EMPTY, roles: Object.fromEntries(installed), items };
  }

  write(path: string, text: string): void {
    writeFileSync(join(this.root, path), text);
  }

  remove(path: string): void {
    rmSync(join(this.root, path));
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]();
  }
}

const manager: ServiceManager = {
  daemonReload: () => Promise.reject(new Error("not needed")),
  start: () => Promise.reject(new Error("not needed")),
  restart: () => Promise.reject(new Error("not needed")),
  stop: () => Promise.reject(new Error("not needed")),
  state: async (unit) =>
    unit.includes("remote")
      ? { active: "active", problem: undefined }
      : { active: "activating", problem: "its process failed, exit status 78" },
};

const run: RunCommand = async ([program, ...args]) => {
  const since = "Sun 2026-11-22 08:37:20 UTC";
  const active = `ActiveEnterTimestamp=${since}\nInactiveEnterTimestamp=\n`;
  const isUpload = args.some((arg) => arg.includes("upload"));
  const error = isUpload ? "Cannot use private key\n" : "";
  return { status: 0, stdout: program === "systemctl" ? active : error, stderr: "" };
};

const gather = (image: Image, manifest: Manifest, nowMs = Date.now()) =>
  gatherStatus({ root: image.root, manifest, manager, run, nowMs });

test("nothing is installed", async () => {
  using image = new Image();
  const status = await gather(image, EMPTY);
  expect(status).toEqual({ program: null, roles: [], changed: [] });
  expect(formatStatus(status)).toBe("Nothing is installed\n");
});

test("both roles are told of, each with what it has", async () => {
  using image = new Image();
  const status = await gather(image, image.manifest({ server: SERVER, client: CLIENT }));
  const [server, client] = status.roles;
  expect(status.changed).toEqual([]);
  expect(status.program).toMatchObject({ path: "/usr/local/bin/agent", version: null });
  expect(server).toMatchObject({
    role: "server",
    port: 19_532,
    enrollment: true,
    urls: [],
    units: [
      {
        name: "systemd-journal-remote.service",
        active: "active",
        since: "Sun 2026-11-22 08:37:20 UTC",
        problem: null,
        lastError: null,
      },
    ],
    certificate: {
      file: CERTIFICATE,
      name: "server",
      names: ["DNS:localhost", "IP:127.0.0.1", "IP:::1"],
      daysLeft: 364,
      isDue: false,
      problem: null,
    },
    journals: { directory: "/var/log/journal/remote", files: 2, bytes: 12_288 },
  });
  expect(client).toMatchObject({
    role: "client",
    port: null,
    enrollment: null,
    journals: null,
    urls: ["https://logs.example.net:19532"],
    units: [{ active: "activating", lastError: "Cannot use private key" }],
    certificate: { file: "/none.pem", problem: "no such file", daysLeft: null },
  });
  // What --json shows has nothing undefined in it.
  expect(JSON.parse(JSON.stringify(status))).toEqual(status);
});

test("a unit that runs another program than ours has a problem", async () => {
  using image = new Image();
  const manifest = image.manifest({ server: SERVER });
  const stock = "/lib/systemd/systemd-journal-remote";
  const exec = `ExecStart={ path=${stock} ; argv[]=${stock} ; ignore_errors=no }\n`;
  const options = { root: image.root, manager, nowMs: Date.now() };
  const runStock: RunCommand = async () => ({ status: 0, stdout: exec, stderr: "" });
  const gatherUnits = async (status: ReturnType<typeof gatherStatus>) =>
    (await status).roles[0]?.units.map(({ problem }) => problem);
  expect(await gatherUnits(gatherStatus({ ...options, manifest, run: runStock }))).toEqual([
    `"systemd-journal-remote.service" runs "${stock}" instead of "/usr/local/bin/agent"`,
  ]);
  const kept = image.manifest({ server: { ...SERVER, daemon: "systemd" } });
  expect(await gatherUnits(gatherStatus({ ...options, manifest: kept, run: runStock }))).toEqual([
    null,
  ]);
});

test("people read it line by line", async () => {
  using image = new Image();
  const manifest = image.manifest({ server: SERVER, client: CLIENT });
  image.write(DROP_IN, "[Service]\nNice=5\n");
  image.remove(CERTIFICATE);
  const text = formatStatus(await gather(image, manifest));
  const lines = text.split("\n");
  expect(lines[0]).toBe("program  /usr/local/bin/agent  version not known");
  expect(lines).toContain("server");
  expect(lines).toContain(
    "  systemd-journal-remote.service  active since Sun 2026-11-22 08:37:20 UTC",
  );
  expect(lines).toContain(`  certificate  ${CERTIFICATE}: no such file`);
  expect(lines).toContain("    last error: Cannot use private key");
  expect(lines).toContain("  journals     /var/log/journal/remote  2 files, 0.0 MiB");
  expect(lines).toContain("  sends to     https://logs.example.net:19532");
  expect(lines).toContain(`edited by hand: ${DROP_IN}`);
  expect(lines).toContain(`gone since it was installed: ${CERTIFICATE}`);
  expect(text).not.toContain("undefined");
});

describe("a certificate", () => {
  const certificateAt = async (days: number) => {
    using image = new Image();
    const manifest = image.manifest({ server: SERVER });
    const status = await gather(image, manifest, Date.now() + days * DAY_MS);
    const certificate = status.roles[0]?.certificate;
    const line = formatStatus(status)
      .split("\n")
      .find((text) => text.startsWith("  certificate"));
    return { certificate, line };
  };

  test("is due for renewal when two thirds of its life are over", async () => {
    expect((await certificateAt(243)).certificate?.isDue).toBeFalse();
    const { certificate, line } = await certificateAt(244);
    expect(certificate).toMatchObject({ isDue: true, daysLeft: 120 });
    expect(line).toContain("in 120 days, due for renewal");
  });

  test("has expired", async () => {
    const { certificate, line } = await certificateAt(366);
    expect(certificate?.daysLeft).toBe(-2);
    expect(line).toMatch(/, expired \d{4}-\d\d-\d\d {2}/);
  });
});

test("URLs that were configured before are shown where none was given", async () => {
  using image = new Image();
  const manifest = image.manifest({ client: { ...CLIENT, servers: [] } });
  Bun.spawnSync(["mkdir", "-p", join(image.root, "etc/systemd")]);
  image.write("/etc/systemd/journal-upload.conf", "[Upload]\nURL=http://192.0.2.7:19532\n");
  const status = await gather(image, manifest);
  expect(status.roles[0]?.urls).toEqual(["http://192.0.2.7:19532"]);
});

test("without a service manager the units are only named", async () => {
  using image = new Image();
  const manifest = image.manifest({ server: SERVER });
  const status = await gatherStatus({
    root: image.root,
    manifest,
    manager: undefined,
    run,
    nowMs: Date.now(),
  });
  expect(status.roles[0]?.units).toEqual([
    {
      name: "systemd-journal-remote.service",
      active: null,
      since: null,
      problem: null,
      lastError: null,
    },
  ]);
  expect(formatStatus(status)).toContain("  systemd-journal-remote.service  not running here\n");
});
