/** What daemons and the service manager make: what of it was there before is remembered, the rest goes with --purge. */
import fs from "node:fs";
import { join } from "node:path";
import { formatId128, ID128_SIZE } from "../bytes/id128.ts";
import { errnoOf } from "../errors.ts";
import { isDirectory, look } from "./disk-state.ts";
import { putBack, putDirectory, removeIfEmpty, removePath } from "./disk-write.ts";
import { type ByproductBefore, save } from "./manifest.ts";
import { parentsOf, resolveIn } from "./rooted-path.ts";

/** Larger files are left alone rather than kept. */
const KEPT_FILE_BYTES_MAX = 1 << 20;
const JOURNAL_SIGNATURE = "LPKSHHRH";
/** struct Header: file_id. https://systemd.io/JOURNAL_FILE_FORMAT/#header */
const FILE_ID_OFFSET = 24;

/** As it is now, to be brought back later. */
export function rememberByproduct(root: string, path: string): ByproductBefore {
  const before: ByproductBefore = {
    top: { kind: "nothing" },
    parents: parentsOf(path).filter((parent) => !isDirectory(root, parent)),
    inside: {},
    journals: [],
    untouched: [],
  };
  before.top = save(root, path);
  if (before.top.kind !== "directory") return before;
  for (const name of namesBelow(root, path)) {
    try {
      rememberEntry(root, path, name, before);
    } catch (error) {
      // A daemon that runs renames and removes its files.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }
  return before;
}

/**
 * What came since is removed, what was there is put back; journals that were there stay as they are now.
 * @param isPurge false: for a run that is taken back. Entries that were received since cannot be had again, and what
 * changed in files is the daemons' own state: journals and files that were there stay.
 */
export function takeBackByproduct(
  root: string,
  path: string,
  before: ByproductBefore,
  { isPurge, backupOf }: { isPurge: boolean; backupOf: (backup: number) => string },
): void {
  removeNew(root, path, before, isPurge);
  if (before.top.kind === "nothing") {
    removePath(root, path);
    for (const parent of [...before.parents].reverse()) {
      if (isDirectory(root, parent)) removeIfEmpty(resolveIn(root, parent));
    }
    return;
  }
  if (before.top.kind === "directory") putDirectory(root, path, before.top);
  else if (isPurge) putBack(root, path, before.top, backupOf);
  if (!isPurge) return;
  for (const name of Object.keys(before.inside).sort()) {
    const saved = before.inside[name];
    if (saved !== undefined) putBack(root, join(path, name), saved, backupOf);
  }
}

/** Journals that came since stay as well if it is no purge. */
function removeNew(root: string, path: string, before: ByproductBefore, isPurge: boolean): void {
  if (look(root, path).kind !== "directory") return;
  const journals = new Set(before.journals);
  const untouched = new Set(before.untouched);
  for (const name of namesBelow(root, path).reverse()) {
    if (Object.hasOwn(before.inside, name) || untouched.has(name)) continue;
    const real = resolveIn(root, join(path, name));
    const fileId = journalFileId(real);
    if (fileId !== undefined && (!isPurge || journals.has(fileId))) continue;
    if (fs.lstatSync(real, { throwIfNoEntry: false })?.isDirectory() === true) removeIfEmpty(real);
    else fs.rmSync(real, { force: true });
  }
}

function rememberEntry(root: string, path: string, name: string, before: ByproductBefore): void {
  const inner = join(path, name);
  const real = resolveIn(root, inner);
  const fileId = journalFileId(real);
  if (fileId !== undefined) before.journals.push(fileId);
  else if (isLeftAlone(real)) before.untouched.push(name);
  else before.inside[name] = save(root, inner);
}

/** Relative, parents before what is in them; links are not followed. */
function namesBelow(root: string, path: string): string[] {
  const top = resolveIn(root, path);
  const names: string[] = [];
  const waiting = [""];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const entry of fs.readdirSync(join(top, directory), { withFileTypes: true })) {
      const name = join(directory, entry.name);
      names.push(name);
      if (entry.isDirectory()) waiting.push(name);
    }
  }
  return names.sort();
}

/** Too large, or a socket and the like. */
function isLeftAlone(real: string): boolean {
  const stat = fs.lstatSync(real);
  if (stat.isFile()) return stat.size > KEPT_FILE_BYTES_MAX;
  return !stat.isDirectory() && !stat.isSymbolicLink();
}

/** @returns undefined for what is no journal */
function journalFileId(real: string): string | undefined {
  const stat = fs.lstatSync(real, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) return undefined;
  const head = Buffer.alloc(FILE_ID_OFFSET + ID128_SIZE);
  const fd = fs.openSync(real, "r");
  try {
    if (fs.readSync(fd, head, 0, head.length, 0) < head.length) return undefined;
  } finally {
    fs.closeSync(fd);
  }
  const signature = head.toString("latin1", 0, JOURNAL_SIGNATURE.length);
  return signature === JOURNAL_SIGNATURE ? formatId128(head, FILE_ID_OFFSET) : undefined;
}
