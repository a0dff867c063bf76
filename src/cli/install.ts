/** `agent install`: sets this machine up, and says what it did, whether it works and how to go on. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { ExitStatus } from "../errors.ts";
import type { CheckResult } from "../install/check.ts";
import type { Installed, InstallIo } from "../install/install.ts";
import type { InstallRequest } from "../install/install-request.ts";
import type { RenewOutcome } from "../install/renew.ts";
import { log } from "../log.ts";
import { formatAuthority } from "../upload/http/upload-url.ts";
import { formatDay } from "./certs-verb.ts";
import { command, print, reportError } from "./command.ts";
import {
  FORCE_OPTION,
  INSTALL_OPTIONS,
  JSON_OPTION,
  optionValue,
  readAction,
  readInstallRequest,
  readRoot,
  SHA256_OPTION,
  UPGRADE_OPTION,
} from "./install-options.ts";
import { type CommandLine, hasOption } from "./options.ts";
import { askPassphrase } from "./passphrase.ts";

export const installCommand = command({
  program: "agent install",
  description:
    "Set this machine up to receive journals, or to send its own: program, units, user, directories, configuration, certificates. Then start it and try whether it works. A second run changes what is different, and nothing else.",
  options: INSTALL_OPTIONS,
  notes: [
    "Options that are not given stay as at the last run. What others configured is kept; agent uninstall takes back what was done.",
    "On the server: agent install --role=server --init-ca --name=logs --san=DNS:logs.example.net,IP:192.0.2.10; then agent certs issue web1, and agent certs bundle web1 --server=https://logs.example.net:19532 --output=web1.bundle. On the client: agent install --role=client --bundle=web1.bundle.",
    "Or, on the server: agent install --role=server --enroll, agent certs token web1; on the client: agent install --role=client --server=https://logs.example.net:19532 --token=TOKEN.",
    "Other users of the machine see the command line while it runs: --token=- reads the token from stdin.",
    "Exit status: 0 when it is installed and works; 69 when a check failed afterwards, or the receiver could not be asked for a certificate. If anything else, nothing was changed.",
  ],
  run: runInstall,
});

async function runInstall(line: CommandLine): Promise<ExitStatus | 0> {
  switch (readAction(line)) {
    case "status":
      return await showStatus(line);
    case "renew":
      return await renew(line);
    case "upgrade":
      return await upgradeProgram(line);
    case "install":
      return await installRole(line);
  }
}

async function installRole(line: CommandLine): Promise<ExitStatus | 0> {
  const request = readInstallRequest(line, () => readFileSync(0, "utf8"));
  const { install } = await import("../install/install.ts");
  return report(request, await install(request, installIo()));
}

function installIo(): InstallIo {
  return {
    binary: process.execPath,
    nowMs: Date.now(),
    environment: process.env,
    authority: {
      passphrase: () => askPassphrase("Passphrase of the authority's key"),
      report: (message) => log.warn(message),
    },
  };
}

async function showStatus(line: CommandLine): Promise<0> {
  const [{ formatStatus, gatherStatus }, { openHost }, { readManifest }, { requireRoot }] =
    await Promise.all([
      import("../install/status.ts"),
      import("../install/install.ts"),
      import("../install/manifest.ts"),
      import("../install/require-root.ts"),
    ]);
  requireRoot("show what is installed");
  const root = readRoot(line);
  const status = await gatherStatus({
    ...openHost(root),
    manifest: readManifest(root),
    nowMs: Date.now(),
  });
  return print(
    hasOption(line, JSON_OPTION.name)
      ? `${JSON.stringify(status, null, 2)}\n`
      : formatStatus(status),
  );
}

/** @returns the exit status of the first that failed */
async function renew(line: CommandLine): Promise<ExitStatus | 0> {
  const { renewInstalled } = await import("../install/renew.ts");
  const isForced = hasOption(line, FORCE_OPTION.name);
  const outcomes = await renewInstalled({ isForced, io: installIo() });
  return outcomes.map(reportRenewal).find((status) => status !== 0) ?? 0;
}

