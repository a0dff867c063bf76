/** `agent upload` from one place to another, and what is to be the same at both ends. */
import { expect } from "bun:test";
import { compareEntries, type ExportedEntry } from "./stored-journals.ts";
import type { TestPki } from "./tls.ts";
import { UploaderProcess } from "./uploader-process.ts";

interface UploadRun {
  /** The executable. */
  agent: string;
  url: string;
  /** "--directory=…" or "--file=…", and further options. */
  args: readonly string[];
  /** Its authority is trusted, the certificate "web1" shown. */
  pki?: TestPki;
}

/** Sends what is there; resolves with its log. Throws when it fails, or has had to try again. */
export async function uploadAll(run: UploadRun): Promise<string> {
  const log = await uploadPatiently(run);
  if (log.includes("tried again")) throw new Error(`agent upload: ${log}`);
  return log;
}

/** The same, however often it has to try. */
export async function uploadPatiently({ agent, url, args, pki }: UploadRun): Promise<string> {
  const identity = pki?.uploadArgs("web1") ?? ["--key=-", "--cert=-"];
  await using sender = new UploaderProcess([
    agent,
    "upload",
    `--url=${url}`,
    ...identity,
    ...args,
    "--follow=no",
  ]);
  const status = await sender.ended();
  await sender.logged("Finished");
  if (status !== 0) throw new Error(`agent upload: exit ${status}: ${sender.log}`);
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

/** In any order, with the same cursors. */
export function expectSameEntries(
  stored: readonly ExportedEntry[],
  sent: readonly ExportedEntry[],
): void {
  expect(sent.length).toBeGreaterThan(0);
  const difference = compareEntries(stored.map(withoutNumber), sent.map(withoutNumber));
  const { missing, unexpected, twice, changed } = difference;
  // A few will do to see what is wrong.
  const some = [missing, unexpected, twice, changed].map((differences) => differences.slice(0, 3));
  expect({ some, stored: stored.length }).toEqual({ some: [[], [], [], []], stored: sent.length });
}

/**
 * In any order, by their fields and times: systemd-journal-remote numbers entries anew, and stores a field that an entry
 * has twice once, which gives that entry another hash.
 */
export function expectSameContents(
  stored: readonly ExportedEntry[],
  sent: readonly ExportedEntry[],
): void {
  expect(sent.length).toBeGreaterThan(0);
  const contentsOf = (entry: ExportedEntry): string =>
    [...new Set(withoutNumber(entry).fields)].join("\n");
  const left = Map.groupBy(sent, contentsOf);
  const unexpected = stored.filter((entry) => left.get(contentsOf(entry))?.pop() === undefined);
  const missing = [...left.values()].flat();
  expect([missing.slice(0, 3), unexpected.slice(0, 3)]).toEqual([[], []]);
}

/** Without the lines that journalctl has since 254; the cursor says the same. */
function withoutNumber({ cursor, fields }: ExportedEntry): ExportedEntry {
  return { cursor, fields: fields.filter((field) => !/^__SEQNUM(_ID)?=/.test(field)) };
}
