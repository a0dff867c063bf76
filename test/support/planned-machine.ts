/** Plans of roles, and a machine that is made as they say. */
import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import type { HostFacts } from "../../src/install/host-facts.ts";
import type { CertificatePlaces, Plan, PlanItem, Role } from "../../src/install/plan.ts";
import type { ClientOptions, ServerOptions } from "../../src/install/roles/options.ts";
import type { HostMachine } from "./host-machine.ts";
import type { TestPki } from "./tls.ts";

/** Of systemd's packages. */
const STOCK_UNITS = [
  "systemd-journal-remote.socket",
  "systemd-journal-remote.service",
  "systemd-journal-upload.service",
];

/** @param hasPackage are systemd's own journal programs installed? */
export function hostFacts(systemdVersion: number, hasPackage: boolean): HostFacts {
  const units = STOCK_UNITS.map((name) => [name, `/usr/lib/systemd/system/${name}`] as const);
  const program = (name: string) =>
    hasPackage ? { path: `/usr/lib/systemd/${name}`, hasGnutls: false } : undefined;
  return {
    root: "",
    systemdVersion,
    isSystemdRunning: true,
    foreignUnits: new Map(hasPackage ? units : []),
    stockRemote: program("systemd-journal-remote"),
    stockUpload: program("systemd-journal-upload"),
    hostName: "web1",
  };
}

/** Of Debian's releases. */
export const SYSTEMD_VERSIONS = { "bookworm-host": 252, "trixie-host": 257 } as const;

/** The receiver's revocation list. */
export const LISTS = "/etc/ssl/journal-agent/server/crl.pem";

export function certificatePlaces(role: Role): CertificatePlaces {
  const directory = `/etc/ssl/journal-agent/${role}`;
  return {
    key: `${directory}/key.pem`,
    certificate: `${directory}/certificate.pem`,
    authority: `${directory}/authority.pem`,
    lists: undefined,
  };
}

export function serverOptions(changes: Partial<ServerOptions> = {}): ServerOptions {
  return {
    daemon: "agent",
    prefix: "/opt",
    binary: "/usr/bin/true",
    renews: false,
    port: 19532,
    certificates: certificatePlaces("server"),
    isLocalAuthority: false,
    authorityDirectory: "/etc/ssl/systemd-journal",
    enroll: false,
    ...changes,
  };
}

export function clientOptions(changes: Partial<ClientOptions> = {}): ClientOptions {
  return {
    daemon: "agent",
    prefix: "/opt",
    binary: "/usr/bin/true",
    renews: false,
    urls: ["https://localhost:19532"],
    certificates: certificatePlaces("client"),
    namespaces: [],
    ...changes,
  };
}

/** The text of a file. Throws where the plan has no such file, or not a text. */
export function plannedText({ items }: Plan, path: string): string {
  const item = items.find((candidate) => candidate.path === path);
  if (item?.kind === "file" && typeof item.data === "string") return item.data;
  throw new Error(`No text at ${path}; planned are ${items.map((each) => each.path).join(" ")}`);
}

/** Makes all that is planned but the program, which is bound in; runs the commands, and starts the units. */
export async function setUp(machine: HostMachine, { items, commands, units }: Plan): Promise<void> {
  for (const item of items) place(machine, item);
  for (const { argv } of commands) {
    await machine.run(...argv.map((argument) => argument.replace("%ROOT%", "")));
  }
  await machine.run("systemctl", "daemon-reload");
  const started = units.filter(({ activation }) => activation === "start");
  for (const { name } of started) await machine.run("systemctl", "restart", name);
}

function place(machine: HostMachine, item: PlanItem): void {
  const path = machine.file(item.path);
  if (item.kind === "link") {
    mkdirSync(dirname(path), { recursive: true });
    rmSync(path, { force: true });
    symlinkSync(item.target, path);
  } else if (item.kind === "directory") {
    mkdirSync(path, { recursive: true, mode: item.mode });
  } else if (typeof item.data === "string" || item.data instanceof Uint8Array) {
    machine.write(item.path, item.data, item.mode);
  }
}

/** Those of "server" and "web1", for both roles, and the list of {@link LISTS}. */
export function placeCertificates(machine: HostMachine, pki: TestPki): void {
  pki.issue("web1");
  pki.writeCrl();
  const copy = (from: string, to: string, mode: number) =>
    machine.write(to, readFileSync(pki.path(from)), mode);
  for (const [role, name] of [
    ["server", "server"],
    ["client", "web1"],
  ] as const) {
    const places = certificatePlaces(role);
    copy(`${name}.key`, places.key, 0o600);
    copy(`${name}.pem`, places.certificate, 0o644);
    copy("ca.pem", places.authority, 0o644);
  }
  copy("ca.crl.pem", LISTS, 0o644);
}

/** A shell's command that succeeds when a received entry has this message. */
export function findReceived(message: string): string {
  const search = `journalctl --quiet --directory=/var/log/journal/remote "MESSAGE=${message}"`;
  return `${search} | grep --quiet "${message}"`;
}
