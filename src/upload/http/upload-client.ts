/**
 * The HTTP client of `agent upload`. Not fetch, which sends no second request before the first is answered,
 * cuts chunks where it likes, reports no answer that comes before the body is sent, and says of a failed
 * handshake that it failed.
 */
import { filesSignature } from "../../platform/file-signature.ts";
import type {
  UploadAnswer,
  UploadClient,
  UploadFailure,
  UploadRequest,
} from "../delivery-types.ts";
import {
  type ClientIdentity,
  type IdentityFiles,
  identityFileNames,
  loadClientIdentity,
} from "./client-identity.ts";
import { Connection, type Flight } from "./connection.ts";
import {
  type CredentialFiles,
  credentialFileNames,
  formatBasic,
  readAuthorization,
} from "./credentials.ts";
import {
  DIAL_TIMEOUT,
  describeBreakage,
  describeDialFailure,
  type FailureContext,
} from "./describe-failure.ts";
import { dial } from "./dial.ts";
import type { ProxyUrl } from "./proxy.ts";
import { formatHeadStart } from "./request-bytes.ts";
import { formatAuthority, type UploadUrl } from "./upload-url.ts";

export interface UploadClientOptions extends IdentityFiles, CredentialFiles {
  url: UploadUrl;
  /** As `chooseProxy()` finds it. */
  proxy: ProxyUrl | undefined;
  /** Without a byte that moves for so long a connection is given up. Infinity = never. */
  networkTimeoutMs: number;
  /** From the name to the end of the TLS handshake. */
  connectTimeoutMs?: number;
  /** A connection is replaced at this age. Infinity = never. */
  connectionAgeMs: number;
  headers: readonly { name: string; value: string }[];
  /** "agent/1.2.3". */
  userAgent: string;
  nowMs(): number;
}

const CONNECT_TIMEOUT_MS_DEFAULT = 30_000;

/**
 * Opens nothing before the first request. Key, certificate, authority and credential files are read
 * for each connection, and when one of them has changed the connection is replaced.
 */
export function makeUploadClient(options: UploadClientOptions): UploadClient {
  return new HttpUploadClient(options);
}

/** A connection, with what was true when it was made. */
interface Line {
  connection: Connection;
  openedMs: number;
  signature: string;
}

/** What is known about a connection that is being made. */
interface Attempt {
  phase: Phase;
  identity: ClientIdentity;
}

type Phase = UploadFailure["phase"];
type Described = Pick<UploadFailure, "phase" | "error">;

const NO_IDENTITY: ClientIdentity = { context: {}, certificateEndMs: undefined };

class HttpUploadClient implements UploadClient {
  readonly #options: UploadClientOptions;
  readonly #files: readonly string[];
  readonly #stop = new AbortController();
  /** Not given to a connection yet. */
  readonly #waiting: Flight[] = [];
  #line: Line | undefined;
  #isDialing = false;

  constructor(options: UploadClientOptions) {
    this.#options = options;
    const certificates = usesTls(options) ? identityFileNames(options) : [];
    this.#files = [...certificates, ...credentialFileNames(options)];
  }

  send(request: UploadRequest): Promise<UploadAnswer | UploadFailure> {
    return new Promise((settle) => {
      this.#waiting.push({ request, settle });
      this.#advance();
    });
  }

  close(): void {
    this.#stop.abort();
    this.#line?.connection.close();
    this.#line = undefined;
    this.#advance();
  }

