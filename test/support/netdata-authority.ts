/**
 * A directory as Netdata's systemd-journal-self-signed-certs.sh leaves it, made with the openssl commands it uses: an
 * RSA authority for ten years; certificates with alternative names are version 3 without key usage, those without are
 * version 1. Owners and modes as it sets them where its accounts exist.
 */
import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findGroup, findUser } from "../../src/platform/accounts.ts";

const CONFIG = `[ca]
default_ca = CA_default
[CA_default]
new_certs_dir = .
certificate = ca.pem
database = index
private_key = ca.key
serial = serial
default_md = sha256
default_days = 3650
policy = policy_anything
[policy_anything]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
emailAddress = optional
`;

export class NetdataAuthority {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory);
    this.write("ca.conf", CONFIG);
    this.write("index", "");
    this.write("serial", "0001\n");
    const request = ["-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem"];
    const extensions = ["basicConstraints=critical,CA:TRUE"].flatMap((each) => ["-addext", each]);
    const subject = ["-subj", "/CN=systemd-journal-remote-ca"];
    this.openssl("req", "-x509", ...request, ...subject, "-days", "3650", "-sha256", ...extensions);
    this.setAccess();
  }

  /** @param aliases as its command line takes them: "DNS:hostname1" */
  issue(name: string, ...aliases: string[]): void {
    const config = aliases.length === 0 ? "\n" : `subjectAltName = ${aliases.join(",")}\n`;
    this.write(`${name}.conf`, config);
    const key = ["-newkey", "rsa:2048", "-nodes", "-keyout", `${name}.key`];
    this.openssl("req", "-new", ...key, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const files = ["-in", `${name}.csr`, "-out", `${name}.pem`, "-extfile", `${name}.conf`];
    this.openssl("ca", "-batch", "-notext", "-config", "ca.conf", ...files);
    this.setAccess();
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  /** Its output. Throws when it fails. */
  openssl(...args: string[]): string {
    const run = Bun.spawnSync(["openssl", ...args], { cwd: this.directory, stderr: "pipe" });
    if (!run.success) throw new Error(`openssl ${args.join(" ")}: ${run.stderr}`);
    return run.stdout.toString();
  }

  write(file: string, text: string): void {
    writeFileSync(this.path(file), text);
  }

  private setAccess(): void {
    const uid = findUser("systemd-journal-remote");
    const gid = findGroup("systemd-journal");
    const isPossible = process.getuid?.() === 0 && uid !== undefined && gid !== undefined;
    for (const file of readdirSync(this.directory)) {
      chmodSync(this.path(file), file === "ca.key" ? 0o600 : 0o640);
      if (isPossible && /\.(pem|key)$/.test(file) && file !== "ca.key") {
        chownSync(this.path(file), uid, gid);
      }
    }
    chmodSync(this.directory, 0o750);
    if (isPossible) chownSync(this.directory, uid, gid);
  }
}
