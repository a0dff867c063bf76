import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SequenceTail } from "../../src/journal/reader/start.ts";
import type { Position } from "../../src/upload/delivery-types.ts";
import {
  formatState,
  makeStateDirectory,
  parseState,
  readState,
  TAILS_MAX,
  writeState,
} from "../../src/upload/state.ts";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { makeJournal, sampleExport } from "../support/journal-tools.ts";
import { TempDir } from "../support/temp-dir.ts";

const ID = "739ad463348b4ceca5a9e69c95a3c93f";
const OTHER_ID = "0d2e5d3d2f5c4d3f9b4f7c1d7f1b9a10";
const BOOT_ID = "6c7c6013a26343b29e964691ff25d04c";
const CURSOR = `s=${ID};i=1f4;b=${BOOT_ID};m=4c4b40;t=60a24181e4000;x=1234567890abcdef`;
const STOCK_UPLOAD = [
  "/usr/lib/systemd/systemd-journal-upload",
  "/lib/systemd/systemd-journal-upload",
].find((path) => existsSync(path));

function tail(seqnum: number, realtimeUsec = 1_700_000_000_000_000 + seqnum): SequenceTail {
  return { seqnum, realtimeUsec, bootId: BOOT_ID };
}

function position(...tails: [string, SequenceTail][]): Position {
  return { cursor: CURSOR, tails: new Map(tails) };
}

describe("formatState() and parseState()", () => {
  test("are each other's inverse", () => {
    const states = [
      { position: position(), target: undefined },
      { position: position([ID, tail(500)]), target: undefined },
      {
        position: position([ID, tail(2 ** 52)], [OTHER_ID, tail(7)]),
        target: "https://logs.example.net:19532/upload?a=b#c",
      },
    ];
    for (const state of states) expect(parseState(formatState(state), "state")).toEqual(state);
  });

  test("begin as systemd-journal-upload does, and understand its files", () => {
    const text = formatState({ position: position([ID, tail(1)]), target: undefined });
    const [comment, cursor] = text.split("\n");
    expect([comment, cursor]).toEqual([
      "# This is private data. Do not parse.",
      `LAST_CURSOR=${CURSOR}`,
    ]);
    const stock = `# This is private data. Do not parse.\nLAST_CURSOR=${CURSOR}\n`;
    expect(parseState(stock, "state")).toEqual({ position: position(), target: undefined });
    expect(parseState(`LAST_CURSOR="${CURSOR}"`, "state").position.cursor).toBe(CURSOR);
  });

  test("forget our part when another program has moved the cursor", () => {
    const text = formatState({ position: position([ID, tail(1)]), target: undefined });
    const moved = text.replace("LAST_CURSOR=s=", "LAST_CURSOR=j=0;s=");
    expect(parseState(moved, "state").position.tails.size).toBe(0);
  });

  test("pass over tails that make no sense", () => {
    const good = `${ID}:1f4:60a24181e4000:${BOOT_ID}`;
    const text = `LAST_CURSOR=${CURSOR}\nAGENT_CURSOR=${CURSOR}\nAGENT_TAILS=,x:1:2:3,${good},${ID}:\n`;
    expect([...parseState(text, "state").position.tails.keys()]).toEqual([ID]);
  });

  test("keep the most recent tails, not all", () => {
    const ids = Array.from({ length: TAILS_MAX + 50 }, (_, index) =>
      index.toString(16).padStart(32, "0"),
    );
    const many = position(...ids.map((id, index): [string, SequenceTail] => [id, tail(index + 1)]));
    const { tails } = parseState(formatState({ position: many, target: undefined }), "").position;
    expect(new Set(tails.keys())).toEqual(new Set(ids.slice(50)));
  });

  test.each([
    "",
    "\n",
    "# This is private data. Do not parse.\n",
    "LAST_CURSOR=\n",
    "LAST_CURSOR=nonsense\n",
    "LAST_CURSOR=s=xyz\n",
    "\0".repeat(100),
  ])("refuse %p with a way out", (text) => {
    expect(() => parseState(text, "/var/lib/state")).toThrow(
      'Cannot use state file "/var/lib/state": there is no LAST_CURSOR= with a cursor',
    );
  });
});

