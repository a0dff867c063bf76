/**
 * All that one machine needs, in one file for `agent install --bundle`: PEM blocks behind a few lines of text.
 *
 *   Journal agent bundle, version 1
 *   Name: web1
 *   Role: client
 *   Server: https://logs.example.net:19532        only if it is known
 *
 *   CERTIFICATE                                   the host's
 *   PRIVATE KEY                                   unless the key never left the host
 *   CERTIFICATE …                                 the authority's; two while authorities change
 *   X509 CRL …                                    certificates that are revoked
 */
import { AgentError } from "../errors.ts";
import { readPem } from "./pem.ts";
import { ROLES, type Role } from "./profiles.ts";

export interface Bundle {
  name: string;
  role: Role;
  /** Where journals are sent; undefined = the host does not send, or knows. */
  server: string | undefined;
  /** PEM, as all below. */
  certificate: string;
  /** Undefined: it is on the host already. */
  key: string | undefined;
  authorities: string;
  lists: string;
}

const TITLE = "Journal agent bundle, version 1";
const URL_LENGTH_MAX = 2048;

export function formatBundle(bundle: Bundle): string {
  const { name, role, server } = bundle;
  const head = [TITLE, `Name: ${name}`, `Role: ${role}`];
  if (server !== undefined) head.push(`Server: ${server}`);
  const blocks = [bundle.certificate, bundle.key ?? "", bundle.authorities, bundle.lists];
  return `${head.join("\n")}\n\n${blocks.join("")}`;
}

/** @param file for the messages. @throws AgentError E_CERT */
export function parseBundle(text: string, file: string): Bundle {
  const fail = (problem: string): AgentError =>
    new AgentError("E_CERT", `Cannot use bundle "${file}": ${problem}`);
  if (!text.startsWith(`${TITLE}\n`)) throw fail(`it does not begin with "${TITLE}"`);
  const head = text.slice(0, text.indexOf("-----BEGIN"));
  const value = (key: string): string | undefined =>
    new RegExp(`^${key}: (.+)$`, "m").exec(head)?.[1];
  const name = value("Name");
  const role = ROLES.find((each) => each === value("Role"));
  if (name === undefined || role === undefined) throw fail("there is no name or no role in it");
  const blocks = readPem(text);
  const [certificate, ...authorities] = blocks.filter(({ label }) => label === "CERTIFICATE");
  if (certificate === undefined || authorities.length === 0) {
    throw fail("need the certificates of the host and of its authority");
  }
  const join = (label: string): string =>
    blocks
      .filter((block) => block.label === label)
      .map((block) => block.text)
      .join("");
  return {
    name,
    role,
    server: value("Server"),
    certificate: certificate.text,
    key: join("PRIVATE KEY") || undefined,
    authorities: authorities.map((block) => block.text).join(""),
    lists: join("X509 CRL"),
  };
}

/**
 * Where journals are sent, as `URL=` in journal-upload.conf has it: a scheme, a host, perhaps a port and a path.
 * @throws AgentError E_USAGE
 */
export function parseServerUrl(text: string): string {
  const need = "need one like https://logs.example.net:19532";
  // Without quotes, "<", ">" and "\\", which means something to the echo of some shells.
  const isPlain = /^[!#-&(-;=?-[\]-~]+$/.test(text) && text.length <= URL_LENGTH_MAX;
  if (!isPlain || !/^https?:\/\/[^/]/i.test(text) || !URL.canParse(text)) {
    const shown = JSON.stringify(text.slice(0, 80));
    throw new AgentError("E_USAGE", `Cannot use server ${shown}: ${need}`);
  }
  return text;
}
