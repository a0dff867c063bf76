/** What hosts get of the authority: all certificates that are trusted, and the lists of those that are revoked. */
import { type Authority, readOptionalText, readRequired } from "./authority.ts";
import { readCertificates } from "./certificate.ts";
import { AUTHORITY_FILES, LISTS_FILE } from "./directory.ts";
import { readPem } from "./pem.ts";

/** PEM; the one that signs first, and the others while authorities change. @throws AgentError E_CERT */
export function readTrustedText(directory: Pick<Authority, "path">): string {
  const file = directory.path(AUTHORITY_FILES.current.certificate);
  const trusted = readCertificates(readRequired(file, "the authority"), file);
  return trusted.map(({ pem }) => pem).join("");
}

/** PEM; nothing but lists, whatever somebody has put into the file: root runs a script with them in it. */
export function readListsText(directory: Pick<Authority, "path">): string {
  return readPem(readOptionalText(directory.path(LISTS_FILE)))
    .filter(({ label }) => label === "X509 CRL")
    .map(({ text }) => text)
    .join("");
}
