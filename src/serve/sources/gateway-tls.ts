/** Whom to trust and what to show when a gateway is asked over https: from files to TLS options. */
import { readFile } from "node:fs/promises";
import tls from "node:tls";
import { AgentError, type AgentErrorDetails, errnoOf, reasonOf } from "../../errors.ts";

export interface GatewayTls {
  /** PEM. When neither file exists no client certificate is shown. */
  keyFile: string;
  certificateFile: string;
  /** CA file the gateway's certificate must be signed by; "all" = any CA the system trusts. */
  authority: "all" | string;
  /** Revocation lists of `authority`, PEM or DER; not used with "all", which needs one of each CA. */
  crlFiles?: readonly string[];
}

/** PEM texts, under the names the TLS library has for them. */
export interface GatewayTlsContext {
  ca: string | string[];
  crl?: string[];
  key?: string;
  cert?: string;
  rejectUnauthorized: true;
}

/**
 * Reads the files anew each time, so that what was renewed is used without anyone telling us.
 * @throws AgentError E_CERT when they cannot be used.
 */
export async function loadGatewayTls(settings: GatewayTls): Promise<GatewayTlsContext> {
  const { keyFile, certificateFile, authority } = settings;
  const context: GatewayTlsContext = {
    ...(await readTrust(settings)),
    ...(await readIdentity(keyFile, certificateFile)),
    rejectUnauthorized: true,
  };
  try {
    // fetch() would only say that it failed to open a socket.
    tls.createSecureContext(context);
  } catch (cause) {
    const files = [certificateFile, keyFile, authority].map((file) => `"${file}"`).join(", ");
    throw certificateError(`use certificates ${files}: ${reasonOf(cause)}`, { cause });
  }
  return context;
}

async function readTrust(settings: GatewayTls): Promise<Pick<GatewayTlsContext, "ca" | "crl">> {
  const { authority, crlFiles = [] } = settings;
  if (authority === "all") return { ca: tls.getCACertificates("system") };
  const ca = (await readIfThere(authority))?.toString("latin1");
  if (ca === undefined || !/-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/.test(ca)) {
    const what = ca === undefined ? "there is no such file" : "it holds no certificate";
    throw certificateError(`trust "${authority}": ${what}, a PEM file of the CA is needed`, {
      hint: "give --trust=FILE, or --trust=all for the CAs the system trusts",
    });
  }
  if (crlFiles.length === 0) return { ca };
  return { ca, crl: await Promise.all(crlFiles.map(readRevocationPem)) };
}

async function readIdentity(
  keyFile: string,
  certificateFile: string,
): Promise<Pick<GatewayTlsContext, "key" | "cert">> {
  const [key, cert] = await Promise.all([readIfThere(keyFile), readIfThere(certificateFile)]);
  if (key === undefined && cert === undefined) return {};
  if (key === undefined || cert === undefined) {
    const missing = key === undefined ? keyFile : certificateFile;
    throw certificateError(`show a client certificate: "${missing}" does not exist`, {
      hint: "--key= and --cert= belong together",
    });
  }
  return { key: key.toString("latin1"), cert: cert.toString("latin1") };
}

async function readRevocationPem(file: string): Promise<string> {
  const bytes = await readIfThere(file);
  if (bytes === undefined) {
    throw certificateError(`read "${file}": there is no such file, a revocation list is needed`);
  }
  const text = bytes.toString("latin1");
  if (text.includes("-----BEGIN X509 CRL-----")) return text;
  return `-----BEGIN X509 CRL-----\n${bytes.toString("base64")}\n-----END X509 CRL-----\n`;
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return undefined;
    throw certificateError(`read "${file}": ${reasonOf(cause)}`, { cause });
  }
}

function certificateError(what: string, details: AgentErrorDetails = {}): AgentError {
  return new AgentError("E_CERT", `Cannot ${what}`, details);
}
