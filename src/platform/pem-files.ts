/** Private keys and certificates from PEM files, with errors that say which file and why. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { AgentError, type AgentErrorDetails, errnoOf, reasonOf } from "../errors.ts";

export interface KeyFile {
  pem: string;
  object: KeyObject;
}

export interface CertificateFile {
  /** The certificates alone, without what else is in the file. */
  pem: string;
  /** At least one. */
  certificates: readonly X509Certificate[];
}

const CERTIFICATE_BLOCKS = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** @param hint where the name of the file comes from. @throws AgentError E_CERT. */
export function readKeyFile(file: string, hint: string): KeyFile {
  const what = "private key";
  const pem = readCertificateBytes(file, what, hint).toString("latin1");
  if (/ENCRYPTED/.test(pem)) {
    const plainHint = `Store it without a passphrase: openssl pkey -in "${file}" -out KEY, mode 0600`;
    throw unusableFile(what, file, "it is encrypted", { hint: plainHint });
  }
  if (!/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(pem)) {
    const swapHint = "ServerKeyFile= and ServerCertificateFile= may be swapped";
    throw unusableFile(what, file, "no PEM private key in it", { hint: swapHint });
  }
  try {
    return { pem, object: createPrivateKey(pem) };
  } catch (error) {
    throw unusableFile(what, file, reasonOf(error), { cause: error });
  }
}

/** @param what for messages: "trusted certificate". @throws AgentError E_CERT. */
export function readCertificateFile(file: string, what: string, hint: string): CertificateFile {
  const text = readCertificateBytes(file, what, hint).toString("latin1");
  const blocks = text.match(CERTIFICATE_BLOCKS);
  if (blocks === null) throw unusableFile(what, file, "no PEM certificate in it", { hint });
  try {
    const certificates = blocks.map((block) => new X509Certificate(block));
    return { pem: `${blocks.join("\n")}\n`, certificates };
  } catch (error) {
    throw unusableFile(what, file, reasonOf(error), { cause: error });
  }
}

/**
 * The certificate in `file` that belongs to the key.
 * @throws AgentError E_CERT if its first one does not.
 */
export function readOwnCertificate(
  file: string,
  hint: string,
  key: KeyObject,
  keyFile: string,
): CertificateFile {
  const chain = readCertificateFile(file, "certificate", hint);
  if (chain.certificates[0]?.checkPrivateKey(key) !== true) {
    const problem = `it does not belong to the private key "${keyFile}"`;
    const orderHint = "Where the file holds a chain, the host's own certificate has to come first";
    throw unusableFile("certificate", file, problem, { hint: orderHint });
  }
  return chain;
}

/** @throws AgentError E_CERT. */
export function readCertificateBytes(file: string, what: string, hint: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw unusableFile(what, file, unreadableReason(error), { hint, cause: error });
  }
}

/** Why a file could not be read, in words. */
export function unreadableReason(error: unknown): string {
  switch (errnoOf(error)) {
    case "ENOENT":
      return "no such file";
    case "EACCES":
      return "no permission to read it";
    case "EISDIR":
      return "it is a directory, a file is needed";
    default:
      return reasonOf(error);
  }
}

export function unusableFile(
  what: string,
  file: string,
  problem: string,
  details: AgentErrorDetails,
): AgentError {
  return new AgentError("E_CERT", `Cannot use ${what} "${file}": ${problem}`, details);
}
