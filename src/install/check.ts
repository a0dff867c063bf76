/** Whether what was installed works: looked at from outside, as its users see it. One line for each thing that was tried. */
import { readCertificate } from "../certs/certificate.ts";
import { AgentError } from "../errors.ts";
import { readCertificateBytes } from "../platform/pem-files.ts";
import type { RunCommand } from "../platform/run.ts";
import { chooseProxy, type ProxyEnvironment } from "../upload/http/proxy.ts";
import { parseUploadUrl, type UploadUrl } from "../upload/http/upload-url.ts";
import type { PlaceSettings } from "../upload/settings.ts";
import { findStatePlace } from "../upload/state-place.ts";
import { type HandshakeOutcome, tryHandshake } from "./handshake.ts";
import type { CertificatePlaces } from "./plan.ts";
import { isBehind, waitForEntry, writeProbe } from "./probe.ts";
import { isStoredThere } from "./receipt.ts";
import type { ServiceManager } from "./service-manager.ts";

/** One thing that was tried. */
export interface CheckResult {
  /** "systemd-journal-remote.service is active" */
  what: string;
  /** A sentence; undefined = it holds. */
  problem: string | undefined;
  hint: string | undefined;
}

export interface CheckTimes {
  /** For a unit that is on its way, or to become so. */
  unitMs: number;
  /** For a connection and what is said on it. */
  handshakeMs: number;
  /** For an entry to go all the way. */
  probeMs: number;
}

const TIMES: CheckTimes = { unitMs: 10_000, handshakeMs: 10_000, probeMs: 30_000 };
const POLL_MS = 100;
const CERTIFICATE_HINT = "Install the server again, with certificates";

export interface ServerCheck {
  manager: ServiceManager;
  units: readonly string[];
  port: number;
  certificate: string;
  /** Which signed it; undefined: others, whom its senders know by other ways. */
  authority: string | undefined;
  times?: CheckTimes;
}

export interface ClientInstance {
  unit: string;
  /** A state file for each URL, with `targets` "mirror". */
  stateFile: string;
  /** As --namespace= has it; undefined = the default one. */
  namespace: string | undefined;
}

export interface ClientCheck {
  manager: ServiceManager;
  instances: readonly ClientInstance[];
  urls: readonly string[];
  targets: "failover" | "mirror";
  /** Undefined: no certificates, which https: needs. */
  places: CertificatePlaces | undefined;
  /** Where proxies are named. */
  environment: ProxyEnvironment;
  /** Where the receiver is this machine: the directory of its journals. */
  receivedDirectory: string | undefined;
  run: RunCommand;
  times?: CheckTimes;
  /** For tests: where the local journals are. */
  localJournals?: Partial<PlaceSettings>;
}

export async function checkServer(options: ServerCheck): Promise<CheckResult[]> {
  const { manager, units, times = TIMES } = options;
  const states = await Promise.all(units.map((unit) => checkUnit(manager, unit, times.unitMs)));
  return [...states, await checkListener(options, times)];
}

export async function checkClient(options: ClientCheck): Promise<CheckResult[]> {
  const { manager, instances, targets, times = TIMES } = options;
  const units = await Promise.all(
    instances.map(({ unit }) => checkUnit(manager, unit, times.unitMs)),
  );
  const urls = options.urls.map(parseUploadUrl);
  const ways = await Promise.all(urls.map((url) => checkReceiver(url, options, times)));
  const areActive = units.every(isOk);
  const canArrive = targets === "mirror" ? ways.every(isOk) : ways.some(isOk);
  // Nothing to wait for where it is known why not.
  const probes =
    areActive && canArrive
      ? await Promise.all(instances.map((instance) => checkProbe(instance, urls, options, times)))
      : [];
  return [...units, ...ways, ...probes.flat()];
}

function isOk({ problem }: CheckResult): boolean {
  return problem === undefined;
}

function okResult(what: string): CheckResult {
  return { what, problem: undefined, hint: undefined };
}

