/** A throw-away authority with clients of every kind, made by the openssl command. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface IssueOptions {
  /** As `openssl req -subj` takes it; default "/CN=<name>". */
  subject?: string;
  /** Lines of an extension section; none = an X.509 v1 certificate. */
  extensions?: string[];
  /** As `openssl ca -startdate`, "YYYYMMDDHHMMSSZ". */
  start?: string;
  end?: string;
  /** Name of the authority that signs; default "ca". */
  authority?: string;
}

/** Files are `<dir>/<name>.pem` and `<name>.key`; revocation lists `<authority>.crl.pem` and `.der`. */
export class TestPki {
  readonly dir: string = mkdtempSync(join(tmpdir(), "agent-pki-"));

  constructor() {
    this.addAuthority("ca");
    this.issue("server", { extensions: ["subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"] });
  }

  path(file: string): string {
    return join(this.dir, file);
  }

  /** @param subject two may have the same */
  addAuthority(name: string, subject = `/CN=Test Authority ${name}`): void {
    const request = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", subject];
    this.openssl("req", "-x509", ...NEW_KEY, ...request, "-days", "3650");
    writeFileSync(this.path(`${name}.index`), "");
    writeFileSync(this.path(`${name}.index.attr`), "unique_subject=no\n");
    writeFileSync(this.path(`${name}.serial`), "1000\n");
    writeFileSync(this.path(`${name}.crlnumber`), "1000\n");
    writeFileSync(this.path(`${name}.cnf`), authorityConfig(name));
  }

  issue(name: string, options: IssueOptions = {}): void {
    const { subject = `/CN=${name}`, extensions = [], authority = "ca" } = options;
    const request = ["-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", subject, "-utf8"];
    this.openssl("req", ...NEW_KEY, ...request);
    const config = ["-config", `${authority}.cnf`, "-batch", "-notext"];
    const files = ["-in", `${name}.csr`, "-out", `${name}.pem`];
    const dates = [
      ...(options.start === undefined ? [] : ["-startdate", options.start]),
      ...(options.end === undefined ? ["-days", "365"] : ["-enddate", options.end]),
    ];
    const extra = extensions.length === 0 ? [] : ["-extfile", `${name}.ext`];
    if (extensions.length > 0)
      writeFileSync(this.path(`${name}.ext`), `${extensions.join("\n")}\n`);
    this.openssl("ca", ...config, ...files, ...dates, ...extra);
  }

  /** Marks as revoked; `writeCrl()` tells the world. */
  revoke(name: string, authority = "ca"): void {
    this.openssl("ca", "-config", `${authority}.cnf`, "-revoke", `${name}.pem`);
  }

  writeCrl(options: { authority?: string; start?: string; end?: string } = {}): void {
    const { authority = "ca", start, end } = options;
    const dates = start && end ? ["-crl_lastupdate", start, "-crl_nextupdate", end] : [];
    const output = `${authority}.crl.pem`;
    this.openssl("ca", "-config", `${authority}.cnf`, "-gencrl", ...dates, "-out", output);
    this.openssl("crl", "-in", output, "-outform", "DER", "-out", `${authority}.crl.der`);
  }

  openssl(...args: string[]): void {
    const run = Bun.spawnSync(["openssl", ...args], { cwd: this.dir, stderr: "pipe" });
    if (!run.success) throw new Error(`openssl ${args.join(" ")}: ${run.stderr.toString()}`);
  }

  /** curl's arguments for a client with this certificate; "" = with none. */
  curlArgs(name: string): string[] {
    const identity = ["--cert", this.path(`${name}.pem`), "--key", this.path(`${name}.key`)];
    return ["--cacert", this.path("ca.pem"), ...(name === "" ? [] : identity)];
  }

  /** Options of `agent upload`, or systemd-journal-upload, with this certificate. */
  uploadArgs(name: string): string[] {
    const identity = [`--key=${this.path(`${name}.key`)}`, `--cert=${this.path(`${name}.pem`)}`];
    return [...identity, `--trust=${this.path("ca.pem")}`];
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}

/** Options of `openssl req`. */
export const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

function authorityConfig(name: string): string {
  return `[ca]
default_ca = this
[this]
database = ${name}.index
serial = ${name}.serial
crlnumber = ${name}.crlnumber
rand_serial = yes
certificate = ${name}.pem
private_key = ${name}.key
new_certs_dir = .
default_md = sha256
default_crl_days = 30
policy = any
[any]
organizationName = optional
commonName = optional
`;
}
