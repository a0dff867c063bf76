/**
 * Users and groups taken back that systemd-sysusers has added: their lines go from passwd(5), group(5), shadow(5) and
 * gshadow(5), all that others have changed stays. Files that are made on the way, `passwd-` and `.pwd.lock`, become what
 * they were unless others have changed them since.
 */
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { type Access, hashBytes, look, type Saved } from "./disk-state.ts";
import { putBack, putFile } from "./disk-write.ts";
import type { AccountFile } from "./manifest.ts";
import { resolveIn } from "./rooted-path.ts";

const DATABASES = new Set(["passwd", "group", "shadow", "gshadow"]);
/** Of these two the last fields are lists of users: members; administrators and members. */
const MEMBER_FIELDS: Readonly<Record<string, readonly number[]>> = { group: [3], gshadow: [2, 3] };

/** Of sysusers.d(5): the names of its lines "u" and "g". */
export function accountNames(text: string): string[] {
  const names = text.split("\n").map((line) => /^[ug]\S*\s+"?([^\s"]+)/.exec(line)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** With the files that the tools make beside those that are named. */
export function accountPaths(changes: readonly string[]): string[] {
  const paths = new Set(changes);
  for (const path of changes) {
    if (!DATABASES.has(basename(path))) continue;
    paths.add(`${path}-`).add(`${dirname(path)}/.pwd.lock`);
  }
  return [...paths].sort();
}

/** SHA-256; null = nothing is there. */
export function accountFileHash(root: string, path: string): string | null {
  const found = look(root, path);
  return found.kind === "file" ? found.sha256 : null;
}

/** Killed at any moment it can be repeated. */
export function takeBackAccounts(
  root: string,
  { names, files }: { names: readonly string[]; files: Readonly<Record<string, AccountFile>> },
  backupOf: (backup: number) => string,
): void {
  const others = Object.entries(files).filter(([path]) => !DATABASES.has(basename(path)));
  // First: whether `passwd-` is the tools' copy of `passwd` is to be seen as long as they are as the tools left them.
  for (const [path, { before, after }] of others) {
    const now = accountFileHash(root, path);
    if (after !== undefined && now === after) putBack(root, path, before, backupOf);
  }
  for (const [path, { before }] of Object.entries(files)) {
    if (DATABASES.has(basename(path))) takeBackLines(root, path, { names, before }, backupOf);
  }
}

/** Those of `names` that `takeBackAccounts()` would remove: they are there, and were not before. */
export function addedAccounts(
  root: string,
  { names, files }: { names: readonly string[]; files: Readonly<Record<string, AccountFile>> },
  backupOf: (backup: number) => string,
): string[] {
  const added = new Set<string>();
  for (const [path, { before }] of Object.entries(files)) {
    if (!DATABASES.has(basename(path)) || look(root, path).kind !== "file") continue;
    const textBefore = before.kind === "file" ? readFileSync(backupOf(before.backup), "utf8") : "";
    const known = new Set(linesOf(textBefore).map(nameOf));
    for (const line of linesOf(readFileSync(resolveIn(root, path), "utf8"))) {
      if (!known.has(nameOf(line))) added.add(nameOf(line));
    }
  }
  return names.filter((name) => added.has(name));
}

/** What the tools leave when they have changed an account file: known, though the run was killed before it was recorded. */
export function expectedAfter(
  root: string,
  files: Readonly<Record<string, Saved>>,
): Record<string, AccountFile> {
  const expected = Object.entries(files).map(([path, before]): [string, AccountFile] => {
    const now = accountFileHash(root, path);
    const original = files[path.replace(/-$/, "")];
    const isCopy = path.endsWith("-") && original?.kind === "file" && original.sha256 === now;
    const isEmptyLock = basename(path) === ".pwd.lock" && now === hashBytes("");
    return [path, isCopy || isEmptyLock ? { before, after: now } : { before }];
  });
  return Object.fromEntries(expected);
}

function takeBackLines(
  root: string,
  path: string,
  { names, before }: { names: readonly string[]; before: Saved },
  backupOf: (backup: number) => string,
): void {
  const found = look(root, path);
  if (found.kind !== "file") return;
  const textBefore = before.kind === "file" ? readFileSync(backupOf(before.backup), "utf8") : "";
  const text = readFileSync(resolveIn(root, path), "utf8");
  const left = withoutAccounts(text, { textBefore, names, file: basename(path) });
  if (left === textBefore) {
    putBack(root, path, before, backupOf);
  } else if (left !== text) {
    const access: Access = found;
    putFile(root, path, left, access);
  }
}

/** Lines of accounts that were there before stay, but for the accounts that go as their members. */
function withoutAccounts(
  text: string,
  { textBefore, names, file }: { textBefore: string; names: readonly string[]; file: string },
): string {
  const linesBefore = new Map(linesOf(textBefore).map((line) => [nameOf(line), line]));
  const gone = new Set(names.filter((name) => !linesBefore.has(name)));
  const lines = linesOf(text)
    .filter((line) => !gone.has(nameOf(line)))
    .map((line) => {
      const lineBefore = linesBefore.get(nameOf(line));
      return line === lineBefore ? line : withoutMembers(line, lineBefore ?? "", names, file);
    });
  return lines.map((line) => `${line}\n`).join("");
}

/** Names that were members before stay members. */
function withoutMembers(
  line: string,
  lineBefore: string,
  names: readonly string[],
  file: string,
): string {
  const fields = line.split(":");
  const fieldsBefore = lineBefore.split(":");
  for (const index of MEMBER_FIELDS[file] ?? []) {
    const before = new Set(fieldsBefore[index]?.split(","));
    const members = fields[index]?.split(",");
    if (members === undefined) continue;
    fields[index] = members
      .filter((member) => !names.includes(member) || before.has(member))
      .join(",");
  }
  return fields.join(":");
}

function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function nameOf(line: string): string {
  return line.slice(0, line.indexOf(":") + 1 || undefined).replace(/:$/, "");
}
