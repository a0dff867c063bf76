/** By what a journal is known, whatever it is called by now. */
import fs from "node:fs";
import { formatId128, ID128_SIZE } from "../bytes/id128.ts";

const SIGNATURE = "LPKSHHRH";
/** struct Header: file_id. https://systemd.io/JOURNAL_FILE_FORMAT/#header */
const FILE_ID_OFFSET = 24;

/** @returns undefined for what is no journal */
export function readFileId(fd: number): string | undefined {
  const head = Buffer.alloc(FILE_ID_OFFSET + ID128_SIZE);
  if (fs.readSync(fd, head, 0, head.length, 0) < head.length) return undefined;
  const signature = head.toString("latin1", 0, SIGNATURE.length);
  return signature === SIGNATURE ? formatId128(head, FILE_ID_OFFSET) : undefined;
}
