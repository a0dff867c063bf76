/** 128-bit ids (machine id, boot id, seqnum id, file id): 16 bytes, written as 32 hex digits. */

export const ID128_SIZE = 16;

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The 32 lower-case hex digits of the id at `offset`. */
export function formatId128(bytes: Uint8Array, offset = 0): string {
  let text = "";
  for (let i = 0; i < ID128_SIZE; i++) text += HEX[bytes[offset + i] as number];
  return text;
}

/** Accepts 32 hex digits or the dashed UUID form, as sd_id128_from_string() does. */
export function parseId128(text: string): Uint8Array | undefined {
  const plain =
    text.length === 36 && /^[^-]{8}-[^-]{4}-[^-]{4}-[^-]{4}-[^-]{12}$/.test(text)
      ? text.replaceAll("-", "")
      : text;
  if (!/^[0-9a-fA-F]{32}$/.test(plain)) return undefined;
  const id = new Uint8Array(ID128_SIZE);
  for (let i = 0; i < ID128_SIZE; i++) id[i] = Number.parseInt(plain.slice(i * 2, i * 2 + 2), 16);
  return id;
}

export function isNullId128(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < ID128_SIZE; i++) if (bytes[offset + i] !== 0) return false;
  return true;
}

export function isEqualId128(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ID128_SIZE; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function randomId128(): Uint8Array {
  const id = crypto.getRandomValues(new Uint8Array(ID128_SIZE));
  // Version 4, variant 1, as sd_id128_randomize() makes them.
  id[6] = ((id[6] as number) & 0x0f) | 0x40;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}
