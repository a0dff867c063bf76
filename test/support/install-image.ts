/** A system that roles are installed into as the command line does it, with units that only have a state. */
import { mkdirSync } from "node:fs";
import { formatBundle, parseBundle } from "../../src/certs/bundle.ts";
import { makeBundles } from "../../src/certs/bundle-files.ts";
import { type Installed, type InstallIo, install } from "../../src/install/install.ts";
import type { InstallRequest, SavedOptions } from "../../src/install/install-request.ts";
import { type Manifest, readManifest } from "../../src/install/manifest.ts";
import type { Role } from "../../src/install/plan.ts";
import type { CertsAuthority, HostOptions } from "./certs.ts";
import { InstallRig } from "./install-rig.ts";

export const SERVER_URL = "https://logs.example.net:19532";

/** e_machine of one that is not this: a program of it is installed without being tried. */
const FOREIGN_MACHINE = process.arch === "arm64" ? 62 : 183;

export class InstallImage implements Disposable {
  readonly rig = new InstallRig();
  readonly root = this.rig.root;
  /** What the operator was told besides. */
  readonly reports: string[] = [];
  passphrase: string | undefined;
  nowMs = Date.now();
  readonly #binary = "/agent";

  constructor() {
    this.rig.write("/usr/lib/systemd/libsystemd-shared-257.so", "+GNUTLS");
    this.rig.write("/usr/lib/systemd/systemd", foreignProgram());
    this.rig.write("/etc/hostname", "web1.example.net\n");
    this.rig.write(this.#binary, foreignProgram());
    mkdirSync(this.rig.path("/etc/ssl"));
  }

  get io(): InstallIo {
    return {
      binary: this.rig.path(this.#binary),
      nowMs: this.nowMs,
      environment: {},
      authority: {
        passphrase: () => Promise.resolve(this.passphrase),
        report: (message) => this.reports.push(message),
      },
    };
  }

  install(role: Role, changes: Partial<InstallRequest> = {}): Promise<Installed> {
    return install(this.request(role, changes), this.io, this.rig.host);
  }

  request(role: Role, changes: Partial<InstallRequest> = {}): InstallRequest {
    return {
      role,
      root: this.root,
      daemon: undefined,
      prefix: undefined,
      port: undefined,
      enroll: undefined,
      servers: undefined,
      targets: undefined,
      namespaces: undefined,
      initializesAuthority: false,
      name: undefined,
      names: undefined,
      bundle: undefined,
      token: undefined,
      files: undefined,
      isForced: false,
      isDryRun: false,
      starts: true,
      checks: false,
      ...changes,
    };
  }

  /** A file of this machine. @param lists false: without revocation lists */
  async bundle(
    ca: CertsAuthority,
    name: string,
    options: HostOptions & { server?: string; lists?: boolean } = {},
  ): Promise<string> {
    const { server = SERVER_URL, lists = true, ...host } = options;
    await ca.issue(name, { role: "client", ...host });
    using authority = await ca.open();
    const { text = "" } = await makeBundles(authority, name, { server, output: "-" });
    const bundle = parseBundle(text, name);
    const path = `/bundles/${name}.bundle`;
    this.rig.write(path, formatBundle(lists ? bundle : { ...bundle, lists: "" }));
    return this.rig.path(path);
  }

  get manifest(): Manifest {
    return readManifest(this.root);
  }

  saved(role: Role): SavedOptions {
    return this.manifest.roles[role]?.options as SavedOptions;
  }

  /** All that is there, but for what tests brought. */
  listing(): Record<string, string> {
    const lines = Object.entries(this.rig.listing());
    return Object.fromEntries(lines.filter(([path]) => !path.startsWith("bundles")));
  }

  [Symbol.dispose](): void {
    this.rig[Symbol.dispose]();
  }
}

function foreignProgram(): Uint8Array {
  const head = Buffer.alloc(64);
  head.write("\x7fELF", "latin1");
  head[4] = 2;
  head[5] = 1;
  head.writeUInt16LE(FOREIGN_MACHINE, 18);
  return head;
}
