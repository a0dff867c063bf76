/** What an answer, or the lack of one, says about what was sent. */
import { parseRetryAfterMs } from "../platform/backoff.ts";
import type { UploadAnswer, UploadFailure } from "./delivery-types.ts";

export type Verdict = Accepted | Refused | Trouble;

/** Everything is stored. */
export interface Accepted {
  kind: "accepted";
}

/** It may be about what was sent: another body may be taken. */
export interface Refused {
  kind: "refused";
  /**
   * "entries": a status for content; "size": too much at once; "format": the type or encoding of the body; "cut": the
   * connection ended in the middle.
   */
  about: "entries" | "size" | "format" | "cut";
  reason: string;
  hint: string | undefined;
  retryAfterMs: number;
}

/** It is about the receiver or the way there: the same may be taken later. */
export interface Trouble {
  kind: "trouble";
  reason: string;
  hint: string | undefined;
  /** What the receiver asks for; 0 = nothing. */
  retryAfterMs: number;
}

const ABOUT_BY_STATUS: Readonly<Record<number, Refused["about"]>> = {
  400: "entries",
  413: "size",
  415: "format",
  417: "entries",
  422: "entries",
};
const HINT_BY_STATUS: Readonly<Record<number, string>> = {
  301: "Name the address it redirects to with URL=",
  302: "Name the address it redirects to with URL=",
  307: "Name the address it redirects to with URL=",
  308: "Name the address it redirects to with URL=",
  401: "Check --cert= and --key=, or the token or password that is sent, and what the receiver trusts",
  403: "The receiver knows who this is and does not take it: check its list of senders",
  404: "Check the path of URL=: the receiver has nothing there",
  407: "Check the user and password of the proxy",
};
const TEXT_LENGTH_MAX = 200;

/** Whether the receiver answered at all: one that does not like a request is there, too. */
export function isFromReceiver(verdict: Verdict): boolean {
  return verdict.kind === "accepted" || (verdict.kind === "refused" && verdict.about !== "cut");
}

/** @param url for messages */
export function judge(result: UploadAnswer | UploadFailure, url: string, nowMs: number): Verdict {
  if (result.kind === "failure") return judgeFailure(result);
  const { status, headers, text } = result;
  if (status >= 200 && status < 300) return { kind: "accepted" };
  const reason = `Cannot upload to "${url}": status ${status}${quoted(text)}, need 2xx`;
  const location = headers.get("location");
  const details = {
    reason: location === undefined ? reason : `${reason} location="${firstLine(location)}"`,
    hint: HINT_BY_STATUS[status],
    retryAfterMs: parseRetryAfterMs(headers.get("retry-after"), dateOf(headers) ?? nowMs),
  };
  const about = ABOUT_BY_STATUS[status];
  return about === undefined
    ? { kind: "trouble", ...details }
    : { kind: "refused", about, ...details };
}

function judgeFailure({ phase, bytesSent, error }: UploadFailure): Verdict {
  const details = { reason: error.message, hint: error.hint, retryAfterMs: 0 };
  return phase === "request" && bytesSent > 0
    ? { kind: "refused", about: "cut", ...details }
    : { kind: "trouble", ...details };
}

/** What the receiver's clock said, by which it names dates: ours may be wrong. */
function dateOf(headers: UploadAnswer["headers"]): number | undefined {
  const dateMs = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(dateMs) ? undefined : dateMs;
}

function quoted(text: string): string {
  const line = firstLine(text);
  return line === "" ? "" : ` "${line}"`;
}

/** What a peer says, fit for one line of a log. */
function firstLine(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.slice(0, TEXT_LENGTH_MAX).replace(/[^\x20-\x7e]/g, "?");
}
