/** Where the key and the certificates of a role come from, and where they are then. */
import { createHash } from "node:crypto";
import type { AuthorityOptions } from "../certs/authority.ts";
import { parseBundle } from "../certs/bundle.ts";
import { type Certificate, readCertificate, readCertificates } from "../certs/certificate.ts";
import type { AlternativeName } from "../certs/names.ts";
import { parseToken } from "../certs/token.ts";
import { AgentError } from "../errors.ts";
import type { ProxyEnvironment } from "../upload/http/proxy.ts";
import {
  authorityPlaces,
  isOwn,
  ownPlan,
  readHost,
  readInput,
  readOwn,
  requireKeyOf,
  requireUnexpired,
  unusable,
} from "./host-certificate.ts";
import { planAuthority } from "./local-authority.ts";
import type { CertificatePlaces, Daemon, PlanItem, Role } from "./plan.ts";
import { hiddenDirectory } from "./roles/options.ts";
import { resolveIn } from "./rooted-path.ts";

/** What the command line asks for. */
export type CertificateSource =
  /** A file of `agent certs bundle`. */
  | { kind: "bundle"; file: string }
  /** The authority on this machine, made if there is none and `makes`. */
  | {
      kind: "authority";
      makes: boolean;
      name: string;
      names: readonly AlternativeName[];
      /** See WantedCertificate. */
      isExact: boolean;
    }
  /** @param former hash of the token that the present certificate was got with */
  | { kind: "token"; text: string; servers: readonly string[]; former: string | undefined }
  /** Files of the operator's own, which are used where they are. */
  | { kind: "files"; places: CertificatePlaces }
  /** As it was installed before. */
  | { kind: "installed"; places: CertificatePlaces; tokenHash: string | undefined }
  /** None, or what the configuration that is there names. */
  | { kind: "none" };

export interface PreparedCertificates {
  /** Undefined = none. */
  places: CertificatePlaces | undefined;
  isLocalAuthority: boolean;
  /** The name in the certificate. */
  name: string | undefined;
  /** Of a bundle. */
  server: string | undefined;
  /** Of the token that the certificate was got with. */
  tokenHash: string | undefined;
  items: PlanItem[];
  /** What else was done, or is to be done by `perform`, in words. */
  steps: string[];
  /** Undefined: nothing is left to do. What it changes are by-products of the plan. @returns what was done, in words */
  perform: (() => Promise<string[]>) | undefined;
}

export interface PrepareOptions {
  role: Role;
  daemon: Daemon;
  /** See HostFacts. */
  root: string;
  isDryRun: boolean;
  nowMs: number;
  environment: ProxyEnvironment;
  authority: Pick<AuthorityOptions, "passphrase" | "report">;
}

/** @throws AgentError E_CERT, E_PEER, E_IO, E_USAGE: then nothing was changed */
export async function prepareCertificates(
  source: CertificateSource,
  options: PrepareOptions,
): Promise<PreparedCertificates> {
  switch (source.kind) {
    case "bundle":
      return fromBundle(source.file, options);
    case "authority":
      return fromAuthority(source, options);
    case "token":
      return await fromToken(source, options);
    case "files":
      return fromFiles(source.places, options);
    case "installed":
      return fromInstalled(source, options);
    case "none":
      return prepared({});
  }
}

function prepared(known: Partial<PreparedCertificates>): PreparedCertificates {
  return {
    places: undefined,
    isLocalAuthority: false,
    name: undefined,
    server: undefined,
    tokenHash: undefined,
    items: [],
    steps: [],
    perform: undefined,
    ...known,
  };
}

function fromBundle(file: string, { role, root, nowMs }: PrepareOptions): PreparedCertificates {
  const bundle = parseBundle(readInput(file), file);
  if (bundle.role !== role && bundle.role !== "both") {
    const hint = `On the authority: agent certs issue ${bundle.name} --role=${role} --force`;
    throw unusable("bundle", file, `it is for a ${bundle.role}, need one for a ${role}`, hint);
  }
  if (bundle.key === undefined) {
    const hint =
      "The key is on the host that made the request: --key=, --cert= and --trust= name the files there";
    throw unusable("bundle", file, "it has no private key", hint);
  }
  const certificate = readCertificate(bundle.certificate, file);
  requireKeyOf(certificate, bundle.key, file);
  const { name, server } = bundle;
  const present = readOwn(role, root);
  // A second run, and the certificate was renewed since.
  if (present !== undefined && isRenewed(present.certificate, certificate)) {
    return prepared({ ...ownPlan(role, present.host), name, server });
  }
  requireUnexpired(certificate, file, nowMs);
  const { key, authorities: authority, lists } = bundle;
  const host = { key, certificate: bundle.certificate, authority, lists };
  return prepared({ ...ownPlan(role, host), name, server });
}

