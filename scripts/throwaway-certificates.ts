/** Certificates that live for a day, made without any openssl: for the demo and for tests. */
import "reflect-metadata"; // @peculiar/x509 does not load without it
import * as x509 from "@peculiar/x509";

/** A certificate and its private key, PEM. */
export interface Identity {
  certificate: string;
  key: string;
}

export interface IdentityOptions {
  /** The subject is this common name and nothing else. */
  commonName: string;
  usage: "server" | "client";
  alternativeNames?: readonly x509.JsonGeneralName[];
}

const DAY_MS = 86_400_000;
const CURVE = { name: "ECDSA", namedCurve: "P-256" };
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" };

export class ThrowawayAuthority {
  /** Its own certificate, PEM. */
  readonly certificate: string;
  readonly #name: string;
  readonly #keys: CryptoKeyPair;

  private constructor(name: string, keys: CryptoKeyPair, certificate: string) {
    this.#name = name;
    this.#keys = keys;
    this.certificate = certificate;
  }

  static async create(commonName: string): Promise<ThrowawayAuthority> {
    const keys = await makeKeys();
    const name = subject(commonName);
    const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name,
      keys,
      ...validity(),
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      ],
    });
    return new ThrowawayAuthority(name, keys, pemFile(certificate));
  }

  async issue(options: IdentityOptions): Promise<Identity> {
    const { commonName, usage, alternativeNames = [] } = options;
    const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
    const keys = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject: subject(commonName),
      issuer: this.#name,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      ...validity(),
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([usage === "server" ? serverAuth : clientAuth]),
        ...(alternativeNames.length === 0
          ? []
          : [new x509.SubjectAlternativeNameExtension([...alternativeNames])]),
      ],
    });
    return { certificate: pemFile(certificate), key: await keyFile(keys) };
  }
}

function makeKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
}

/** From a minute ago, for clocks that differ a little. */
function validity(): { notBefore: Date; notAfter: Date } {
  const nowMs = Date.now();
  return { notBefore: new Date(nowMs - 60_000), notAfter: new Date(nowMs + DAY_MS) };
}

function subject(commonName: string): string {
  return new x509.Name([{ CN: [commonName] }]).toString();
}

function pemFile(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function keyFile(keys: CryptoKeyPair): Promise<string> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`;
}
