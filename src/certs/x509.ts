/**
 * Certificates and requests (RFC 5280, RFC 2986), made with @peculiar/x509: the only file that knows it. The names of
 * extensions and what they hold are here; who gets which is decided elsewhere.
 */
import "reflect-metadata"; // @peculiar/x509 does not load without it
import { createPublicKey, type KeyObject } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import { AgentError, reasonOf } from "../errors.ts";
import { describeKey } from "./keys.ts";
import { type AlternativeName, parseAlternativeName } from "./names.ts";
import { readPem } from "./pem.ts";
import type { Role, Validity } from "./profiles.ts";

// Not among the imports: CommonJS modules, as both are, do not run in the order of the imports, least of all in the
// executable.
const x509 = await import("@peculiar/x509");

/** Whoever signs: a private key and the certificate it belongs to, which is PEM. */
export interface SigningKey {
  certificate: string;
  key: KeyObject;
}

export interface AuthorityDraft extends Validity {
  commonName: string;
  /** Hexadecimal digits. */
  serial: string;
  key: KeyObject;
}

export interface LeafDraft extends Validity {
  commonName: string;
  names: readonly AlternativeName[];
  role: Role;
  /** Hexadecimal digits. */
  serial: string;
  publicKey: KeyObject;
}

export interface RequestDraft {
  commonName: string;
  names: readonly AlternativeName[];
  key: KeyObject;
}

/** What a request asks for; its signature is good. */
export interface CertificateRequest {
  /** "" when there is none. */
  commonName: string;
  names: AlternativeName[];
  publicKey: KeyObject;
}

/** For ECDSA on larger curves, too: a hash longer than this adds nothing to what clients check. */
const HASH = { name: "ECDSA", hash: "SHA-256" };

/** Of a request. */
const CURVES = ["p256", "p384", "p521"];
const RSA_BITS_MIN = 2048;
const STRONG_KEYS = `one of ${CURVES.join(", ")}, or RSA of ${RSA_BITS_MIN} bits or more`;

const USAGES: Record<Role, X509.ExtendedKeyUsage[]> = {
  server: [x509.ExtendedKeyUsage.serverAuth],
  client: [x509.ExtendedKeyUsage.clientAuth],
  both: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
};

/** @returns PEM of a self-signed authority that signs hosts' certificates only, not further authorities. */
export async function createAuthority(draft: AuthorityDraft): Promise<string> {
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  const publicKey = createPublicKey(draft.key);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: commonNameOnly(draft.commonName),
    issuer: commonNameOnly(draft.commonName),
    serialNumber: draft.serial,
    ...datesOf(draft),
    publicKey: spkiOf(publicKey),
    signingKey: signingKey(draft.key),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(spkiOf(publicKey)),
      await x509.AuthorityKeyIdentifierExtension.create(spkiOf(publicKey)),
    ],
  });
  return pemFile(certificate);
}

/**
 * What tells a host that trusts the issuer that another authority is to be trusted, too: a certificate of that one's name and
 * key. Authorities of ours sign hosts' certificates only, so for TLS it is good for nothing.
 * @param authority PEM
 * @returns PEM
 */
export async function createVoucher(
  authority: string,
  { serial, ...validity }: Validity & { serial: string },
  issuer: SigningKey,
): Promise<string> {
  const subject = new x509.X509Certificate(authority);
  const signer = new x509.X509Certificate(issuer.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: new x509.Name(subject.subjectName.toArrayBuffer()),
    issuer: new x509.Name(signer.subjectName.toArrayBuffer()),
    serialNumber: serial,
    ...datesOf(validity),
    publicKey: subject.publicKey,
    signingKey: signingKey(issuer.key),
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  return pemFile(certificate);
}

/** @returns PEM of a host's certificate */
export async function createLeaf(draft: LeafDraft, issuer: SigningKey): Promise<string> {
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  const isRsa = draft.publicKey.asymmetricKeyType === "rsa";
  const authority = new x509.X509Certificate(issuer.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: commonNameOnly(draft.commonName),
    // Byte by byte as it is there: GnuTLS compares names so.
    issuer: new x509.Name(authority.subjectName.toArrayBuffer()),
    serialNumber: draft.serial,
    ...datesOf(draft),
    publicKey: spkiOf(draft.publicKey),
    signingKey: signingKey(issuer.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      // RSA keys encrypt in the key exchange of TLS 1.2 that has no forward secrecy; OpenSSL asks for the bit.
      new x509.KeyUsagesExtension(digitalSignature | (isRsa ? keyEncipherment : 0), true),
      new x509.ExtendedKeyUsageExtension(USAGES[draft.role]),
      new x509.SubjectAlternativeNameExtension(draft.names.map(generalName)),
      await x509.SubjectKeyIdentifierExtension.create(spkiOf(draft.publicKey)),
      new x509.AuthorityKeyIdentifierExtension(await authorityKeyId(authority)),
    ],
  });
  return pemFile(certificate);
}

