/** The options of `agent install` and `agent uninstall`, and what they ask for. */
import { resolve } from "node:path";
import { parseServerUrl } from "../certs/bundle.ts";
import { type AlternativeName, parseAlternativeName, parseHostName } from "../certs/names.ts";
import { AgentError } from "../errors.ts";
import type { InstallRequest } from "../install/install-request.ts";
import { type Daemon, ROLES, type Role } from "../install/plan.ts";
import { parseCount } from "./args.ts";
import { type CommandLine, hasOption, type Option } from "./options.ts";
import { atOption } from "./setting.ts";

const WHAT = "What";
const SERVER = "Server";
const CLIENT = "Client";
const CERTIFICATES = "Certificates (one way of these)";
const HOW = "How";
const INSTEAD = "Instead of installing";

const ROLE_OPTION = value(
  "role",
  "server|client",
  WHAT,
  "Receive journals, or send those of this machine",
);
const ROOT_OPTION = value("root", "DIR", HOW, "Set up the system image in DIR; nothing is started");
export const FORCE_OPTION = flag(
  "force",
  HOW,
  "Also change files that were edited by hand; they are kept as a copy",
);
export const DRY_RUN_OPTION = flag(
  "dry-run",
  HOW,
  "Show every file, mode, owner and command, and change nothing",
);
export const PURGE_OPTION = flag(
  "purge",
  HOW,
  "Also remove received journals, an authority that was made here, users, and the position of the sender",
);
export const JSON_OPTION = flag("json", HOW, "With --status: print it as JSON");
const STATUS_OPTION = flag(
  "status",
  INSTEAD,
  "Show what is installed, units, certificates, last errors",
);
const RENEW_OPTION = flag(
  "renew",
  INSTEAD,
  "Renew certificates that are due, as the timer does every day; with --force, those that are not, too",
);
export const UPGRADE_OPTION = value(
  "upgrade",
  "FILE|URL",
  INSTEAD,
  "Put this program in place of the installed one; if it does not work, the former one is put back",
);
export const SHA256_OPTION = value(
  "sha256",
  "HEX",
  INSTEAD,
  "What the program of --upgrade= has to have as SHA-256",
);

export const INSTALL_OPTIONS: readonly Option[] = [
  ROLE_OPTION,
  {
    ...value(
      "daemon",
      "agent|systemd",
      WHAT,
      "Whose programs run: this one, or systemd's own, which are only set up",
    ),
    defaultText: "agent",
  },
  { ...value("port", "PORT", SERVER, "Where journals are received"), defaultText: "19532" },
  flag(
    "enroll",
    SERVER,
    "Let new clients get their certificate here, with a token of agent certs token",
  ),
  flag("no-enroll", SERVER, "Do not any more"),
  repeated(
    "server",
    "URL",
    CLIENT,
    "Where journals are sent, like https://logs.example.net:19532; may be repeated",
  ),
  value(
    "targets",
    "failover|mirror",
    CLIENT,
    "Of several servers: one that works, or each of them",
  ),
  repeated("namespace", "NAME", CLIENT, "Also send this journal namespace; may be repeated"),
  flag("no-namespace", CLIENT, "No namespaces any more"),
  flag(
    "init-ca",
    CERTIFICATES,
    "Server: make an authority on this machine, if there is none, and the server's certificate",
  ),
  value(
    "name",
    "NAME",
    CERTIFICATES,
    "Name of this machine in its certificate (default: its host name)",
  ),
  repeated(
    "san",
    "NAMES",
    CERTIFICATES,
    "Server: names and addresses by which clients reach it: DNS:logs.example.net,IP:192.0.2.10",
  ),
  value("bundle", "FILE", CERTIFICATES, "All that a machine needs, made by agent certs bundle"),
  value(
    "token",
    "TOKEN",
    CERTIFICATES,
    "Client: get the certificate from --server=; - reads the token from stdin",
  ),
  value("key", "FILE", CERTIFICATES, "Private key of your own, used where it is"),
  value("cert", "FILE", CERTIFICATES, "Certificate of your own"),
  value("trust", "FILE", CERTIFICATES, "Certificate of the authority that is trusted"),
  value("crl", "FILE", CERTIFICATES, "Revocation lists of that authority"),
  {
    ...value("prefix", "DIR", HOW, "The program goes to DIR/bin/agent"),
    defaultText: "/usr/local",
  },
  ROOT_OPTION,
  DRY_RUN_OPTION,
  FORCE_OPTION,
  flag("no-start", HOW, "Start nothing now"),
  flag("no-check", HOW, "Do not try afterwards whether it works"),
  STATUS_OPTION,
  JSON_OPTION,
  RENEW_OPTION,
  UPGRADE_OPTION,
  SHA256_OPTION,
];

