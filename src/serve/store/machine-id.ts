/**
 * The machine id of a received file's header: the sender's. journalctl orders entries of several machines
 * by time only when their files' machine ids differ, so a file without one gets an id made from its name.
 */
import { createHash } from "node:crypto";
import { ID128_SIZE, isNullId128, parseId128 } from "../../bytes/id128.ts";
import type { Entry } from "../../journal/entry.ts";

const PREFIX = new TextEncoder().encode("_MACHINE_ID=");

export function machineIdOf(entry: Entry, base: string): Uint8Array {
  for (let i = 0; i < entry.fieldCount; i++) {
    const start = entry.fieldStart[i] ?? 0;
    if (entry.nameLength[i] !== PREFIX.length - 1 || !startsWith(entry.bytes, start, PREFIX))
      continue;
    const value = entry.bytes.subarray(start + PREFIX.length, entry.fieldEnd[i]);
    const id = parseId128(new TextDecoder().decode(value));
    if (id !== undefined && !isNullId128(id)) return id;
  }
  return derivedId128(`machine ${base}`);
}

/** An id that is always the same for the same text. */
export function derivedId128(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest().subarray(0, ID128_SIZE));
}

function startsWith(bytes: Uint8Array, start: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}
