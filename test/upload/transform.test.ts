import { afterAll, describe, expect, test } from "bun:test";
import type { EntrySource, Position } from "../../src/upload/delivery-types.ts";
import { ExportSource } from "../../src/upload/export-source.ts";
import { openSelection } from "../../src/upload/selection.ts";
import type { SelectionSettings, TransformSettings } from "../../src/upload/settings.ts";
import { transformEntries } from "../../src/upload/transform.ts";
import { readAll, readEntry } from "../support/entry-source.ts";
import { BOOT_ID, binaryField, concat, sampleEntry } from "../support/export-stream.ts";
import { NO_SELECTION, NO_TRANSFORM } from "../support/neutral-settings.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const NO_START = { sinceUsec: undefined, untilUsec: undefined };

function sourceOf(
  stream: Uint8Array,
  settings: Partial<TransformSettings>,
  chosen: Partial<SelectionSettings> = {},
): EntrySource {
  const transform = { ...NO_TRANSFORM, ...settings };
  const selection = openSelection({ ...NO_SELECTION, ...chosen }, transform);
  const files = [dir.write("stream.export", stream)];
  return transformEntries(new ExportSource({ files, selection, start: NO_START }), transform);
}

/** Fields of the only entry, which had these besides `PRIORITY=6` and `MESSAGE=message 0`. */
async function transformed(
  settings: Partial<TransformSettings>,
  ...fields: (string | Uint8Array)[]
): Promise<string[]> {
  const [entry] = await readAll(sourceOf(sampleEntry(0, { fields }), settings));
  return (entry?.fields ?? []).filter((field) => !field.startsWith("_BOOT_ID="));
}

describe("dropFields", () => {
  test("leaves out fields by the pattern of their name", async () => {
    const dropFields = ["_CMD*", "SECRET_?"];
    const fields = ["_CMDLINE=a", "_CMD=b", "SECRET_1=c", "SECRET_12=d", "X_CMD=e"];
    expect(await transformed({ dropFields }, ...fields)).toEqual([
      "PRIORITY=6",
      "MESSAGE=message 0",
      "SECRET_12=d",
      "X_CMD=e",
    ]);
  });

  test("an entry keeps its boot, and can be chosen by what is dropped", async () => {
    const stream = concat(sampleEntry(0), sampleEntry(1, { fields: ["A=1"] }));
    const dropFields = ["_BOOT_ID", "A"];
    const source = sourceOf(stream, { dropFields }, { matches: [["A=1", `_BOOT_ID=${BOOT_ID}`]] });
    const bootIds: string[] = [];
    const entries: string[][] = [];
    for (let entry = source.next(); entry !== undefined; entry = source.next()) {
      bootIds.push(Buffer.from(entry.bootId).toString("hex"));
      entries.push(readEntry(entry).fields);
    }
    expect(bootIds).toEqual([BOOT_ID]);
    expect(entries).toEqual([["PRIORITY=6", "MESSAGE=message 1"]]);
  });

  test("passes over and counts entries of which nothing is left", async () => {
    const stream = concat(sampleEntry(0), sampleEntry(1, { fields: ["KEPT=1"] }), sampleEntry(2));
    for (const dropFields of [
      ["PRIORITY", "MESSAGE"],
      ["PRIORITY", "MESSAGE", "_BOOT_ID"],
    ]) {
      const source = sourceOf(stream, { dropFields, addFields: [{ name: "ADDED", value: "1" }] });
      expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([2]);
      expect(source.losses.damaged).toEqual(new Map([["empty", 2]]));
    }
  });

  test("passes over such entries by steps: others get their turn", async () => {
    const empty = Array.from({ length: 5000 }, (_, i) => sampleEntry(i));
    const stream = concat(...empty, sampleEntry(5000, { fields: ["KEPT=1"] }));
    const source = sourceOf(stream, { dropFields: ["PRIORITY", "MESSAGE"] });
    const isFound = source.next() !== undefined;
    expect([isFound, source.isPausing, source.isEnded]).toEqual([false, true, false]);
    expect((await readAll(source)).map(({ seqnum }) => seqnum)).toEqual([5001]);
  });
});