function failed(what: string, error: unknown): CheckResult {
  if (!(error instanceof AgentError)) throw error;
  return { what, problem: error.message, hint: error.hint };
}

async function checkUnit(
  manager: ServiceManager,
  unit: string,
  limitMs: number,
): Promise<CheckResult> {
  const what = `${unit} is active`;
  const deadlineMs = performance.now() + limitMs;
  try {
    for (;;) {
      const { active, problem } = await manager.state(unit);
      if (active === "active") return okResult(what);
      if (active !== "activating" || performance.now() > deadlineMs) {
        const hint = `See why: journalctl --unit=${unit}`;
        return { what, problem: `"${unit}" is ${active}${because(problem)}`, hint };
      }
      await Bun.sleep(POLL_MS);
    }
  } catch (error) {
    return failed(what, error);
  }
}

function because(problem: string | undefined): string {
  return problem === undefined ? "" : `: ${problem}`;
}

async function checkListener(options: ServerCheck, times: CheckTimes): Promise<CheckResult> {
  const { port, certificate, authority } = options;
  const what = `port ${port} answers with the certificate "${certificate}"`;
  try {
    const text = readCertificateBytes(certificate, "certificate", CERTIFICATE_HINT);
    const { facts } = readCertificate(text.toString("latin1"), certificate);
    const [first] = facts.names;
    // Any host of that domain.
    const host = first?.value.replace(/^\*\./, "host.") ?? facts.name;
    const outcome = await tryHandshake({
      url: {
        text: `https://${host}:${port}`,
        isSecure: true,
        host,
        port,
        target: "/",
        userinfo: undefined,
      },
      addresses: ["127.0.0.1", "::1"],
      files: { keyFile: undefined, certificateFile: undefined, trust: authority ?? "all" },
      greets: false,
      timeoutMs: times.handshakeMs,
    });
    if ("problem" in outcome) return failed(what, outcome.problem);
    if (outcome.fingerprint === facts.fingerprint) return okResult(what);
    const problem = `Port ${port} answers with another certificate than "${certificate}"`;
    return { what, problem, hint: "Does another program listen there?" };
  } catch (error) {
    return failed(what, error);
  }
}

async function checkReceiver(
  url: UploadUrl,
  { places, environment }: ClientCheck,
  times: CheckTimes,
): Promise<CheckResult> {
  const what = url.isSecure
    ? `"${url.text}" and this host know each other's certificates`
    : `"${url.text}" answers`;
  const trust = places?.authority ?? "all";
  const files = { keyFile: places?.key, certificateFile: places?.certificate, trust };
  const outcome: HandshakeOutcome = await tryHandshake({
    url,
    proxy: chooseProxy(url, undefined, environment),
    files,
    greets: true,
    timeoutMs: times.handshakeMs,
  });
  return "problem" in outcome ? failed(what, outcome.problem) : okResult(what);
}

async function checkProbe(
  instance: ClientInstance,
  urls: readonly UploadUrl[],
  options: ClientCheck,
  times: CheckTimes,
): Promise<CheckResult[]> {
  const { unit } = instance;
  // "*" and "+NAME" take the default namespace in.
  const { namespace } = instance;
  const named = namespace === undefined || /^[*+]/.test(namespace) ? undefined : namespace;
  const where = named === undefined ? "the local journal" : `journal namespace "${named}"`;
  const results: CheckResult[] = [];
  const abort = AbortSignal.timeout(times.probeMs);
  const nowUsec = Date.now() * 1000;
  const written = `a probe is in ${where}`;
  try {
    if (named !== undefined && !(await isInUse(options.manager, named))) {
      return [okResult(`nothing runs in ${where} yet, so nothing was sent`)];
    }
    const message = await writeProbe(options.run, named, crypto.randomUUID());
    const cursor = await waitForEntry(
      { namespace: named, ...options.localJournals },
      message,
      nowUsec,
      abort,
    );
    if (cursor === undefined) {
      const problem = `What was written to ${where} is not in its files within ${times.probeMs / 1000} s`;
      return [
        {
          what: written,
          problem,
          hint: "Does journald keep files? See Storage= in journald.conf(5)",
        },
      ];
    }
    results.push(okResult(written));
    results.push(await checkAcknowledged(instance, urls, options.targets, cursor, abort));
    if (!results.every(isOk)) return results;
    const arrival =
      options.receivedDirectory === undefined
        ? await checkStored(urls, options, { cursor, message })
        : await checkArrived(options.receivedDirectory, message, nowUsec, abort);
    return arrival === undefined ? results : [...results, arrival];
  } catch (error) {
    return [...results, failed(`${unit} sends a probe`, error)];
  }
}

