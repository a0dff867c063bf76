/** What the plans of the roles are made from: choices of the operator, and where the caller has put things. Paths are absolute, in the system that is set up. */
import type { CertificatePlaces, Daemon } from "../plan.ts";

export interface RoleOptions {
  daemon: Daemon;
  /** The program goes to PREFIX/bin/agent. */
  prefix: string;
  /** The file of this machine, not below --root=, that is the program: process.execPath. Not used with stock daemons. */
  binary: string;
  /** The timer that renews our certificates is set up. False where they are the operator's own, or there are none. */
  renews: boolean;
}

export interface ServerOptions extends RoleOptions {
  /** TCP port of the https socket, 1..65535. */
  port: number;
  /** Where received journals go; default: {@link RECEIVED_DIRECTORY}. */
  outputDirectory?: string;
  certificates: CertificatePlaces;
  /** Is the authority kept on this machine? The signer's units need it. */
  isLocalAuthority: boolean;
  /** Where it is kept; /etc/ssl/systemd-journal unless the operator says other. */
  authorityDirectory: string;
  /** Clients may enroll over the socket's port. */
  enroll: boolean;
}

export interface ClientOptions extends RoleOptions {
  /** Receivers; empty: those of the configuration that is there. */
  urls: readonly string[];
  /** Undefined: as configured, or the default. */
  targets?: "failover" | "mirror";
  /** Undefined: http, or what the configuration that is there says. */
  certificates?: CertificatePlaces;
  /** Journal namespaces that are sent besides the default one. */
  namespaces: readonly string[];
}

export const RECEIVED_DIRECTORY = "/var/log/journal/remote";
export const AUTHORITY_DIRECTORY = "/etc/ssl/systemd-journal";
export const ENROLL_SOCKET = "/run/journal-agent/enroll.sock";

/** Of the program, below a prefix. */
export function programPath(prefix: string): string {
  return `${prefix}/bin/agent`;
}

/** The sandbox of our services hides these. */
const HIDDEN_DIRECTORIES = ["/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev"];

/** That of the hidden ones where a path is; undefined = the services see it. */
export function hiddenDirectory(path: string): string | undefined {
  return HIDDEN_DIRECTORIES.find((directory) => `${path}/`.startsWith(`${directory}/`));
}