describe("redactFields", () => {
  const redact = (names: string, expression: string | undefined, replacement = "***") => ({
    redactFields: [{ names, expression, replacement }],
  });

  test("replaces each place where the expression is found, and nothing else", async () => {
    const fields = ["TOKEN=key=abc; key=def", "OTHER=key=abc", "TOKEN=none"];
    expect(await transformed(redact("TOK*", "key=\\w+", "key=x"), ...fields)).toEqual([
      "PRIORITY=6",
      "MESSAGE=message 0",
      "TOKEN=key=x; key=x",
      "OTHER=key=abc",
      "TOKEN=none",
    ]);
  });

  test("may refer to groups, and applies one rule after the other", async () => {
    const redactFields = [
      { names: "*", expression: "(user=)\\w+", replacement: "$1X" },
      { names: "A", expression: "X", replacement: "Y" },
    ];
    const fields = await transformed({ redactFields }, "A=user=me", "B=user=me");
    expect(fields.slice(2)).toEqual(["A=user=Y", "B=user=X"]);
  });

  test("replaces whole values without an expression, as text of its own", async () => {
    const fields = await transformed(
      redact("A", undefined, "$&"),
      "A=secret",
      binaryField("A", "\0"),
    );
    expect(fields.slice(2)).toEqual(["A=$&", "A=$&"]);
  });

  test("replaces all of a value that is not text, whatever it holds", async () => {
    const binary = binaryField("A", new Uint8Array([0x6b, 0x65, 0x79, 0xff, 0x61]));
    expect((await transformed(redact("A", "nothing of it"), binary)).slice(2)).toEqual(["A=***"]);
  });

  test("keeps text of all kinds as it is around what is replaced", async () => {
    const value = "\ufeffü😀\0\n€ key=1 \u2028";
    const [field] = (await transformed(redact("A", "key=\\d"), binaryField("A", value))).slice(2);
    const expected = `A=${value.replace("key=1", "***")}`;
    expect(Buffer.from(field ?? "", "latin1").toString()).toBe(expected);
  });

  test("replaces all of a value that is too long to be searched", async () => {
    const long = `A=${"x".repeat(1 << 16)}key=1`;
    expect((await transformed(redact("A", "key=1"), long)).slice(2)).toEqual(["A=***"]);
    const fitting = `A=${"x".repeat((1 << 16) - 5)}key=1`;
    const [field] = (await transformed(redact("A", "key=1"), fitting)).slice(2);
    expect(field).toBe(`A=${"x".repeat((1 << 16) - 5)}***`);
  });

  test("leaves the boot id alone, and changes what the dropped fields do not", async () => {
    const redactFields = [{ names: "*", expression: undefined, replacement: "" }];
    const source = sourceOf(sampleEntry(0), { dropFields: ["PRIORITY"], redactFields });
    const [entry] = await readAll(source);
    expect(entry?.fields).toEqual([`_BOOT_ID=${BOOT_ID}`, "MESSAGE="]);
  });

  test("looks at what is in the journal when it chooses", async () => {
    const stream = concat(sampleEntry(0), sampleEntry(1));
    const source = sourceOf(stream, redact("MESSAGE", undefined), { grep: ["message 1"] });
    expect((await readAll(source)).map(({ fields }) => fields.at(-1))).toEqual(["MESSAGE=***"]);
  });

  test("refuses an expression that cannot be used", () => {
    expect(() => openSelection(NO_SELECTION, { ...NO_TRANSFORM, ...redact("A", "(") })).toThrow(
      expect.objectContaining({ code: "E_CONFIG" }),
    );
  });
});

describe("addFields", () => {
  test("come after the others in every entry, also when the cache starts anew", async () => {
    const addFields = [
      { name: "SITE", value: "north=1\nß" },
      { name: "_HOST", value: "" },
    ];
    const large = (i: number) => sampleEntry(i, { fields: [`LARGE=${i} ${"x".repeat(100_000)}`] });
    const stream = concat(...Array.from({ length: 400 }, (_, i) => large(i)));
    const entries = await readAll(sourceOf(stream, { addFields }));
    expect(entries).toHaveLength(400);
    const added = entries.map(({ fields }) => fields.slice(-2).join("|"));
    const expected = `SITE=${Buffer.from("north=1\nß").toString("latin1")}|_HOST=`;
    expect(new Set(added)).toEqual(new Set([expected]));
    expect(entries[7]?.fields.slice(1, 3)).toEqual(["PRIORITY=6", "MESSAGE=message 7"]);
  });

  test("are neither chosen by, nor dropped, nor redacted", async () => {
    const settings = {
      addFields: [{ name: "A", value: "1" }],
      dropFields: ["A"],
      redactFields: [{ names: "A", expression: undefined, replacement: "x" }],
    };
    const stream = sampleEntry(0, { fields: ["A=0"] });
    expect((await transformed(settings, "A=0")).at(-1)).toBe("A=1");
    expect(await readAll(sourceOf(stream, settings, { matches: [["A=1"]] }))).toEqual([]);
  });

  test("refuses names that are none, and more fields than there is room for", () => {
    const source = sourceOf(sampleEntry(0), {});
    const names = ["", "a", "1A", "A-B", "__CURSOR", "_BOOT_ID", "A".repeat(65)];
    for (const name of names) {
      const transform = { ...NO_TRANSFORM, addFields: [{ name, value: "" }] };
      expect(() => transformEntries(source, transform)).toThrow(`Cannot add the field "${name}"`);
    }
    const addFields = Array.from({ length: 257 }, (_, i) => ({ name: `A${i}`, value: "" }));
    expect(() => transformEntries(source, { ...NO_TRANSFORM, addFields })).toThrow("257 fields");
  });
});

test("transformEntries() leaves all else to the source", async () => {
  const position: Position = { cursor: "c", tails: new Map() };
  const calls: string[] = [];
  const source: EntrySource = {
    next: () => undefined,
    isEnded: true,
    isPausing: true,
    wait: async () => void calls.push("wait"),
    position: () => position,
    losses: { vacuumed: 3, damaged: new Map([["x", 1]]) },
    backlog: () => 5,
    close: () => void calls.push("close"),
  };
  expect(transformEntries(source, NO_TRANSFORM)).toBe(source);
  const wrapped = transformEntries(source, { ...NO_TRANSFORM, dropFields: ["A"] });
  await wrapped.wait(new AbortController().signal);
  wrapped.close();
  expect(calls).toEqual(["wait", "close"]);
  expect([wrapped.position(), wrapped.backlog(), wrapped.isEnded]).toEqual([position, 5, true]);
  expect(wrapped.isPausing).toBe(true);
  expect(wrapped.losses).toEqual(source.losses);
});