export const UNINSTALL_OPTIONS: readonly Option[] = [
  { ...ROLE_OPTION, description: "Only what this role needs", defaultText: "all" },
  PURGE_OPTION,
  ROOT_OPTION,
  DRY_RUN_OPTION,
  FORCE_OPTION,
];

/** What goes with what is done instead of installing. */
const ACTION_OPTIONS = {
  status: [ROOT_OPTION.name, JSON_OPTION.name],
  renew: [FORCE_OPTION.name],
  upgrade: [SHA256_OPTION.name],
} as const satisfies Record<string, readonly string[]>;
const ACTIONS = ["status", "renew", "upgrade"] as const;

/** @throws AgentError E_USAGE for options of another action: what they ask for would not be done */
export function readAction({ uses }: CommandLine): (typeof ACTIONS)[number] | "install" {
  const names = uses.map(({ option }) => option.name);
  const action = ACTIONS.find((each) => names.includes(each));
  if (action === undefined) {
    const stray = names.find((name) => name === JSON_OPTION.name || name === SHA256_OPTION.name);
    if (stray === undefined) return "install";
    const needed = stray === JSON_OPTION.name ? "--status" : "--upgrade=";
    throw new AgentError("E_USAGE", `Cannot use "--${stray}": it is for ${needed}`);
  }
  const allowed: readonly string[] = [action, ...ACTION_OPTIONS[action]];
  const other = names.find((name) => !allowed.includes(name));
  if (other === undefined) return action;
  throw new AgentError("E_USAGE", `Cannot use "--${other}" together with "--${action}"`);
}

/** @throws AgentError E_USAGE */
export function readInstallRequest(line: CommandLine, readStdin: () => string): InstallRequest {
  const role = readRole(line);
  if (role === undefined) {
    const hint = "One of: agent install --role=server, agent install --role=client";
    throw new AgentError("E_USAGE", "Cannot install: need --role=", { hint });
  }
  for (const [name, only] of Object.entries(ONLY_FOR)) {
    if (only === role || !hasOption(line, name)) continue;
    throw new AgentError("E_USAGE", `Cannot use "--${name}": it is for --role=${only}`);
  }
  const token = optionValue(line, "token");
  const starts = !hasOption(line, "no-start");
  return {
    role,
    daemon: choice<Daemon>(line, "daemon", ["agent", "systemd"]),
    prefix: absolute(line, "prefix"),
    root: readRoot(line),
    port: read(line, "port", (text) => parseCount(text, 1, 65_535)),
    enroll: readSwitch(line, "enroll", "no-enroll"),
    servers: readAll(line, "server", parseServerUrl),
    targets: choice(line, "targets", ["failover", "mirror"] as const),
    namespaces: readNamespaces(line),
    initializesAuthority: hasOption(line, "init-ca"),
    name: read(line, "name", parseHostName),
    names: readAll(line, "san", parseNames)?.flat(),
    bundle: optionValue(line, "bundle"),
    token: token === "-" ? readStdin().trim() : token,
    files: readFiles(line),
    isForced: hasOption(line, FORCE_OPTION.name),
    isDryRun: hasOption(line, DRY_RUN_OPTION.name),
    starts,
    checks: starts && !hasOption(line, "no-check"),
  };
}

