/** An authority of this program in a temporary directory, and hosts with certificates of it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Authority, type AuthorityOptions } from "../../src/certs/authority.ts";
import { type AuthorityRequest, initAuthority } from "../../src/certs/create.ts";
import { type Issued, type IssueRequest, issueCertificate } from "../../src/certs/issue.ts";
import { parseAlternativeName } from "../../src/certs/names.ts";
import type { RevocationReason } from "../../src/certs/reasons.ts";
import { type Revocation, revokeCertificates } from "../../src/certs/revoke.ts";
import { TempDir } from "./temp-dir.ts";

export const DAY_MS = 86_400_000;

export interface HostOptions extends Partial<Omit<IssueRequest, "name" | "names">> {
  names?: readonly string[];
  /** When it is issued. */
  nowMs?: number;
}

export class CertsAuthority {
  readonly dir = new TempDir();
  readonly directory: string = join(this.dir.path, "ca");
  /** What was reported to the operator. */
  readonly reports: string[] = [];
  passphrase: string | undefined;
  /** How often it was asked for. */
  asked = 0;

  /** @param startMs when it is made; by default a month ago, so that hosts can have been issued since */
  static async create(
    request: Partial<AuthorityRequest> = {},
    startMs: number = Date.now() - 30 * DAY_MS,
  ): Promise<CertsAuthority> {
    const authority = new CertsAuthority();
    authority.passphrase = request.passphrase;
    await initAuthority(authority.options(startMs), {
      commonName: "systemd-journal-remote-ca",
      keyType: "p256",
      days: 3650,
      passphrase: undefined,
      ...request,
    });
    return authority;
  }

  options(nowMs: number = Date.now()): AuthorityOptions {
    return {
      directory: this.directory,
      nowMs,
      passphrase: async () => {
        this.asked++;
        return this.passphrase;
      },
      report: (message) => this.reports.push(message),
    };
  }

  /** To be disposed of before the next one. */
  open(nowMs?: number): Promise<Authority> {
    return Authority.open(this.options(nowMs));
  }

  async issue(name: string, options: HostOptions = {}): Promise<Issued> {
    const { names = [], nowMs, ...rest } = options;
    using authority = await this.open(nowMs);
    return await issueCertificate(authority, {
      name,
      names: names.map(parseAlternativeName),
      role: "both",
      days: 825,
      keyType: undefined,
      replace: "no",
      ...rest,
    });
  }

  async revoke(
    target: string | readonly string[],
    reason: RevocationReason = "unspecified",
  ): Promise<Revocation> {
    using authority = await this.open();
    return await revokeCertificates(authority, [target].flat(), reason);
  }

  /** Of a host with a key here, made by openssl: NAME.csr. @param names "DNS:x,IP:192.0.2.7" */
  writeRequest(name: string, names: string): void {
    const request = ["-new", "-key", `${name}.key`, "-subj", `/CN=${name}`];
    this.openssl("req", ...request, "-addext", `subjectAltName=${names}`, "-out", `${name}.csr`);
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  text(file: string): string {
    return readFileSync(this.path(file), "latin1");
  }

  /** Its output, stderr included. Throws when it fails. */
  openssl(...args: string[]): string {
    const run = Bun.spawnSync(["openssl", ...args], { cwd: this.directory, stderr: "pipe" });
    const output = `${run.stdout}${run.stderr}`;
    if (!run.success) throw new Error(`openssl ${args.join(" ")}: ${output}`);
    return output;
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}
