/** What makes a machine one that receives journals. */
import { AgentError } from "../../errors.ts";
import type { HostFacts } from "../host-facts.ts";
import type { Plan, PlanItem, PlannedCommand, PlannedFile, PlannedUnit } from "../plan.ts";
import { SERVER_CONFIGURATION, serverConfiguration } from "../units/configuration.ts";
import {
  ENROLL_SERVICE_TEMPLATE,
  ENROLL_SOCKET_UNIT,
  enrollService,
  enrollSocket,
} from "../units/enroll-units.ts";
import { RENEW_SERVICE, renewPaths } from "../units/renew-units.ts";
import {
  SERVER_SERVICE,
  SERVER_SOCKET,
  serverService,
  serverSocket,
} from "../units/server-units.ts";
import { JOURNAL_GROUP, sysusersText, tmpfilesText } from "../units/system-texts.ts";
import { formatUnit } from "../units/unit-text.ts";
import { dropInPath, enableLink, fileItem, programItem, unitItem } from "./items.ts";
import {
  AUTHORITY_DIRECTORY,
  hiddenDirectory,
  RECEIVED_DIRECTORY,
  type ServerOptions,
} from "./options.ts";
import { renewalPart } from "./renewal.ts";
import { stockServerPlan } from "./stock.ts";

const SYSUSERS = "journal-agent.conf";
const TMPFILES = "journal-agent.conf";

/** What systemd-sysusers writes to, copies of the files as they were included. */
const ACCOUNT_FILES = [
  ...["passwd", "shadow", "group", "gshadow"].flatMap((name) => [`/etc/${name}`, `/etc/${name}-`]),
  "/etc/.pwd.lock",
];

/** @throws AgentError E_USAGE when received journals cannot be where they are wanted, or a path cannot be written into a unit */
export function serverPlan(options: ServerOptions, facts: HostFacts): Plan {
  const { outputDirectory = RECEIVED_DIRECTORY } = options;
  requireVisible(outputDirectory);
  if (options.daemon === "systemd") return stockServerPlan(options, facts);
  const program = programItem(options);
  const configuration = fileItem(
    SERVER_CONFIGURATION,
    serverConfiguration(options),
    "the receiver's configuration",
  );
  const socket = unitItem(SERVER_SOCKET, (form) => serverSocket(options.port, form), facts);
  const service = unitItem(SERVER_SERVICE, (form) => serverService(options, form), facts);
  const system = systemPart(outputDirectory, facts);
  const enrollment =
    options.enroll && options.isLocalAuthority ? enrollPart(options, facts) : NOTHING;
  const renewal = renewalPart(options, facts);
  const { key, certificate } = options.certificates;
  return {
    role: "server",
    items: [
      program,
      configuration,
      ...system.items,
      socket,
      service,
      enableLink(SERVER_SOCKET, "sockets.target", facts),
      enableLink(SERVER_SERVICE, "multi-user.target", facts),
      ...enrollment.items,
      ...renewal.items,
      ...renewPathItems(options, facts),
    ],
    commands: system.commands,
    units: [
      ...enrollment.units,
      { name: SERVER_SOCKET, activation: "start", dependsOn: [socket.path] },
      {
        name: SERVER_SERVICE,
        activation: "start",
        dependsOn: [program.path, configuration.path, service.path, key, certificate],
      },
      ...renewal.units,
    ],
    byproducts: [outputDirectory, ...renewal.byproducts],
    sharedJournals: { directory: outputDirectory, group: JOURNAL_GROUP },
    warnings: [],
  };
}

interface Part {
  items: readonly PlanItem[];
  units: readonly PlannedUnit[];
}
const NOTHING: Part = { items: [], units: [] };

/** The user is not made where the distribution's package has made it. */
function systemPart(
  outputDirectory: string,
  { root, foreignUnits, systemdVersion }: HostFacts,
): { items: PlannedFile[]; commands: PlannedCommand[] } {
  // For an image it is the systemd-sysusers of this machine that reads it, which may be older.
  const readerVersion = root === "" ? systemdVersion : 0;
  const sysusers = fileItem(
    `/etc/sysusers.d/${SYSUSERS}`,
    sysusersText(readerVersion),
    "the receiver's user",
  );
  const tmpfiles = fileItem(
    `/etc/tmpfiles.d/${TMPFILES}`,
    tmpfilesText(outputDirectory),
    "the directory of received journals",
  );
  const makeUser: PlannedCommand = {
    argv: ["systemd-sysusers", "--root=%ROOT%", SYSUSERS],
    purpose: "makes the receiver's user",
    after: [sysusers.path],
    changes: ACCOUNT_FILES,
  };
  const makeDirectory: PlannedCommand = {
    argv: ["systemd-tmpfiles", "--create", "--root=%ROOT%", TMPFILES],
    purpose: "makes the directory of received journals",
    after: [tmpfiles.path],
    changes: [],
  };
  if (foreignUnits.has(SERVER_SERVICE)) return { items: [tmpfiles], commands: [makeDirectory] };
  return { items: [sysusers, tmpfiles], commands: [makeUser, makeDirectory] };
}

function enrollPart(options: ServerOptions, facts: HostFacts): Part {
  const socket = unitItem(ENROLL_SOCKET_UNIT, enrollSocket, facts);
  const service = unitItem(ENROLL_SERVICE_TEMPLATE, () => enrollService(options), facts);
  return {
    items: [socket, service, enableLink(ENROLL_SOCKET_UNIT, "sockets.target", facts)],
    units: [{ name: ENROLL_SOCKET_UNIT, activation: "start", dependsOn: [socket.path] }],
  };
}

function renewPathItems(options: ServerOptions, { systemdVersion }: HostFacts): PlanItem[] {
  const { renews, isLocalAuthority, authorityDirectory } = options;
  if (!renews || !isLocalAuthority || authorityDirectory === AUTHORITY_DIRECTORY) return [];
  const text = formatUnit(renewPaths(authorityDirectory), { isDropIn: false, systemdVersion });
  return [fileItem(dropInPath(RENEW_SERVICE), text, `drop-in of ${RENEW_SERVICE}`)];
}

function requireVisible(directory: string): void {
  const hidden = hiddenDirectory(directory);
  if (hidden === undefined) return;
  throw new AgentError(
    "E_USAGE",
    `Cannot receive into "${directory}": the service does not see "${hidden}", need a directory elsewhere`,
    { hint: `Without the option they are in ${RECEIVED_DIRECTORY}` },
  );
}
