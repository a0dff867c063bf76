import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { join, relative } from "node:path";
import { openPlaces, type PlaceHost } from "../../src/upload/places.ts";
import type { PlaceSettings } from "../../src/upload/settings.ts";
import { placesOf } from "../support/neutral-settings.ts";
import { idOf } from "../support/reader-journals.ts";
import { TempDir } from "../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const [OWN, OTHER] = [idOf(1), idOf(2)];
const HOST: PlaceHost = { root: dir.path, machineId: OWN, uid: 1000 };

const FILES = [
  `run/log/journal/${OWN}/system.journal`,
  `run/log/journal/${OTHER}/system.journal`,
  `var/log/journal/${OWN}/system.journal`,
  `var/log/journal/${OWN}/system@0001-0002.journal~`,
  `var/log/journal/${OWN}/user-1000.journal`,
  `var/log/journal/${OWN}/user-1000@abc.journal`,
  `var/log/journal/${OWN}/user-10001.journal`,
  `var/log/journal/${OWN}/systemd-old.journal`,
  `var/log/journal/${OWN}.web/system.journal`,
  `var/log/journal/${OWN}.db/system.journal`,
  `var/log/journal/${OTHER}/system.journal`,
  "var/log/journal/remote/remote-web1.journal",
];
const OTHERS = [
  `var/log/journal/${OWN}/fss`,
  `var/log/journal/${OWN}/notes.journal.gz`,
  `var/log/journal/${OWN}.web.too/system.journal`,
  "var/log/journal/not-an-id/system.journal",
  "var/log/journal/.hidden.txt",
];
for (const name of [...FILES, ...OTHERS]) dir.write(name, "x");

/** Paths below the root, sorted. */
function find(settings: Partial<PlaceSettings>, host: PlaceHost = HOST): string[] {
  const { files, problems } = openPlaces(placesOf(settings), host).list();
  expect(problems).toEqual([]);
  return files.map((path) => relative(dir.path, path)).sort();
}

const ownPersistent = FILES.filter((name) => name.startsWith(`var/log/journal/${OWN}/`));
const runtime = FILES.slice(0, 2);

describe("openPlaces()", () => {
  test("finds this machine's journals, and what is in /run", () => {
    expect(find({})).toEqual([...runtime, ...ownPersistent].sort());
  });

  test("finds those of all machines, received ones too, to merge them", () => {
    const merged = FILES.filter((name) => !name.includes(".web") && !name.includes(".db"));
    expect(find({ merge: true })).toEqual(merged.sort());
  });

  test("finds those of namespaces", () => {
    const web = `var/log/journal/${OWN}.web/system.journal`;
    const db = `var/log/journal/${OWN}.db/system.journal`;
    expect(find({ namespace: "web" })).toEqual([web]);
    expect(find({ namespace: "+web" })).toEqual([...runtime, ...ownPersistent, web].sort());
    expect(find({ namespace: "*" })).toEqual([...runtime, ...ownPersistent, web, db].sort());
  });

  test("finds those of the system, of the caller, or both", () => {
    const system = ownPersistent.filter((name) => /\/system[.@]/.test(name));
    const user = ownPersistent.filter((name) => /\/user-1000[.@]/.test(name));
    expect(find({ system: true })).toEqual([...runtime, ...system].sort());
    expect(find({ user: true })).toEqual(user);
    expect(find({ system: true, user: true })).toEqual([...runtime, ...system, ...user].sort());
  });

  test("finds those of a directory, and of machines in it", () => {
    const directory = join(dir.path, "var/log/journal");
    const expected = [...ownPersistent, `var/log/journal/${OTHER}/system.journal`].sort();
    expect(find({ directory })).toEqual(expected);
    expect(find({ directory: join(directory, OWN) })).toEqual(ownPersistent.toSorted());
    const { directories } = openPlaces(placesOf({ directory }), HOST).list();
    expect(directories.sort()).toEqual([directory, join(directory, OWN), join(directory, OTHER)]);
  });

  test("finds files by name and pattern, relative ones too", () => {
    const pattern = join(dir.path, `var/log/journal/*/system.journal`);
    const named = [OWN, OTHER, `${OWN}.web`, `${OWN}.db`, `${OWN}.web.too`, "not-an-id"];
    expect(find({ files: [pattern] })).toEqual(
      named.map((name) => `var/log/journal/${name}/system.journal`).sort(),
    );
    const here = relative(process.cwd(), join(dir.path, `var/log/journal/${OWN}`));
    const places = openPlaces(placesOf({ files: [`./${here}/user-1000*`] }), HOST);
    expect(places.list().files.toSorted()).toEqual(
      ["user-1000.journal", "user-1000@abc.journal", "user-10001.journal"]
        .map((name) => join(here, name))
        .sort(),
    );
    expect(places.list().directories).toEqual([here]);
  });

  test("finds those of a container, by its leader or its root", () => {
    const [leader, image] = [join(dir.path, "proc/42/root"), join(dir.path, "images/web")];
    for (const root of [leader, image]) {
      fs.mkdirSync(join(root, `var/log/journal/${OTHER}`), { recursive: true });
      fs.writeFileSync(join(root, `var/log/journal/${OTHER}/system.journal`), "x");
    }
    dir.write("run/systemd/machines/web", "# private\nNAME=web\nCLASS=container\nLEADER=42\n");
    dir.write("run/systemd/machines/old", 'CLASS=container\nROOT="/images/web"\n');
    dir.write("run/systemd/machines/vm", "CLASS=vm\nLEADER=42\n");
    expect(find({ machine: "web" })).toEqual([
      `proc/42/root/var/log/journal/${OTHER}/system.journal`,
    ]);
    expect(find({ machine: "old" })).toEqual([
      `images/web/var/log/journal/${OTHER}/system.journal`,
    ]);
    expect(find({ machine: ".host" })).toEqual(find({}));
    const cases = [
      ["vm", "it is not a container"],
      ["none", "it does not run"],
      ["../web", "that is no name of a machine"],
    ] as const;
    for (const [machine, problem] of cases) {
      const message = `Cannot read the journal of machine "${machine}": ${problem}`;
      expect(() => find({ machine })).toThrow(message);
    }
  });

  test("refuses a directory or a file that is not there", () => {
    const none = join(dir.path, "none");
    expect(() => find({ directory: none })).toThrow(`Cannot read journals of "${none}": ENOENT`);
    expect(() => find({ files: [none] })).toThrow(`Cannot read journals of "${none}": ENOENT`);
    const file = join(dir.path, FILES[0] ?? "");
    expect(() => find({ directory: file })).toThrow(
      `Cannot read journals of "${file}": it is no directory`,
    );
    expect(find({ files: [join(none, "*.journal")] })).toEqual([]);
  });

  test("finds nothing, and nothing to complain about, where there are no journals yet", () => {
    const root = join(dir.path, "empty");
    expect(openPlaces(placesOf({ merge: true }), { ...HOST, root }).list()).toEqual({
      files: [],
      directories: [],
      problems: [],
    });
  });
});
