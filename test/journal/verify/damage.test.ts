import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  DATA,
  ENTRY,
  ENTRY_ARRAY,
  FIELD,
  HEADER,
  OBJECT,
  ObjectType,
} from "../../../src/journal/format.ts";
import type { Patient } from "../../support/journal-damage.ts";
import { JournalSamples, problemsOf } from "../../support/journal-samples.ts";
import { hasSystemd, journalctlVerify } from "../../support/journal-tools.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
const samples = new JournalSamples(dir);
afterAll(() => dir[Symbol.dispose]());

interface Damage {
  what: string;
  variant?: string;
  apply(patient: Patient): void;
  problem: string;
  /** journalctl accepts it: one of the stricter checks. */
  own?: boolean;
}
const DAMAGES: Damage[] = [
  {
    what: "reserved bytes of the header",
    apply: (p) => p.write(HEADER.reserved + 3, Buffer.of(1)),
    problem: "reserved bytes",
  },
  {
    what: "a counter that is off",
    apply: (p) => p.writeUint64(HEADER.fields, 7),
    problem: "header counts 7 fields, there are 8",
  },
  {
    what: "a tail seqnum that is off",
    apply: (p) => p.writeUint64(HEADER.tailEntrySeqnum, 5),
    problem: "tail seqnum 5",
  },
  {
    what: "a tail realtime that is off",
    apply: (p) => p.writeUint64(HEADER.tailEntryRealtime, 5),
    problem: "tail realtime 5",
  },
  {
    what: "a head seqnum that is off",
    apply: (p) => p.writeUint64(HEADER.headEntrySeqnum, 2),
    problem: "head entry 2",
  },
  {
    what: "a tail object that no object begins at",
    apply: (p) => p.writeUint64(HEADER.tailObjectOffset, p.readUint64(HEADER.tailObjectOffset) + 8),
    problem: "no object begins at",
  },
  {
    what: "a header tail array that is not the last",
    apply: (p) => p.writeUint32(HEADER.tailEntryArrayEntries, 1),
    problem: "tail entry array",
    own: true,
  },
  {
    what: "an object of no type",
    apply: (p) => p.write(p.offsetOf(ObjectType.entry, 3), Buffer.of(0)),
    problem: "object of type 0",
  },
  {
    what: "an object that passes the end",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.data, 3) + OBJECT.size, 2n ** 63n),
    problem: "object of type 1",
  },
  {
    what: "a compressed field",
    apply: (p) => p.write(p.offsetOf(ObjectType.field, 0) + OBJECT.flags, Buffer.of(4)),
    problem: "is compressed, only data may be",
  },
  {
    what: "two compression flags",
    apply: (p) => p.write(p.compressedData().offset + OBJECT.flags, Buffer.of(6)),
    problem: "more than one compression flag",
  },
  {
    what: "compression that the header does not announce",
    apply: (p) => p.writeUint32(HEADER.incompatibleFlags, 0x14),
    problem: "is not among those of the file",
  },
  {
    what: "a changed payload",
    apply: (p) => p.write(p.dataOffset("PRIORITY=3") + 72, Buffer.from("X")),
    problem: "of a payload with hash",
  },
  {
    what: "a changed compressed payload",
    apply: (p) => p.write(p.compressedData().offset + 72 + 6, Buffer.of(0xff, 0xff)),
    problem: "payload",
  },
  {
    what: "a changed field name",
    apply: (p) => p.write(p.offsetOf(ObjectType.field, 0) + FIELD.payload, Buffer.of(0x58)),
    problem: "of a payload with hash",
  },
  {
    what: "data with entries but no first",
    apply: (p) => p.writeUint64(p.dataOffset("PRIORITY=3") + DATA.entryOffset, 0),
    problem: "entries but no first",
  },
  {
    what: "a misaligned link",
    apply: (p) => p.writeUint64(p.dataOffset("PRIORITY=3") + DATA.nextFieldOffset, 4),
    problem: "link to 4",
  },
  {
    what: "an entry seqnum that does not rise",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.entry, 9) + ENTRY.seqnum, 9),
    problem: "entry with seqnum 9 after 9",
  },
  {
    what: "a monotonic time that falls",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.entry, 9) + ENTRY.monotonic, 3),
    problem: "entry with monotonic 3 after",
  },
  {
    what: "an invalid realtime",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.entry, 9) + ENTRY.realtime, 2n ** 55n),
    problem: "entry with realtime",
  },
  {
    what: "an entry without a boot id",
    apply: (p) => p.write(p.offsetOf(ObjectType.entry, 9) + ENTRY.bootId, Buffer.alloc(16)),
    problem: "entry without a boot id",
    own: true,
  },
  {
    what: "an entry item that is not data",
    apply: (p) => p.writeUint32(p.offsetOf(ObjectType.entry, 9) + ENTRY.items, 264),
    problem: "entry names data at 264, where none is",
  },
  {
    what: "an entry item with the hash of another",
    variant: "regular keyed",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.entry, 9) + ENTRY.items + 8, 1),
    problem: "another hash than the data",
    own: true,
  },
  {
    what: "an entry list that does not rise",
    apply: (p) => p.writeUint32(globalArray(p) + ENTRY_ARRAY.items + 8, 264),
    problem: "item 2 of the entry list is 264, which is not an entry",
  },
  {
    what: "an entry list that is too short",
    apply: (p) => p.writeUint64(globalArray(p) + ENTRY_ARRAY.nextEntryArrayOffset, 0),
    problem: "entry list is too short",
  },
  {
    what: "an entry array that leads to itself",
    apply: (p) => p.writeUint64(globalArray(p) + ENTRY_ARRAY.nextEntryArrayOffset, globalArray(p)),
    problem: "need one further on",
  },
  {
    what: "an array of two lists",
    apply: (p) => {
      const array = p.readUint64(p.dataOffset("PRIORITY=3") + DATA.entryArrayOffset);
      p.writeUint64(p.dataOffset("PRIORITY=4") + DATA.entryArrayOffset, array);
    },
    problem: "is part of two lists",
  },
  {
    what: "data that lists an entry which does not name it",
    apply: (p) => {
      const entry = p.readUint64(p.dataOffset("MESSAGE=message number 1") + DATA.entryOffset);
      p.writeUint64(p.dataOffset("MESSAGE=message number 0") + DATA.entryOffset, entry);
    },
    problem: "but others",
    own: true,
  },
  {
    what: "data with fewer entries than name it",
    apply: (p) => {
      const offset = p.dataOffset("PRIORITY=3");
      p.writeUint64(offset + DATA.entries, p.readUint64(offset + DATA.entries) - 1);
    },
    problem: "does not list 1 of the entries that name it",
  },
  {
    what: "a tail array of data that is not the last",
    apply: (p) => p.writeUint32(p.dataOffset("PRIORITY=3") + DATA.tailEntryArrayEntries, 1),
    problem: "items in its tail array",
    own: true,
  },
  {
    what: "data outside its hash bucket",
    apply: (p) => p.write(firstBucket(p, "dataHashTable"), Buffer.alloc(16)),
    problem: "data is not in the hash table",
  },
  {
    what: "a hash chain that leads to itself",
    apply: (p) => {
      const offset = p.dataOffset("PRIORITY=3");
      p.writeUint64(offset + DATA.nextHashOffset, offset);
    },
    problem: "need a data object further on",
  },
  {
    what: "a bucket with head but no tail",
    apply: (p) => p.writeUint64(firstBucket(p, "dataHashTable") + 8, 0),
    problem: "and tail 0",
  },
  {
    what: "a field outside its hash bucket",
    apply: (p) => p.write(firstBucket(p, "fieldHashTable"), Buffer.alloc(16)),
    problem: "field is not in the hash table",
    own: true,
  },
  {
    what: "data outside the list of its field",
    apply: (p) => p.writeUint64(p.offsetOf(ObjectType.field, 4) + FIELD.headDataOffset, 0),
    problem: "data is not in the list of its field",
    own: true,
  },
  {
    what: "a field list that leads to itself",
    apply: (p) => {
      const offset = p.dataOffset("PRIORITY=3");
      p.writeUint64(offset + DATA.nextFieldOffset, offset);
    },
    problem: "need a data object further back",
    own: true,
  },
  {
    what: "a field list with data of another field",
    apply: (p) => {
      const [first, second] = [0, 1].map(
        (index) => p.offsetOf(ObjectType.field, index) + FIELD.headDataOffset,
      ) as [number, number];
      const data = p.readUint64(first);
      p.writeUint64(first, p.readUint64(second));
      p.writeUint64(second, data);
    },
    problem: "of another",
    own: true,
  },
  {
    what: "a tag in a file that is not sealed",
    apply: (p) => p.write(p.offsetOf(ObjectType.data, 0), Buffer.of(7)),
    problem: "tag in a file that is not sealed",
  },
  {
    what: "entries before the first tag of a sealed file",
    apply: (p) => p.writeUint32(HEADER.compatibleFlags, 1),
    problem: "entry before the first tag",
  },
  {
    what: "a second hash table",
    apply: (p) => p.write(p.offsetOf(ObjectType.dataHashTable, 0), Buffer.of(5)),
    problem: "second field hash table",
  },
];

