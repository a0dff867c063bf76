/** The receiver's user, and the directory of what it receives: for systemd-sysusers(8) and systemd-tmpfiles(8). */
import { SERVER_USER } from "./server-units.ts";
import { escapeSpecifiers, requireLine } from "./unit-text.ts";

/** Users that are locked as a whole are known from this version on, and its packages ask for them. */
const LOCKED_SINCE = 257;

/** Whose members may read journals: systemd's own group. */
export const JOURNAL_GROUP = "systemd-journal";

const HEADER = `# Written by "agent install", taken away by "agent uninstall".\n`;

/** As the distributions' packages say it, so that they can be installed besides. */
export function sysusersText(systemdVersion: number): string {
  const type = systemdVersion >= LOCKED_SINCE ? "u!" : "u";
  return `${HEADER}g ${JOURNAL_GROUP} - -
${type} ${SERVER_USER} - "systemd Journal Remote"
`;
}

/** New files get the directory's group, whose members may read journals; on btrfs they are not copied on each write. */
export function tmpfilesText(outputDirectory: string): string {
  const path = `"${escapeSpecifiers(requireLine(outputDirectory)).replace(/["\\]/g, "\\$&")}"`;
  return `${HEADER}d ${path} 2755 ${SERVER_USER} ${JOURNAL_GROUP} -
h ${path} - - - - +C
`;
}
