/** What a file holds, whatever it is of what this program handles. */
import { createPrivateKey } from "node:crypto";
import { parseRevocationList } from "../bytes/revocation-list.ts";
import { AgentError } from "../errors.ts";
import { type CertificateFacts, readCertificate } from "./certificate.ts";
import { describeKey, isEncrypted } from "./keys.ts";
import { formatAlternativeNames } from "./names.ts";
import { type PemBlock, readPem } from "./pem.ts";
import { readRequest } from "./x509.ts";

export interface Inspected {
  kind: string;
  /** Of a certificate. */
  facts: CertificateFacts | undefined;
  /** Of everything else: label and value. */
  rows: [string, string][];
}

/** @param file for the messages. @throws AgentError E_CERT */
export async function inspectText(text: string, file: string): Promise<Inspected[]> {
  const blocks = readPem(text);
  if (blocks.length === 0) {
    throw new AgentError("E_CERT", `Cannot inspect "${file}": nothing in PEM form in it`);
  }
  return await Promise.all(blocks.map((block) => inspectBlock(block, file)));
}

async function inspectBlock(block: PemBlock, file: string): Promise<Inspected> {
  const { label, text } = block;
  if (label === "CERTIFICATE") {
    return { kind: "certificate", facts: readCertificate(text, file).facts, rows: [] };
  }
  if (label.endsWith("CERTIFICATE REQUEST")) {
    const { commonName, names, publicKey } = await readRequest(text, file);
    return plain("request", [
      ["name", commonName],
      ["names", formatAlternativeNames(names)],
      ["key", describeKey(publicKey)],
    ]);
  }
  if (label === "X509 CRL") return inspectList(block);
  if (!label.endsWith("PRIVATE KEY")) return plain(label.toLowerCase(), []);
  if (isEncrypted(text)) return plain("private key", [["key", "encrypted"]]);
  return plain("private key", [["key", keyType(text, file)]]);
}

function inspectList({ der }: PemBlock): Inspected {
  const { thisUpdateMs, nextUpdateMs, serials } = parseRevocationList(der);
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+/, "");
  return plain("list of revoked certificates", [
    ["made", time(thisUpdateMs)],
    ["nextUpdate", nextUpdateMs === undefined ? "not said" : time(nextUpdateMs)],
    ["revoked", String(serials.size)],
  ]);
}

function keyType(pem: string, file: string): string {
  try {
    return describeKey(createPrivateKey(pem));
  } catch (error) {
    const message = `Cannot inspect "${file}": its private key is broken`;
    throw new AgentError("E_CERT", message, { cause: error });
  }
}

function plain(kind: string, rows: [string, string][]): Inspected {
  return { kind, facts: undefined, rows };
}
