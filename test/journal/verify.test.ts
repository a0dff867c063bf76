import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { align8 } from "../../src/bytes/uint64.ts";
import { AgentError } from "../../src/errors.ts";
import {
  DATA,
  HEADER,
  HEADER_SIZE,
  Incompatible,
  OBJECT,
  ObjectFlag,
  ObjectType,
  SIGNATURE,
  TAG,
  TAG_SIZE,
} from "../../src/journal/format.ts";
import { PROBLEMS_LISTED_MAX } from "../../src/journal/verify/findings.ts";
import { verifyJournalFile } from "../../src/journal/verify.ts";
import { concat, lz4Piece, noise, pipe } from "../support/encoded-bodies.ts";
import { binaryField, sampleEntry } from "../support/export-stream.ts";
import { Patient, seededRandom, wound } from "../support/journal-damage.ts";
import {
  JournalSamples,
  problemsOf,
  SAMPLE_ENTRIES,
  VARIANTS,
} from "../support/journal-samples.ts";
import { hasSystemd, journalctlVerify, makeJournal } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

/** The algorithms that the host's systemd does not write by itself, by those who do. */
const OTHER_PACKERS = {
  xz: {
    pack: (raw: Uint8Array) => pipe(["xz", "--check=none"], raw),
    flag: ObjectFlag.xz,
    fileFlag: Incompatible.compressedXz,
    damaged: () => "Cannot decode xz data: no xz stream here",
  },
  lz4: {
    pack: (raw: Uint8Array) => lz4Piece(raw),
    flag: ObjectFlag.lz4,
    fileFlag: Incompatible.compressedLz4,
    damaged: (rawSize: number) => `it is not a block of ${rawSize ^ 1} bytes`,
  },
};
const NAME = "NOISE";
const PREFIX = `${NAME}=`;

const dir = new TempDir();
const samples = new JournalSamples(dir);
afterAll(() => dir[Symbol.dispose]());

