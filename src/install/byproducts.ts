/**
 * What daemons and the service manager make: what of it was there before is remembered, the rest goes with --purge. The daemon
 * that owns a directory may run meanwhile, and may be somebody else's by then: nothing it puts there leads root elsewhere.
 */
import fs from "node:fs";
import { join } from "node:path";
import { isDirectory, look, type Saved } from "./disk-state.ts";
import { putBack, putDirectory, removeIfEmpty, removePath, removeTemporary } from "./disk-write.ts";
import { inDirectory, inParentOf, isReplaced } from "./held-directory.ts";
import { readFileId } from "./journal-file-id.ts";
import { type ByproductBefore, save } from "./manifest.ts";
import { parentsOf, resolveIn } from "./rooted-path.ts";

/** Larger files are left alone rather than kept. */
const KEPT_FILE_BYTES_MAX = 1 << 20;

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
  const top = resolveIn(root, path);
  for (const name of namesBelow(top)) {
    // A daemon that runs renames and removes its files.
    unlessReplaced(() =>
      inParentOf(top, name, (real) =>
        rememberEntry(root, join(path, name), { real, name, before }),
      ),
    );
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
  const top = resolveIn(root, path);
  for (const name of Object.keys(before.inside).sort()) {
    const saved = before.inside[name];
    if (saved !== undefined) inParentOf(top, name, (real) => putInPlace(real, saved, backupOf));
  }
}

/** What a process that was killed has left inside. */
export function removeTemporariesInside(
  root: string,
  path: string,
  { inside }: ByproductBefore,
): void {
  const top = resolveIn(root, path);
  for (const name of Object.keys(inside)) {
    unlessReplaced(() => inParentOf(top, name, (real) => removeTemporary("", real)));
  }
}

/** Whatever is there instead. */
function putInPlace(real: string, saved: Saved, backupOf: (backup: number) => string): void {
  const stat = fs.lstatSync(real, { throwIfNoEntry: false });
  if (stat?.isDirectory() === true) {
    if (saved.kind !== "directory") removeIfEmpty(real);
  } else if (stat !== undefined && (saved.kind === "directory" || isSpecial(stat))) {
    fs.rmSync(real, { force: true });
  }
  putBack("", real, saved, backupOf);
}

/** Journals that came since stay as well if it is no purge. */
function removeNew(root: string, path: string, before: ByproductBefore, isPurge: boolean): void {
  if (look(root, path).kind !== "directory") return;
  const journals = new Set(before.journals);
  const untouched = new Set(before.untouched);
  const top = resolveIn(root, path);
  const removeEntry = (real: string): void => {
    const fileId = journalFileId(real);
    if (fileId !== undefined && (!isPurge || journals.has(fileId))) return;
    if (fs.lstatSync(real, { throwIfNoEntry: false })?.isDirectory() === true) removeIfEmpty(real);
    else fs.rmSync(real, { force: true });
  };
  for (const name of namesBelow(top).reverse()) {
    if (Object.hasOwn(before.inside, name) || untouched.has(name)) continue;
    unlessReplaced(() => inParentOf(top, name, removeEntry));
  }
}

function rememberEntry(
  root: string,
  inner: string,
  { real, name, before }: { real: string; name: string; before: ByproductBefore },
): void {
  const fileId = journalFileId(real);
  if (fileId !== undefined) before.journals.push(fileId);
  else if (isLeftAlone(real)) before.untouched.push(name);
  else before.inside[name] = save(root, inner, real);
}

/** Relative, parents before what is in them; links are not followed. */
function namesBelow(top: string): string[] {
  const names: string[] = [];
  const visit = (directory: string, prefix: string): void =>
    inDirectory(directory, (held) => {
      for (const entry of fs.readdirSync(held, { withFileTypes: true })) {
        const name = `${prefix}${entry.name}`;
        names.push(name);
        if (!entry.isDirectory()) continue;
        unlessReplaced(() => visit(`${held}/${entry.name}`, `${name}/`));
      }
    });
  visit(top, "");
  return names.sort();
}

function unlessReplaced(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isReplaced(error)) throw error;
  }
}

/** Too large, or a socket and the like. */
function isLeftAlone(real: string): boolean {
  const stat = fs.lstatSync(real);
  return stat.isFile() ? stat.size > KEPT_FILE_BYTES_MAX : isSpecial(stat);
}

/** A socket, pipe or device. */
function isSpecial(stat: fs.Stats): boolean {
  return !stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink();
}

/** @returns undefined for what is no journal */
function journalFileId(real: string): string | undefined {
  const stat = fs.lstatSync(real, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) return undefined;
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const fd = fs.openSync(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    return fs.fstatSync(fd).isFile() ? readFileId(fd) : undefined;
  } finally {
    fs.closeSync(fd);
  }
}
