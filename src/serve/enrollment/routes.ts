/**
 * The rules of the three requests of enrolment, as far as a head shows them:
 *
 *   GET  /enroll/authority                                       → certificate of the authority
 *   POST /enroll     Authorization: Token PROOF, a request       → the host's certificate, authorities, lists; PEM all
 *   POST /renew      a client certificate, a request             → the same
 */
import type { SignerOperation } from "../../platform/signer-protocol.ts";
import type { BodyFraming, RequestHead } from "../http1.ts";
import { checkFraming, expectsContinue, type Refusal, refusal } from "../upload-request.ts";

/** A request whose head passed the checks. */
export interface EnrollmentRequest {
  operation: SignerOperation;
  /** What stands behind `Token`; "" = nothing is needed. */
  proof: string;
  framing: BodyFraming;
  expectsContinue: boolean;
  /** Whoever asks may be a stranger, whose connection is not kept. */
  keepAlive: false;
}

/** Bytes of a request's body; PEM of an RSA key of 4096 bits has 1,700. */
export const ENROLLMENT_BODY_MAX = 64 * 1024;

const ROUTES: Readonly<Record<string, { operation: SignerOperation; method: string }>> = {
  "/enroll/authority": { operation: "authority", method: "GET" },
  "/enroll": { operation: "enroll", method: "POST" },
  "/renew": { operation: "renew", method: "POST" },
};
const TOKEN = /^Token +([A-Za-z0-9_-]{128})$/i;

/**
 * @param isOn else there is nothing at these paths
 * @returns undefined for a request to another path
 */
export function checkEnrollment(
  head: RequestHead,
  isOn: boolean,
): EnrollmentRequest | Refusal | undefined {
  const route = Object.hasOwn(ROUTES, head.target) ? ROUTES[head.target] : undefined;
  if (route === undefined) return undefined;
  if (!isOn) return refusal("request-path", 404, "Not found.");
  const { operation, method } = route;
  if (head.method !== method) {
    return refusal("request-method", 405, "Unsupported method.", `Allow: ${method}`);
  }
  const framing = checkFraming(head, operation === "authority" ? 0 : ENROLLMENT_BODY_MAX);
  if ("reply" in framing) return framing;
  const proof = TOKEN.exec(head.headers.get("authorization")?.[0] ?? "")?.[1] ?? "";
  if (operation === "enroll" && proof === "") {
    const text = "Authorization: Token with the proof of one is required.";
    return refusal("enroll-no-token", 400, text);
  }
  return {
    operation,
    proof: operation === "enroll" ? proof : "",
    framing,
    expectsContinue: expectsContinue(head),
    keepAlive: false,
  };
}
