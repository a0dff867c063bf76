/** What the parts of the store share: where files go, how they are made, and the outside world. */

import type { JournalFileFormat } from "../../journal/new-header.ts";
import type { PageCache } from "../../journal/page-cache.ts";
import type { LookupCache } from "./lookup-cache.ts";

export interface StoreEnvironment {
  /** Directory of the journal files. */
  directory: string;
  format: JournalFileFormat;
  cache: PageCache;
  lookups: LookupCache;
  /** Size at which a file is full, from MaxFileSize=. */
  fileSizeMaxBytes: number;
  /** Age of a file's first entry at which it is rotated; 0 = never. */
  fileAgeMaxUsec: number;
  /** This machine's id: part of the sequence ids we give out ourselves. */
  receiverId: string;
  nowUsec(): number;
  /** A full file was closed, so that it may be deleted: time to look at the disk limits. */
  onArchived(): void;
  /** Something an operator should know of one file. */
  onNotice(text: string): void;
}
