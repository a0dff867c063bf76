/**
 * What the receiver and the signer say to each other over the socket of `journal-agent-enroll.socket`: a line of JSON each,
 * then the connection ends. The receiver is in the network and holds no key of the authority; the signer holds it, is started
 * for each question, and trusts nothing the receiver says.
 */

export const SIGNER_OPERATIONS = ["authority", "enroll", "renew"] as const;
export type SignerOperation = (typeof SIGNER_OPERATIONS)[number];

export interface SignerQuestion {
  op: SignerOperation;
  /** That the host has a token, and signs this request with it; to enroll. See certs/token.ts. */
  proof?: string;
  /** PKCS #10, PEM; to enroll and to renew. */
  request?: string;
  /** Who asks to renew, by the certificate of the connection. The signer relies on the key alone: this only narrows it. */
  name?: string;
  /** Where the question is from, for the log. */
  address: string;
}

export interface SignerAnswer {
  /** Of HTTP: 200, 400, 403, 429, 503. */
  status: number;
  /** PEM with 200: to enroll or renew the certificate, all trusted authorities, their lists; else one line that says why. */
  text: string;
  /** Why not, in a word for counting: "used", "expired". */
  reason?: string;
}

/** Bytes of a question with its line feed; a request is a kilobyte or two. */
export const QUESTION_SIZE_MAX = 128 * 1024;
/** Bytes of an answer; lists of 10,000 revoked certificates have half a million. */
export const ANSWER_SIZE_MAX = 32 * 1024 * 1024;
/** How long a question may take to arrive, and how long an answer waits for another command to leave the directory. */
export const QUESTION_TIMEOUT_MS = 5_000;
export const DIRECTORY_PATIENCE_MS = 10_000;
/** After that nobody waits for an answer any more. */
export const ANSWER_TIMEOUT_MS = 25_000;
