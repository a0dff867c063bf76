/** The text of a DATA object whatever its compression, bounded. */
import { reasonOf } from "../../errors.ts";
import { DATA_SIZE_MAX, ObjectFlag } from "../format.ts";
import { unpackPayload } from "../payload.ts";

const ALGORITHM_BY_FLAG: Record<number, string> = {
  [ObjectFlag.xz]: "xz",
  [ObjectFlag.lz4]: "lz4",
  [ObjectFlag.zstd]: "zstd",
};

/** One GiB whatever the file, and this much per byte of it, is decompressed: no bomb takes hours. */
const RAW_BYTES_PER_FILE_BYTE = 64;
const RAW_BYTES_MIN = 2 ** 30;

export type Unpacked =
  | { kind: "raw"; bytes: Uint8Array }
  | { kind: "damaged"; what: string }
  | { kind: "unchecked" };

/** Decompresses within a budget and counts what it left out. */
export class Unpacker {
  #budget: number;
  /** Payloads left out, as the budget was used up. */
  unchecked = 0;

  constructor(fileSize: number) {
    this.#budget = RAW_BYTES_MIN + RAW_BYTES_PER_FILE_BYTE * fileSize;
  }

  /** @param flag one of ObjectFlag */
  unpack(flag: number, payload: Uint8Array): Unpacked {
    if (this.#budget <= 0) {
      this.unchecked++;
      return { kind: "unchecked" };
    }
    try {
      const bytes = unpackPayload(flag, payload, DATA_SIZE_MAX);
      this.#budget -= bytes.length;
      return { kind: "raw", bytes };
    } catch (error) {
      const what = `${ALGORITHM_BY_FLAG[flag]} payload is damaged: ${reasonOf(error)}`;
      return { kind: "damaged", what };
    }
  }
}
