import { describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { ExportParser } from "../../../src/export-format/parser.ts";
import type { Sink } from "../../../src/serve/ingest-types.ts";
import { Store } from "../../../src/serve/store/store.ts";
import { concat, sampleEntry } from "../../support/export-stream.ts";
import { TempDir } from "../../support/temp-dir.ts";

/** Entries that fill a file of the smallest size several times. */
const STREAM = concat(
  ...Array.from({ length: 3000 }, (_, index) =>
    sampleEntry(index, { fields: [`DETAIL=${"detail ".repeat(60)}${index}`] }),
  ),
);

function openStore(directory: string): Store {
  return new Store({
    output: directory,
    splitMode: "host",
    format: { compressThresholdBytes: undefined, compact: true, keyedHash: true },
    retention: {
      maxUseBytes: 0,
      keepFreeBytes: 0,
      maxFileSizeBytes: 512 * 1024,
      maxFiles: 0,
      maxRetentionSec: 0,
      maxFileSec: 0,
    },
    receiverId: "5e".repeat(16),
  });
}

/** Adds all entries of the stream without giving way to anything else. */
function addAll(sink: Sink): void {
  const parser = new ExportParser({
    onEntry: (entry) => sink.add(entry),
    onRefused: (reason, offset) => {
      throw new Error(`${reason} at ${offset}`);
    },
  });
  parser.push(STREAM);
  parser.end();
}

describe("Store", () => {
  test("recognises what is in files that are full but not completed yet", async () => {
    using dir = new TempDir();
    const store = openStore(dir.path);
    await store.start();
    const [first, second] = [store.openSink("web1"), store.openSink("web1")];
    addAll(first);
    expect(store.openFiles).toBe(1);
    addAll(second);
    expect([first.stored, first.duplicates]).toEqual([3000, 0]);
    expect([second.stored, second.duplicates]).toEqual([0, 3000]);
    await store.close();
  });

  test("removes files whose writer was killed before they had a header", async () => {
    using dir = new TempDir();
    const archived = `remote-web1@${"5e".repeat(16)}-0000000000000001-0006000000000000.journal`;
    const unborn = [
      dir.write("remote-web1.journal", ""),
      dir.write(archived, new Uint8Array(8192)),
    ];
    const others = [
      dir.write("remote-web2.journal", ""),
      dir.write("remote-web1@web.journal", ""),
      dir.write(archived.replace("5e", "5f"), "LPKSHHRH, but not a journal".padEnd(4096)),
    ];
    const store = openStore(dir.path);
    await store.start();
    addAll(store.openSink("web1"));
    await store.close();
    expect(statSync(unborn[0] ?? "").size).toBeGreaterThan(4096);
    expect(existsSync(unborn[1] ?? "")).toBe(false);
    expect(others.map((path) => existsSync(path))).toEqual([true, true, true]);
  });
});