function reportRenewal(outcome: RenewOutcome): ExitStatus | 0 {
  if (outcome.what === "failed") return reportError(outcome.error, "agent install");
  const { role, what, name, notAfterMs } = outcome;
  const text = `Certificate "${name}" of the ${role}: ${what}, valid until ${formatDay(notAfterMs)}`;
  if (what !== "due, but nobody renews it") {
    log.info(text);
    return 0;
  }
  log.warn(text);
  const bundle = `agent install --role=${role} --bundle=FILE`;
  const enrolling = "Where the authority is: agent install --role=server --enroll; or bring";
  log.info(`${role === "client" ? enrolling : "Bring"} a new bundle: ${bundle}`);
  return 0;
}

async function upgradeProgram(line: CommandLine): Promise<0> {
  const { upgradeInstalled } = await import("../install/upgrade-installed.ts");
  const source = optionValue(line, UPGRADE_OPTION.name) ?? "";
  const sha256 = optionValue(line, SHA256_OPTION.name);
  const outcome = await upgradeInstalled({
    source,
    sha256,
    environment: process.env,
    say: (text) => log.info(text),
  });
  if (!outcome.isChanged) return print("Nothing to do: this program is installed already\n");
  const from = outcome.fromVersion ?? "unknown";
  printChecks(outcome.checks);
  return print(
    `Upgraded from ${from} to ${outcome.toVersion ?? "unknown"}; the former one is kept as ${outcome.previous ?? ""}\n`,
  );
}

/** Results go to stdout, what is wrong to stderr. */
function report(request: InstallRequest, installed: Installed): ExitStatus | 0 {
  const { lines, isChanged, warnings, checks } = installed;
  for (const warning of warnings) log.warn(warning);
  if (!isChanged) print("Nothing to do: everything is as asked for\n");
  else print(`${lines.join("\n")}\n`);
  if (request.isDryRun) {
    if (isChanged) log.info("Nothing was changed: this is what would be done");
    return 0;
  }
  printChecks(checks);
  const failures = checks.filter(({ problem }) => problem !== undefined);
  for (const { problem, hint } of failures) {
    log.error(problem);
    if (hint !== undefined) log.info(hint);
  }
  if (failures.length > 0) return ExitStatus.unavailable;
  print(`\n${nextSteps(request, installed).join("\n")}\n`);
  return 0;
}

function printChecks(checks: readonly CheckResult[]): void {
  for (const { what, problem } of checks)
    print(`${problem === undefined ? "ok    " : "FAILED"}  ${what}\n`);
}

/** What an operator wants to know next. */
function nextSteps(request: InstallRequest, installed: Installed): string[] {
  const isServer = request.role === "server";
  const unit = isServer ? "systemd-journal-remote" : "systemd-journal-upload";
  const undo = `Undo: agent uninstall${request.root === "" ? "" : ` --root=${request.root}`}`;
  const lines = isServer
    ? ["Received journals: /var/log/journal/remote; journalctl --directory=/var/log/journal/remote"]
    : [whereSent(installed)];
  if (request.root !== "") lines.push("It starts when the image is booted");
  else if (!request.starts)
    lines.push(`Not started: systemctl start ${startedUnits(unit, isServer)}`);
  if (request.root === "") lines.push(`Status: systemctl status ${unit}; agent install --status`);
  if (request.bundle !== undefined) {
    lines.push(`Holds the private key, and is not needed any more: ${request.bundle}`);
  }
  return [...lines, ...(isServer ? addClient(installed) : []), undo];
}

function startedUnits(unit: string, isServer: boolean): string {
  return isServer ? `${unit}.socket ${unit}.service` : unit;
}

function whereSent({ options, name }: Installed): string {
  const where = options.servers.length === 0 ? "as configured" : options.servers.join(", ");
  return `Journals of this machine${name === undefined ? "" : `, as "${name}",`} go to: ${where}`;
}

function addClient({ options, name }: Installed): string[] {
  const { port, enroll, isLocalAuthority, daemon, names } = options;
  if (!isLocalAuthority) {
    return ["A client needs a certificate of the authority that is trusted here"];
  }
  const host = (names.find(({ type }) => type === "dns") ?? names[0])?.value ?? name ?? hostname();
  const url = `https://${formatAuthority(host, port)}`;
  if (enroll && daemon === "agent") {
    return [
      `Add a client, here:   agent certs token web1 --server=${url}`,
      "and there:            the command that it prints",
    ];
  }
  return [
    `Add a client, here:   agent certs issue web1 && agent certs bundle web1 --server=${url} --output=web1.bundle`,
    "and there:            agent install --role=client --bundle=web1.bundle",
  ];
}
