/** Where a file's objects end, so that others can be put behind them. */
import { align8 } from "../bytes/uint64.ts";
import { AgentError } from "../errors.ts";
import { Arena } from "./arena.ts";
import { HASH_TABLE, HEADER_SIZE, Incompatible, OBJECT, ObjectType } from "./format.ts";
import type { JournalHeader } from "./header.ts";
import type { PagedFile } from "./paged-file.ts";

/**
 * The objects of the file so far; in a new one, the two hash tables, whose places are put into the header.
 * @throws AgentError E_JOURNAL_CORRUPT when something follows the last object
 */
export function openArena(
  file: PagedFile,
  header: JournalHeader,
  sizeMax: number,
  isNew: boolean,
): Arena {
  const compact = (header.incompatibleFlags & Incompatible.compact) !== 0;
  const { tailObjectOffset, objects, entryArrays = 0 } = header;
  if (!isNew) {
    const end = align8(tailObjectOffset + file.get32(tailObjectOffset + OBJECT.size));
    const used = HEADER_SIZE + header.arenaSize;
    if (end !== used) {
      throw new AgentError(
        "E_JOURNAL_CORRUPT",
        `Cannot append behind the last object: it ends at ${end}, need ${used}`,
        { offset: tailObjectOffset },
      );
    }
    return new Arena(file, { compact, sizeMax, end, tailObjectOffset, objects, entryArrays });
  }
  const arena = new Arena(file, {
    compact,
    sizeMax,
    end: HEADER_SIZE,
    tailObjectOffset: 0,
    objects: 0,
    entryArrays: 0,
  });
  const fieldsSize = HASH_TABLE.items + header.fieldHashTableSize;
  const fields = arena.allocate(ObjectType.fieldHashTable, 0, fieldsSize);
  const dataSize = HASH_TABLE.items + header.dataHashTableSize;
  const data = arena.allocate(ObjectType.dataHashTable, 0, dataSize);
  header.fieldHashTableOffset = fields + HASH_TABLE.items;
  header.dataHashTableOffset = data + HASH_TABLE.items;
  return arena;
}
