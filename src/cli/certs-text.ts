/** Certificates as the verbs of `agent certs` show them: for people, and as JSON. */
import type { CertificateFacts } from "../certs/certificate.ts";
import { formatAlternativeName, formatAlternativeNames } from "../certs/names.ts";
import { dueMs } from "../certs/profiles.ts";
import { formatTime } from "./certs-verb.ts";

/** For JSON; dates in RFC 3339. */
export function describeCertificate(facts: CertificateFacts): object {
  return {
    name: facts.name,
    role: facts.role,
    names: facts.names.map(formatAlternativeName),
    serial: facts.serial,
    notBefore: formatTime(facts.notBeforeMs),
    notAfter: formatTime(facts.notAfterMs),
    renewalDue: formatTime(dueMs(facts)),
    keyType: facts.keyType,
    issuer: facts.issuer,
    isAuthority: facts.isAuthority,
    sha256: facts.fingerprint,
  };
}

/** Indented lines. */
export function formatCertificate(facts: CertificateFacts): string {
  const rows: [string, string][] = [
    ["name", facts.name || "none"],
    ...(facts.isAuthority
      ? [["role", "authority"] as [string, string]]
      : ([
          ["role", facts.role],
          ["names", formatAlternativeNames(facts.names)],
        ] as [string, string][])),
    ["valid", `${formatTime(facts.notBeforeMs)} to ${formatTime(facts.notAfterMs)}`],
    ["serial", facts.serial],
    ["key", facts.keyType],
    ["issuer", facts.issuer],
    ["SHA-256", facts.fingerprint],
  ];
  return formatRows(rows);
}

/** Two columns, indented. */
export function formatRows(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}\n`).join("");
}

/** Columns of equal width, two blanks between. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}
