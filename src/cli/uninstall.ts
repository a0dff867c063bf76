/** `agent uninstall`: takes back what `agent install` did. */
import { ROLES } from "../install/plan.ts";
import { log } from "../log.ts";
import { command, print } from "./command.ts";
import {
  DRY_RUN_OPTION,
  FORCE_OPTION,
  PURGE_OPTION,
  readRole,
  readRoot,
  UNINSTALL_OPTIONS,
} from "./install-options.ts";
import { type CommandLine, hasOption } from "./options.ts";

export const uninstallCommand = command({
  program: "agent uninstall",
  description:
    "Take back what agent install did: what was there before is there again, and systemd's own programs run as they did. Received journals, an authority that was made here, users, and the sender's position stay, unless --purge is given.",
  options: UNINSTALL_OPTIONS,
  run: runUninstall,
});

async function runUninstall(line: CommandLine): Promise<0> {
  const { uninstall } = await import("../install/uninstall.ts");
  const role = readRole(line);
  const isDryRun = hasOption(line, DRY_RUN_OPTION.name);
  const { lines, warnings, kept } = await uninstall({
    root: readRoot(line),
    roles: role === undefined ? ROLES : [role],
    purge: hasOption(line, PURGE_OPTION.name),
    force: hasOption(line, FORCE_OPTION.name),
    dryRun: isDryRun,
  });
  for (const warning of warnings) log.warn(warning);
  print(lines.length === 0 ? "Nothing to do: nothing is installed\n" : `${lines.join("\n")}\n`);
  if (isDryRun) log.info("Nothing was changed: this is what would be done");
  for (const path of kept) log.info(`Kept: ${path} (--purge removes it)`);
  return 0;
}
