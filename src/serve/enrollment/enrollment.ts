/**
 * Enrolment at the receiver: takes a host's request and has the signer answer it. The receiver is in the network and holds no
 * key of the authority, so what it can do is to keep strangers from wearing out the signer: everything they may have of it at
 * a time, or in a minute, has a limit.
 */

import { AgentError, reasonOf } from "../../errors.ts";
import { log } from "../../log.ts";
import {
  ANSWER_TIMEOUT_MS,
  type SignerAnswer,
  type SignerQuestion,
} from "../../platform/signer-protocol.ts";
import type { Counters } from "../counters.ts";
import { type Refusal, type Reply, refusal } from "../upload-request.ts";
import { AttemptLimit, type AttemptLimits, networkOf } from "./attempt-limit.ts";
import { ENROLLMENT_BODY_MAX, type EnrollmentRequest } from "./routes.ts";
import { askSigner } from "./signer-client.ts";

export interface EnrollmentOptions {
  /** Path of the signer's socket. */
  socket: string;
  counters: Counters;
  /** Monotonic. */
  nowMs(): number;
}

/** Who asks. */
export interface Asker {
  address: string;
  /** By its certificate; undefined for a stranger. */
  name: string | undefined;
}

/** One request under way; like an IngestStream. */
export interface EnrollmentStream {
  /** @throws AgentError E_LIMIT */
  push(chunk: Uint8Array): undefined;
  end(): Promise<Reply>;
  abort(): void;
}

/** Failed enrolments within a minute. A token is not guessed; it is the signer that is to have its peace. */
export const FAILURES: AttemptLimits = { perOwnerMax: 10, totalMax: 60 };
/** Renewals within a minute, by name: failed or not. */
const RENEWALS: AttemptLimits = { perOwnerMax: 10, totalMax: 600 };
/** Requests of strangers begun and not answered: of one address, and of all. Each may hold a body. */
const STRANGERS: AttemptLimits = { perOwnerMax: 8, totalMax: 64 };
/** Requests of known hosts, the same: strangers do not keep them out. */
const MEMBERS: AttemptLimits = { perOwnerMax: 2, totalMax: 64 };
/** Questions to the signer at a time, the others wait: below MaxConnections= of its socket. */
const QUESTIONS_MAX = 6;
/** How long the authority's certificate is shown without asking for it again: strangers may ask for it as often as they like. */
const AUTHORITY_KEPT_MS = 60_000;
/** The same for the answer that there is none. */
const TROUBLE_KEPT_MS = 1_000;
/** When the signer may answer again. */
const RETRY_AFTER_SEC = 5;

/** What may be PEM at all: other bytes would take several times as many on their way to the signer. */
const PEM = /^-----BEGIN [\t\n\r\x20-\x7e]*$/;

export class Enrollment {
  readonly #options: EnrollmentOptions;
  readonly #failures: AttemptLimit;
  readonly #renewals: AttemptLimit;
  readonly #open = new Map<EnrollmentStream, string>();
  #questions = 0;
  /** Whose questions wait, in order; never more than there are open requests. */
  readonly #waiting: (() => void)[] = [];
  #authority: { answer: Promise<SignerAnswer>; endMs: number } | undefined;

  constructor(options: EnrollmentOptions) {
    this.#options = options;
    this.#failures = new AttemptLimit(FAILURES, options.nowMs);
    this.#renewals = new AttemptLimit(RENEWALS, options.nowMs);
  }

