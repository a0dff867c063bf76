/** xz data that is there as a whole and small, such as a field in a journal file, in one call. */
import { AgentError } from "../../errors.ts";
import { CompressedInput } from "../compressed-input.ts";
import { DecodedOutput } from "../decoded-output.ts";
import { decodeXz } from "./xz.ts";

/**
 * The bytes that `payload` was made of, in memory of their own.
 * @throws AgentError E_EXPORT_SYNTAX (broken, or ends too early), E_LIMIT (more than `sizeMax` bytes, or
 * a dictionary of more than 64 MiB).
 */
export function unpackXz(payload: Uint8Array, sizeMax: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const output = new DecodedOutput((piece) => {
    size += piece.length;
    if (size > sizeMax) {
      throw new AgentError("E_LIMIT", `Cannot decode xz data: it has more than ${sizeMax} bytes`);
    }
    pieces.push(piece.slice());
  });
  const input = new CompressedInput("xz data");
  input.supply(payload);
  input.end();
  const decoding = decodeXz(input, output);
  // All input is there: what it stops for is only that others get their turn.
  while (decoding.next().done !== true);
  return pieces.length === 1 ? pieces[0]! : Bun.concatArrayBuffers(pieces, size, true);
}
