/** Tells whether files have changed without reading them. */
import { statSync } from "node:fs";
import { errnoOf } from "../errors.ts";

/** A text that changes whenever one of the files is changed, replaced, made or removed. */
export function filesSignature(files: readonly string[]): string {
  return files.map((file) => fileSignature(file)).join("\n");
}

function fileSignature(file: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch (error) {
    return errnoOf(error) ?? "unreadable";
  }
}
