/** Sealed journals, made by systemd-journal-remote of this host with keys of their own. */
import { writeFileSync } from "node:fs";
import { JOURNAL_REMOTE } from "./journal-tools.ts";

/** JOURNAL-REMOTE FILE INPUT: in a mount namespace, where what the host has of keys is out of reach. */
const SEAL = `set -e
mount -t tmpfs tmpfs /var/log
mkdir -p "/var/log/journal/$(cat /etc/machine-id)"
journalctl --setup-keys --interval=1s > /dev/null 2>&1
exec "$1" --seal -o "$2" "$3"`;

/**
 * Writes `file`, whose name must end in ".journal". @param exportStream with times of now or later, or there are
 * no tags between its entries: keys change every second.
 */
export function makeSealedJournal(file: string, exportStream: string): void {
  const input = `${file}.export`;
  writeFileSync(input, exportStream);
  const enter = ["unshare", "--mount", "sh", "-c", SEAL, "seal"];
  const { exitCode, stderr } = Bun.spawnSync([...enter, JOURNAL_REMOTE ?? "", file, input], {
    timeout: 60_000,
  });
  if (exitCode !== 0) throw new Error(`systemd-journal-remote --seal: ${stderr}`);
}
