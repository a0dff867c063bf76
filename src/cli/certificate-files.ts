/** What can be wrong with files of keys and certificates, before anybody uses them. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { PathChecks } from "./check-config.ts";

const CERTIFICATE_BLOCKS = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

export interface OwnIdentity {
  keyFile: string;
  certificateFile: string;
  /** Of the certificate, for messages: "server". */
  owner: string;
}

/** That both can be read, belong together, are in date and not everybody's. */
export function checkIdentity(checks: PathChecks, identity: OwnIdentity, nowMs: number): void {
  const { keyFile, certificateFile, owner } = identity;
  let certificate: X509Certificate | undefined;
  checks.check(certificateFile, (report) => {
    certificate = readCertificates(certificateFile, nowMs, report)[0];
  });
  checks.check(keyFile, (report) => {
    const key = createPrivateKey(readFileSync(keyFile));
    if ((statSync(keyFile).mode & 0o004) !== 0) {
      report("Everybody can read this private key, need mode 0640");
    }
    if (certificate !== undefined && !certificate.checkPrivateKey(key)) {
      report(`The key does not belong to the ${owner}'s certificate`);
    }
  });
}

/** That there are certificates in it, and in date. */
export function checkAuthority(checks: PathChecks, file: string, nowMs: number): void {
  checks.check(file, (report) => readCertificates(file, nowMs, report));
}

/** Every certificate of a PEM file; those out of date are reported. */
function readCertificates(
  file: string,
  nowMs: number,
  report: (message: string) => void,
): X509Certificate[] {
  const blocks = readFileSync(file, "latin1").match(CERTIFICATE_BLOCKS) ?? [];
  if (blocks.length === 0) report("No certificate in PEM form here");
  const certificates = blocks.map((block) => new X509Certificate(block));
  for (const { subject, validFrom, validTo } of certificates) {
    const name = subject.replaceAll("\n", ", ");
    if (Date.parse(validTo) < nowMs) report(`The certificate "${name}" expired on ${validTo}`);
    if (Date.parse(validFrom) > nowMs) {
      report(`The certificate "${name}" is valid from ${validFrom}`);
    }
  }
  return certificates;
}
