/** A view on the same memory, for reading words at any offset: several times as fast as byte by byte. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
