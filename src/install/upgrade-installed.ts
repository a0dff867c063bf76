/** `agent install --upgrade`: another program in the place of the installed one, for all roles that run it. */
import { AgentError } from "../errors.ts";
import { runCommand } from "../platform/run.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import type { CheckResult } from "./check.ts";
import { openHost } from "./install.ts";
import type { SavedOptions } from "./install-request.ts";
import { installedRoles, type Manifest, readManifest, writeManifest } from "./manifest.ts";
import { lockInstallation, recoverRun } from "./recover.ts";
import { requireRoot } from "./require-root.ts";
import { programPath } from "./roles/options.ts";
import { selfCheck } from "./self-check.ts";
import { previousPath, type UpgradeOutcome, upgrade } from "./upgrade.ts";

export interface UpgradeRequest {
  /** A path, or a URL. */
  source: string;
  sha256: string | undefined;
  environment: ProxyEnvironment;
  say(line: string): void;
}

/** @throws AgentError: nothing is changed then, or it was changed back, which the message says */
export async function upgradeInstalled(request: UpgradeRequest): Promise<UpgradeOutcome> {
  requireRoot("upgrade");
  const lock = lockInstallation("");
  try {
    return await upgradeLocked(request);
  } finally {
    lock.release();
  }
}

async function upgradeLocked(request: UpgradeRequest): Promise<UpgradeOutcome> {
  const host = openHost("");
  for (const problem of (await recoverRun(host)) ?? []) request.say(problem);
  const manifest = readManifest("");
  const roles = installedRoles(manifest);
  const [role] = roles;
  if (role === undefined) {
    const hint = "agent install --role=server, or --role=client";
    throw new AgentError("E_CONFIG", "Cannot upgrade: nothing is installed here", { hint });
  }
  const target = programPath(optionsOf(manifest, role).prefix);
  const { manager } = host;
  if (manager === undefined) throw new RangeError("This machine has a service manager");
  const units = roles.flatMap((each) => manifest.roles[each]?.units ?? []);
  return await upgrade({
    ...request,
    target,
    units: units
      .filter(({ name, dependsOn }) => name.endsWith(".service") && dependsOn.includes(target))
      .map(({ name }) => name),
    manager,
    run: runCommand,
    check: async () => {
      const results: CheckResult[] = [];
      for (const each of roles) {
        const options = optionsOf(manifest, each);
        const { environment } = request;
        results.push(
          ...(await selfCheck({ ...host, role: each, options, manager, manifest, environment })),
        );
      }
      return results;
    },
    recordBinary: (sha256) => recordProgram(manifest, target, sha256),
  });
}

function optionsOf(manifest: Manifest, role: "server" | "client"): SavedOptions {
  return manifest.roles[role]?.options as SavedOptions;
}

/** It is ours, though another one than was installed, and so is the copy of the one before. */
function recordProgram(manifest: Manifest, target: string, sha256: string): void {
  const item = manifest.items[target];
  if (item?.written.kind === "file") item.written.sha256 = sha256;
  const roles = installedRoles(manifest);
  manifest.byproducts[previousPath(target)] ??= {
    roles,
    before: { top: { kind: "nothing" }, parents: [], inside: {}, journals: [], untouched: [] },
  };
  writeManifest("", manifest);
}