describe("readState()", () => {
  test("tells a missing file from one that cannot be used", () => {
    using dir = new TempDir();
    expect(readState(join(dir.path, "none"))).toBeUndefined();
    expect(() => readState(dir.path)).toThrow("Cannot use state file");
    expect(() => readState(dir.write("huge", "#".repeat(2 ** 20 + 1)))).toThrow("1048577 bytes");
  });
});

describe("writeState()", () => {
  test("replaces the file and leaves nothing else behind", async () => {
    using dir = new TempDir();
    const path = dir.write("state", "old");
    await writeState(path, { position: position([ID, tail(1)]), target: undefined });
    expect(readState(path)?.position).toEqual(position([ID, tail(1)]));
    expect(readdirSync(dir.path)).toEqual(["state"]);
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  test("leaves the old file when it cannot write", async () => {
    using dir = new TempDir();
    const path = dir.write("state", "old");
    mkdirSync(`${path}.tmp`);
    const write = writeState(path, { position: position(), target: undefined });
    await expect(write).rejects.toThrow();
    expect(readFileSync(path, "utf8")).toBe("old");
  });
});

test("makeStateDirectory() makes folders, or says what is in the way", () => {
  using dir = new TempDir();
  makeStateDirectory(join(dir.path, "a/b/state"));
  expect(statSync(join(dir.path, "a/b")).mode & 0o777).toBe(0o755);
  dir.write("file", "");
  expect(() => makeStateDirectory(join(dir.path, "file/state"))).toThrow("Cannot make directory");
});

test.skipIf(STOCK_UPLOAD === undefined)(
  "systemd-journal-upload goes on from a file of ours, and we from one of its",
  async () => {
    using dir = new TempDir();
    mkdirSync(join(dir.path, "journal"));
    makeJournal(join(dir.path, "journal/a.journal"), sampleExport(10));
    const exported = Bun.spawnSync([
      ...["journalctl", "--quiet", "--output=export"],
      `--directory=${join(dir.path, "journal")}`,
    ]);
    const cursors = [...exported.stdout.toString().matchAll(/^__CURSOR=(.*)$/gm)].map((m) => m[1]);
    const path = join(dir.path, "state");
    await writeState(path, {
      position: { cursor: cursors[6] ?? "", tails: new Map([[ID, tail(7)]]) },
      target: "https://logs.example.net:19532/upload",
    });
    using receiver = await FakeReceiver.open();
    await using child = Bun.spawn(
      [
        ...[STOCK_UPLOAD ?? "", `--url=${receiver.url}`, `--save-state=${path}`],
        ...[`--directory=${join(dir.path, "journal")}`, "--follow=no"],
      ],
      { stdio: ["ignore", "ignore", "pipe"], timeout: 20_000 },
    );
    expect(await child.exited).toBe(0);
    const sent = receiver.requests.map(({ body }) => body.toString()).join("");
    // It repeats the entry it stopped at.
    expect([...sent.matchAll(/^MESSAGE=(.*)$/gm)].map((match) => match[1])).toEqual([
      "message number 6",
      "message number 7",
      "message number 8",
      "message number 9",
    ]);
    expect(readState(path)).toEqual({
      position: { cursor: cursors[9] ?? "", tails: new Map() },
      target: undefined,
    });
  },
);

test("a state file that is cut anywhere is refused or whole", () => {
  using dir = new TempDir();
  const text = formatState({ position: position([ID, tail(1)]), target: undefined });
  for (let length = 0; length < text.length; length++) {
    const path = join(dir.path, "state");
    writeFileSync(path, text.slice(0, length));
    const cursorEnd = text.indexOf("\nAGENT_CURSOR");
    if (length < text.indexOf("LAST_CURSOR=") + "LAST_CURSOR=s=0".length) {
      expect(() => readState(path)).toThrow("Cannot use state file");
    } else if (length >= cursorEnd) {
      expect(readState(path)?.position.cursor).toBe(CURSOR);
    }
  }
});
