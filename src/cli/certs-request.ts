/** `agent certs request`, `sign` and `accept`: keys that never leave their host. */
import { readFileSync } from "node:fs";
import { Authority } from "../certs/authority.ts";
import { parseAlternativeName } from "../certs/names.ts";
import { acceptCertificate, makeRequest, signRequest } from "../certs/request.ts";
import { AgentError, type ExitStatus, errnoOf, reasonOf } from "../errors.ts";
import { log } from "../log.ts";
import { reportIssued } from "./certs-issue.ts";
import { describeCertificate, formatCertificate } from "./certs-text.ts";
import {
  type CertsVerb,
  FURTHER_NAMES,
  flag,
  hostNamesOf,
  KEY_TYPE_OPTION,
  keyTypeOf,
  PASSPHRASE_OPTION,
  PROFILE_OPTIONS,
  profileOf,
  valueOption,
} from "./certs-verb.ts";

/** A request or certificate is a few kilobytes, a bundle with its lists a few hundred. */
const FILE_SIZE_MAX = 64 * 1024 * 1024;

export const requestVerb: CertsVerb = {
  words: `NAME ${FURTHER_NAMES}`,
  wordCounts: [1],
  description:
    "On a host: make its key, which stays there, and NAME.csr, which goes to the authority to be signed.",
  options: [
    KEY_TYPE_OPTION,
    flag("new-key", "Make a new key although there is one; that one stays in use until accept"),
  ],
  async run(call): Promise<ExitStatus | 0> {
    const host = hostNamesOf(call);
    const made = await makeRequest({
      ...host,
      directory: call.directory,
      keyType: keyTypeOf(call),
      newKey: call.has("new-key"),
    });
    log.info(`Next, on the authority: agent certs sign ${host.name}.csr`);
    const key = made.isNewKey ? "its key, which stays here" : "its key, as it was";
    return call.result(made, `${made.request}\n  to be signed\n${made.key}\n  ${key}\n`);
  },
};

export const signVerb: CertsVerb = {
  words: `FILE.csr ${FURTHER_NAMES}`,
  wordCounts: [1],
  description:
    "On the authority: make NAME.pem of a host's request. Names given here replace those that the request asks for.",
  options: [
    ...PROFILE_OPTIONS,
    flag("force", "Although the host has a valid certificate of other names, role or key"),
    PASSPHRASE_OPTION,
  ],
  async run(call): Promise<ExitStatus | 0> {
    const [file = "", ...names] = call.words;
    const text = readInput(file);
    const options = {
      ...profileOf(call),
      names: names.length === 0 ? undefined : names.map(parseAlternativeName),
      force: call.has("force"),
    };
    using authority = await Authority.open(call.authority);
    const issued = await signRequest(authority, text, file, options);
    const { name } = issued.facts;
    log.info(
      `Next, on the host, with both files: agent certs accept ${name}.pem --authority=ca.pem`,
    );
    return reportIssued(call, issued);
  },
};

export const acceptVerb: CertsVerb = {
  words: "FILE.pem",
  wordCounts: [1, 1],
  description:
    "On a host: put the certificate that the authority made of its request in place, beside its key.",
  options: [
    valueOption(
      "authority",
      "FILE",
      "Certificate of the authority (default: that in FILE.pem, or ca.pem of the directory)",
    ),
  ],
  async run(call): Promise<ExitStatus | 0> {
    const [file = ""] = call.words;
    const authorityFile = call.option("authority");
    const further = authorityFile === undefined ? "" : readInput(authorityFile);
    const { directory, nowMs } = call;
    const text = `${readInput(file)}\n${further}`;
    const { outcome, facts, authority, files } = await acceptCertificate({
      directory,
      nowMs,
      text,
      file,
    });
    log.info(`Trusted from now on: "${authority.name}", SHA-256 ${authority.fingerprint}`);
    const title =
      outcome === "unchanged" ? `"${facts.name}" has this certificate` : `Accepted "${facts.name}"`;
    const written = files.map((each) => `  ${each}\n`).join("");
    return call.result(
      { outcome, ...describeCertificate(facts), authority: describeCertificate(authority), files },
      `${title}\n${formatCertificate(facts)}${written}`,
    );
  },
};

/** A file that the command line names. @throws AgentError E_CERT, E_IO */
export function readInput(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const problem = errnoOf(error) === "ENOENT" ? "no such file" : reasonOf(error);
    throw new AgentError("E_IO", `Cannot read "${file}": ${problem}`, { cause: error });
  }
  if (bytes.length > FILE_SIZE_MAX) {
    throw new AgentError(
      "E_LIMIT",
      `Cannot read "${file}": ${bytes.length} bytes, need at most ${FILE_SIZE_MAX}`,
    );
  }
  return bytes.toString("latin1");
}
