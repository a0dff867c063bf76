/**
 * Second pass, hash chains and field lists: every DATA and FIELD object is in the bucket its hash
 * says (journal-verify.c: verify_data_hash_table()), and every DATA is in the list of its field,
 * which systemd does not check.
 */
import { HEADER } from "../format.ts";
import { bucketOf } from "../payload-hash.ts";
import type { ObjectIndex, Uint32List } from "./object-index.ts";
import type { Buckets, Scan } from "./scan.ts";

interface Hashed {
  index: ObjectIndex;
  hashLow: Uint32List;
  hashHigh: Uint32List;
  nextHash: Uint32List;
}

export function checkHashTables(scan: Scan): void {
  const { header, findings, data, fields } = scan;
  if (header.dataHashTableOffset !== 0 && scan.dataBuckets === undefined) {
    findings.problem(HEADER.dataHashTableOffset, "data hash table is missing");
  }
  if (header.fieldHashTableOffset !== 0 && scan.fieldBuckets === undefined) {
    findings.problem(HEADER.fieldHashTableOffset, "field hash table is missing");
  }
  const hashedData = followBuckets(scan, "data", data, scan.dataBuckets);
  for (let index = 0; index < data.index.count; index++) {
    // A writer that stops between placing a DATA and linking it leaves an unused one behind.
    if (hashedData[index] === 0 && data.entries.values[index] !== 0) {
      findings.problem(data.index.offset(index), "data is not in the hash table");
    }
  }
  const hashedFields = followBuckets(scan, "field", fields, scan.fieldBuckets);
  for (let index = 0; index < fields.index.count; index++) {
    if (hashedFields[index] === 0) {
      findings.problem(fields.index.offset(index), "field is not in the hash table");
    }
  }
}

/** Returns 1 for each object that was met. */
function followBuckets(
  scan: Scan,
  kind: "data" | "field",
  table: Hashed,
  buckets: Buckets | undefined,
): Uint8Array {
  const met = new Uint8Array(table.index.count);
  const count = buckets?.heads.length ?? 0;
  for (let bucket = 0; bucket < count; bucket++) {
    const head = buckets!.heads[bucket]!;
    if (head === 0) continue;
    const last = followBucket(scan, kind, table, met, head, bucket, count);
    if (last >= 0 && last !== buckets!.tails[bucket]) {
      scan.findings.problem(
        buckets!.offset,
        `${kind} bucket ${bucket} has its tail at ${buckets!.tails[bucket]! * 8}, its chain ends at ${last * 8}`,
      );
    }
  }
  return met;
}

/** Returns the slot of the last object, -1 if the chain is broken. */
function followBucket(
  scan: Scan,
  kind: "data" | "field",
  table: Hashed,
  met: Uint8Array,
  head: number,
  bucket: number,
  bucketCount: number,
): number {
  const { findings } = scan;
  let last = 0;
  let slot = head;
  while (slot !== 0) {
    const index = table.index.indexOf(slot);
    if (index < 0 || slot <= last || met[index] !== 0) {
      findings.problem(
        last * 8,
        `${kind} bucket ${bucket} goes on to ${slot * 8}, need a ${kind} object further on`,
      );
      return -1;
    }
    met[index] = 1;
    const belongs = bucketOf(
      table.hashLow.values[index]!,
      table.hashHigh.values[index]!,
      bucketCount,
    );
    if (belongs !== bucket) {
      findings.problem(slot * 8, `${kind} of bucket ${belongs} is in bucket ${bucket}`);
    }
    last = slot;
    slot = table.nextHash.values[index]!;
  }
  return last;
}

export function checkFieldLists(scan: Scan): void {
  const { data, fields, findings } = scan;
  const met = new Uint8Array(data.index.count);
  const nameOwner = new Uint8Array(scan.names.size + 1);
  for (let field = 0; field < fields.index.count; field++) {
    const name = fields.name.values[field]!;
    if (name !== 0 && nameOwner[name] !== 0) {
      findings.problem(fields.index.offset(field), "field has the name of an earlier one");
    }
    nameOwner[name] = 1;
    followField(scan, field, met);
  }
  for (let index = 0; index < data.index.count; index++) {
    if (met[index] === 0 && data.entries.values[index] !== 0) {
      findings.problem(data.index.offset(index), "data is not in the list of its field");
    }
  }
}

/** Newest first: offsets fall. */
function followField(scan: Scan, field: number, met: Uint8Array): void {
  const { data, fields, findings } = scan;
  const object = fields.index.offset(field);
  const name = fields.name.values[field]!;
  let last = Number.POSITIVE_INFINITY;
  let slot = fields.headData.values[field]!;
  while (slot !== 0) {
    const index = data.index.indexOf(slot);
    if (index < 0 || slot >= last || met[index] !== 0) {
      findings.problem(
        object,
        `list of the field goes on to ${slot * 8}, need a data object further back`,
      );
      return;
    }
    met[index] = 1;
    const itsName = data.name.values[index]!;
    if (itsName !== name && itsName !== 0 && name !== 0) {
      findings.problem(object, `list of the field has the data at ${slot * 8} of another`);
    }
    last = slot;
    slot = data.nextField.values[index]!;
  }
}
