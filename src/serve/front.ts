/**
 * The network front of `serve`: all listeners and connections, who may connect, and how it ends.
 * Bytes of admitted senders go to the Ingest; everything refused is counted and answered.
 */

import { AgentError, reasonOf } from "../errors.ts";
import { log } from "../log.ts";
import {
  type CertificateFiles,
  certificateFileNames,
  loadTlsMaterial,
  type TlsMaterial,
} from "./certificates.ts";
import { HttpConnection } from "./connection.ts";
import type { ConnectionContext } from "./connection-context.ts";
import { Counters } from "./counters.ts";
import { Enrollment } from "./enrollment/enrollment.ts";
import { FileWatch } from "./file-watch.ts";
import {
  addressName,
  type HandshakeFacts,
  identifyAddress,
  identifyCertificate,
  type Peer,
} from "./identity.ts";
import type { Ingest } from "./ingest-types.ts";
import type { ListenAddress } from "./listen-address.ts";
import { type Accepted, type Acceptor, type Listener, openListener } from "./listener.ts";
import type { ByteSocket } from "./paced-socket.ts";
import { type Place, Places } from "./places.ts";
import { RawConnection } from "./raw-connection.ts";
import type { IngestLimits, WireEncoding } from "./settings.ts";
import {
  overloaded,
  PEER_REFUSALS,
  type Refusal,
  shuttingDown,
  untrustedCertificate,
} from "./upload-request.ts";

export interface FrontOptions {
  https: readonly ListenAddress[];
  http: readonly ListenAddress[];
  raw: readonly ListenAddress[];
  /** Read only when there is an https listener. */
  certificates: CertificateFiles;
  /** "refuse": requests on plain HTTP get 403, because a trusted authority is in effect. */
  plaintext: "accept" | "refuse";
  limits: IngestLimits;
  announcedEncodings: readonly WireEncoding[];
  /** Of the signer; on https listeners hosts enrol then. Undefined: they do not. */
  enrollSocket: string | undefined;
  ingest: Ingest;
  /** Name of senders on UNIX sockets: the host's. */
  unixName: string;
}

/** A running front. */
export interface Front {
  /** Where it listens, with real ports. */
  readonly addresses: Readonly<Record<Protocol, readonly string[]>>;
  readonly connectionCount: number;
  /**
   * False when nothing can come any more: no listener is left, or there never was one but only
   * connections the service manager accepted (Accept=yes), and they have ended.
   */
  readonly isActive: boolean;
  /** What was refused or cut, by reason. */
  counts(): ReadonlyMap<string, number>;
  /**
   * Reads all certificate files again, for new connections; closes the connections of certificates
   * revoked since. False: they do not work, the former ones stay (it was logged why).
   */
  reloadCertificates(): boolean;
  /**
   * Accepts nothing more, lets requests finish for this long as long as they make progress, then cuts them.
   */
  stop(graceMs: number): Promise<void>;
}

type Protocol = "https" | "http" | "raw";

/** How long `stop()` lets senders read why they were cut. */
const CUT_MS = 2500;
const SWEEP_MS_MAX = 1000;
/** While stopping, the end of each wait counts. */
const SWEEP_MS_STOPPING = 100;

/** @throws AgentError E_CERT, E_IO: then nothing is left open. */
export async function startFront(options: FrontOptions): Promise<Front> {
  const front = new NetworkFront(options);
  try {
    await front.open();
  } catch (error) {
    await front.stop(0);
    throw error;
  }
  return front;
}

