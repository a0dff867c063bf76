/** How a service that is not root gets to its private key, which root alone may read. */
import type { CertificatePlaces } from "../plan.ts";
import { type Directive, escapeSpecifiers, quoteWord } from "./unit-text.ts";

/** LoadCredential= is there from this version on. */
const CREDENTIALS_SINCE = 247;

const KEY = "key.pem";
const CERTIFICATE = "certificate.pem";

/** Copied with the owner of the directory, which the service manager made for the service's user. */
const COPY = `umask 077 && cp "$1" ${KEY} && cp "$2" ${CERTIFICATE} && chown --reference=. ${KEY} ${CERTIFICATE}`;

export interface Credentials {
  directives: readonly Directive[];
  /** For its command line. */
  arguments: readonly string[];
}

/** @param name of a directory in /run, where there are no credentials yet; specifiers are resolved */
export function loadCredentials(
  { key, certificate }: Pick<CertificatePlaces, "key" | "certificate">,
  name: string,
  systemdVersion: number,
): Credentials {
  if (systemdVersion < CREDENTIALS_SINCE) return copyCredentials({ key, certificate }, name);
  return {
    directives: [
      ["LoadCredential", `${KEY}:${escapeSpecifiers(key)}`],
      ["LoadCredential", `${CERTIFICATE}:${escapeSpecifiers(certificate)}`],
    ],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the service manager replaces it
    arguments: credentialArguments("${CREDENTIALS_DIRECTORY}"),
  };
}

function copyCredentials(
  { key, certificate }: Pick<CertificatePlaces, "key" | "certificate">,
  name: string,
): Credentials {
  const script = `cd /run/${name} && ${COPY}`.replaceAll("$", "$$$$");
  const copy = `+/bin/sh -c '${script}' sh ${quoteWord(key)} ${quoteWord(certificate)}`;
  return {
    directives: [
      ["RuntimeDirectory", name],
      ["RuntimeDirectoryMode", "0700"],
      ["ExecStartPre", copy],
    ],
    arguments: credentialArguments(`/run/${name}`),
  };
}

function credentialArguments(directory: string): string[] {
  return [`--key=${directory}/${KEY}`, `--cert=${directory}/${CERTIFICATE}`];
}