if (hasSystemd()) {
  beforeAll(() => samples.make());

  describe("verifyJournalFile()", () => {
    for (const name of Object.keys(VARIANTS)) {
      test(`finds no problem in a ${name} file of systemd`, () => {
        const result = verifyJournalFile(samples.path(name));
        expect(result).toMatchObject({ problems: [], problemCount: 0, notes: [] });
        expect(result).toMatchObject({ entries: SAMPLE_ENTRIES, fields: 8 });
        using patient = new Patient(samples.path(name));
        expect(result.objects).toBe(patient.objects.length);
        expect(result.data).toBe(patient.readUint64(HEADER.data));
      });
    }

    test("accepts a last entry that its data objects do not list, and no other", () => {
      samples.withPatient("compact keyed", (patient) => {
        const [next, last] = patient.dataOffsets("MESSAGE=message number ").slice(-2) as [
          number,
          number,
        ];
        unlinkEntries(patient, last);
        expect(journalctlVerify(patient.path).ok).toBe(true);
        expect(problemsOf(patient.path)).toEqual([]);
        unlinkEntries(patient, next);
        expect(journalctlVerify(patient.path).ok).toBe(false);
        expect(problemsOf(patient.path)).toEqual([
          `${next}: data does not list 1 of the entries that name it`,
        ]);
      });
    });

    test("lists at most 100 problems and counts all", () => {
      samples.withPatient("compact keyed", (patient) => {
        for (const { type, offset } of patient.objects) {
          if (type === ObjectType.data) patient.writeUint64(offset + DATA.hash, 1);
        }
        const result = verifyJournalFile(patient.path);
        expect(result.problems).toHaveLength(PROBLEMS_LISTED_MAX);
        expect(result.problemCount).toBeGreaterThan(PROBLEMS_LISTED_MAX);
      });
    });

    test("notes a file that is online", () => {
      samples.withPatient("compact keyed", (patient) => {
        patient.write(HEADER.state, Buffer.of(1));
        const result = verifyJournalFile(patient.path);
        expect(result.problems).toEqual([]);
        expect(result.notes).toEqual([
          "state is online: it is being written to, or its writer was cut off",
        ]);
      });
    });

    test("reports a file cut short at any place", () => {
      const source = samples.path("compact keyed");
      using patient = new Patient(source);
      const tail = patient.readUint64(HEADER.tailObjectOffset);
      const cut = path.join(dir.path, "cut.journal");
      for (const size of [7, 8, 100, 207, 208, 263, 264, 300, 4096, tail - 8, tail, tail + 8]) {
        copyFileSync(source, cut);
        truncateSync(cut, size);
        expect(problemsOf(cut)).toHaveLength(1);
      }
    });
  });

  describe("verifyJournalFile() of compressed payloads", () => {
    test.each(Object.entries(OTHER_PACKERS))(
      "unpacks %s payloads, and reports damaged ones",
      (algorithm, { pack, flag, fileFlag, damaged }) => {
        const { raw, packed } = packInPlace(pack);
        const file = path.join(dir.path, `${algorithm}.journal`);
        makeJournal(
          file,
          sampleEntry(0, { fields: [binaryField(NAME, raw.subarray(PREFIX.length))] }),
        );
        using patient = new Patient(file);
        const offset = patient.dataOffset(PREFIX);
        const fileFlags = patient.read(HEADER.incompatibleFlags, 4).readUInt32LE();
        patient.writeUint32(HEADER.incompatibleFlags, fileFlags | fileFlag);
        patient.write(offset + OBJECT.flags, Buffer.of(flag));
        patient.writeUint64(offset + OBJECT.size, DATA.compactPayload + packed.length);
        patient.write(offset + DATA.compactPayload, packed);
        expect(journalctlVerify(file)).toMatchObject({ ok: true });
        expect(verifyJournalFile(file)).toMatchObject({ problems: [], notes: [] });
        const [first = 0] = packed;
        patient.write(offset + DATA.compactPayload, Buffer.of(first ^ 1));
        expect(problemsOf(file)).toEqual([
          `${offset}: ${algorithm} payload is damaged: ${damaged(raw.length)}`,
        ]);
      },
    );

    test("rejects frames that do not declare their size, or are not alone", () => {
      samples.withPatient("compact keyed", (patient) => {
        const { offset, size } = patient.compressedData();
        const bomb = Bun.zstdCompressSync(new Uint8Array(64 * 1024 * 1024));
        const small = Bun.zstdCompressSync(Buffer.from("A=b"));
        // Content size flag and single segment off: a window byte, and no size.
        const sizeless = Buffer.from([...small.subarray(0, 4), 0, 0x58, ...small.subarray(6)]);
        const frames = {
          "frame has": Buffer.concat([small, bomb]),
          "does not declare its size": sizeless,
          "does not begin a frame": Buffer.alloc(64, 0x41),
        };
        for (const [problem, frame] of Object.entries(frames)) {
          patient.write(
            offset + DATA.compactPayload,
            frame.subarray(0, size - DATA.compactPayload),
          );
          expect(problemsOf(patient.path).join("\n")).toContain(problem);
          patient.heal();
        }
      });
    });
  });

  describe("verifyJournalFile() of any damage", () => {
    for (const name of Object.keys(VARIANTS)) {
      test(`returns or throws an AgentError, ${name}`, () => {
        samples.withPatient(name, (patient) => {
          const random = seededRandom(1);
          for (let round = 0; round < 150; round++) {
            for (let wounds = 0; wounds <= round % 3; wounds++) wound(patient, random);
            problemsOf(patient.path);
            patient.heal();
          }
          expect(problemsOf(patient.path)).toEqual([]);
        });
      }, 60_000);

      test(`reports all that journalctl does, and more only by its own checks, ${name}`, () => {
        samples.withPatient(name, (patient) => {
          const random = seededRandom(2);
          for (let round = 0; round < 40; round++) {
            const injury = wound(patient, random);
            const problems = problemsOf(patient.path);
            const theirs = journalctlVerify(patient.path);
            const verdict = { injury, problems, theirs: theirs.output };
            if (theirs.ok) {
              expect({ ...verdict, problems: problems.filter((text) => !OWN.test(text)) }).toEqual({
                ...verdict,
                problems: [],
              });
            } else if (!/unknown extensions/.test(theirs.output)) {
              expect({ ...verdict, isReported: problems.length > 0 }).toEqual({
                ...verdict,
                isReported: true,
              });
            }
            patient.heal();
          }
        });
      }, 60_000);
    }

    /** The stricter checks of verify.ts, as their problems begin. */
    const OWN = new RegExp(
      [
        "tail entry",
        "tail entry offset",
        "field bucket",
        "field is not in the hash table",
        "field of bucket",
        "field has the name",
        "list of the field",
        "data is not in the list",
        "data with \\d+ items in its tail array",
        "entry has another hash",
        "entry without a boot id",
        "data lists",
        "data does not list",
        "link to \\d+",
        "object of type (8|9|\\d\\d+) ",
        ".*exceeds 2\\^53-1",
      ]
        .map((text) => `: ${text}`)
        .join("|"),
    );
  });
} else {
  test("verifyJournalFile() has no systemd here to make journal files", () => {
    console.warn("systemd-journal-remote or journalctl is not installed");
    expect(hasSystemd()).toBe(false);
  });
}