class NetworkFront implements Front {
  readonly addresses: Record<Protocol, string[]> = { https: [], http: [], raw: [] };
  readonly #options: FrontOptions;
  readonly #places: Places;
  readonly #counters: Counters;
  readonly #context: ConnectionContext;
  /** The same with enrolment, where that is on. */
  readonly #tlsContext: ConnectionContext;
  readonly #http = new Set<HttpConnection>();
  readonly #raw = new Set<RawConnection>();
  #sweepTimer: ReturnType<typeof setInterval>;
  #listeners: Listener[] = [];
  #material: TlsMaterial | undefined;
  #watch: FileWatch | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.#places = new Places(options.limits);
    this.#counters = new Counters({ warn: (line): void => log.warn(line), nowMs: monotonicMs });
    this.#context = {
      ingest: options.ingest,
      limits: options.limits,
      announcedEncodings: options.announcedEncodings,
      counters: this.#counters,
      enrollment: undefined,
      wallMs: Date.now,
      nowMs: monotonicMs,
      reportBug: (error): void => log.error(error),
    };
    const { enrollSocket: socket } = options;
    const enrollment =
      socket && new Enrollment({ socket, counters: this.#counters, nowMs: monotonicMs });
    this.#tlsContext = { ...this.#context, enrollment: enrollment || undefined };
    const { handshakeTimeoutMs, stalledTimeoutMs } = options.limits;
    const sweepMs = Math.min(SWEEP_MS_MAX, handshakeTimeoutMs / 4, stalledTimeoutMs / 4);
    this.#sweepTimer = setInterval(() => this.#sweep(), sweepMs);
  }

  async open(): Promise<void> {
    const { https, http, raw, certificates } = this.#options;
    if (https.length > 0) {
      this.#material = loadTlsMaterial(certificates, Date.now());
      logWarnings(this.#material);
      const reload = (): void => void this.reloadCertificates();
      this.#watch = new FileWatch(certificateFileNames(certificates), reload);
    }
    await this.#listen("https", https, (...accepted) => this.#acceptHttp(true, ...accepted));
    await this.#listen("http", http, (...accepted) => this.#acceptHttp(false, ...accepted));
    await this.#listen("raw", raw, (...accepted) => this.#acceptRaw(...accepted));
  }

  get connectionCount(): number {
    return this.#http.size + this.#raw.size;
  }

  get isActive(): boolean {
    return this.connectionCount > 0 || this.#listeners.some((listener) => !listener.isConnection);
  }

  counts(): ReadonlyMap<string, number> {
    return this.#counters.counts();
  }

  reloadCertificates(): boolean {
    if (this.#material === undefined) return true;
    try {
      const material = loadTlsMaterial(this.#options.certificates, Date.now());
      for (const listener of this.#listeners) listener.useContext(material.context);
      this.#material = material;
    } catch (error) {
      const hint = error instanceof AgentError && error.hint ? ` (${error.hint})` : "";
      log.error(`Keeping the former certificates: ${reasonOf(error)}${hint}`);
      return false;
    }
    logWarnings(this.#material);
    log.info("Certificates were read again");
    for (const connection of this.#http) {
      if (connection.peer === undefined) continue;
      if (this.#findProblem(connection.peer) === "CERT_REVOKED") connection.cut(REVOKED);
    }
    return true;
  }

  async stop(graceMs: number): Promise<void> {
    this.#watch?.close();
    for (const listener of this.#listeners) listener.stop();
    this.#listeners = [];
    for (const connection of [...this.#http, ...this.#raw]) connection.finish();
    clearInterval(this.#sweepTimer);
    this.#sweepTimer = setInterval(() => this.#sweep(), SWEEP_MS_STOPPING);
    await this.#emptied(graceMs);
    for (const connection of [...this.#http]) connection.cut(shuttingDown());
    await this.#emptied(CUT_MS);
    clearInterval(this.#sweepTimer);
    for (const connection of [...this.#http]) connection.terminate();
    this.#counters.flush();
  }

  async #listen(
    protocol: Protocol,
    addresses: readonly ListenAddress[],
    accept: Acceptor["accept"],
  ): Promise<void> {
    const context = protocol === "https" ? this.#material?.context : undefined;
    for (const address of addresses) {
      const acceptor = { accept, reportBug: this.#context.reportBug };
      const listener = await openListener(address, context, acceptor);
      this.#listeners.push(listener);
      this.addresses[protocol].push(listener.address);
    }
  }

  #acceptHttp(
    isTls: boolean,
    socket: ByteSocket,
    remoteAddress: string | undefined,
  ): Accepted | undefined {
    const address = this.#nameOf(remoteAddress);
    const place = this.#enter(address);
    if (place === undefined) return undefined;
    const connection = new HttpConnection(
      socket,
      address,
      isTls ? this.#tlsContext : this.#context,
    );
    this.#http.add(connection);
    if (!isTls) this.#admit(connection, place, this.#identifyPlain(address));
    return {
      connection,
      handshakeDone: (facts): void =>
        this.#admit(connection, place, this.#identifyTls(facts, address)),
      handshakeFailed: (code): void => this.#countHandshake(code, address),
      gone: (): void => {
        this.#http.delete(connection);
        this.#leave(place);
      },
    };
  }

  /** Nobody can be told why a raw connection is closed. */
  #acceptRaw(socket: ByteSocket, remoteAddress: string | undefined): Accepted | undefined {
    const peer = identifyAddress(this.#nameOf(remoteAddress));
    const place = this.#enter(peer.name);
    if (place === undefined) return undefined;
    if (place.isRefused || !this.#places.identify(place, peer.name)) {
      this.#places.leave(place);
      this.#countClosed(overloaded(place.isRefused ? "all" : "peer"), peer.name);
      return undefined;
    }
    const connection = new RawConnection(socket, peer, this.#context, () => {
      this.#raw.delete(connection);
      this.#leave(place);
    });
    this.#raw.add(connection);
    return { connection };
  }

  /** A place among the connections; undefined when there is none left even for a refusal. */
  #enter(address: string): Place | undefined {
    const place = this.#places.enter(address);
    if (place === undefined) this.#countClosed(overloaded("all"), address);
    return place;
  }

  #identifyPlain(address: string): Peer | Refusal {
    return this.#options.plaintext === "accept"
      ? identifyAddress(address)
      : PEER_REFUSALS.plaintext;
  }

  #identifyTls(facts: HandshakeFacts, address: string): Peer | Refusal {
    const { trust } = this.#options.certificates;
    if (trust.authority === "all") return identifyAddress(address);
    const peer = identifyCertificate(facts, address, trust.allowSubject);
    if ("reply" in peer) return peer;
    const problem = this.#findProblem(peer);
    return problem === undefined ? peer : untrustedCertificate(problem);
  }

  /** What the revocation lists have against it. */
  #findProblem({ certificate }: Peer): string | undefined {
    if (certificate === undefined) return undefined;
    return this.#material?.revocationCheck.findProblem(certificate.presented, Date.now());
  }

  #admit(connection: HttpConnection, place: Place, who: Peer | Refusal): void {
    if (place.isRefused) connection.refusePeer(overloaded("all"));
    else if ("reply" in who) connection.refusePeer(who, true);
    else if (this.#places.identify(place, who.name)) connection.admit(who);
    else connection.refusePeer(overloaded("peer"));
  }

  #nameOf(remoteAddress: string | undefined): string {
    return addressName(remoteAddress, this.#options.unixName);
  }

  #countClosed(why: Refusal, address: string): void {
    const message = `Closed a new connection of ${JSON.stringify(address)}: ${why.reply.text}`;
    this.#counters.count(why.reason, message);
  }

  #countHandshake(code: string, address: string): void {
    const reason = `tls-${code.toLowerCase().replaceAll("_", "-")}`;
    this.#counters.count(reason, `TLS handshake with ${JSON.stringify(address)} failed`);
  }

  #sweep(): void {
    const nowMs = monotonicMs();
    for (const connection of this.#http) connection.checkDeadline(nowMs);
    this.#counters.flush();
  }

  #leave(place: Place): void {
    this.#places.leave(place);
    if (this.connectionCount === 0) this.#onEmpty?.();
  }

  async #emptied(timeoutMs: number): Promise<void> {
    if (this.connectionCount === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const timer = setTimeout(resolve, timeoutMs);
    await promise;
    clearTimeout(timer);
    this.#onEmpty = undefined;
  }
}

const REVOKED = untrustedCertificate("CERT_REVOKED");

function logWarnings(material: TlsMaterial): void {
  for (const warning of material.warnings) log.warn(warning);
}

function monotonicMs(): number {
  return performance.now();
}
