import { afterAll, describe, expect, test } from "bun:test";
import { openSelection } from "../../src/upload/selection.ts";
import type { SelectionSettings } from "../../src/upload/settings.ts";
import { seededRandom } from "../support/journal-damage.ts";
import { hostEntry, type PlainEntry, writeJournal } from "../support/journal-entries.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { NO_SELECTION, NO_TRANSFORM } from "../support/neutral-settings.ts";
import { selectEntries } from "../support/selected-entries.ts";
import { parseExport } from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());
let files = 0;
const nextPath = (): string => `${dir.path}/${files++}.journal`;

const COREDUMP = "MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1";

/** Numbers of the entries that are taken, with the indexes; fails unless a scan takes the same ones. */
function selected(path: string, settings: Partial<SelectionSettings>): number[] {
  const selection = openSelection({ ...NO_SELECTION, ...settings }, NO_TRANSFORM);
  const { seqnums } = selectEntries(path, selection);
  expect(selectEntries(path, selection, false).seqnums).toEqual(seqnums);
  expect(selection.damagedIndexes).toBe(0);
  return seqnums;
}

function fileOf(...entries: string[][]): string {
  const path = nextPath();
  writeJournal(
    path,
    entries.map((fields, index) => hostEntry(index + 1, ...fields)),
  );
  return path;
}

describe("openSelection()", () => {
  test("takes every entry where nothing is chosen, without a look at fields", () => {
    const path = fileOf(["A=1"], ["A=2"]);
    expect(selected(path, {})).toEqual([1, 2]);
    expect(openSelection(NO_SELECTION, NO_TRANSFORM).hooks).toEqual({});
    expect(selected(path, { matches: [[]] })).toEqual([1, 2]);
    expect(selected(path, { priorities: [0, 1, 2, 3, 4, 5, 6, 7] })).toEqual([1, 2]);
  });

  test("a unit: what it wrote, and what those wrote about it that may be believed", () => {
    const path = fileOf(
      ["_SYSTEMD_UNIT=a.service"],
      ["_SYSTEMD_UNIT=b.service"],
      ["UNIT=a.service"],
      ["UNIT=a.service", "_PID=1"],
      ["OBJECT_SYSTEMD_UNIT=a.service", "_UID=1000"],
      ["OBJECT_SYSTEMD_UNIT=a.service", "_UID=0"],
      ["COREDUMP_UNIT=a.service", "_UID=0"],
      ["COREDUMP_UNIT=a.service", "_UID=0", COREDUMP],
      ["COREDUMP_UNIT=b.service", "_UID=0", COREDUMP],
      ["_SYSTEMD_SLICE=a.service"],
    );
    expect(selected(path, { units: ["a"] })).toEqual([1, 4, 6, 8]);
    expect(selected(path, { units: ["a.service", "b"] })).toEqual([1, 2, 4, 6, 8, 9]);
    expect(selected(path, { units: ["[ab].*"] })).toEqual([1, 2, 4, 6, 8, 9]);
    expect(selected(path, { excludeUnits: ["a"] })).toEqual([2, 3, 5, 7, 9, 10]);
  });

  test("a slice: also what is in it", () => {
    const path = fileOf(
      ["_SYSTEMD_SLICE=a.slice"],
      ["_SYSTEMD_SLICE=b.slice"],
      ["_SYSTEMD_SLICE=a.sl"],
    );
    expect(selected(path, { units: ["a.slice"] })).toEqual([1]);
    expect(selected(path, { units: ["*.sl*"] })).toEqual([1, 2]);
  });

  test("kinds of conditions all have to hold, those of one kind are alternatives", () => {
    const path = fileOf(
      ["SYSLOG_IDENTIFIER=x", "SYSLOG_FACILITY=3"],
      ["SYSLOG_IDENTIFIER=y", "SYSLOG_FACILITY=3"],
      ["SYSLOG_IDENTIFIER=x", "SYSLOG_FACILITY=4"],
      ["SYSLOG_IDENTIFIER=z", "SYSLOG_FACILITY=4"],
    );
    expect(selected(path, { identifiers: ["x", "y"], facilities: [3] })).toEqual([1, 2]);
    expect(selected(path, { identifiers: ["x"], facilities: [3, 4] })).toEqual([1, 3]);
    expect(selected(path, { facilities: [4], grep: ["number 3", "number 2"] })).toEqual([3]);
    expect(selected(path, { priorities: [1, 2], facilities: [3] })).toEqual([1, 2]);
    expect(selected(path, { identifiers: ["x", "z"], excludeFacilities: [3] })).toEqual([3, 4]);
    expect(selected(path, { excludeIdentifiers: ["x"], excludePriorities: [4] })).toEqual([2]);
    expect(selected(path, { excludeGrep: ["NUMBER [12]", "number 4"] })).toEqual([1, 2, 3]);
  });

  test("matches: one field's are alternatives, several fields' all hold, groups are alternatives", () => {
    const path = fileOf(["A=1", "B=1"], ["A=2", "B=1"], ["A=2", "B=2"], ["A=3", "C=€=\n"], ["A="]);
    expect(selected(path, { matches: [["A=1", "A=2"]] })).toEqual([1, 2, 3]);
    expect(selected(path, { matches: [["A=1", "B=1", "A=2"]] })).toEqual([1, 2]);
    expect(selected(path, { matches: [["A=1"], [], ["B=2", "A=2"]] })).toEqual([1, 3]);
    expect(selected(path, { matches: [["C=€=\n"], ["A="]] })).toEqual([4, 5]);
    expect(selected(path, { excludeMatches: [["A=1"], ["A=2", "B=2"]] })).toEqual([2, 4, 5]);
    expect(selected(path, { excludeMatches: [["A=1", "B=2"]] })).toEqual([1, 2, 3, 4, 5]);
  });

  test("takes more conditions than there are bits in a word", () => {
    const path = fileOf(
      ...Array.from({ length: 80 }, (_, i) => [`F${i}=a`, ...(i % 2 === 0 ? [`G${i}=b`] : [])]),
    );
    const matches = Array.from({ length: 80 }, (_, i) => [`F${i}=a`, `G${i}=b`]);
    const even = Array.from({ length: 40 }, (_, i) => 2 * i + 1);
    expect(selected(path, { matches })).toEqual(even);
    expect(selected(path, { excludeMatches: matches })).toEqual(even.map((seqnum) => seqnum + 1));
  });

  test("several values of one field in an entry", () => {
    const path = fileOf(["A=1", "A=2"], ["A=1"], ["A=2"]);
    expect(selected(path, { matches: [["A=2"]] })).toEqual([1, 3]);
    expect(selected(path, { excludeMatches: [["A=2"]] })).toEqual([2]);
  });

  test("looks for an expression in the first 64 KiB of a message", () => {
    const filler = "x".repeat(64_000);
    const path = fileOf([`MESSAGE=${filler} near`], [`MESSAGE=${filler}${filler} far`]);
    expect(selected(path, { grep: ["near|far"] })).toEqual([1]);
  });

  test("refuses what is no match", () => {
    for (const field of ["A", "=1", "a=1", "1A=1", "__CURSOR=1", ""]) {
      expect(() => openSelection({ ...NO_SELECTION, matches: [[field]] }, NO_TRANSFORM)).toThrow(
        expect.objectContaining({
          code: "E_CONFIG",
          message: `Cannot match "${field}": not a field, need FIELD=VALUE`,
        }),
      );
    }
  });
});

