/** `agent certs issue`, `renew` and `bundle`: what hosts get from the authority. */
import { join } from "node:path";
import { Authority } from "../certs/authority.ts";
import { parseServerUrl } from "../certs/bundle.ts";
import { describeFiles, makeBundles } from "../certs/bundle-files.ts";
import type { CertificateFacts } from "../certs/certificate.ts";
import { certificateFile, keyFile } from "../certs/directory.ts";
import { type Issued, issueCertificate } from "../certs/issue.ts";
import { parseHostName } from "../certs/names.ts";
import { LEAF_DAYS_MAX } from "../certs/profiles.ts";
import { renewCertificates } from "../certs/renew.ts";
import { AgentError, type ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { describeCertificate, formatCertificate } from "./certs-text.ts";
import {
  type CertsCall,
  type CertsVerb,
  DAYS_OPTION,
  daysOf,
  EXPIRING_OPTION,
  expiringOf,
  FURTHER_NAMES,
  flag,
  formatDay,
  hostNamesOf,
  KEY_TYPE_OPTION,
  keyTypeOf,
  PASSPHRASE_OPTION,
  PROFILE_OPTIONS,
  profileOf,
  valueOption,
} from "./certs-verb.ts";

export const issueVerb: CertsVerb = {
  words: `NAME ${FURTHER_NAMES}`,
  wordCounts: [1],
  description: "Make a key and a certificate for a host: NAME.key and NAME.pem in the directory.",
  options: [
    ...PROFILE_OPTIONS,
    KEY_TYPE_OPTION,
    flag("renew", "Replace a valid certificate, with the same key"),
    flag("force", "Replace a valid certificate, with a new key"),
    PASSPHRASE_OPTION,
  ],
  notes: [
    "NAME is what the host's journal is filed under. It is among the certificate's names, too; those by which clients reach a server have to be given.",
    "Example: agent certs issue server1 DNS:logs.example.net 192.0.2.7 --role=server",
  ],
  async run(call): Promise<ExitStatus | 0> {
    if (call.has("renew") && call.has("force")) {
      throw new AgentError("E_USAGE", 'Cannot use "--force": "--renew" is given, too');
    }
    const request = {
      ...hostNamesOf(call),
      ...profileOf(call),
      keyType: keyTypeOf(call),
      replace: replacementOf(call),
    };
    using authority = await Authority.open(call.authority);
    return reportIssued(call, await issueCertificate(authority, request));
  },
};

export const renewVerb: CertsVerb = {
  words: "[NAME]...",
  wordCounts: [0],
  description: "Replace certificates by ones of the same names and role that end later.",
  options: [
    flag("all", "Every host's certificate that is valid"),
    EXPIRING_OPTION,
    {
      ...DAYS_OPTION,
      defaultText: `as long as the former one, at most ${LEAF_DAYS_MAX}`,
    },
    flag("new-key", "Make new keys, too; else the host's key stays, wherever it is"),
    PASSPHRASE_OPTION,
  ],
  notes: [
    "The former certificate stays valid until it ends or is revoked, so the host goes on with it until it has the new one.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    if (call.has("all") === call.words.length > 0) {
      throw new AgentError("E_USAGE", "Cannot renew: give either names or --all");
    }
    const hosts = call.has("all") ? "all" : call.words.map(parseHostName);
    const newKeys = call.has("new-key");
    const request = { hosts, expiringMs: expiringOf(call), days: daysOf(call), newKeys } as const;
    using authority = await Authority.open(call.authority);
    const { renewed, notDue, skipped } = await renewCertificates(authority, request);
    for (const { name, reason } of skipped) log.warn(`"${name}" is not renewed: ${reason}`);
    if (renewed.length === 0) log.info("No certificate was to be renewed");
    else {
      const files = newKeys ? "NAME.pem and NAME.key" : "NAME.pem";
      log.info(`Bring them to their hosts: copy ${files}, or agent certs bundle NAME`);
    }
    return call.result(
      { renewed: renewed.map((facts) => describeIssued(call, facts, newKeys)), notDue, skipped },
      renewed
        .map((facts) => `Renewed "${facts.name}" until ${formatDay(facts.notAfterMs)}\n`)
        .join(""),
    );
  },
};

export const bundleVerb: CertsVerb = {
  words: "NAME",
  wordCounts: [1, 1],
  description:
    "Put all that a host needs into one file: NAME.bundle for agent install --bundle, and runme-on-NAME.sh for hosts with systemd's own programs only.",
  options: [
    valueOption(
      "server",
      "URL",
      "Where the host sends its journal: https://logs.example.net:19532",
    ),
    valueOption(
      "output",
      "FILE",
      "One file, here: the script if its name ends in .sh, else the bundle; - for the bundle on stdout",
    ),
  ],
  notes: [
    "Both hold the host's private key: only root can read them, and once they are on the host they are to be removed.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    const [name = ""] = call.words;
    const url = call.option("server");
    const server = url === undefined ? undefined : parseServerUrl(url);
    const output = call.option("output");
    if (output === "-" && call.has("json")) {
      throw new AgentError("E_USAGE", 'Cannot use "--json": the bundle goes to stdout');
    }
    using authority = await Authority.open(call.authority);
    const made = await makeBundles(authority, parseHostName(name), { server, output });
    if (!made.hasKey)
      log.info(`The key of "${name}" is not here: it has to be on the host already`);
    if (made.text !== undefined) {
      process.stdout.write(made.text);
      return 0;
    }
    return call.result(
      { name, server, hasKey: made.hasKey, files: made.files },
      describeFiles(made.files),
    );
  },
};

/** Also for requests that are signed. */
export function reportIssued(call: CertsCall, issued: Issued): 0 {
  const { outcome, facts, former, hasKey } = issued;
  if (outcome === "unchanged") {
    log.info(`"${facts.name}" has this certificate already: nothing is changed`);
  }
  if (former !== undefined) {
    const until = formatDay(former.notAfterMs);
    log.info(
      `The former certificate, ${former.serial}, stays valid until ${until} or its revocation`,
    );
  }
  const described = describeIssued(call, facts, hasKey);
  const title =
    outcome === "unchanged" ? `"${facts.name}" has a certificate` : `Issued "${facts.name}"`;
  return call.result(
    { outcome, ...described, former: former && describeCertificate(former) },
    `${title}\n${formatCertificate(facts)}${described.files.map((file) => `  ${file}\n`).join("")}`,
  );
}

function describeIssued(
  call: CertsCall,
  facts: CertificateFacts,
  hasKey: boolean,
): { files: string[] } & object {
  const files = [certificateFile(facts.name), ...(hasKey ? [keyFile(facts.name)] : [])];
  return {
    ...describeCertificate(facts),
    files: files.map((file) => join(call.directory, file)),
  };
}

function replacementOf(call: CertsCall): "no" | "same key" | "new key" {
  if (call.has("force")) return "new key";
  return call.has("renew") ? "same key" : "no";
}
