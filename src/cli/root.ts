/** The commands of `agent`, and the other names the binary answers to. */
import { basename } from "node:path";
import { type CommandDef, defineCommand, runCommand } from "citty";
import { AgentError } from "../errors.ts";
import { configureLog } from "../log.ts";
import { isJournalStream } from "../platform/service.ts";
import { versionText } from "../version.ts";
import { print, reportError } from "./command.ts";
import { PRIORITIES } from "./priorities.ts";
import { formatPair } from "./usage.ts";

const PROGRAM = "agent";

/** Loaded when called for: none pays for the libraries of another. */
const COMMANDS: Record<string, { description: string; load(): Promise<CommandDef> }> = {
  serve: {
    description: "Receive journals over HTTPS and write native journal files",
    load: async () => (await import("./serve.ts")).serveCommand,
  },
  upload: {
    description: "Read the journal of this machine and send it",
    load: async () => (await import("./upload.ts")).uploadCommand,
  },
  certs: {
    description: "Make, renew and revoke the certificates of servers and clients",
    load: async () => (await import("./certs.ts")).certsCommandTree,
  },
  install: {
    description: "Set this machine up: programs, units, certificates; show, renew, upgrade it",
    load: async () => (await import("./install.ts")).installCommand,
  },
  uninstall: {
    description: "Take back what install did",
    load: async () => (await import("./uninstall.ts")).uninstallCommand,
  },
};

/** By the name the binary is started under. */
const PROGRAMS: Record<string, () => Promise<(argv: readonly string[]) => Promise<0 | 1>>> = {
  "systemd-journal-remote": async () => (await import("./remote-program.ts")).runRemoteProgram,
  "systemd-journal-upload": async () => (await import("./upload-program.ts")).runUploadProgram,
};

const rootCommand = defineCommand({
  meta: { name: PROGRAM, description: "Centralise systemd journals over mutual TLS" },
  subCommands: Object.fromEntries(Object.entries(COMMANDS).map(([name, { load }]) => [name, load])),
});

/**
 * Runs one command and sets the exit status; never rejects.
 * @param program the name the binary was started under, with or without a path.
 */
export async function main(program: string, argv: readonly string[]): Promise<void> {
  const { JOURNAL_STREAM, SYSTEMD_LOG_LEVEL } = process.env;
  configureLog({
    journald: isJournalStream(JOURNAL_STREAM, 2),
    level: levelName(SYSTEMD_LOG_LEVEL),
  });
  const loadProgram = PROGRAMS[basename(program)];
  if (loadProgram !== undefined) {
    const runProgram = await loadProgram();
    process.exitCode = await runProgram(argv);
    return;
  }
  const [name = ""] = argv;
  if (name === "--help" || name === "-h" || name === "help") {
    print(formatRootUsage());
  } else if (name === "--version") {
    print(`${versionText(PROGRAM)}\n`);
  } else if (Object.hasOwn(COMMANDS, name)) {
    await runCommand(rootCommand, { rawArgs: [...argv] });
  } else {
    const what = name === "" ? "Cannot run: no command" : `Cannot run "${name}": no such command`;
    process.exitCode = reportError(new AgentError("E_USAGE", what), PROGRAM);
  }
}

function formatRootUsage(): string {
  const commands = Object.entries(COMMANDS).flatMap(([name, { description }]) =>
    formatPair(name, description),
  );
  return `${[
    `Usage: ${PROGRAM} COMMAND [OPTION]...`,
    "",
    "Centralise systemd journals over mutual TLS, exactly once.",
    "",
    "Commands:",
    ...commands,
    "",
    "General:",
    ...formatPair("-h, --help", "Show this help and exit"),
    ...formatPair("    --version", "Show version, commit and Bun version, and exit"),
    "",
    `"${PROGRAM} COMMAND --help" shows the options of a command.`,
  ].join("\n")}\n`;
}

/** systemd takes numbers, too. */
function levelName(level: string | undefined): string | undefined {
  return level === undefined ? undefined : (PRIORITIES[Number(level)] ?? level);
}