  /** Brings what waits onto a connection, now or when there is a fit one. */
  #advance(): void {
    if (this.#stop.signal.aborted) {
      const context = this.#context(NO_IDENTITY);
      const failure = describeBreakage(context, { kind: "closed-here" }, false);
      this.#failWaiting({ kind: "failure", bytesSent: 0, ...failure });
      return;
    }
    if (this.#waiting.length === 0 || this.#isDialing) return;
    const line = this.#line;
    if (line?.connection.isOpen === true) {
      if (!this.#isOutdated(line)) {
        for (const flight of this.#waiting.splice(0)) line.connection.send(flight);
        return;
      }
      // What is in flight still is answered on the old one.
      if (!line.connection.isIdle) return;
    }
    // First: closing the old one calls back.
    this.#isDialing = true;
    line?.connection.close();
    this.#line = undefined;
    void this.#open().then(() => {
      this.#isDialing = false;
      this.#advance();
    });
  }

  #isOutdated({ openedMs, signature }: Line): boolean {
    const isOld = this.#options.nowMs() - openedMs >= this.#options.connectionAgeMs;
    return isOld || filesSignature(this.#files) !== signature;
  }

  /** Makes a connection, or fails everything that waits for one. Never rejects. */
  async #open(): Promise<void> {
    const attempt: Attempt = { phase: "resolve", identity: NO_IDENTITY };
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(DIAL_TIMEOUT), this.#connectTimeoutMs);
    const signal = AbortSignal.any([this.#stop.signal, timeout.signal]);
    try {
      this.#line = await this.#dial(attempt, signal);
    } catch (cause) {
      const error = describeDialFailure(this.#context(attempt.identity), attempt.phase, cause);
      this.#failWaiting({ kind: "failure", phase: attempt.phase, bytesSent: 0, error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Rejects with what `describeDialFailure()` takes. */
  async #dial(attempt: Attempt, signal: AbortSignal): Promise<Line> {
    const { url, proxy, trust, userAgent, nowMs, networkTimeoutMs } = this.#options;
    // Before the files are read: what changes after that is noticed.
    const signature = filesSignature(this.#files);
    if (usesTls(this.#options)) attempt.identity = loadClientIdentity(this.#options);
    const { identity } = attempt;
    const headStart = this.#headStart();
    const checksServer = trust !== "all";
    const onPhase = (phase: Phase): void => {
      attempt.phase = phase;
    };
    const way = { url, proxy, identity, checksServer, userAgent };
    const socket = await dial({ ...way, signal, onPhase });
    const connection = new Connection(socket, {
      headStart,
      networkTimeoutMs,
      describe: (breakage, hasAnswered): Described =>
        describeBreakage(this.#context(identity), breakage, hasAnswered),
      changed: (): void => this.#advance(),
    });
    return { connection, openedMs: nowMs(), signature };
  }

  get #connectTimeoutMs(): number {
    return this.#options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS_DEFAULT;
  }

  /** @throws AgentError E_CONFIG for credentials that cannot be read. */
  #headStart(): string {
    const { url, proxy, headers, userAgent } = this.#options;
    const isDefaultPort = url.port === (url.isSecure ? 443 : 80);
    const authority = formatAuthority(url.host, url.port);
    const host = isDefaultPort ? authority.replace(/:\d+$/, "") : authority;
    // Through a proxy, a plain request names the whole URL; TLS has a tunnel.
    const isRelayed = proxy !== undefined && !url.isSecure;
    return formatHeadStart({
      target: isRelayed ? `http://${host}${url.target}` : url.target,
      host,
      userAgent,
      authorization: readAuthorization(this.#options, url.userinfo),
      proxyAuthorization:
        isRelayed && proxy.userinfo !== undefined ? formatBasic(proxy.userinfo) : undefined,
      headers,
    });
  }

  #failWaiting(failure: UploadFailure): void {
    for (const { settle } of this.#waiting.splice(0)) settle(failure);
  }

  #context(identity: ClientIdentity): FailureContext {
    const { url, proxy, networkTimeoutMs, nowMs } = this.#options;
    return {
      verb: "upload to",
      url,
      proxy,
      files: this.#options,
      certificateEndMs: identity.certificateEndMs,
      nowMs: nowMs(),
      networkTimeoutMs,
      connectTimeoutMs: this.#connectTimeoutMs,
    };
  }
}

function usesTls({ url, proxy }: UploadClientOptions): boolean {
  return url.isSecure || proxy?.isSecure === true;
}
