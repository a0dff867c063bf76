/** How many buckets a new file's DATA hash table gets. */

/** Enough for some 2,000 entries, in 128 KiB: what a quiet sender's file has to carry. */
const BUCKETS_MIN = 8191;
/** journal-file.c: journal_file_setup_data_hash_table(): a bucket per 768 bytes, filled to 3/4. */
const BYTES_PER_DATA = 768;

/**
 * The first file of a sender is small; one that filled up is followed by one of four times the room, up to
 * what systemd gives a file of this size. So quiet senders cost little and busy ones rotate rarely.
 * @param previousData DATA objects of the fullest file so far
 */
export function nextDataBuckets(previousData: number, fileSizeMaxBytes: number): number {
  const systemd = Math.max(2047, Math.floor((fileSizeMaxBytes * 4) / BYTES_PER_DATA / 3));
  const wanted = Math.max(BUCKETS_MIN, Math.floor((previousData * 4 * 4) / 3));
  return Math.min(systemd, wanted, BUCKETS_MAX);
}

/** `bucketOf` is exact below this. */
const BUCKETS_MAX = 2 ** 21 - 1;
