/**
 * The two kinds of requests, uploads and those of enrolment: who may make which, what takes its body, and by when. Whoever
 * has a good certificate sends and renews; a stranger may ask for a certificate, where enrolment is on, and for nothing else.
 */
import type { ConnectionContext } from "./connection-context.ts";
import type { EnrollmentStream } from "./enrollment/enrollment.ts";
import { checkEnrollment, type EnrollmentRequest } from "./enrollment/routes.ts";
import type { RequestHead } from "./http1.ts";
import { checkExpiry, type Peer } from "./identity.ts";
import type { IngestResult, IngestStream } from "./ingest-types.ts";
import {
  accepted,
  announcementFor,
  checkEncoding,
  checkRequest,
  PEER_REFUSALS,
  prematureEnd,
  type Refusal,
  type Reply,
  type UploadRequest,
  untrustedCertificate,
} from "./upload-request.ts";

export type Request = UploadRequest | EnrollmentRequest;

/** Takes the body of a request. */
export type BodyStream = IngestStream | EnrollmentStream;

/** Who is at the other end of a connection. */
export interface Requester {
  /** Undefined until the handshake is over, and for whoever was refused. */
  peer: Peer | undefined;
  /** Where it is, for logs until it is identified. */
  address: string;
  /** Why it may not send. */
  refusal: Refusal | undefined;
  /** Whether it may ask for a certificate nevertheless. */
  mayEnroll: boolean;
}

/** The checks that need the head alone. */
export function checkHead(
  head: RequestHead,
  { enrollment, limits }: ConnectionContext,
): Request | Refusal {
  return checkEnrollment(head, enrollment !== undefined) ?? checkRequest(head, limits.entrySizeMax);
}

/** What there is against this request of theirs. */
export function findObstacle(
  request: Request,
  { peer, refusal, mayEnroll }: Requester,
  wallMs: number,
): Refusal | undefined {
  const isEnrollment = "operation" in request;
  const isForStrangers = isEnrollment && request.operation !== "renew";
  if (isForStrangers && (mayEnroll || peer !== undefined)) return undefined;
  if (refusal !== undefined) return refusal;
  if (peer === undefined) return untrustedCertificate("UNIDENTIFIED");
  if (isEnrollment && peer.certificate === undefined) return PEER_REFUSALS.noCertificate;
  const expired = checkExpiry(peer, wallMs);
  return expired ?? (isEnrollment ? undefined : checkEncoding(request.encoding));
}

/** For a request that nothing stands against. @throws AgentError E_IO, E_NO_SPACE */
export function openStream(
  request: Request,
  { peer, address }: Requester,
  { enrollment, ingest }: ConnectionContext,
): BodyStream | Refusal {
  if ("operation" in request) {
    const name = peer?.certificate === undefined ? undefined : peer.name;
    const stream = enrollment?.open(request, { address: peer?.address ?? address, name });
    if (stream !== undefined) return stream;
  } else if (peer !== undefined) {
    return ingest.open(peer.name, request.encoding, request.format);
  }
  return untrustedCertificate("UNIDENTIFIED");
}

/** When all of the body has to be there: a stranger is not waited for for long, however it trickles. */
export function dueMs(request: Request, { limits, nowMs }: ConnectionContext): number {
  return "operation" in request ? nowMs() + limits.handshakeTimeoutMs : Infinity;
}

/** The answer to an upload that is on disk. @param who for the log, quoted */
export function uploadReply(
  { counts, trailingBytes }: IngestResult,
  { head, keepAlive, who }: { head: RequestHead; keepAlive: boolean; who: string },
  { announcedEncodings, counters }: ConnectionContext,
): Reply {
  if (trailingBytes === 0) {
    return accepted({ keepAlive }, counts, announcementFor(head, announcedEncodings));
  }
  counters.count(
    "body-premature-end",
    `Answered ${who} 417: ${trailingBytes} bytes of an unfinished entry`,
  );
  return prematureEnd({ keepAlive }, trailingBytes);
}
