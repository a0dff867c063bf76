/** The roles of a machine that keeps systemd's own programs: certificates, the https socket, URL, and a start after each end. */
import { AgentError } from "../../errors.ts";
import type { HostFacts, StockProgram } from "../host-facts.ts";
import type { Plan } from "../plan.ts";
import { CLIENT_SERVICE } from "../units/client-units.ts";
import { SERVER_SERVICE, SERVER_SOCKET, serverSocket } from "../units/server-units.ts";
import { stockClientService, stockServerService } from "../units/stock-units.ts";
import { certificatePaths, configurationItems, stateDirectories } from "./client-items.ts";
import { enableLink, programItem, unitItem } from "./items.ts";
import { type ClientOptions, RECEIVED_DIRECTORY, type ServerOptions } from "./options.ts";
import { renewalPart } from "./renewal.ts";

const CLIENTS_UNCHECKED =
  "This systemd-journal-remote is built without GnuTLS: it does not check the certificates of senders, so whoever reaches its port can send entries";

/** @throws AgentError E_USAGE where there are no such programs, or they cannot do it */
export function stockServerPlan(options: ServerOptions, facts: HostFacts): Plan {
  const { enroll, outputDirectory = RECEIVED_DIRECTORY } = options;
  if (enroll) throw unable("enroll clients");
  if (outputDirectory !== RECEIVED_DIRECTORY) throw unable(`receive into "${outputDirectory}"`);
  const stock = requireStock(facts.stockRemote, SERVER_SERVICE, facts);
  const socket = unitItem(SERVER_SOCKET, (form) => serverSocket(options.port, form), facts);
  const service = unitItem(SERVER_SERVICE, () => stockServerService(options, stock, facts), facts);
  const renewal = renewalPart(options, facts);
  const { key, certificate, authority } = options.certificates;
  return {
    role: "server",
    items: [
      programItem(options),
      socket,
      service,
      enableLink(SERVER_SOCKET, "sockets.target", facts),
      enableLink(SERVER_SERVICE, "multi-user.target", facts),
      ...renewal.items,
    ],
    commands: [],
    units: [
      { name: SERVER_SOCKET, activation: "start", dependsOn: [socket.path] },
      {
        name: SERVER_SERVICE,
        activation: "start",
        dependsOn: [service.path, key, certificate, authority],
      },
      ...renewal.units,
    ],
    byproducts: [RECEIVED_DIRECTORY, ...renewal.byproducts],
    warnings: stock.hasGnutls ? [] : [CLIENTS_UNCHECKED],
  };
}

/** @throws AgentError E_USAGE where there are no such programs, or they cannot do it */
export function stockClientPlan(options: ClientOptions, facts: HostFacts): Plan {
  const { urls, targets, namespaces, certificates } = options;
  if (urls.length > 1 || targets !== undefined) throw unable("send to several receivers");
  if (namespaces.length > 0) throw unable("send namespaces besides the default one");
  const stock = requireStock(facts.stockUpload, CLIENT_SERVICE, facts);
  const configuration = configurationItems(options);
  const service = unitItem(
    CLIENT_SERVICE,
    () => stockClientService(certificates, stock, facts),
    facts,
  );
  const renewal = renewalPart(options, facts);
  const files = [...configuration, service];
  return {
    role: "client",
    items: [
      programItem(options),
      ...files,
      enableLink(CLIENT_SERVICE, "multi-user.target", facts),
      ...renewal.items,
    ],
    commands: [],
    units: [
      {
        name: CLIENT_SERVICE,
        activation: "start",
        dependsOn: [...files.map(({ path }) => path), ...certificatePaths(options)],
      },
      ...renewal.units,
    ],
    byproducts: [...stateDirectories("journal-upload"), ...renewal.byproducts],
    warnings: [],
  };
}

function requireStock(
  program: StockProgram | undefined,
  unit: string,
  { foreignUnits }: HostFacts,
): StockProgram {
  if (program !== undefined && foreignUnits.has(unit)) return program;
  throw new AgentError(
    "E_USAGE",
    `Cannot set up systemd's own program: "${unit}" is not installed, need the package systemd-journal-remote`,
    {
      hint: "apt install systemd-journal-remote, dnf install systemd-journal-remote, zypper install systemd-journal-remote; or leave --daemon=systemd out",
    },
  );
}

function unable(what: string): AgentError {
  return new AgentError(
    "E_USAGE",
    `Cannot ${what} with systemd's own program: it has no such option, need the agent's`,
    { hint: "Leave --daemon=systemd out" },
  );
}
