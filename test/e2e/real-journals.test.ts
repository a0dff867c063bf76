/** Real journals through the real journalctl and curl, over mutual TLS, and back: issue 2, point 1. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Incompatible } from "../../src/journal/format.ts";
import { decodeHeader } from "../../src/journal/header.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { pipe } from "../support/encoded-bodies.ts";
import { binaryField, concat, entry, textField } from "../support/export-stream.ts";
import { curl, JOURNAL_TYPE } from "../support/front.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { Receiver } from "../support/receiver.ts";
import {
  compareEntries,
  findDamage,
  fingerprint,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";

const { AGENT_SHARED_DATA: DATA = join(import.meta.dir, "../../../shared/data") } = Bun.env;
const REAL = existsSync(DATA)
  ? readdirSync(DATA).filter((name) => /journal~?\.zst$/.test(name))
  : [];
const LIMIT_MS = 60_000;

const agent = useAgentBinary();

describe.skipIf(!hasSystemd())("journals of real programs (needs systemd-journal-remote)", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let pki: TestPki;

  /** A new output directory. */
  function newOutput(): string {
    const output = join(work.path, crypto.randomUUID());
    mkdirSync(output);
    return output;
  }

  function startReceiver(output: string, args: string[] = [], env: Record<string, string> = {}) {
    return Receiver.start({ command: [agent.path, "serve"], output, pki, args, env });
  }

  /** @returns the status. */
  async function post(receiver: Receiver, sender: string, body: Uint8Array, ...headers: string[]) {
    const file = work.write("body", body);
    const headerArgs = [JOURNAL_TYPE, ...headers].flatMap((header) => ["-H", header]);
    const bodyArgs = ["--data-binary", `@${file}`];
    const result = await curl(...pki.curlArgs(sender), ...headerArgs, ...bodyArgs, receiver.url);
    expect(result.stderr).toBe("");
    return result.status;
  }

  /** Posts everything, twice, and expects in the files what the stream holds. */
  async function expectStored(
    output: string,
    streams: readonly Buffer[],
    args: string[] = [],
    env = {},
  ) {
    const expected = streams.flatMap(parseExport);
    {
      await using receiver = await startReceiver(output, args, env);
      for (const stream of streams) expect(await post(receiver, "web1", stream)).toBe(202);
      expect(await receiver.stop()).toBe(0);
      expect(receiver.log).toContain(`Finished stored=${expected.length} duplicates=0 refused=0`);
    }
    expect(compareEntries(storedEntries(output), expected)).toEqual(NO_DIFFERENCE);
    expect(findDamage(journalFiles(output))).toEqual([]);

    const before = fingerprint(output);
    await using receiver = await startReceiver(output, args, env);
    for (const stream of streams) expect(await post(receiver, "web1", stream)).toBe(202);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain(`Finished stored=0 duplicates=${expected.length} refused=0`);
    expect(fingerprint(output)).toEqual(before);
  }

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    pki.issue("web1");
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  describe.skipIf(REAL.length === 0)("those of AGENT_SHARED_DATA or ../shared/data", () => {
    let source: string;

    beforeAll(() => {
      source = join(work.path, "real");
      for (const name of REAL) {
        const journal = pipe(["zstd", "-dc"], readFileSync(join(DATA, name)));
        work.write(join("real", name.replace(/\.zst$/, "")), journal);
      }
    });

    test(
      "come back cursor for cursor, field for field; a second time adds nothing",
      async () => {
        const output = newOutput();
        await expectStored(
          output,
          journalFiles(source).map((file) => journalctlExport("--file", file)),
        );
        const [sent, received] = [source, output].map((directory) =>
          parseExport(journalctlExport(`--directory=${directory}`)),
        );
        expect(compareEntries(received ?? [], sent ?? [])).toEqual(NO_DIFFERENCE);
      },
      LIMIT_MS,
    );

    test(
      "merged by time, with sequence ids interleaved",
      async () => {
        await expectStored(newOutput(), [journalctlExport(`--directory=${source}`)]);
      },
      LIMIT_MS,
    );

    test(
      "in files of 512 KiB",
      async () => {
        const output = newOutput();
        const stream = journalctlExport(`--directory=${source}`);
        await expectStored(output, [stream], ["--max-file-size=512K", "--max-files=0"]);
        expect(journalFiles(output).length).toBeGreaterThan(3);
      },
      LIMIT_MS,
    );
  });

  describe("those made here", () => {
    let source: string;
    let stream: Buffer;
    let journals: Buffer[];

    beforeAll(() => {
      source = join(work.path, "made");
      mkdirSync(source);
      const variants = [true, false].flatMap((compact) =>
        [true, false].map((keyed) => ({ compact, keyed })),
      );
      for (const { compact, keyed } of variants) {
        const file = join(source, `compact-${compact}-keyed-${keyed}.journal`);
        makeJournal(file, concat(sampleExport(1500), oddEntries()), { compact, keyed });
      }
      journals = journalFiles(source).map((file) => journalctlExport("--file", file));
      stream = Buffer.concat(journals);
    }, LIMIT_MS);

    test(
      "come back cursor for cursor, field for field; a second time adds nothing",
      async () => {
        await expectStored(newOutput(), journals);
      },
      LIMIT_MS,
    );

    test(
      "an entry with the same field twice keeps its cursor",
      async () => {
        const file = join(work.path, "twice.journal");
        const [time, boot] = [
          "__REALTIME_TIMESTAMP=1700000000000000",
          `_BOOT_ID=${"b0".repeat(16)}`,
        ];
        makeJournal(file, entry(time, boot, "TAG=a", "TAG=b", "TAG=a", "MESSAGE=twice"));
        await expectStored(newOutput(), [journalctlExport("--file", file)]);
      },
      LIMIT_MS,
    );

    test.each([
      "SYSTEMD_JOURNAL_COMPACT",
      "SYSTEMD_JOURNAL_KEYED_HASH",
      "SYSTEMD_JOURNAL_COMPRESS",
    ])(
      "%s=0 changes the format, not the entries",
      async (variable) => {
        const output = newOutput();
        await expectStored(output, [stream], [], { [variable]: "0" });
        const flag = {
          SYSTEMD_JOURNAL_COMPACT: Incompatible.compact,
          SYSTEMD_JOURNAL_KEYED_HASH: Incompatible.keyedHash,
          SYSTEMD_JOURNAL_COMPRESS: Incompatible.compressedZstd,
        }[variable];
        const all = Incompatible.compact | Incompatible.keyedHash | Incompatible.compressedZstd;
        for (const file of journalFiles(output)) {
          const bytes = readFileSync(file);
          expect(decodeHeader(bytes, bytes.length).incompatibleFlags).toBe(all & ~(flag ?? 0));
        }
      },
      LIMIT_MS,
    );

    test.each(["zstd", "xz", "gzip"])(
      "compressed on the wire by %s",
      async (encoding) => {
        const output = newOutput();
        await using receiver = await startReceiver(output);
        const body = pipe([encoding, "-c"], stream);
        expect(await post(receiver, "web1", body, `Content-Encoding: ${encoding}`)).toBe(202);
        expect(await receiver.stop()).toBe(0);
        expect(compareEntries(storedEntries(output), parseExport(stream))).toEqual(NO_DIFFERENCE);
      },
      LIMIT_MS,
    );

    test(
      "in pieces, overlapping, out of order, with the receiver restarted in between",
      async () => {
        const output = newOutput();
        const cuts = entryCuts(stream, 7);
        // Each piece begins in the middle of the one before; the last goes first.
        const pieces = cuts
          .slice(2)
          .map((end, index) => stream.subarray(cuts[index], end))
          .reverse();
        for (const piece of pieces) {
          await using receiver = await startReceiver(output, [
            "--max-file-size=512K",
            "--max-files=0",
          ]);
          expect(await post(receiver, "web1", piece)).toBe(202);
          expect(await receiver.stop()).toBe(0);
        }
        expect(compareEntries(storedEntries(output), parseExport(stream))).toEqual(NO_DIFFERENCE);
        expect(findDamage(journalFiles(output))).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "over four connections of one sender at once",
      async () => {
        const file = join(work.path, "long.journal");
        makeJournal(file, sampleExport(8000));
        const body = work.write("same", journalctlExport("--file", file));
        const upload = async (receiver: Receiver, index: number): Promise<number> => {
          await Bun.sleep(index * 7);
          const args = ["--limit-rate", "20M", "-H", JOURNAL_TYPE, "--data-binary", `@${body}`];
          return (await curl(...pki.curlArgs("web1"), ...args, receiver.url)).status;
        };
        for (let round = 1; round <= 4; round++) {
          await using receiver = await startReceiver(newOutput(), ["--max-file-size=1M"]);
          const uploads = [0, 1, 2, 3].map((index) => upload(receiver, index));
          expect(await Promise.all(uploads)).toEqual([202, 202, 202, 202]);
          expect(await receiver.stop()).toBe(0);
          expect(receiver.log).toContain("Finished stored=8000 duplicates=24000 refused=0");
        }
      },
      LIMIT_MS,
    );

    test(
      "of several senders at once, each in files of its own",
      async () => {
        const output = newOutput();
        await using receiver = await startReceiver(output);
        const senders = ["db1", "db2", "db3"];
        for (const sender of senders) pki.issue(sender);
        const body = work.write("several", stream);
        const results = await Promise.all(
          senders.map((sender) =>
            curl(
              ...pki.curlArgs(sender),
              "-H",
              JOURNAL_TYPE,
              "-T",
              body,
              "-X",
              "POST",
              receiver.url,
            ),
          ),
        );
        expect(results.map(({ status }) => status)).toEqual([202, 202, 202]);
        expect(await receiver.stop()).toBe(0);
        for (const sender of senders) {
          const files = journalFiles(output).filter((file) => file.includes(`remote-${sender}`));
          const entries = files.flatMap((file) => parseExport(journalctlExport("--file", file)));
          expect(compareEntries(entries, parseExport(stream))).toEqual(NO_DIFFERENCE);
        }
      },
      LIMIT_MS,
    );
  });

  /** Offsets at which entries begin or end, dividing the stream into `count` pieces. */
  function entryCuts(stream: Buffer, count: number): number[] {
    const inner = Array.from({ length: count - 1 }, (_, index) => {
      const cursor = stream.indexOf("\n\n__CURSOR=", ((index + 1) * stream.length) / count);
      return cursor + 2;
    });
    return [0, ...inner, stream.length];
  }
});

/** Fields as no unit writes them every day. */
function oddEntries(): Uint8Array {
  const head = (index: number): string[] => [
    `__REALTIME_TIMESTAMP=${1_700_000_100_000_000 + index}`,
    `__MONOTONIC_TIMESTAMP=${200_000_000 + index}`,
    "_BOOT_ID=6c7c6013a26343b29e964691ff25d04c",
  ];
  return concat(
    entry(...head(1), binaryField("MESSAGE", "two\nlines"), "PRIORITY=3"),
    entry(...head(2), textField("EMPTY", ""), "TAG=a", "TAG=b", "TAG=a=b"),
    entry(
      ...head(3),
      binaryField(
        "BLOB",
        Uint8Array.from({ length: 256 }, (_, i) => i),
      ),
    ),
    entry(...head(4), `MESSAGE=${"long and dull ".repeat(40_000)}`),
    entry(...head(5), "MESSAGE=équipe 日本語 \u{1f4d3}", `${"N".repeat(64)}=64`),
    entry(...head(6), binaryField("COREDUMP", crypto.getRandomValues(new Uint8Array(60_000)))),
    entry(...head(7), ...Array.from({ length: 500 }, (_, i) => `FIELD_${i}=${i}`)),
  );
}