if (hasSystemd()) {
  beforeAll(() => samples.make());

  describe("verifyJournalFile() reports", () => {
    for (const { what, variant = "compact keyed", apply, problem, own = false } of DAMAGES) {
      test(`${what}, which journalctl ${own ? "accepts" : "rejects"}`, () => {
        samples.withPatient(variant, (patient) => {
          apply(patient);
          expect(problemsOf(patient.path).join("\n")).toContain(problem);
          expect(journalctlVerify(patient.path).ok).toBe(own);
        });
      });
    }
  });
} else {
  test("verifyJournalFile() has no systemd here to make files that can be damaged", () => {
    console.warn("systemd-journal-remote or journalctl is not installed");
    expect(hasSystemd()).toBe(false);
  });
}

function globalArray(patient: Patient): number {
  return patient.readUint64(HEADER.entryArrayOffset);
}

/** File offset of the first bucket in use. */
function firstBucket(patient: Patient, table: "dataHashTable" | "fieldHashTable"): number {
  const offset = patient.readUint64(HEADER[`${table}Offset`]);
  const items = patient.read(offset, patient.readUint64(HEADER[`${table}Size`]));
  for (let i = 0; i < items.length; i += 16) {
    if (items.readBigUInt64LE(i) !== 0n) return offset + i;
  }
  throw new Error(`the ${table} is empty`);
}