/** Undefined = not said. @throws AgentError E_USAGE */
export function readRole(line: CommandLine): Role | undefined {
  return choice(line, ROLE_OPTION.name, ROLES);
}

/** "" = this machine. */
export function readRoot(line: CommandLine): string {
  const root = resolve(optionValue(line, ROOT_OPTION.name) ?? "/");
  return root === "/" ? "" : root;
}

export function optionValue(line: CommandLine, name: string): string | undefined {
  return line.uses.findLast((use) => use.option.name === name)?.value;
}

const ONLY_FOR: Readonly<Record<string, Role>> = {
  port: "server",
  enroll: "server",
  "no-enroll": "server",
  "init-ca": "server",
  san: "server",
  crl: "server",
  server: "client",
  targets: "client",
  namespace: "client",
  "no-namespace": "client",
  token: "client",
};

function readFiles(line: CommandLine): InstallRequest["files"] {
  const [key, certificate, authority] = ["key", "cert", "trust"].map((name) =>
    absolute(line, name),
  );
  const lists = absolute(line, "crl");
  const isAnyGiven = [key, certificate, authority, lists].some((file) => file !== undefined);
  if (!isAnyGiven) return undefined;
  if (key !== undefined && certificate !== undefined && authority !== undefined) {
    return { key, certificate, authority, lists };
  }
  const missing = key === undefined ? "key" : certificate === undefined ? "cert" : "trust";
  const message = `Cannot use certificates of your own: "--${missing}=" is missing`;
  const hint = "--key=, --cert= and --trust= belong together";
  throw new AgentError("E_USAGE", message, { hint });
}

function readNamespaces(line: CommandLine): string[] | undefined {
  if (readSwitch(line, "namespace", "no-namespace") === false) return [];
  return readAll(line, "namespace", parseNamespace);
}

/** systemd's names of namespaces: journald.conf(5), LogNamespace= of systemd.exec(5). */
function parseNamespace(text: string): string {
  if (/^[A-Za-z0-9_.-]{1,200}$/.test(text) && !/^\.+$/.test(text)) return text;
  throw new AgentError("E_USAGE", `Cannot use "${text}": need the name of a journal namespace`);
}

function parseNames(text: string): AlternativeName[] {
  return text
    .split(",")
    .filter((each) => each !== "")
    .map(parseAlternativeName);
}

function readSwitch(line: CommandLine, on: string, off: string): boolean | undefined {
  if (hasOption(line, on) && hasOption(line, off)) {
    throw new AgentError("E_USAGE", `Cannot use "--${off}": "--${on}" is given, too`);
  }
  return hasOption(line, on) ? true : hasOption(line, off) ? false : undefined;
}

function absolute(line: CommandLine, name: string): string | undefined {
  const path = optionValue(line, name);
  return path === undefined ? undefined : resolve(path);
}

function choice<T extends string>(
  line: CommandLine,
  name: string,
  choices: readonly T[],
): T | undefined {
  return read(line, name, (text) => {
    const found = choices.find((each) => each === text);
    if (found !== undefined) return found;
    throw new AgentError("E_USAGE", `Cannot use "${text}": need one of ${choices.join(", ")}`);
  });
}

function read<T>(line: CommandLine, name: string, parse: (text: string) => T): T | undefined {
  return readAll(line, name, parse)?.at(-1);
}

function readAll<T>(line: CommandLine, name: string, parse: (text: string) => T): T[] | undefined {
  const uses = line.uses.filter((use) => use.option.name === name);
  if (uses.length === 0) return undefined;
  try {
    return uses.map((use) => parse(use.value ?? ""));
  } catch (error) {
    throw atOption(name, error);
  }
}

function value(name: string, valueHint: string, group: string, description: string): Option {
  return { name, takesValue: "always", valueHint, group, description };
}

function repeated(name: string, valueHint: string, group: string, description: string): Option {
  return { ...value(name, valueHint, group, description), repeatable: true };
}

function flag(name: string, group: string, description: string): Option {
  return { name, takesValue: "never", group, description };
}
