/** The journal's rule for field names (journal-file.c: journal_field_valid()). */

export const FIELD_NAME_SIZE_MAX = 64;

/** What a byte may do in a field name, by its value. */
export const NameByte = { none: 0, inside: 1, anywhere: 2 } as const;
export const NAME_BYTES: Uint8Array = makeNameBytes();

/** `[A-Z_][A-Z0-9_]*`, at most 64 bytes. */
export function isFieldName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end <= start || end - start > FIELD_NAME_SIZE_MAX) return false;
  if (NAME_BYTES[bytes[start]!] !== NameByte.anywhere) return false;
  for (let i = start + 1; i < end; i++) if (NAME_BYTES[bytes[i]!] === NameByte.none) return false;
  return true;
}

function makeNameBytes(): Uint8Array {
  const table = new Uint8Array(256);
  table.fill(NameByte.anywhere, 0x41, 0x5b);
  table.fill(NameByte.inside, 0x30, 0x3a);
  table[0x5f] = NameByte.anywhere;
  return table;
}