describe.if(hasSystemd())("openSelection() beside journalctl", () => {
  /** Options of journalctl, and the same for us. */
  type Choice = [string[], Partial<SelectionSettings>];

  /** Entries of a machine on which everything matches something. */
  function randomEntries(random: () => number, count: number): PlainEntry[] {
    const pick = (...values: string[]) => values[Math.floor(random() * values.length)] as string;
    const unit = () =>
      pick("a.service", "b.service", "c-1.scope", "c-2.scope", "x.slice", "y.slice");
    const any = (name: string, value: () => string): string[] =>
      random() < 0.4 ? [`${name}=${value()}`] : [];
    return Array.from({ length: count }, (_, i) => ({
      seqnum: i + 1,
      fields: [
        `MESSAGE=${pick("Started", "started", "Failed to start", "done")} ${pick("a", "B", "é\n")}`,
        ...any("_SYSTEMD_UNIT", unit),
        ...any("UNIT", unit),
        ...any("OBJECT_SYSTEMD_UNIT", unit),
        ...any("COREDUMP_UNIT", unit),
        ...any("_SYSTEMD_SLICE", unit),
        ...any("MESSAGE_ID", () => pick("fc2e22bc6ee647b6b90729ab34a250b1", "00")),
        ...any("_PID", () => pick("1", "2")),
        ...any("_UID", () => pick("0", "1000")),
        ...any("PRIORITY", () => pick("0", "3", "4", "6", "7", "9")),
        ...any("SYSLOG_FACILITY", () => pick("0", "3", "4")),
        ...any("SYSLOG_IDENTIFIER", () => pick("one", "two", "three words")),
      ],
    }));
  }

  function randomChoice(random: () => number): Choice {
    const units = ["a", "b.service", "c-*", "*.slice", "x.slice", "[!ab].s*", "c-?.scope"];
    const matches = [
      "_UID=0",
      "_UID=1000",
      "_PID=1",
      "PRIORITY=3",
      "UNIT=a.service",
      "MESSAGE=done a",
    ];
    const some = <T>(values: readonly T[]) => values.filter(() => random() < 0.3);
    const choice: Choice = [[], {}];
    const add = (args: string[], settings: Partial<SelectionSettings>) => {
      choice[0].push(...args);
      Object.assign(choice[1], settings);
    };
    if (random() < 0.5) {
      const chosen = some(units);
      add(
        chosen.flatMap((unit) => ["-u", unit]),
        { units: chosen },
      );
    }
    if (random() < 0.3) {
      const identifiers = some(["one", "two", "three words"]);
      add(
        identifiers.flatMap((name) => ["-t", name]),
        { identifiers },
      );
    }
    if (random() < 0.3) add(["-p", "1..4"], { priorities: [1, 2, 3, 4] });
    const hasFacility = random() < 0.3;
    if (hasFacility) add(["--facility", "kern,auth"], { facilities: [0, 4] });
    const pattern = ["start", "Start", "^\\S+ed [a-b]$", "é"][Math.floor(random() * 12)];
    if (pattern !== undefined) add(["-g", pattern], { grep: [pattern] });
    if (random() < 0.5) {
      // There, a facility counts for the first group only.
      const groups = (hasFacility ? [some(matches)] : [some(matches), some(matches)]).filter(
        ({ length }) => length > 0,
      );
      add(
        groups.flatMap((group, index) => (index > 0 ? ["+", ...group] : group)),
        { matches: groups },
      );
    }
    return choice;
  }

  function expectSame(path: string, [args, settings]: Choice): number {
    const expected = parseExport(journalctl(path, args)).map(({ cursor }) =>
      Number.parseInt(/;i=([0-9a-f]+);/.exec(cursor)?.[1] ?? "", 16),
    );
    expect([args, selected(path, settings)]).toEqual([args, expected]);
    return expected.length;
  }

  /** Fails where nothing is found; a pattern that no unit fits is an error, which finds nothing here. */
  function journalctl(path: string, args: string[]): Buffer {
    const command = ["journalctl", "--quiet", "--output=export", "--file", path, ...args];
    const { stdout, stderr, exitCode } = Bun.spawnSync(command);
    const isNone = stdout.length === 0 && /^$|No data available/.test(stderr.toString().trim());
    if (exitCode !== 0 && !isNone) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout;
  }

  test("takes the same entries for random conditions on random entries", () => {
    const random = seededRandom(7);
    let found = 0;
    for (let file = 0; file < 4; file++) {
      const path = nextPath();
      const layout = { compact: file % 2 === 0, keyedHash: file < 2, dataBuckets: 97 };
      writeJournal(path, randomEntries(random, 300), layout);
      for (let round = 0; round < 12; round++) found += expectSame(path, randomChoice(random));
    }
    expect(found).toBeGreaterThan(300);
  }, 20_000);

  test("takes the same entries of files that systemd wrote", () => {
    const choices: Choice[] = [
      [["-t", "unit-3"], { identifiers: ["unit-3"] }],
      [["-p", "2", "_PID=1003"], { priorities: [0, 1, 2], matches: [["_PID=1003"]] }],
      [["-g", "NUMBER \\d5$"], { grep: ["(?i)NUMBER \\d5$"] }],
      [["_PID=1004", "+", "PRIORITY=7"], { matches: [["_PID=1004"], ["PRIORITY=7"]] }],
    ];
    for (const [compact, keyed] of [
      [true, true],
      [true, false],
      [false, true],
      [false, false],
    ] as const) {
      const path = nextPath();
      makeJournal(path, sampleExport(200), { compact, keyed });
      const counts = choices.map(([args, settings]) =>
        expectSame(path, [args[0] === "-g" ? [...args, "--case-sensitive=no"] : args, settings]),
      );
      expect(counts.every((count) => count > 0)).toBe(true);
    }
  });
});
