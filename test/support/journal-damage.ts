/** Damages journal files in place, and undoes it. */
import fs from "node:fs";
import { align8, readUint64 } from "../../src/bytes/uint64.ts";
import {
  DATA,
  HEADER,
  HEADER_SIZE,
  OBJECT,
  OBJECT_HEADER_SIZE,
  ObjectType,
} from "../../src/journal/format.ts";

export interface ObjectPlace {
  offset: number;
  type: number;
  flags: number;
  size: number;
}

/** A sound file that is opened to be damaged. */
export class Patient implements Disposable {
  readonly path: string;
  /** As they were before any damage. */
  readonly objects: ObjectPlace[];
  readonly #fd: number;
  readonly #undo: { offset: number; bytes: Buffer }[] = [];

  constructor(path: string) {
    this.path = path;
    this.#fd = fs.openSync(path, "r+");
    this.objects = this.#listObjects();
  }

  read(offset: number, size: number): Buffer {
    const bytes = Buffer.alloc(size);
    fs.readSync(this.#fd, bytes, 0, size, offset);
    return bytes;
  }

  readUint64(offset: number): number {
    const bytes = this.read(offset, 8);
    return readUint64(new DataView(bytes.buffer, bytes.byteOffset, 8), 0);
  }

  /** Overwrites bytes; heal() undoes it. */
  write(offset: number, bytes: Uint8Array): void {
    this.#undo.push({ offset, bytes: this.read(offset, bytes.length) });
    fs.writeSync(this.#fd, bytes, 0, bytes.length, offset);
  }

  writeUint64(offset: number, value: number | bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    this.write(offset, bytes);
  }

  writeUint32(offset: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.write(offset, bytes);
  }

  heal(): void {
    for (const { offset, bytes } of this.#undo.reverse()) {
      fs.writeSync(this.#fd, bytes, 0, bytes.length, offset);
    }
    this.#undo.length = 0;
  }

  /** File offset of the object of this type with this index; negative from the end. */
  offsetOf(type: ObjectType, index: number): number {
    return found(this.objects.filter((place) => place.type === type).at(index)).offset;
  }

  /** File offsets of all DATA of a compact file whose stored payload begins with this text. */
  dataOffsets(text: string): number[] {
    return this.objects
      .filter(({ type }) => type === ObjectType.data)
      .map(({ offset }) => offset)
      .filter((offset) => this.read(offset + DATA.compactPayload, text.length).toString() === text);
  }

  /** File offset of the first such DATA. */
  dataOffset(text: string): number {
    return found(this.dataOffsets(text)[0]);
  }

  /** The first DATA that is stored compressed. */
  compressedData(): ObjectPlace {
    return found(this.objects.find(({ type, flags }) => type === ObjectType.data && flags !== 0));
  }

  [Symbol.dispose](): void {
    fs.closeSync(this.#fd);
  }

  #listObjects(): ObjectPlace[] {
    const tail = this.readUint64(HEADER.tailObjectOffset);
    const places: ObjectPlace[] = [];
    let offset = this.readUint64(HEADER.headerSize);
    while (offset <= tail) {
      const head = this.read(offset, OBJECT_HEADER_SIZE);
      const size = this.readUint64(offset + OBJECT.size);
      places.push({
        offset,
        type: head.readUInt8(OBJECT.type),
        flags: head.readUInt8(OBJECT.flags),
        size,
      });
      offset += align8(size);
    }
    return places;
  }
}

/** mulberry32: the same numbers in [0, 1) for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One random wound in the header or the objects; returns what it is, for a failure's message. */
export function wound(patient: Patient, random: () => number): string {
  const end = found(patient.objects.at(-1)).offset + OBJECT_HEADER_SIZE;
  const firstData = patient.offsetOf(ObjectType.data, 0);
  const place = random();
  // The hash tables are most of a small file, and mostly empty.
  const [from, to] =
    place < 0.25 ? [0, HEADER_SIZE] : place < 0.9 ? [firstData, end] : [HEADER_SIZE, end];
  const offset = Math.floor(from + random() * (to - from));
  const aligned = offset - (offset % 8);
  const other = Math.floor((firstData + random() * (end - firstData)) / 8) * 8;
  const bit = 1 << (offset % 8);
  const kinds: [string, () => void][] = [
    ["bit", () => patient.write(offset, Buffer.of(patient.read(offset, 1).readUInt8() ^ bit))],
    ["zero", () => patient.writeUint64(aligned, 0)],
    ["huge", () => patient.writeUint64(aligned, 2n ** 64n - 1n)],
    ["large", () => patient.writeUint64(aligned, 2 ** 40)],
    ["other offset", () => patient.writeUint64(aligned, other)],
    ["own offset", () => patient.writeUint64(aligned, aligned)],
    [
      "step",
      () => patient.write(aligned, Buffer.of((patient.read(aligned, 1).readUInt8() + 8) & 255)),
    ],
  ];
  const [name, apply] = found(kinds[Math.floor(random() * kinds.length)]);
  apply();
  return `${name} at ${offset}`;
}

function found<T>(thing: T | undefined): T {
  if (thing === undefined) throw new Error("the file has no such object");
  return thing;
}