/** Renewal keeps the key. */
function isRenewed(present: Certificate, given: Certificate): boolean {
  return (
    present.facts.name === given.facts.name &&
    present.facts.notAfterMs > given.facts.notAfterMs &&
    present.x509.publicKey.equals(given.x509.publicKey)
  );
}

function fromAuthority(
  { makes, ...wanted }: Extract<CertificateSource, { kind: "authority" }>,
  { role, root, nowMs, authority }: PrepareOptions,
): PreparedCertificates {
  const io = { nowMs, ...authority };
  const { steps, perform } = planAuthority({ ...wanted, role }, { makes, root, io });
  return prepared({
    places: authorityPlaces(wanted.name),
    isLocalAuthority: true,
    name: wanted.name,
    steps,
    perform: steps.length === 0 ? undefined : perform,
  });
}

/** A token is good once: a second run with the same one keeps what it brought. */
async function fromToken(
  { text, servers, former }: Extract<CertificateSource, { kind: "token" }>,
  { role, root, isDryRun, environment, nowMs }: PrepareOptions,
): Promise<PreparedCertificates> {
  const token = parseToken(text);
  const { name } = token;
  const tokenHash = createHash("sha256").update(token.secret).digest("hex");
  if (former === tokenHash) {
    const present = readOwn(role, root);
    if (present !== undefined && present.certificate.facts.notAfterMs > nowMs) {
      return prepared({ ...ownPlan(role, present.host), name, tokenHash });
    }
  }
  if (isDryRun) {
    const pending = "(comes from the receiver)\n";
    const host = { key: "(is made here)\n", certificate: pending, authority: pending, lists: "" };
    const steps = [`get a certificate for "${name}" from ${servers.join(" or ")}`];
    return prepared({ ...ownPlan(role, host), name, tokenHash, steps });
  }
  const { enrollAtFirst } = await import("./enrollment-client.ts");
  const { server, host } = await enrollAtFirst(servers, { token, environment });
  const steps = [`got a certificate for "${name}" from ${server}`];
  return prepared({ ...ownPlan(role, host), name, tokenHash, steps });
}

function fromFiles(
  places: CertificatePlaces,
  { root, daemon, nowMs }: PrepareOptions,
): PreparedCertificates {
  const { certificate } = readUsable(places, root);
  requireUnexpired(certificate, places.certificate, nowMs);
  // The service manager brings key and certificate to the service, which reads the others itself.
  const read = daemon === "agent" ? [places.authority, places.lists] : [];
  for (const file of read) {
    const hidden = file === undefined ? undefined : hiddenDirectory(file);
    if (file === undefined || hidden === undefined) continue;
    const message = `Cannot use "${file}": the service does not see "${hidden}", need a file elsewhere`;
    throw new AgentError("E_USAGE", message, { hint: "Copy it to /etc/ssl" });
  }
  return prepared({ places, name: certificate.facts.name });
}

/** What is in our own places stays planned, or it would be taken away. One that expired is for the checks to find. */
function fromInstalled(
  { places, tokenHash }: Extract<CertificateSource, { kind: "installed" }>,
  { role, root }: PrepareOptions,
): PreparedCertificates {
  const { host, certificate } = readFormer(places, root);
  const plan = isOwn(places, role) ? ownPlan(role, host) : { places };
  return prepared({ ...plan, name: certificate.facts.name, tokenHash });
}

function readFormer(places: CertificatePlaces, root: string): ReturnType<typeof readHost> {
  try {
    return readUsable(places, root);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const hint =
      "It was good at the last installation: put it back, or say where certificates come from now: --bundle=, --token=, --init-ca, or --key=, --cert= and --trust=";
    throw new AgentError(error.code, error.message, { cause: error, hint });
  }
}

/** @throws AgentError E_IO, E_CERT */
function readUsable(places: CertificatePlaces, root: string): ReturnType<typeof readHost> {
  const found = readHost(places, root);
  requireKeyOf(found.certificate, found.host.key, places.key);
  if (readCertificates(found.host.authority, places.authority).length === 0) {
    throw unusable("authority", resolveIn(root, places.authority), "no PEM certificate in it");
  }
  return found;
}