/** A namespace has a journald from when something first runs in it; until then there is nobody to write to. */
async function isInUse(manager: ServiceManager, namespace: string): Promise<boolean> {
  const { active } = await manager.state(`systemd-journald@${namespace}.socket`);
  return active !== "inactive";
}

/** Waits until every position that counts is behind the entry. */
async function checkAcknowledged(
  { unit, stateFile }: ClientInstance,
  urls: readonly UploadUrl[],
  targets: ClientCheck["targets"],
  cursor: string,
  signal: AbortSignal,
): Promise<CheckResult> {
  const what = `${unit} has sent it, and it was acknowledged`;
  const isMirror = targets === "mirror" && urls.length > 1;
  const only = urls.length === 1 ? urls[0]?.text : undefined;
  const lanes = isMirror ? urls.map(({ text }) => text) : [only];
  for (;;) {
    const late = lanes.filter((url, index) => {
      const place = findStatePlace({ stateFile, url, isFirst: index === 0, isIgnored: true });
      return place.saved === undefined || !isBehind(place.saved.position, cursor);
    });
    if (late.length === 0) return okResult(what);
    if (signal.aborted) {
      const by = late.filter((url) => url !== undefined).map((url) => `"${url}"`);
      const whom = by.length === 0 ? "any receiver" : by.join(" and ");
      return {
        what,
        problem: `The probe is not acknowledged by ${whom} according to "${stateFile}"`,
        hint: `See why: journalctl --unit=${unit}. A long journal may have to be sent first, and filters may leave the probe out`,
      };
    }
    await Bun.sleep(POLL_MS);
  }
}

/** Undefined: no receiver says. */
async function checkStored(
  urls: readonly UploadUrl[],
  { places, targets, environment }: ClientCheck,
  probe: { cursor: string; message: string },
): Promise<CheckResult | undefined> {
  if (places === undefined) return undefined;
  const what = "it is read back from the receiver";
  const answers: boolean[] = [];
  for (const url of urls.filter(({ isSecure }) => isSecure)) {
    try {
      const answer = await isStoredThere({ url, places, environment, ...probe });
      if (answer !== undefined) answers.push(answer);
    } catch (error) {
      // Of several receivers one is enough, unless each gets all.
      if (urls.length === 1 || targets === "mirror") return failed(what, error);
    }
  }
  if (answers.length === 0) return undefined;
  const isThere = targets === "mirror" ? answers.every(Boolean) : answers.some(Boolean);
  if (isThere) return okResult(what);
  const problem = "The probe was acknowledged, but the receiver does not know it";
  return { what, problem, hint: "Its log may say why: journalctl --unit=systemd-journal-remote" };
}

async function checkArrived(
  directory: string,
  message: string,
  nowUsec: number,
  signal: AbortSignal,
): Promise<CheckResult> {
  const what = `it is in the received journals in "${directory}"`;
  const cursor = await waitForEntry({ directory }, message, nowUsec, signal);
  if (cursor !== undefined) return okResult(what);
  const problem = `The probe was acknowledged, but is not in the journals of "${directory}"`;
  return { what, problem, hint: "Is another receiver meant by the URL?" };
}
