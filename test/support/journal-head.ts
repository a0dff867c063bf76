/** What there is of a journal file for one who only looks at its id: not one that can be read. */

/** @param id each byte of the file id */
export function journalHead(id: number): Uint8Array {
  const bytes = Buffer.alloc(256);
  bytes.write("LPKSHHRH");
  bytes.fill(id, 24, 40);
  return bytes;
}