/** @returns PEM */
export async function createRequest(draft: RequestDraft): Promise<string> {
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: commonNameOnly(draft.commonName),
    keys: { privateKey: signingKey(draft.key), publicKey: verifyingKey(draft.key) },
    signingAlgorithm: HASH,
    extensions: [new x509.SubjectAlternativeNameExtension(draft.names.map(generalName))],
  });
  return `${request.toString("pem")}\n`;
}

/** @param file for the messages. @throws AgentError E_CERT for what is no request, or not signed with its key */
export async function readRequest(pem: string, file: string): Promise<CertificateRequest> {
  const fail = (problem: string, cause?: unknown): AgentError =>
    new AgentError("E_CERT", `Cannot use request "${file}": ${problem}`, { cause });
  let found: Awaited<ReturnType<typeof parseRequest>>;
  try {
    found = await parseRequest(pem);
  } catch (error) {
    const problem = `it is no certificate request (${reasonOf(error)}), need PKCS #10 in PEM form`;
    throw fail(problem, error);
  }
  const { isSigned, names, ...request } = found;
  if (!isSigned) throw fail("its signature is not that of its key");
  const other = names.find((name) => typeof name === "string");
  if (typeof other === "string") {
    throw fail(`it asks for ${JSON.stringify(other)}, need DNS names and addresses`);
  }
  if (!isStrong(request.publicKey)) {
    throw fail(`its key is ${describeKey(request.publicKey)}, need ${STRONG_KEYS}`);
  }
  return { ...request, names: names.filter((name) => typeof name !== "string") };
}

/** RFC 7468, 7: some write the longer one. */
const REQUEST_LABEL = /^(NEW )?CERTIFICATE REQUEST$/;

/** @throws Error of the libraries for anything that is not one */
async function parseRequest(pem: string): Promise<
  Omit<CertificateRequest, "names"> & {
    isSigned: boolean;
    /** As text what is neither DNS name nor address. */
    names: (AlternativeName | string)[];
  }
> {
  // Not by the library, which is minutes over a text that is made for it.
  const block = readPem(pem).find(({ label }) => REQUEST_LABEL.test(label));
  if (block === undefined) throw new Error('no "CERTIFICATE REQUEST" is in it');
  const request = new x509.Pkcs10CertificateRequest(block.der);
  const der = Buffer.from(request.publicKey.rawData);
  const extension = request.getExtension("2.5.29.17");
  const names =
    extension === null
      ? []
      : new x509.SubjectAlternativeNameExtension(extension.rawData).names.items;
  return {
    isSigned: await request.verify(),
    commonName: request.subjectName.getField("CN")[0] ?? "",
    names: names.map(fromGeneral),
    publicKey: createPublicKey({ key: der, format: "der", type: "spki" }),
  };
}

/** @returns the number of an authority's key as its certificates and lists carry it, in hexadecimal digits */
export async function readAuthorityKeyId(certificatePem: string): Promise<string> {
  return await authorityKeyId(new x509.X509Certificate(certificatePem));
}

/** A CA certificate without the extension is one whose key has the usual number. */
async function authorityKeyId(authority: X509.X509Certificate): Promise<string> {
  const extension = authority.getExtension(x509.SubjectKeyIdentifierExtension);
  if (extension !== null) return extension.keyId;
  return Buffer.from(await authority.publicKey.getKeyIdentifier()).toString("hex");
}

function commonNameOnly(commonName: string): X509.Name {
  return new x509.Name([{ CN: [commonName] }]);
}

function datesOf({ notBeforeMs, notAfterMs }: Validity): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs) };
}

function generalName({ type, value }: AlternativeName): X509.JsonGeneralName {
  return { type, value };
}

/** @returns of a name that is no usual DNS name and no address a description */
function fromGeneral({ type, value }: X509.GeneralName): AlternativeName | string {
  const prefix = type.toUpperCase();
  try {
    if (prefix === "DNS" || prefix === "IP") return parseAlternativeName(`${prefix}:${value}`);
  } catch {
    // Nor would it be taken from the command line.
  }
  return `${type}:${value}`;
}

function isStrong(key: KeyObject): boolean {
  const { modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  return modulusLength >= RSA_BITS_MIN || CURVES.includes(describeKey(key));
}

function spkiOf(publicKey: KeyObject): X509.PublicKey {
  return new x509.PublicKey(publicKey.export({ type: "spki", format: "der" }));
}

function signingKey(key: KeyObject): CryptoKey {
  return key.toCryptoKey(algorithmOf(key), false, ["sign"]);
}

function verifyingKey(privateKey: KeyObject): CryptoKey {
  return createPublicKey(privateKey).toCryptoKey(algorithmOf(privateKey), true, ["verify"]);
}

/** @throws AgentError E_CERT for keys this program does not sign with */
function algorithmOf(key: KeyObject): { name: string; namedCurve?: string; hash?: string } {
  const { namedCurve } = key.asymmetricKeyDetails ?? {};
  const curve = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }[namedCurve ?? ""];
  if (curve !== undefined) return { name: "ECDSA", namedCurve: curve };
  if (key.asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const what = namedCurve ?? key.asymmetricKeyType;
  throw new AgentError("E_CERT", `Cannot sign with a key of type ${what}: need RSA or ECDSA`);
}

function pemFile(certificate: X509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}
