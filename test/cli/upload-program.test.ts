import { describe, expect, test } from "bun:test";
import { runAgent } from "../support/run-agent.ts";

async function runStock(args: string[]) {
  return await runAgent(args, { program: "systemd-journal-upload" });
}

describe("started as systemd-journal-upload", () => {
  test.each([["--help"], ["-h"]])("%s shows that program's options alone", async (arg) => {
    const { status, stdout, stderr } = await runStock([arg]);
    expect(stdout).toStartWith("Usage: systemd-journal-upload [OPTION]... [FILE|-]...\n");
    const options = [...stdout.matchAll(/^ +(?:-(\w), )?--([a-z-]+)/gm)].map(([, short, name]) =>
      short === undefined ? name : `${short} ${name}`,
    );
    expect(options.sort()).toEqual([
      "D directory",
      "M machine",
      "after-cursor",
      "cert",
      "cursor",
      "file",
      "follow",
      "h help",
      "key",
      "m merge",
      "namespace",
      "save-state",
      "system",
      "trust",
      "u url",
      "user",
      "version",
    ]);
    expect([status, stderr]).toEqual([0, ""]);
  });

  test("--version names it", async () => {
    const { status, stdout } = await runStock(["--version"]);
    expect(stdout).toStartWith("systemd-journal-upload ");
    expect(status).toBe(0);
  });

  test.each([
    [[], "no URL to send to"],
    [["upload"], "no URL to send to"],
    [["--foo"], 'Cannot use "--foo": no such option'],
    [["--check-config"], 'Cannot use "--check-config": no such option'],
    [["--unit=ssh"], 'Cannot use "--unit": no such option'],
    [["--cur"], 'Cannot use "--cur": it needs a value'],
    [["--us=yes"], 'Cannot use "--us": it takes no value'],
    [["--follow=zork"], '--follow: Cannot read boolean "zork"'],
    [["-uh", "--key=/k"], "they belong together"],
    [["-uh", "--namespace=a/b"], '--namespace: Cannot use namespace "a/b"'],
    // A word is a file there, whatever it looks like.
    [["-uh", "-m", "A=1"], 'Cannot use "A=1" with --merge'],
    [["-uftp://h", "--url=http://a", "-u", "ftp://b"], 'Cannot upload to "ftp://b"'],
  ])("%p exits 1, the reason on stderr alone", async (args, message) => {
    const { status, stdout, stderr } = await runStock(args);
    expect(stderr).toContain(message);
    expect([status, stdout]).toEqual([1, ""]);
  });
});
