/** `agent certs list`, `inspect`, `verify` and `needs-renewal`: what there is, and whether it will do. */
import { join } from "node:path";
import { auditAuthority } from "../certs/audit.ts";
import { readOptionalText, readRequired, settleDirectory } from "../certs/authority.ts";
import { readCertificate, readCertificates } from "../certs/certificate.ts";
import { AUTHORITY_FILES, LISTS_FILE } from "../certs/directory.ts";
import { inspectText } from "../certs/inspect.ts";
import { type ListedCertificate, listEntries } from "../certs/listing.ts";
import { DAY_MS, dueMs, ROLES } from "../certs/profiles.ts";
import { findFaults, requireAuthorities } from "../certs/verify.ts";
import { AgentError, ExitStatus } from "../errors.ts";
import { readInput } from "./certs-request.ts";
import { describeCertificate, formatCertificate, formatRows, formatTable } from "./certs-text.ts";
import {
  type CertsCall,
  type CertsVerb,
  choiceOf,
  EXPIRING_OPTION,
  expiringOf,
  flag,
  formatDay,
  formatTime,
  PASSPHRASE_OPTION,
  valueOption,
} from "./certs-verb.ts";

export const listVerb: CertsVerb = {
  description: "List what the authority has issued, in this order.",
  options: [EXPIRING_OPTION],
  notes: [
    "STATUS is valid, expired, revoked, or replaced: the host has a newer one, and this one is still valid.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    await settleDirectory(call.authority);
    const withinMs = expiringOf(call);
    const entries = listEntries(call.directory, call.nowMs).filter((entry) => {
      return withinMs === undefined || isExpiring(entry, call.nowMs, withinMs);
    });
    const rows = entries.map((entry) => [
      entry.name,
      entry.status,
      formatDay(entry.expiresMs),
      entry.serial,
      entry.revokedMs === undefined ? "" : `${formatDay(entry.revokedMs)} ${entry.reason}`,
    ]);
    return call.result(
      { certificates: entries.map(describeEntry) },
      formatTable([["NAME", "STATUS", "ENDS", "SERIAL", "REVOKED"], ...rows]),
    );
  },
};

export const inspectVerb: CertsVerb = {
  words: "FILE",
  wordCounts: [1, 1],
  description:
    "Show what is in a file: certificates, requests, lists of revoked ones, keys, bundles.",
  async run(call): Promise<ExitStatus | 0> {
    const [file = ""] = call.words;
    const found = await inspectText(readInput(file), file);
    const objects = found.map((each) =>
      each.facts === undefined
        ? { kind: each.kind, ...Object.fromEntries(each.rows) }
        : { kind: each.kind, ...describeCertificate(each.facts) },
    );
    const text = found.map(({ kind, facts, rows }) => {
      return `${kind}\n${facts === undefined ? formatRows(rows) : formatCertificate(facts)}`;
    });
    return call.result({ file, objects }, text.join("\n"));
  },
};

export const verifyVerb: CertsVerb = {
  words: "[FILE]",
  wordCounts: [0, 1],
  description:
    "Say whether a certificate is good: signed by the authority in the directory, in time, not revoked. Exit status 1 = it is not.",
  options: [
    valueOption("host", "NAME", "A name or address by which clients reach the server"),
    valueOption("role", "ROLE", "What it is to be good for: server, client or both"),
    flag("all", "Look at the whole authority: whether all its files fit together"),
    PASSPHRASE_OPTION,
  ],
  async run(call): Promise<ExitStatus | 0> {
    const [file] = call.words;
    if (call.has("all") === (file !== undefined)) {
      throw new AgentError("E_USAGE", "Cannot verify: give either a file or --all");
    }
    return file === undefined ? await verifyAll(call) : verifyFile(call, file);
  },
};

export const needsRenewalVerb: CertsVerb = {
  words: "FILE",
  wordCounts: [1, 1],
  description:
    "For scripts: exit status 0 = the certificate is due for renewal, 1 = it is not. It is due when two thirds of its life are over.",
  options: [{ ...EXPIRING_OPTION, description: "Due when it ends within this time, like 30d" }],
  async run(call): Promise<ExitStatus | 0> {
    const [file = ""] = call.words;
    const { facts } = readCertificate(readInput(file), file);
    const withinMs = expiringOf(call);
    const due = withinMs === undefined ? dueMs(facts) : facts.notAfterMs - withinMs;
    const isDue = call.nowMs >= due;
    const text = isDue ? `due since ${formatTime(due)}` : `not due before ${formatTime(due)}`;
    call.result({ file, due: isDue, dueFrom: formatTime(due) }, `${file}: ${text}\n`);
    return isDue ? 0 : ExitStatus.failure;
  },
};

async function verifyAll(call: CertsCall): Promise<ExitStatus | 0> {
  await settleDirectory(call.authority);
  const { directory, nowMs } = call;
  const report = auditAuthority({ directory, nowMs, passphrase: call.filedPassphrase() });
  const { faults, certificates, issued, revoked } = report;
  const counts = `${issued} issued, ${revoked} revoked, ${certificates} certificates here`;
  const text =
    faults.length === 0
      ? `${directory}: good\n  ${counts}\n`
      : `${directory}: bad\n  ${counts}\n${faults.map((fault) => `  ${fault}\n`).join("")}`;
  call.result({ good: faults.length === 0, ...report }, text);
  return faults.length === 0 ? 0 : ExitStatus.failure;
}

function verifyFile(call: CertsCall, file: string): ExitStatus | 0 {
  const { directory, nowMs } = call;
  const certificate = readCertificate(readInput(file), file);
  const authorityPath = join(directory, AUTHORITY_FILES.current.certificate);
  const text = readRequired(authorityPath, "the authority's certificate");
  const authorities = requireAuthorities(readCertificates(text, authorityPath), authorityPath);
  const lists = readOptionalText(join(directory, LISTS_FILE));
  const expected = { host: call.option("host"), role: choiceOf(call, "role", ROLES), nowMs };
  const faults = findFaults(certificate, { authorities, lists }, expected);
  const isGood = faults.length === 0;
  call.result(
    { good: isGood, faults, ...describeCertificate(certificate.facts) },
    `${file}: ${isGood ? "good" : "bad"}\n${faults.map((fault) => `  ${fault}\n`).join("")}`,
  );
  return isGood ? 0 : ExitStatus.failure;
}

/** Whatever needs attention: valid ones that end soon, and those that have ended lately without a newer one. */
function isExpiring(
  { status, expiresMs }: ListedCertificate,
  nowMs: number,
  withinMs: number,
): boolean {
  if (status === "expired") return expiresMs > nowMs - 30 * DAY_MS;
  return status === "valid" && expiresMs <= nowMs + withinMs;
}

function describeEntry(entry: ListedCertificate): object {
  const { name, status, serial, expiresMs, revokedMs, reason, authority } = entry;
  return {
    name,
    status,
    serial,
    notAfter: formatTime(expiresMs),
    ...(revokedMs === undefined ? {} : { revoked: formatTime(revokedMs), reason }),
    authority,
  };
}
