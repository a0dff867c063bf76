/** Drop-ins that leave systemd's own programs in place, and give them certificates, and a start after each end. */
import type { HostFacts, StockProgram } from "../host-facts.ts";
import type { CertificatePlaces } from "../plan.ts";
import { RECEIVED_DIRECTORY, type ServerOptions } from "../roles/options.ts";
import { loadCredentials } from "./credentials.ts";
import { NEVER_GIVEN_UP } from "./sandbox.ts";
import { type Directive, quoteWord, type Section } from "./unit-text.ts";

/** What of {@link KEPT_RUNNING} these programs can do. */
const STARTED_AGAIN: readonly Directive[] = [
  ["Restart", "always"],
  ["RestartSec", "1s"],
  ["RestartSteps", "5"],
  ["RestartMaxDelaySec", "15s"],
];

export function stockServerService(
  { certificates }: ServerOptions,
  program: StockProgram,
  { systemdVersion }: HostFacts,
): Section[] {
  const credentials = loadCredentials(certificates, "systemd-journal-remote", systemdVersion);
  const command = [
    quoteWord(program.path),
    "--listen-https=-3",
    `--output=${RECEIVED_DIRECTORY}`,
    ...credentials.arguments,
    ...(program.hasGnutls ? [quoteWord(`--trust=${certificates.authority}`)] : []),
  ];
  return stockService(command, credentials.directives);
}

/** @param certificates undefined = what the configuration says */
export function stockClientService(
  certificates: CertificatePlaces | undefined,
  program: StockProgram,
  { systemdVersion }: HostFacts,
): Section[] {
  const credentials =
    certificates && loadCredentials(certificates, "systemd-journal-upload", systemdVersion);
  const command = [quoteWord(program.path), "--save-state", ...(credentials?.arguments ?? [])];
  return stockService(command, credentials?.directives ?? []);
}

function stockService(command: readonly string[], directives: readonly Directive[]): Section[] {
  return [
    { name: "Unit", directives: [NEVER_GIVEN_UP] },
    {
      name: "Service",
      directives: [...directives, ["ExecStart", command.join(" ")], ...STARTED_AGAIN],
    },
  ];
}
