/**
 * Serial numbers. The file `serial` holds the next one, in hexadecimal digits, as for `openssl ca`. In a directory of
 * Netdata's script it counts from 0001 on, and goes on counting; in one made here it is random, and so is what follows.
 */
import { randomBytes } from "node:crypto";
import { AgentError } from "../errors.ts";

/** Numbers of up to 8 bytes are counted, longer ones drawn. */
const COUNTER_DIGITS_MAX = 16;

/** 128 bits, positive and without a leading zero: 32 digits. */
export function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f);
  return bytes.toString("hex").toUpperCase();
}

/**
 * The number that the file holds, as the index writes it; a random one if the file is empty.
 * @param file for the messages. @throws AgentError E_CERT
 */
export function parseSerial(text: string, file: string): string {
  const digits = text.trim().toUpperCase();
  if (digits === "") return randomSerial();
  if (!/^[0-9A-F]{1,40}$/.test(digits)) {
    const problem = `${JSON.stringify(digits.slice(0, 50))}, need at most 40 hexadecimal digits`;
    throw new AgentError("E_CERT", `Cannot read serial number in "${file}": ${problem}`);
  }
  return canonicalSerial(digits);
}

/** The one that follows. */
export function nextSerial(serial: string): string {
  if (serial.length > COUNTER_DIGITS_MAX) return randomSerial();
  return canonicalSerial((BigInt(`0x${serial}`) + 1n).toString(16));
}

/** Upper case, an even number of digits, no leading zeros but for that: as openssl prints it. */
export function canonicalSerial(digits: string): string {
  const short = digits
    .replaceAll(":", "")
    .toUpperCase()
    .replace(/^0+(?=.)/, "");
  return short.length % 2 === 0 ? short : `0${short}`;
}
