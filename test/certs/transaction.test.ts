import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  asFileError,
  commitChange,
  isChangePending,
  recoverChange,
} from "../../src/certs/transaction.ts";
import { AgentError } from "../../src/errors.ts";
import { TempDir } from "../support/temp-dir.ts";

const LINE = "V\tthe new line\n";

describe("a change", () => {
  let dir: TempDir;

  beforeEach(() => {
    dir = new TempDir();
    dir.write("index", "old line\n");
    dir.write("a.pem", "old a");
    dir.write("gone", "x");
  });
  afterEach(() => dir[Symbol.dispose]());

  const text = (name: string): string => readFileSync(join(dir.path, name), "utf8");
  const files = (): string[] => readdirSync(dir.path).sort();

  const expectDone = (): void => {
    expect(text("index")).toBe(`old line\n${LINE}`);
    expect(text("a.key")).toBe("new key");
    expect(text("a.pem")).toBe("new a");
    expect(files()).toEqual(["a.key", "a.pem", "index"]);
  };
  const expectUndone = (): void => {
    expect(text("index")).toBe("old line\n");
    expect(text("a.pem")).toBe("old a");
    expect(files()).toEqual(["a.pem", "gone", "index"]);
  };

  test("replaces, appends and removes, with the access asked for", () => {
    commitChange(dir.path, {
      append: { file: "index", text: LINE },
      replace: [
        { name: "a.key", data: "new key", mode: 0o600 },
        { name: "a.pem", data: Buffer.from("new a"), mode: 0o644 },
      ],
      remove: ["gone"],
    });
    expectDone();
    expect(statSync(join(dir.path, "a.key")).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir.path, "a.pem")).mode & 0o777).toBe(0o644);
    expect(isChangePending(dir.path)).toBe(false);
  });

  test("that cannot be prepared changes nothing", () => {
    const change = { replace: [{ name: "no/such/a.pem", data: "", mode: 0o600 }] };
    expect(() => commitChange(dir.path, change)).toThrow("ENOENT");
    expectUndone();
  });

  /** As a run leaves it that is killed after the commit, but for what `interrupt` has done since. */
  const leavePending = (isCommitted: boolean, interrupt: () => void): void => {
    mkdirSync(join(dir.path, ".pending"), { mode: 0o700 });
    dir.write(".pending/a.key", "new key");
    dir.write(".pending/a.pem", "new a");
    const manifest = {
      append: { file: "index", sizeBefore: "old line\n".length, text: LINE },
      replace: ["a.key", "a.pem"],
      remove: ["gone"],
    };
    dir.write(isCommitted ? ".pending/commit" : ".pending/commit.tmp", JSON.stringify(manifest));
    interrupt();
  };
  const appendPart = (length: number): void => {
    writeFileSync(join(dir.path, "index"), `old line\n${LINE.slice(0, length)}`);
  };
  const publish = (name: string): void => {
    const data = text(`.pending/${name}`);
    dir.write(name, data);
    Bun.spawnSync(["rm", join(dir.path, ".pending", name)]);
  };

  test("interrupted before its commit is taken back", () => {
    leavePending(false, () => undefined);
    expect(isChangePending(dir.path)).toBe(true);
    expect(recoverChange(dir.path)).toBe("undone");
    expectUndone();
    expect(recoverChange(dir.path)).toBeUndefined();
  });

  test("interrupted before its first step or after its last there is nothing to say", () => {
    mkdirSync(join(dir.path, ".pending"), { mode: 0o700 });
    expect(recoverChange(dir.path)).toBeUndefined();
    expect(isChangePending(dir.path)).toBe(false);
    expectUndone();
  });

  test.each<[string, () => void]>([
    ["right after its commit", () => undefined],
    ["within the line it appends", () => appendPart(5)],
    ["after the line", () => appendPart(LINE.length)],
    [
      "after the first file",
      () => {
        appendPart(LINE.length);
        publish("a.key");
      },
    ],
    [
      "after the last file",
      () => {
        appendPart(LINE.length);
        publish("a.key");
        publish("a.pem");
      },
    ],
  ])("interrupted %s is completed, however often that is interrupted", (_when, interrupt) => {
    leavePending(true, interrupt);
    expect(recoverChange(dir.path)).toBe("completed");
    expectDone();
    expect(recoverChange(dir.path)).toBeUndefined();
  });

  test("a file that grows is made if it is not there", () => {
    commitChange(dir.path, { append: { file: "new-index", text: LINE }, replace: [] });
    expect(text("new-index")).toBe(LINE);
  });

  test.skipIf(process.getuid?.() !== 0)("what somebody else has put there is not obeyed", () => {
    leavePending(true, () => Bun.spawnSync(["chown", "12:34", join(dir.path, ".pending")]));
    expect(() => recoverChange(dir.path)).toThrow("somebody else made it");
    expect(text("a.pem")).toBe("old a");
  });
});

test("asFileError() makes errors of the file system ones for users, and leaves others", () => {
  const thrown = (call: () => unknown): unknown => {
    try {
      return call();
    } catch (error) {
      return error;
    }
  };
  const error = asFileError(thrown(() => readFileSync("/no/such/file")));
  expect(error).toBeInstanceOf(AgentError);
  expect(error).toMatchObject({
    code: "E_IO",
    message: 'Cannot open "/no/such/file": no such file or directory',
  });
  const own = new AgentError("E_CERT", "x");
  expect(asFileError(own)).toBe(own);
  const bug = new RangeError("x");
  expect(asFileError(bug)).toBe(bug);
});
