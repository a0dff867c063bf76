/** `agent upload` from one place to another, and what is to be the same at both ends. */
import { expect } from "bun:test";
import { compareEntries, type ExportedEntry } from "./stored-journals.ts";
import type { TestPki } from "./tls.ts";
import { UploaderProcess } from "./uploader-process.ts";

export interface UploadRun {
  /** The executable. */
  agent: string;
  url: string;
  /** "--directory=…" or "--file=…", and further options. */
  args: readonly string[];
  /** Its authority is trusted, the certificate "web1" shown. */
  pki?: TestPki;
}

export function startUpload({ agent, url, args, pki }: UploadRun): UploaderProcess {
  const identity =
    pki === undefined
      ? ["--key=-", "--cert=-"]
      : [
          `--key=${pki.path("web1.key")}`,
          `--cert=${pki.path("web1.pem")}`,
          `--trust=${pki.path("ca.pem")}`,
        ];
  return new UploaderProcess([agent, "upload", `--url=${url}`, ...identity, ...args]);
}

/** Sends what is there; resolves with its log. Throws when it fails, or has had to try again. */
export async function uploadAll(run: UploadRun): Promise<string> {
  const sender = startUpload({ ...run, args: [...run.args, "--follow=no"] });
  const status = await sender.ended();
  await sender.logged("Finished");
  if (status !== 0 || sender.log.includes("tried again")) {
    throw new Error(`agent upload: exit ${status}: ${sender.log}`);
  }
  return sender.log;
}

/** In the same order, with the same cursors. */
export function expectSameStream(
  stored: readonly ExportedEntry[],
  sent: readonly ExportedEntry[],
): void {
  expectSameEntries(stored, sent);
  expect(stored.map(({ cursor }) => cursor)).toEqual(sent.map(({ cursor }) => cursor));
}

/**
 * In any order. @param isStock the receiver gives entries sequence numbers of its own, so that of their cursors only
 * boot, times and hash are the same
 */
export function expectSameEntries(
  stored: readonly ExportedEntry[],
  sent: readonly ExportedEntry[],
  isStock = false,
): void {
  expect(sent.length).toBeGreaterThan(0);
  const [there, here] = isStock
    ? [stored.map(withoutNumber), sent.map(withoutNumber)]
    : [stored, sent];
  const { missing, unexpected, twice, changed } = compareEntries(there, here);
  // A few will do to see what is wrong.
  const some = [missing, unexpected, twice, changed].map((differences) => differences.slice(0, 3));
  expect({ some, stored: stored.length }).toEqual({ some: [[], [], [], []], stored: sent.length });
}

function withoutNumber({ cursor, fields }: ExportedEntry): ExportedEntry {
  return {
    cursor: cursor.replace(/^s=[0-9a-f]+;i=[0-9a-f]+;/, ""),
    fields: fields.filter((field) => !/^__SEQNUM(_ID)?=/.test(field)),
  };
}
