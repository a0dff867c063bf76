/** What a certificate says, in this program's terms. */
import { X509Certificate } from "node:crypto";
import { AgentError, reasonOf } from "../errors.ts";
import { describeKey } from "./keys.ts";
import { type AlternativeName, canonicalAddress } from "./names.ts";
import { readPem } from "./pem.ts";
import type { Role, Validity } from "./profiles.ts";

export interface CertificateFacts extends Validity {
  /** The common name, "" when there is none. */
  name: string;
  names: AlternativeName[];
  role: Role;
  /** Upper-case hexadecimal digits, an even number of them, as in the index. */
  serial: string;
  /** "p256", "rsa2048". */
  keyType: string;
  /** SHA-256 of the whole, as browsers and openssl show it. */
  fingerprint: string;
  isAuthority: boolean;
  /** "CN=…" */
  issuer: string;
}

export interface Certificate {
  facts: CertificateFacts;
  /** PEM, this one alone. */
  pem: string;
  x509: X509Certificate;
}

/** Without the extension a certificate is for everything. */
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** All of a PEM text, in its order. @param file for the messages. @throws AgentError E_CERT */
export function readCertificates(text: string, file: string): Certificate[] {
  return readPem(text)
    .filter(({ label }) => label === "CERTIFICATE")
    .map((block) => {
      try {
        const x509 = new X509Certificate(block.der);
        return { facts: factsOf(x509), pem: block.text, x509 };
      } catch (error) {
        const message = `Cannot use certificate "${file}": it is broken (${reasonOf(error)})`;
        throw new AgentError("E_CERT", message, { cause: error });
      }
    });
}

/** The first of a PEM text. @throws AgentError E_CERT */
export function readCertificate(text: string, file: string): Certificate {
  const [certificate] = readCertificates(text, file);
  if (certificate === undefined) {
    throw new AgentError("E_CERT", `Cannot use certificate "${file}": no PEM certificate in it`);
  }
  return certificate;
}

function factsOf(x509: X509Certificate): CertificateFacts {
  return {
    name: /^CN=(.*)$/m.exec(x509.subject)?.[1] ?? "",
    names: alternativeNamesOf(x509.subjectAltName ?? ""),
    role: roleOf(x509.keyUsage),
    serial: x509.serialNumber.toUpperCase(),
    notBeforeMs: Date.parse(x509.validFrom),
    notAfterMs: Date.parse(x509.validTo),
    keyType: describeKey(x509.publicKey),
    fingerprint: x509.fingerprint256,
    isAuthority: x509.ca,
    issuer: x509.issuer.replaceAll("\n", ", "),
  };
}

/** @param text "DNS:a.example.net, IP Address:192.0.2.7"; values with odd characters are JSON strings. */
function alternativeNamesOf(text: string): AlternativeName[] {
  const entries = text.matchAll(/(?:^|, )([^:,"]+):("(?:[^"\\]|\\.)*"|[^,]*)/gy);
  return [...entries].flatMap(([, type, value = ""]): AlternativeName[] => {
    if (type === "DNS") {
      return [{ type: "dns", value: value.startsWith('"') ? String(JSON.parse(value)) : value }];
    }
    return type === "IP Address" ? [{ type: "ip", value: canonicalAddress(value) }] : [];
  });
}

function roleOf(usages: readonly string[] | undefined): Role {
  const isServer = usages?.includes(SERVER_AUTH) ?? true;
  const isClient = usages?.includes(CLIENT_AUTH) ?? true;
  if (isServer && isClient) return "both";
  return isServer ? "server" : "client";
}
