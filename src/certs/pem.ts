/** PEM (RFC 7468): Base64 between lines that say what it is. */

export interface PemBlock {
  /** "CERTIFICATE", "PRIVATE KEY", "X509 CRL". */
  label: string;
  /** With its armour, and a line feed at the end; written anew, so that nothing else is in it. */
  text: string;
  der: Buffer;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g;

/** All blocks of a text, whatever stands between them. */
export function readPem(text: string): PemBlock[] {
  return [...text.matchAll(BLOCK)].map(([, label = "", base64 = ""]) => {
    const der = Buffer.from(base64, "base64");
    return { label, text: formatPem(label, der), der };
  });
}

export function formatPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString("base64");
  const lines = base64.replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
