/** Entries that a receiver never takes end in quarantine, and nothing else does: issue 3, "what must hold" 5. */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { ACCEPTED, FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import {
  compareEntries,
  type ExportedEntry,
  journalctlExport,
  NO_DIFFERENCE,
  parseExport,
} from "../support/stored-journals.ts";
import { useUploadRig } from "../support/upload-rig.ts";
import { uploadAll } from "../support/uploads.ts";

const LIMIT_MS = 60_000;
const ENTRIES = 2000;
/** The first, two side by side, one with bytes that are no text, the last. */
const POISON = [0, 700, 701, 1234, ENTRIES - 1];
const BINARY_BYTES = Buffer.from([0, 10, 255, 10, 10, 61]);

const answer = (status: string) => (socket: Socket) =>
  void socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 4\r\n\r\nBad\n`);

const REFUSALS: Record<string, (socket: Socket) => void> = {
  "answers 400": answer("400 Bad Request"),
  "answers 413": answer("413 Payload Too Large"),
  "answers 422": answer("422 Unprocessable Entity"),
  "closes the connection": (socket) => void socket.destroy(),
  "resets the connection": (socket) => void socket.resetAndDestroy(),
};

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const rig = useUploadRig();
  let journals: string;
  let entries: ExportedEntry[];

  beforeAll(() => {
    journals = rig.newJournal(poisonedExport());
    entries = parseExport(journalctlExport(`--directory=${journals}`));
  }, LIMIT_MS);

  test.each(Object.entries(REFUSALS))(
    "entries for which the receiver %s are in the quarantine file, which can be imported; all others arrive in order",
    async (_, refuse) => {
      const stored: ExportedEntry[] = [];
      using receiver = await FakeReceiver.open({
        onRequest({ body }, socket) {
          const found = parseExport(body);
          if (found.some(isPoison)) {
            refuse(socket);
            return;
          }
          stored.push(...found);
          socket.write(ACCEPTED);
        },
      });
      const state = rig.newState();
      const sender = rig.startUpload({
        ...{ url: receiver.url, directory: journals, state, identity: [] },
        args: ["--follow=no"],
      });
      expect(await sender.ended()).toBe(0);
      const [good, bad] = [entries.filter((entry) => !isPoison(entry)), entries.filter(isPoison)];
      expect(bad).toHaveLength(POISON.length);
      expect(stored.map(({ cursor }) => cursor)).toEqual(good.map(({ cursor }) => cursor));
      expect(compareEntries(withoutSeqnum(stored), good)).toEqual(NO_DIFFERENCE);
      const quarantine = join(state, "../quarantine");
      expect(withoutSeqnum(parseExport(readFileSync(quarantine)))).toEqual(bad);
      for (const { cursor } of bad)
        expect(sender.log).toContain(`Entry "${cursor}" is refused and passed over`);
      expect(sender.log).toContain(`quarantined=${POISON.length} `);
      expect(readFileSync(state, "utf8")).toContain(`LAST_CURSOR=${entries.at(-1)?.cursor}\n`);
      expect(contentOf(importedBySystemd(quarantine))).toEqual(contentOf(bad));

      // Once the cause is mended.
      using mended = await FakeReceiver.open();
      await uploadAll({ agent: rig.agent, url: mended.url, args: [quarantine] });
      expect(contentOf(mended.requests.flatMap(({ body }) => parseExport(body)))).toEqual(
        contentOf(bad),
      );
    },
    LIMIT_MS,
  );

  test(
    "a receiver that refuses everything gets everything once it does not, and nothing is set aside",
    async () => {
      let isMended = false;
      const stored: string[] = [];
      using receiver = await FakeReceiver.open({
        onRequest({ body }, socket) {
          if (isMended) stored.push(...parseExport(body).map(({ cursor }) => cursor));
          socket.write(
            isMended ? ACCEPTED : "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
          );
        },
      });
      const state = rig.newState();
      const sender = rig.startUpload({
        ...{ url: receiver.url, directory: journals, state, identity: [] },
        args: ["--follow=no"],
      });
      await sender.logged("status 400");
      await Bun.sleep(2000);
      isMended = true;
      expect(await sender.ended()).toBe(0);
      expect(stored).toEqual(entries.map(({ cursor }) => cursor));
      expect(existsSync(join(state, "../quarantine"))).toBe(false);
    },
    LIMIT_MS,
  );

  function importedBySystemd(file: string): ExportedEntry[] {
    const output = join(rig.newDirectory(), "quarantine.journal");
    makeJournal(output, readFileSync(file));
    return parseExport(journalctlExport("--file", output));
  }
});

function isPoison({ fields }: ExportedEntry): boolean {
  return fields.includes("POISON=yes");
}

/** systemd's programs show it in the cursor only, until version 254. */
function withoutSeqnum(entries: readonly ExportedEntry[]): ExportedEntry[] {
  return entries.map(({ cursor, fields }) => {
    return { cursor, fields: fields.filter((field) => !/^__SEQNUM(_ID)?=/.test(field)) };
  });
}

/** Without what systemd-journal-remote gives an entry anew. */
function contentOf(entries: readonly ExportedEntry[]): string[][] {
  return withoutSeqnum(entries).map(({ fields }) => fields);
}

function poisonedExport(): Buffer {
  const blocks = sampleExport(ENTRIES).trimEnd().split("\n\n");
  const binary = Buffer.concat([
    Buffer.from("DATA\n"),
    sizeOf(BINARY_BYTES),
    BINARY_BYTES,
    Buffer.from("\n"),
  ]);
  const none = Buffer.alloc(0);
  return Buffer.concat(
    blocks.flatMap((block, index) => [
      Buffer.from(`${block}\n${POISON.includes(index) ? "POISON=yes\n" : ""}`),
      index === 1234 ? binary : none,
      Buffer.from("\n"),
    ]),
  );
}

function sizeOf(bytes: Buffer): Buffer {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(bytes.length));
  return size;
}
