/** Against systemd's own programs: journal-remote stores a hand-made stream, journalctl exports it. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ExportParser } from "../../src/export-format/parser.ts";
import { serializedSizeMax, serializeEntry } from "../../src/export-format/serializer.ts";
import {
  BOOT_ID,
  binaryField,
  concat,
  entry,
  type ParsedEntry,
  parseChunks,
  REALTIME_USEC,
  sampleEntry,
} from "../support/export-stream.ts";
import { TempDir } from "../support/temp-dir.ts";

const REMOTE = "/lib/systemd/systemd-journal-remote";
const hasSystemd = existsSync(REMOTE) && Bun.which("journalctl") !== null;

/** What both programs keep as it is: all kinds of text, binary data, repeated and trusted fields. */
const STREAM = concat(
  sampleEntry(0, { fields: ["EMPTY=", "TAB=a\tb", "UTF8=é€𝄞", "_UID=0", "EQUALS=a=b="] }),
  sampleEntry(1, { fields: [binaryField("LINES", "one\n\nPRIORITY=1\n"), "R=1", "R=2"] }),
  sampleEntry(2, {
    fields: [
      binaryField(
        "BYTES",
        Uint8Array.from({ length: 256 }, (_, i) => i),
      ),
    ],
  }),
  sampleEntry(3, { fields: ["CONTROL=\x1b[0m\r", "C1=\u0085", "NONCHARACTER=\uffff"] }),
  sampleEntry(4, { fields: [`${"N".repeat(64)}=long name`, `LONG=${"compress me ".repeat(500)}`] }),
  entry("MESSAGE=inherits", `_BOOT_ID=${BOOT_ID}`),
  entry(
    "MESSAGE=times last",
    `_BOOT_ID=${BOOT_ID}`,
    `__REALTIME_TIMESTAMP=${REALTIME_USEC + 9000}`,
  ),
);

function run(command: string[], stdin?: Uint8Array): Uint8Array {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { ...(stdin ? { stdin } : {}) });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${exitCode}, ${stderr.toString()}`);
  return stdout;
}

/** STREAM as journalctl exports it after a stay in a journal. */
function exportFromJournal(directory: string): Uint8Array {
  const journal = join(directory, "received.journal");
  run([REMOTE, `--output=${journal}`, "-"], STREAM);
  return run(["journalctl", "--file", journal, "--output=export"]);
}

/** Without the identity, which is the receiver's, and with fields in one order. */
function comparable(found: ParsedEntry): object {
  const { realtimeUsec, monotonicUsec, bootId } = found;
  return { realtimeUsec, monotonicUsec, bootId, fields: found.fields.toSorted() };
}

test.if(hasSystemd)("parser sees in journalctl's export what it saw before", () => {
  using directory = new TempDir();
  const before = parseChunks([STREAM]);
  const after = parseChunks([exportFromJournal(directory.path)]);
  expect(after.refusals).toEqual([]);
  expect(after.trailing).toBe(0);
  expect(after.entries.map(comparable)).toEqual(before.entries.map(comparable));
  expect(after.entries.map(({ seqnum }) => seqnum)).toEqual([1, 2, 3, 4, 5, 6, 7]);
});

test.if(hasSystemd)("serializer writes the bytes that journalctl wrote", () => {
  using directory = new TempDir();
  const exported = exportFromJournal(directory.path);
  const written: Uint8Array[] = [];
  const parser = new ExportParser({
    onEntry(found) {
      const target = new Uint8Array(serializedSizeMax(found));
      written.push(target.subarray(0, serializeEntry(found, target, 0)));
    },
    onRefused(reason) {
      throw new Error(reason);
    },
  });
  parser.push(exported);
  expect(parser.end()).toBe(0);
  const [expected, serialized] = [exported, concat(...written)].map((bytes) =>
    Buffer.from(bytes).toString("latin1"),
  );
  // journalctl before 254 does not know these lines.
  const isOld = !expected?.includes("\n__SEQNUM=");
  expect(isOld ? serialized?.replace(/^__SEQNUM(_ID)?=.*\n/gm, "") : serialized).toBe(
    expected ?? "",
  );
});
