/** What we show to a receiver and whom we trust: from files to what the TLS library takes. */
import { createSecureContext } from "node:tls";
import { AgentError, reasonOf } from "../../errors.ts";
import { readCertificateFile, readKeyFile, readOwnCertificate } from "../../platform/pem-files.ts";

export interface IdentityFiles {
  /** PEM files; undefined = no client certificate. */
  keyFile: string | undefined;
  certificateFile: string | undefined;
  /** "all": neither chain nor host name is checked. Otherwise the CA file. */
  trust: "all" | string;
}

export interface ClientIdentity {
  /** PEM texts, under the names the TLS library has for them. */
  context: { key?: string; cert?: string; ca?: string };
  /** The time of day, in milliseconds, at which our certificate ends. */
  certificateEndMs: number | undefined;
}

const KEY_HINT = "ServerKeyFile= or --key= must name a PEM file that this user may read";
const CERTIFICATE_HINT =
  "ServerCertificateFile= or --cert= must name a PEM file that this user may read";
const TRUST_HINT =
  'TrustedCertificateFile= or --trust= must name a PEM file with the receiver\'s authority, or be "all"';

/** @throws AgentError E_CERT. */
export function loadClientIdentity({
  keyFile,
  certificateFile,
  trust,
}: IdentityFiles): ClientIdentity {
  if ((keyFile === undefined) !== (certificateFile === undefined)) {
    const [given, missing] =
      keyFile === undefined ? [certificateFile, "a private key"] : [keyFile, "a certificate"];
    const message = `Cannot use "${given}": ${missing} is needed with it`;
    throw new AgentError("E_CERT", message, { hint: "--key= and --cert= belong together" });
  }
  const context: ClientIdentity["context"] = {};
  let certificateEndMs: number | undefined;
  if (keyFile !== undefined && certificateFile !== undefined) {
    const key = readKeyFile(keyFile, KEY_HINT);
    const own = readOwnCertificate(certificateFile, CERTIFICATE_HINT, key.object, keyFile);
    context.key = key.pem;
    context.cert = own.pem;
    certificateEndMs = Date.parse(own.certificates[0]?.validTo ?? "");
  }
  if (trust !== "all") {
    context.ca = readCertificateFile(trust, "trusted certificate", TRUST_HINT).pem;
  }
  try {
    createSecureContext(context);
  } catch (cause) {
    const files = identityFileNames({ keyFile, certificateFile, trust });
    const names = files.map((file) => `"${file}"`).join(", ");
    throw new AgentError("E_CERT", `Cannot use certificates ${names}: ${reasonOf(cause)}`, {
      cause,
    });
  }
  return { context, certificateEndMs };
}

/** The files `loadClientIdentity()` reads. */
export function identityFileNames({ keyFile, certificateFile, trust }: IdentityFiles): string[] {
  const files = [keyFile, certificateFile, trust === "all" ? undefined : trust];
  return files.filter((file) => file !== undefined);
}
