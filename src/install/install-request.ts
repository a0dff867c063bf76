/** What `agent install` was asked for, and what is remembered of it for the next time. */
import type { AlternativeName } from "../certs/names.ts";
import type { CertificatePlaces, Daemon, Role } from "./plan.ts";

/** Undefined = not said: as the last time, or the default. */
export interface InstallRequest {
  role: Role;
  daemon: Daemon | undefined;
  prefix: string | undefined;
  /** See HostFacts. */
  root: string;
  port: number | undefined;
  enroll: boolean | undefined;
  servers: readonly string[] | undefined;
  targets: Targets | undefined;
  namespaces: readonly string[] | undefined;
  initializesAuthority: boolean;
  /** In the certificate. */
  name: string | undefined;
  names: readonly AlternativeName[] | undefined;
  bundle: string | undefined;
  token: string | undefined;
  files: CertificatePlaces | undefined;
  isForced: boolean;
  isDryRun: boolean;
  starts: boolean;
  checks: boolean;
}

export type Targets = "failover" | "mirror";

/** In the manifest, for each role. */
export interface SavedOptions {
  daemon: Daemon;
  prefix: string;
  port: number;
  enroll: boolean;
  servers: readonly string[];
  targets?: Targets;
  namespaces: readonly string[];
  /** Of the certificate. */
  name?: string;
  names: readonly AlternativeName[];
  places?: CertificatePlaces;
  /** SHA-256 of the secret of the token that the certificate was got with: it is used up. */
  tokenHash?: string;
  isLocalAuthority: boolean;
}

export const DEFAULT_PREFIX = "/usr/local";
export const DEFAULT_PORT = 19_532;
