/** Which program a unit runs: of the drop-ins that set ExecStart= the last one in the order of names wins, whoever wrote it. */
import { readFileSync } from "node:fs";
import type { RunCommand } from "../platform/run.ts";
import { dropInPath } from "./roles/items.ts";
import { showUnit } from "./service-manager.ts";

/** In words. */
export interface OtherProgram {
  problem: string;
  hint: string;
}

/**
 * @param program with its path
 * @returns undefined for a unit that runs it, as one that starts nothing does
 * @throws AgentError E_CONFIG when there is no service manager to ask
 */
export async function findOtherProgram(
  run: RunCommand,
  unit: string,
  program: string,
): Promise<OtherProgram | undefined> {
  const values = await showUnit(run, unit, ["ExecStart", "DropInPaths"]);
  const [, path, argv = ""] = EXEC_START.exec(values.get("ExecStart") ?? "") ?? [];
  // Others may start it for us: nice(1), strace(1).
  if (path === undefined || path === program || argv.split(" ").includes(program)) return undefined;
  const paths = (values.get("DropInPaths") ?? "").split(" ");
  const ours = paths.indexOf(dropInPath(unit));
  const dropIn = paths.slice(ours + 1).findLast(setsProgram);
  const problem = `"${unit}" runs "${path}" instead of "${program}"`;
  if (dropIn === undefined) {
    return { problem, hint: `See which file sets ExecStart=: systemctl cat ${unit}` };
  }
  const rename = ours < 0 ? "" : ", or give the file a name that sorts before 50-agent.conf";
  return {
    problem: `${problem}: "${dropIn}" sets ExecStart=`,
    hint: `Remove ExecStart= from it${rename}; then: systemctl daemon-reload; systemctl restart ${unit}`,
  };
}

/** "{ path=/usr/bin/a ; argv[]=/usr/bin/a b ; ignore_errors=no ; … }" */
const EXEC_START = /^\{ path=(.*?) ; argv\[\]=(.*?) ; /;

function setsProgram(path: string): boolean {
  try {
    return /^\s*ExecStart\s*=/m.test(readFileSync(path, "utf8"));
  } catch {
    // It is gone since the service manager read it.
    return false;
  }
}
