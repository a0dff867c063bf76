/**
 * The little of DER (ITU-T X.690) that walking certificates and revocation lists takes. Lists of
 * 10,000 entries and more are walked in place, without an object per node.
 */
import { AgentError } from "../errors.ts";

export const DerTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  /** [0], constructed. */
  context0: 0xa0,
} as const;

/** One element: where it starts, where its content starts, and where both end. */
export interface DerElement {
  tag: number;
  start: number;
  contentStart: number;
  end: number;
}

/**
 * The element at `offset`, which must end at or before `limit`.
 * @throws AgentError E_CERT when the bytes are not one definite-length element.
 */
export function readElement(bytes: Uint8Array, offset: number, limit: number): DerElement {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined || offset + 2 > limit) throw cutShort(offset);
  if (first < 0x80) return checkedElement(tag, offset, offset + 2, first, limit);
  const lengthBytes = first & 0x7f;
  // 4 bytes reach 4 GiB; 0 is BER's indefinite length, which DER forbids.
  if (lengthBytes === 0 || lengthBytes > 4) throw malformed("a length it does not allow", offset);
  let length = 0;
  for (let i = 0; i < lengthBytes; i++) {
    const byte = bytes[offset + 2 + i];
    if (byte === undefined) throw cutShort(offset);
    length = length * 256 + byte;
  }
  return checkedElement(tag, offset, offset + 2 + lengthBytes, length, limit);
}

/** Like `readElement()`, and the element must have this tag. */
export function expectElement(
  bytes: Uint8Array,
  offset: number,
  limit: number,
  tag: number,
): DerElement {
  const element = readElement(bytes, offset, limit);
  if (element.tag !== tag) {
    const wanted = `tag 0x${element.tag.toString(16)}, need 0x${tag.toString(16)}`;
    throw malformed(wanted, offset);
  }
  return element;
}

/** A UTCTime or GeneralizedTime as milliseconds since 1970. */
export function readTime(bytes: Uint8Array, element: DerElement): number {
  const text = Buffer.from(bytes.subarray(element.contentStart, element.end)).toString("latin1");
  const digits = element.tag === DerTag.utcTime ? `${centuryOf(text)}${text}` : text;
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
  if (match === null) throw malformed("a time it does not allow", element.start);
  const [, year, month, day, hour, minute, second] = match;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** RFC 5280 4.1.2.5.1: two-digit years below 50 are 20xx. */
function centuryOf(text: string): string {
  return Number(text.slice(0, 2)) < 50 ? "20" : "19";
}

function checkedElement(
  tag: number,
  start: number,
  contentStart: number,
  length: number,
  limit: number,
): DerElement {
  const end = contentStart + length;
  if (end > limit) throw cutShort(start);
  return { tag, start, contentStart, end };
}

function cutShort(offset: number): AgentError {
  return malformed("an element cut short", offset);
}

function malformed(what: string, offset: number): AgentError {
  return new AgentError("E_CERT", `Cannot read DER: ${what}`, { offset });
}
