/** What is tried after an installation, and after an upgrade: does it work from end to end? */
import type { X509Certificate } from "node:crypto";
import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { AgentError } from "../errors.ts";
import { readCertificateFile } from "../platform/pem-files.ts";
import type { RunCommand } from "../platform/run.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import { parseUploadUrl, type UploadUrl } from "../upload/http/upload-url.ts";
import { type CheckResult, type ClientInstance, checkClient, checkServer } from "./check.ts";
import type { SavedOptions } from "./install-request.ts";
import type { Manifest } from "./manifest.ts";
import type { CertificatePlaces, Role } from "./plan.ts";
import { readConfigured } from "./resolve-request.ts";
import { programPath, RECEIVED_DIRECTORY } from "./roles/options.ts";
import type { ServiceManager } from "./service-manager.ts";
import { findOtherProgram } from "./unit-program.ts";
import { CLIENT_SERVICE, namespaceService } from "./units/client-units.ts";
import { SERVER_SERVICE, SERVER_SOCKET } from "./units/server-units.ts";

export interface SelfCheck {
  role: Role;
  options: SavedOptions;
  manager: ServiceManager;
  run: RunCommand;
  manifest: Manifest;
  environment: ProxyEnvironment;
}

export async function selfCheck(check: SelfCheck): Promise<CheckResult[]> {
  return check.role === "server" ? await checkReceiving(check) : await checkSending(check);
}

async function checkReceiving(check: SelfCheck): Promise<CheckResult[]> {
  const { options, manager } = check;
  const { places, port, daemon, isLocalAuthority } = options;
  if (places === undefined) throw new RangeError("A server has a certificate");
  // systemd's own starts with the first sender.
  const units = daemon === "agent" ? [SERVER_SOCKET, SERVER_SERVICE] : [SERVER_SOCKET];
  const { certificate } = places;
  const authority = isLocalAuthority ? places.authority : findSigner(places);
  const programs = await checkPrograms([SERVER_SERVICE], check);
  const results = await checkServer({ manager, units, port, certificate, authority });
  return [...programs, ...results];
}

/** The file of authorities, unless it is for senders alone: the receiver's certificate may be from a public authority. */
function findSigner({ certificate, authority }: CertificatePlaces): string | undefined {
  const hint = "Install the server again, with certificates";
  try {
    const { certificates } = readCertificateFile(certificate, "certificate", hint);
    const trusted = readCertificateFile(authority, "trusted certificate", hint).certificates;
    // As senders do: the chain has to end in a root that is trusted.
    const roots = trusted.filter((each) => isIssuer(each, each));
    const between = new Set([...certificates.slice(1), ...trusted]);
    let [issued] = certificates;
    while (issued !== undefined) {
      const one: X509Certificate = issued;
      if (roots.some((each) => isIssuer(each, one))) return authority;
      issued = [...between].find((each) => isIssuer(each, one));
      if (issued !== undefined) between.delete(issued);
    }
    return undefined;
  } catch (error) {
    // Who looks at the receiver says the same.
    if (error instanceof AgentError) return authority;
    throw error;
  }
}

function isIssuer(issuer: X509Certificate, issued: X509Certificate): boolean {
  return issued.issuer === issuer.subject && issued.verify(issuer.publicKey);
}

/** None where systemd's own are to run. */
async function checkPrograms(
  units: readonly string[],
  { options: { daemon, prefix }, run }: SelfCheck,
): Promise<CheckResult[]> {
  if (daemon !== "agent") return [];
  const program = programPath(prefix);
  return await Promise.all(
    units.map(async (unit) => {
      const what = `${unit} runs "${program}"`;
      try {
        const other = await findOtherProgram(run, unit, program);
        return { what, problem: other?.problem, hint: other?.hint };
      } catch (error) {
        if (!(error instanceof AgentError)) throw error;
        return { what, problem: error.message, hint: error.hint };
      }
    }),
  );
}

async function checkSending(check: SelfCheck): Promise<CheckResult[]> {
  const { options, manager, run, manifest, environment } = check;
  const { places, namespaces, targets = "failover" } = options;
  const urls = options.servers.length > 0 ? options.servers : readConfigured("client", "").urls;
  const [url] = urls.map(parseUploadUrl);
  if (url === undefined)
    throw new AgentError("E_CONFIG", "Cannot check the client: no URL= is configured");
  const instances = [undefined, ...namespaces].map(instanceOf);
  const units = instances.map(({ unit }) => unit);
  const programs = await checkPrograms(units, check);
  const results = await checkClient({
    manager,
    instances,
    urls,
    targets,
    places,
    environment,
    receivedDirectory: (await isReceivedHere(url, manifest)) ? RECEIVED_DIRECTORY : undefined,
    run,
  });
  return [...programs, ...results];
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
