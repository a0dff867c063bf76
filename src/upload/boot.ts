/** Which boot "0", "-1" or an id means: sd-journal's order is that of first entries. */
import { readFileSync } from "node:fs";
import { parseId128 } from "../bytes/id128.ts";
import { AgentError } from "../errors.ts";
import { BlockCache } from "../journal/reader/block-cache.ts";
import { addBoots } from "../journal/reader/boots.ts";
import { JournalFile } from "../journal/reader/journal-file.ts";

const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** Files are looked at one by one. */
const BLOCKS = 8;

/**
 * @param text 32 hex digits; or how many boots before the current one, as 0 or -2; or which one counted from 1 on
 * @param paths of the journal files
 * @param isLocal these are journals of this machine: then the running boot is the current one, else the last
 * @throws AgentError E_CONFIG when there is no such boot
 */
export function findBoot(text: string, paths: readonly string[], isLocal: boolean): Uint8Array {
  const id = parseId128(text);
  if (id !== undefined) return id;
  const boots = listBoots(paths);
  const running = isLocal ? runningBoot() : undefined;
  const current = running === undefined ? -1 : boots.indexOf(running);
  const base = current >= 0 ? current : boots.length - 1;
  const offset = Number(text);
  const index = offset > 0 ? offset - 1 : base + offset;
  const found = parseId128(boots[index] ?? "");
  if (found !== undefined) return found;
  throw new AgentError(
    "E_CONFIG",
    `Cannot find boot "${text}": the journals have ${boots.length} boots, need one of them`,
    { hint: 'They are listed by "journalctl --list-boots"' },
  );
}

/** In the order of their first entries. */
function listBoots(paths: readonly string[]): string[] {
  const blocks = new BlockCache(BLOCKS, BLOCKS);
  const boots = new Map<string, number>();
  for (const path of paths) {
    try {
      const file = new JournalFile(path, blocks);
      try {
        addBoots(file, boots);
      } finally {
        file.close();
      }
    } catch (error) {
      // What is wrong with a file is told when it is read.
      if (!(error instanceof AgentError)) throw error;
    }
  }
  return [...boots].sort(([, a], [, b]) => a - b).map(([boot]) => boot);
}

function runningBoot(): string | undefined {
  try {
    return readFileSync(BOOT_ID_FILE, "latin1").trim().replaceAll("-", "");
  } catch {
    return undefined;
  }
}
