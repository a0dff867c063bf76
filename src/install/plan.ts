/**
 * What an installation is made of, as plain data: made by `roles/`, shown by --dry-run, made so by `apply.ts`, remembered by
 * `manifest.ts`, taken back by `restore.ts`. Paths are absolute in the system that is set up: --root= is put before them
 * where files are touched, and nowhere else.
 */

export type Role = "server" | "client";
export const ROLES: readonly Role[] = ["server", "client"];

/** Whose programs the units run. */
export type Daemon = "agent" | "systemd";

/** All owned by root:root; `systemd-tmpfiles` makes what belongs to others. */
export type PlanItem = PlannedFile | PlannedDirectory | PlannedLink;

export interface PlannedFile {
  kind: "file";
  path: string;
  mode: number;
  /** What is in it, or the file of this machine (not below --root=) that it is a copy of. */
  data: string | Uint8Array | { copyOf: string };
  /** For --dry-run and messages: "the unit's drop-in". */
  purpose: string;
  /** Not to be shown: a private key. */
  isSecret?: boolean;
}

export interface PlannedDirectory {
  kind: "directory";
  path: string;
  mode: number;
  purpose: string;
}

/** Where any link of this path leads to a unit of the same name already, it is left as it is. */
export interface PlannedLink {
  kind: "link";
  path: string;
  target: string;
  purpose: string;
}

/** Run when one of `after` changed, in order, behind all items. */
export interface PlannedCommand {
  /** "%ROOT%" in an argument stands for --root= ("" without one). */
  argv: readonly string[];
  purpose: string;
  after: readonly string[];
  /** Files it may change, like /etc/passwd: taken back by uninstall --purge. */
  changes: readonly string[];
}

export interface PlannedUnit {
  name: string;
  /** Started, and restarted when one of `dependsOn` changed; "none": only known, and stopped by uninstall. */
  activation: "start" | "none";
  /** Paths of items. */
  dependsOn: readonly string[];
}

export interface Plan {
  role: Role;
  items: readonly PlanItem[];
  commands: readonly PlannedCommand[];
  /** In the order in which they are started; stopped in the opposite one. */
  units: readonly PlannedUnit[];
  /** What daemons and the service manager make at these paths (files or directories): --purge removes what was not there before. */
  byproducts: readonly string[];
  /** Those who may read journals are to read these as well; undefined = they are as the daemon has them. */
  sharedJournals?: SharedJournals;
  /** What the operator should know. */
  warnings: readonly string[];
}

/** Journals that are received: some may be there already, in another group. */
export interface SharedJournals {
  directory: string;
  /** By name. */
  group: string;
}

/** Where key and certificates of a role are: absolute paths. */
export interface CertificatePlaces {
  key: string;
  certificate: string;
  /** All that are trusted, in one file. */
  authority: string;
  /** Revocation lists; undefined = none. */
  lists: string | undefined;
}
