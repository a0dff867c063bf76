import { describe, expect, test } from "bun:test";
import { ExportParser } from "../../src/export-format/parser.ts";
import { type Body, firstCursor, sliceBody, toExport } from "../../src/upload/batch.ts";
import { BodyWriter } from "../../src/upload/body-writer.ts";
import { ListSource, listCursor, messages } from "../support/list-source.ts";

const BUFFER_SLACK = 256 * 1024;
const DICTIONARY_SIZE_MAX = 64 * 1024 * 1024;

function write(writer: BodyWriter, format: "export" | "batch", texts: readonly string[]): Body {
  const source = new ListSource(texts);
  writer.begin(format);
  for (let entry = source.next(); entry !== undefined; entry = source.next()) writer.add(entry);
  expect(writer.entryCount).toBe(texts.length);
  const body = writer.finish();
  expect(body.entryCount).toBe(texts.length);
  expect(body.pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(body.sizeBytes);
  return body;
}

function textOf({ pieces }: Body): string {
  return Buffer.concat(pieces).toString();
}

function messagesOf(body: Body): string[] {
  return [...textOf(body).matchAll(/^MESSAGE=(.*)$/gm)].map(([, text = ""]) => text);
}

describe("BodyWriter", () => {
  test("writes the same entries in both formats", () => {
    const writer = new BodyWriter(64 * 1024, 3);
    const asExport = write(writer, "export", messages(100));
    const asBatch = write(writer, "batch", messages(100));
    expect(asBatch.format).toBe("batch");
    expect(textOf(toExport(asBatch))).toBe(textOf(asExport));
    expect(toExport(asBatch).entryEnds).toEqual([...asExport.entryEnds]);
  });

  test("takes an entry of any size, and others behind it", () => {
    const writer = new BodyWriter(1000, 3);
    const texts = ["a", "b".repeat(BUFFER_SLACK * 2), "c", "d".repeat(BUFFER_SLACK * 3), "e"];
    const body = write(writer, "export", texts);
    expect(messagesOf(body)).toEqual(texts);
    texts.forEach((text, index) => {
      const entry = sliceBody(body, index, index + 1);
      expect(messagesOf(entry)).toEqual([text]);
      expect(firstCursor(entry)).toBe(listCursor(index + 1));
    });
  });

  test("falls back to the export format for what the batch format has no room for", () => {
    const writer = new BodyWriter(1000, 3);
    const texts = ["a", "b", "c".repeat(DICTIONARY_SIZE_MAX), "d"];
    const body = write(writer, "batch", texts);
    expect(body.format).toBe("export");
    const lengths: number[] = [];
    const parser = new ExportParser({
      onEntry: ({ fieldStart, fieldEnd }) => {
        lengths.push((fieldEnd[2] ?? 0) - (fieldStart[2] ?? 0));
      },
      onRefused: (reason) => expect.unreachable(reason),
    });
    for (const piece of body.pieces) parser.push(piece);
    expect(parser.end()).toBe(0);
    expect(lengths).toEqual(texts.map(({ length }) => "MESSAGE=".length + length));
    // The next one is as ever.
    expect(write(writer, "batch", ["e"]).format).toBe("batch");
  }, 20_000);

  test("does not touch a body before its memory is given back, then uses it again", () => {
    const writer = new BodyWriter(1000, 1);
    const first = write(writer, "export", ["first"]);
    const text = textOf(first);
    const second = write(writer, "export", ["second"]);
    expect(textOf(first)).toBe(text);
    writer.release(first);
    const third = write(writer, "export", ["third"]);
    expect(third.pieces[0]?.buffer).toBe(first.pieces[0]?.buffer as ArrayBuffer);
    expect(messagesOf(second)).toEqual(["second"]);
  });

  test("forgets a body that was begun and not finished", () => {
    const writer = new BodyWriter(1000, 1);
    for (const format of ["export", "batch"] as const) {
      writer.begin(format);
      const entry = new ListSource(["forgotten"]).next();
      if (entry !== undefined) writer.add(entry);
      expect(messagesOf(toExport(write(writer, format, ["kept"])))).toEqual(["kept"]);
    }
  });
});

describe("sliceBody()", () => {
  test("gives every range of entries, with its ends", () => {
    const texts = messages(7);
    const body = write(new BodyWriter(1000, 1), "export", texts);
    for (let from = 0; from <= texts.length; from++) {
      for (let to = from; to <= texts.length; to++) {
        const slice = sliceBody(body, from, to);
        expect(messagesOf(slice)).toEqual(texts.slice(from, to));
        expect(slice.entryEnds.at(-1) ?? 0).toBe(slice.sizeBytes);
        expect(slice.entryCount).toBe(to - from);
      }
    }
  });
});
