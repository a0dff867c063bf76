/** `agent certs init` and `rotate-ca`: authorities. */
import { Authority, settleDirectory } from "../certs/authority.ts";
import { initAuthority } from "../certs/create.ts";
import { AUTHORITY_NAME } from "../certs/profiles.ts";
import {
  finishRotation,
  prepareRotation,
  type RotationState,
  rotationState,
  switchAuthority,
} from "../certs/rotate.ts";
import { AgentError, type ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { describeCertificate, formatCertificate } from "./certs-text.ts";
import {
  AUTHORITY_DAYS_OPTION,
  authorityProfileOf,
  type CertsVerb,
  flag,
  KEY_TYPE_OPTION,
  PASSPHRASE_OPTION,
  valueOption,
} from "./certs-verb.ts";
import { askNewPassphrase } from "./passphrase.ts";

const PASSPHRASE_FLAG = flag("passphrase", "Ask for a passphrase for the authority's new key");
/** As openssl and Netdata's script would put it into a subject, without escapes. */
const AUTHORITY_NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9 ._-]{0,58}$/;

export const initVerb: CertsVerb = {
  description:
    "Make an authority, or take over the one that is there as it is, one of Netdata's script included.",
  options: [
    valueOption("name", "NAME", `Name of a new authority (default: ${AUTHORITY_NAME})`),
    AUTHORITY_DAYS_OPTION,
    KEY_TYPE_OPTION,
    PASSPHRASE_FLAG,
    PASSPHRASE_OPTION,
  ],
  async run(call): Promise<ExitStatus | 0> {
    const commonName = call.read("name", parseAuthorityName) ?? AUTHORITY_NAME;
    const profile = authorityProfileOf(call);
    const isAsked = call.has(PASSPHRASE_FLAG.name);
    const passphrase = call.filedPassphrase() ?? (isAsked ? await askNewPassphrase() : undefined);
    const state = await initAuthority(call.authority, { ...profile, commonName, passphrase });
    const { outcome, facts, issued } = state;
    const title = {
      created: `Made an authority in "${call.directory}"`,
      adopted: `Took over the authority in "${call.directory}", ${issued} certificates issued`,
      unchanged: `There is an authority in "${call.directory}", ${issued} certificates issued`,
    }[outcome];
    if (outcome !== "created" && isAsked) {
      log.warn(
        "The passphrase is not used: the authority's key is there already and stays as it is",
      );
    }
    if (outcome !== "unchanged") log.info("Next: agent certs issue NAME [DNS:…|IP:…]...");
    return call.result(
      { outcome, directory: call.directory, issued, authority: describeCertificate(facts) },
      `${title}\n${formatCertificate(facts)}`,
    );
  },
};

export const rotateVerb: CertsVerb = {
  description:
    "Change the authority in three steps. Without an option: make a new one beside the present one, and let hosts trust both.",
  options: [
    flag("switch", "From now on the new authority signs"),
    flag("finish", "End trust in the old authority"),
    flag("force", "With --finish: although hosts have certificates of the old one only"),
    flag("status", "Say how far the change is, and which hosts still use the old authority"),
    AUTHORITY_DAYS_OPTION,
    KEY_TYPE_OPTION,
    PASSPHRASE_FLAG,
    PASSPHRASE_OPTION,
  ],
  notes: [
    "1. agent certs rotate-ca; bring the new ca.pem to every host: agent certs bundle NAME, or copy it.",
    "2. agent certs rotate-ca --switch; agent certs renew --all; bring the new certificates to their hosts.",
    "3. agent certs rotate-ca --finish; bring the new ca.pem to every host.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    const steps = ["switch", "finish", "status"].filter((name) => call.has(name));
    const [step = "prepare", second] = steps;
    if (second !== undefined) {
      throw new AgentError("E_USAGE", `Cannot use "--${second}": "--${step}" is given, too`);
    }
    if (step === "status") {
      await settleDirectory(call.authority);
    } else {
      using authority = await Authority.open(call.authority);
      if (step === "switch") await switchAuthority(authority);
      else if (step === "finish") await finishRotation(authority, call.has("force"));
      else {
        const profile = authorityProfileOf(call);
        // The passphrase in a file is that of the present key, and of the new one if that has one.
        const passphrase = call.has("passphrase") ? await askNewPassphrase() : undefined;
        await prepareRotation(authority, { ...profile, passphrase });
      }
    }
    const state = rotationState(call.directory, call.nowMs);
    return call.result(
      { ...state, authorities: state.authorities.map(describeCertificate) },
      formatRotation(state),
    );
  },
};

/** @throws AgentError E_USAGE */
function parseAuthorityName(text: string): string {
  if (AUTHORITY_NAME_PATTERN.test(text)) return text;
  const need = "need at most 59 letters, digits, blanks, '.', '-', '_'";
  throw new AgentError("E_USAGE", `Cannot use ${JSON.stringify(text)}: ${need}`);
}

function formatRotation({ stage, authorities, stillOld, renewed }: RotationState): string {
  const text = {
    none: "No change of authority is under way",
    prepared: "A new authority is prepared, the old one signs; hosts need the new ca.pem",
    switched: "The new authority signs; hosts need new certificates",
  }[stage];
  const trusted = authorities.map(formatCertificate).join("\n");
  const hosts = (title: string, names: readonly string[]): string =>
    names.length === 0 ? "" : `\n${title}:\n${names.map((name) => `  ${name}\n`).join("")}`;
  return [
    `${text}\n\nTrusted, the first one signs:\n${trusted}`,
    hosts("Certificates of the old authority only", stillOld),
    hosts("Certificates of both: the old one may still be in use", renewed),
  ].join("");
}
