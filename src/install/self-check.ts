/** What is tried after an installation, and after an upgrade: does it work from end to end? */
import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { AgentError } from "../errors.ts";
import { runCommand } from "../platform/run.ts";
import { chooseProxy, type ProxyEnvironment } from "../upload/http/proxy.ts";
import { parseUploadUrl, type UploadUrl } from "../upload/http/upload-url.ts";
import { type CheckResult, type ClientInstance, checkClient, checkServer } from "./check.ts";
import type { SavedOptions } from "./install-request.ts";
import type { Manifest } from "./manifest.ts";
import type { Role } from "./plan.ts";
import { readConfigured } from "./resolve-request.ts";
import { RECEIVED_DIRECTORY } from "./roles/options.ts";
import type { ServiceManager } from "./service-manager.ts";
import { CLIENT_SERVICE, namespaceService } from "./units/client-units.ts";
import { SERVER_SERVICE, SERVER_SOCKET } from "./units/server-units.ts";

export interface SelfCheck {
  role: Role;
  options: SavedOptions;
  manager: ServiceManager;
  manifest: Manifest;
  environment: ProxyEnvironment;
}

export async function selfCheck(check: SelfCheck): Promise<CheckResult[]> {
  return check.role === "server" ? await checkReceiving(check) : await checkSending(check);
}

async function checkReceiving({ options, manager }: SelfCheck): Promise<CheckResult[]> {
  const { places, port, daemon } = options;
  if (places === undefined) throw new RangeError("A server has a certificate");
  // systemd's own starts with the first sender.
  const units = daemon === "agent" ? [SERVER_SOCKET, SERVER_SERVICE] : [SERVER_SOCKET];
  const { certificate, authority } = places;
  return await checkServer({ manager, units, port, certificate, authority });
}

async function checkSending(check: SelfCheck): Promise<CheckResult[]> {
  const { options, manager, manifest, environment } = check;
  const { places, namespaces, targets = "failover" } = options;
  const urls = options.servers.length > 0 ? options.servers : readConfigured("client", "").urls;
  const [url] = urls.map(parseUploadUrl);
  if (url === undefined)
    throw new AgentError("E_CONFIG", "Cannot check the client: no URL= is configured");
  return await checkClient({
    manager,
    instances: [undefined, ...namespaces].map(instanceOf),
    urls,
    targets,
    places,
    proxy: chooseProxy(url, undefined, environment),
    environment,
    receivedDirectory: (await isReceivedHere(url, manifest)) ? RECEIVED_DIRECTORY : undefined,
    run: runCommand,
  });
}

function instanceOf(namespace: string | undefined): ClientInstance {
  if (namespace === undefined) {
    const stateFile = "/var/lib/systemd/journal-upload/state";
    return { unit: CLIENT_SERVICE, stateFile, namespace };
  }
  const stateFile = `/var/lib/systemd/journal-upload@${namespace}/state`;
  return { unit: namespaceService(namespace), stateFile, namespace };
}

/** Is the receiver the one that is installed on this machine? */
async function isReceivedHere({ host, port }: UploadUrl, { roles }: Manifest): Promise<boolean> {
  const server = roles.server?.options as SavedOptions | undefined;
  if (server?.port !== port) return false;
  const addresses = await lookup(host, { all: true }).catch(() => []);
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.some(({ address }) => own.some((each) => each.address === address));
}