describe("verifyJournalFile() throws for", () => {
  const cases: [string, string, () => string][] = [
    ["a file that is missing", "E_IO", () => path.join(dir.path, "missing.journal")],
    ["a directory", "E_IO", () => dir.path],
    ["an empty file", "E_JOURNAL_CORRUPT", () => dir.write("empty.journal", "")],
    ["another file", "E_JOURNAL_CORRUPT", () => dir.write("text.journal", "x".repeat(4096))],
    [
      "flags it does not know",
      "E_JOURNAL_UNSUPPORTED",
      () =>
        dir.write("flags.journal", Buffer.from("LPKSHHRH\0\0\0\0\xff".padEnd(272, "\0"), "latin1")),
    ],
  ];
  for (const [what, code, make] of cases) {
    test(what, () => {
      const file = make();
      let thrown: unknown;
      try {
        verifyJournalFile(file);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(AgentError);
      expect(thrown).toMatchObject({ code });
      expect(String(thrown)).toContain(`Cannot verify "${file}"`);
    });
  }

  test("a pipe, without waiting for a writer", () => {
    const pipe = path.join(dir.path, "pipe.journal");
    Bun.spawnSync(["mkfifo", pipe]);
    expect(() => verifyJournalFile(pipe)).toThrow("not a regular file");
  });

  test("a file over 32 GiB", () => {
    const huge = path.join(dir.path, "huge.journal");
    writeFileSync(huge, "LPKSHHRH");
    truncateSync(huge, 2 ** 35 + 1);
    expect(() => verifyJournalFile(huge)).toThrow("at most 34359738368");
  });
});

/** Files of nothing but tags: what a sealed journal is before its first entry. */
describe("verifyJournalFile() of a sealed file", () => {
  const SEALED = 1;
  const CONTINUOUS = 4;

  function verifyTags(compatibleFlags: number, tags: [seqnum: number, epoch: number][]) {
    const arena = Buffer.alloc(tags.length * TAG_SIZE);
    for (const [index, [seqnum, epoch]] of tags.entries()) {
      const object = index * TAG_SIZE;
      arena.writeUInt8(ObjectType.tag, object + OBJECT.type);
      arena.writeBigUInt64LE(BigInt(TAG_SIZE), object + OBJECT.size);
      arena.writeBigUInt64LE(BigInt(seqnum), object + TAG.seqnum);
      arena.writeBigUInt64LE(BigInt(epoch), object + TAG.epoch);
    }
    const header = Buffer.alloc(HEADER_SIZE);
    header.write(SIGNATURE, HEADER.signature);
    header.writeUInt32LE(compatibleFlags, HEADER.compatibleFlags);
    const numbers = {
      headerSize: HEADER_SIZE,
      arenaSize: arena.length,
      tailObjectOffset: HEADER_SIZE + arena.length - TAG_SIZE,
      objects: tags.length,
      tags: tags.length,
    };
    for (const [name, value] of Object.entries(numbers)) {
      header.writeBigUInt64LE(BigInt(value), HEADER[name as keyof typeof numbers]);
    }
    const file = dir.write("sealed.journal", Buffer.concat([header, arena]));
    const { problems, notes } = verifyJournalFile(file);
    return { problems: problems.map(({ what }) => what), notes };
  }

  test("accepts tags in order and notes that their seals were not checked", () => {
    const inOrder = { problems: [], notes: ["sealed, the seals of 3 tags were not checked"] };
    expect(
      verifyTags(SEALED, [
        [1, 7],
        [2, 7],
        [3, 9],
      ]),
    ).toEqual(inOrder);
    expect(
      verifyTags(SEALED | CONTINUOUS, [
        [1, 7],
        [2, 7],
        [3, 8],
      ]),
    ).toEqual(inOrder);
    expect(
      verifyTags(SEALED | CONTINUOUS, [
        [1, 7],
        [2, 8],
        [3, 9],
      ]),
    ).toEqual(inOrder);
  });

  test("rejects tags out of order", () => {
    expect(
      verifyTags(SEALED, [
        [1, 7],
        [3, 8],
      ]).problems,
    ).toEqual(["tag with number 3, need 2"]);
    expect(
      verifyTags(SEALED, [
        [1, 7],
        [2, 6],
      ]).problems,
    ).toEqual(["tag with epoch 6 after 7"]);
    for (const epochs of [
      [7, 9],
      [7, 8, 8],
      [7, 6],
    ]) {
      const tags = epochs.map((epoch, i): [number, number] => [i + 1, epoch]);
      expect(verifyTags(SEALED | CONTINUOUS, tags).problems).toEqual([
        `tag with epoch ${epochs.at(-1)} after ${epochs.at(-2)}`,
      ]);
    }
  });
});

/** Real journals beside a checkout; a checkout alone does not have them. */
describe("verifyJournalFile() of journals of systemd's own tests", () => {
  const { AGENT_SHARED_DATA } = Bun.env;
  const shared = AGENT_SHARED_DATA ?? path.join(import.meta.dir, "../../../shared/data");
  const names = existsSync(shared) ? readdirSync(shared).filter((f) => f.endsWith(".zst")) : [];
  const sound = new Set([
    "system@0005ebbfd4346b9f-43185b46162d9fa5.journal~",
    "user-1000@0005ebbfd660bcbe-dbef2eee11f4b575.journal~",
  ]);

  test("has found them, or says so", () => {
    if (names.length === 0)
      console.warn("AGENT_SHARED_DATA is not set and ../shared/data is not there");
    expect(names.every((name) => name.includes(".journal"))).toBe(true);
  });

  for (const packed of names) {
    const name = packed.slice(0, -".zst".length);
    test(`${name} is ${sound.has(name) ? "sound" : "damaged"}`, async () => {
      const bytes = await Bun.file(path.join(shared, packed)).bytes();
      const file = dir.write(name, Bun.zstdDecompressSync(bytes));
      expect(verifyJournalFile(file).problems.length > 0).toBe(!sound.has(name));
    });
  }
});

/** As a writer leaves a DATA when it ran out of space before linking its first entry. */
function unlinkEntries(patient: Patient, data: number): void {
  patient.writeUint64(data + DATA.entryOffset, 0);
  patient.writeUint64(data + DATA.entries, 0);
}

/** A payload, and the same packed: an object has room for the one as for the other. */
function packInPlace(pack: (raw: Uint8Array) => Uint8Array): {
  raw: Uint8Array;
  packed: Uint8Array;
} {
  for (let repeats = 0; ; repeats++) {
    // The noise alone grows by packing, so that at some length both take the same room.
    const raw = concat([Buffer.from(PREFIX), noise(200), Buffer.alloc(repeats, "a")]);
    const packed = pack(raw);
    if (align8(packed.length) === align8(raw.length)) return { raw, packed };
  }
}
