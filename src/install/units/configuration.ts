/** Drop-ins for the configuration files of systemd's programs, which ours reads as well. */
import { type ClientOptions, ENROLL_SOCKET, type ServerOptions } from "../roles/options.ts";
import { requireLine } from "./unit-text.ts";

export const SERVER_CONFIGURATION = "/etc/systemd/journal-remote.conf.d/50-agent.conf";
export const CLIENT_CONFIGURATION = "/etc/systemd/journal-upload.conf.d/50-agent.conf";

type Assignment = readonly [key: string, value: string];

/** Certificates that are public: they are read where they are, again when they change. */
export function serverConfiguration(options: ServerOptions): string {
  const { certificates, enroll, isLocalAuthority } = options;
  const { authority, lists } = certificates;
  return formatConfiguration("Remote", [
    ["TrustedCertificateFile", authority],
    ...(lists === undefined ? [] : ([["CRLFile", lists]] as const)),
    ...(enroll && isLocalAuthority ? ([["EnrollSocket", ENROLL_SOCKET]] as const) : []),
  ]);
}

/** @returns undefined where nothing is to be said */
export function clientConfiguration({
  urls,
  targets,
  certificates,
}: ClientOptions): string | undefined {
  const assignments: Assignment[] = [
    // Those of other files are not for these certificates.
    ...(urls.length === 0 ? [] : ([["URL", ""]] as const)),
    ...urls.map((url) => ["URL", url] as const),
    ...(targets === undefined ? [] : ([["Targets", targets]] as const)),
    ...(certificates ? ([["TrustedCertificateFile", certificates.authority]] as const) : []),
  ];
  return assignments.length === 0 ? undefined : formatConfiguration("Upload", assignments);
}

function formatConfiguration(section: string, assignments: readonly Assignment[]): string {
  const lines = assignments.map(([key, value]) => `${key}=${requireLine(value)}\n`);
  return `# Written by "agent install", taken away by "agent uninstall". Settings of your own go into a file that sorts behind this.

[${section}]
${lines.join("")}`;
}
