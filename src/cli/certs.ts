/** `agent certs VERB`: a certificate authority for those who send and receive journals. */
import { type CommandDef, defineCommand } from "citty";
import { AgentError } from "../errors.ts";
import { type CertsVerb, certsCommand } from "./certs-verb.ts";
import { print, reportError, runCommandLine } from "./command.ts";
import { formatPair } from "./usage.ts";

const PROGRAM = "agent certs";

interface Verb {
  description: string;
  /** Not among those that are listed: no one calls it by hand. */
  isInternal?: boolean;
  load(): Promise<CertsVerb>;
}

/** Loaded when called for: what they need, the library for certificates above all, takes longer than all else. */
const VERBS: Record<string, Verb> = {
  init: {
    description: "Make an authority, or take over one of Netdata's script",
    load: async () => (await import("./certs-init.ts")).initVerb,
  },
  issue: {
    description: "Make a key and a certificate for a host",
    load: async () => (await import("./certs-issue.ts")).issueVerb,
  },
  bundle: {
    description: "Put all that a host needs into one file",
    load: async () => (await import("./certs-issue.ts")).bundleVerb,
  },
  request: {
    description: "On a host: make a key and a request for a certificate",
    load: async () => (await import("./certs-request.ts")).requestVerb,
  },
  sign: {
    description: "Make a certificate of a host's request",
    load: async () => (await import("./certs-request.ts")).signVerb,
  },
  accept: {
    description: "On a host: put the signed certificate in place",
    load: async () => (await import("./certs-request.ts")).acceptVerb,
  },
  token: {
    description: "Make a one-time token, with which a host enrols over the network",
    load: async () => (await import("./certs-token.ts")).tokenVerb,
  },
  renew: {
    description: "Replace certificates by ones that end later",
    load: async () => (await import("./certs-issue.ts")).renewVerb,
  },
  "needs-renewal": {
    description: "Exit status 0 if a certificate is due for renewal",
    load: async () => (await import("./certs-show.ts")).needsRenewalVerb,
  },
  revoke: {
    description: "Revoke a host's certificates",
    load: async () => (await import("./certs-revoke.ts")).revokeVerb,
  },
  crl: {
    description: "Write the list of revoked certificates anew",
    load: async () => (await import("./certs-revoke.ts")).crlVerb,
  },
  list: {
    description: "List what was issued, and when it ends",
    load: async () => (await import("./certs-show.ts")).listVerb,
  },
  inspect: {
    description: "Show what is in a file",
    load: async () => (await import("./certs-show.ts")).inspectVerb,
  },
  verify: {
    description: "Say whether a certificate, or the whole authority, is good",
    load: async () => (await import("./certs-show.ts")).verifyVerb,
  },
  "rotate-ca": {
    description: "Change the authority, without cutting off a host",
    load: async () => (await import("./certs-init.ts")).rotateVerb,
  },
  answer: {
    description: "Answer a question of agent serve",
    isInternal: true,
    load: async () => (await import("./certs-answer.ts")).answerVerb,
  },
};

export const certsCommandTree: CommandDef = defineCommand({
  meta: { name: PROGRAM, description: "Certificate authority" },
  run: async ({ rawArgs }): Promise<void> => {
    process.exitCode = await runVerb(rawArgs);
  },
});

async function runVerb([name = "", ...argv]: readonly string[]): Promise<number> {
  if (["", "help", "--help", "-h"].includes(name)) {
    if (name !== "") return print(formatCertsUsage());
    return reportError(new AgentError("E_USAGE", "Cannot run: no verb"), PROGRAM);
  }
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (verb === undefined) {
    const message = `Cannot run "${PROGRAM} ${name}": no such verb`;
    return reportError(new AgentError("E_USAGE", message), PROGRAM);
  }
  return await runCommandLine(certsCommand(name, await verb.load()), argv);
}

function formatCertsUsage(): string {
  const verbs = Object.entries(VERBS)
    .filter(([, { isInternal = false }]) => !isInternal)
    .flatMap(([name, { description }]) => formatPair(name, description));
  return `${[
    `Usage: ${PROGRAM} VERB [OPTION]...`,
    "",
    "A certificate authority for those who send and receive journals, in /etc/ssl/systemd-journal",
    "or where --directory= says.",
    "",
    "Verbs:",
    ...verbs,
    "",
    `"${PROGRAM} VERB --help" shows the options of a verb; all take --json.`,
  ].join("\n")}\n`;
}