  /** Takes the body of a request, or says why not. */
  open(request: EnrollmentRequest, asker: Asker): EnrollmentStream | Refusal {
    const isRenewal = request.operation === "renew";
    const owner = isRenewal ? `peer ${asker.name}` : `address ${networkOf(asker.address)}`;
    const limit = isRenewal ? this.#renewals : this.#failures;
    const waitSec = request.operation === "authority" ? 0 : limit.waitSec(owner);
    if (waitSec > 0) return tooMany(waitSec);
    if (!this.#hasRoom(owner, isRenewal ? MEMBERS : STRANGERS)) return busy();
    const body = collectBody();
    const stream: EnrollmentStream = {
      push: (chunk) => body.add(chunk),
      end: async () => {
        try {
          const text = body.text();
          return this.#told(await this.#answer(request, asker, owner, text), request, asker);
        } finally {
          this.#open.delete(stream);
        }
      },
      abort: () => {
        this.#open.delete(stream);
      },
    };
    this.#open.set(stream, owner);
    return stream;
  }

  #hasRoom(owner: string, { perOwnerMax, totalMax }: AttemptLimits): boolean {
    const kind = owner.split(" ", 1)[0] ?? "";
    const alike = [...this.#open.values()].filter((each) => each.startsWith(`${kind} `));
    const own = alike.filter((each) => each === owner);
    return alike.length < totalMax && own.length < perOwnerMax;
  }

  async #answer(
    { operation, proof }: EnrollmentRequest,
    { address, name }: Asker,
    owner: string,
    body: string,
  ): Promise<SignerAnswer | Refusal> {
    if (operation === "authority") return await this.#showAuthority(address);
    if (!PEM.test(body)) {
      return refusal("enroll-body", 400, "A certificate request (PKCS #10, PEM) is required.");
    }
    const limit = operation === "renew" ? this.#renewals : this.#failures;
    const attempt = limit.begin(owner);
    if (attempt === undefined) return tooMany(limit.waitSec(owner));
    const question: SignerQuestion =
      operation === "renew"
        ? { op: operation, request: body, address, ...(name === undefined ? {} : { name }) }
        : { op: operation, request: body, address, proof };
    const answer = await this.#ask(question);
    if (operation === "enroll" && "status" in answer && answer.status === 200) attempt.takeBack();
    return answer;
  }

  /** Asked for once, however many want it. */
  async #showAuthority(address: string): Promise<SignerAnswer | Refusal> {
    const { nowMs } = this.#options;
    if (this.#authority === undefined || nowMs() >= this.#authority.endMs) {
      const answer = this.#ask({ op: "authority", address });
      const kept = { answer, endMs: Number.POSITIVE_INFINITY };
      this.#authority = kept;
      const { status } = await answer;
      kept.endMs = nowMs() + (status === 200 ? AUTHORITY_KEPT_MS : TROUBLE_KEPT_MS);
    }
    return await this.#authority.answer;
  }

  /** The signer's answer; that there is none is an answer, too. */
  async #ask(question: SignerQuestion): Promise<SignerAnswer> {
    if (this.#questions >= QUESTIONS_MAX) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#questions++;
    try {
      return await askSigner(this.#options.socket, question, ANSWER_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      this.#options.counters.count("enroll-no-signer", reasonOf(error));
      return { status: 503, reason: "unanswered", text: "The authority does not answer." };
    } finally {
      this.#questions--;
      this.#waiting.shift()?.();
    }
  }

  /** Counted, logged, and as a reply. */
  #told(
    answer: SignerAnswer | Refusal,
    { operation }: EnrollmentRequest,
    { address, name }: Asker,
  ): Reply {
    const who = JSON.stringify(name ?? address);
    if ("reply" in answer) {
      const { reason, reply } = answer;
      this.#options.counters.count(reason, `Answered ${who} ${reply.status}: ${reply.text}`);
      return reply;
    }
    const { status, text, reason = "unspecified" } = answer;
    if (status === 200) {
      if (operation !== "authority") log.info(`Gave ${who} a certificate operation=${operation}`);
    } else {
      this.#options.counters.count(`enroll-${reason}`, `Answered ${who} ${status}: ${text}`);
    }
    const headers = status === 503 || status === 429 ? [`Retry-After: ${RETRY_AFTER_SEC}`] : [];
    return { status, text: text.trimEnd(), headers, close: true };
  }
}

/** In one piece: a stranger may send a byte at a time, each of which would cost a hundred. */
function collectBody(): { add(chunk: Uint8Array): undefined; text(): string } {
  let bytes = Buffer.alloc(0);
  let size = 0;
  return {
    add: (chunk): undefined => {
      const end = size + chunk.length;
      if (end > ENROLLMENT_BODY_MAX) {
        const problem = `more than ${ENROLLMENT_BODY_MAX} bytes`;
        throw new AgentError("E_LIMIT", `Cannot take the request: ${problem}`);
      }
      if (end > bytes.length) {
        const grown = Buffer.alloc(Math.min(ENROLLMENT_BODY_MAX, 2 * end));
        bytes.copy(grown, 0, 0, size);
        bytes = grown;
      }
      bytes.set(chunk, size);
      size = end;
      return undefined;
    },
    text: (): string => bytes.toString("latin1", 0, size),
  };
}

function busy(): Refusal {
  return refusal(
    "enroll-busy",
    503,
    "Too many enrolments at a time.",
    `Retry-After: ${RETRY_AFTER_SEC}`,
  );
}

function tooMany(waitSec: number): Refusal {
  const text = "Too many attempts, try again later.";
  return refusal("enroll-rate", 429, text, `Retry-After: ${waitSec}`);
}
