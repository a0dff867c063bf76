import { describe, expect, test } from "bun:test";
import { runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

async function runRemote(args: string[]) {
  return await runAgent(args, { program: "systemd-journal-remote" });
}

describe("started as systemd-journal-remote", () => {
  test.each([["--help"], ["-h"]])("%s shows that program's options alone", async (arg) => {
    const { status, stdout, stderr } = await runRemote([arg]);
    expect(stdout).toStartWith("Usage: systemd-journal-remote [OPTION]... {FILE|-}...\n");
    const options = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)/gm)].map((match) => match[1]);
    expect(options.sort()).toEqual([
      "cert",
      "compress",
      "getter",
      "gnutls-log",
      "help",
      "keep-free",
      "key",
      "listen-http",
      "listen-https",
      "listen-raw",
      "max-file-size",
      "max-files",
      "max-use",
      "output",
      "seal",
      "split-mode",
      "trust",
      "url",
      "version",
    ]);
    expect([status, stderr]).toEqual([0, ""]);
  });

  test("--version names it", async () => {
    const { status, stdout } = await runRemote(["--version"]);
    expect(stdout).toStartWith("systemd-journal-remote ");
    expect(status).toBe(0);
  });

  test.each([
    [[], "zero sources specified"],
    [["serve"], "without --output="],
    [["--foo"], 'Cannot use "--foo": no such option'],
    [["--check-config"], 'Cannot use "--check-config": no such option'],
    [["--listen=0"], "it could be"],
    [["--output"], "it needs a value"],
    [["--compress=zork"], '--compress: Cannot read boolean "zork"'],
    [["--split-mode=zork"], '--split-mode: Cannot use split mode "zork"'],
    [["-", "-o", "x"], 'has to end in ".journal"'],
    [["-", "--listen-raw=1"], "Cannot use file input or --getter= with"],
  ])("%p exits 1, the reason on stderr alone", async (args, message) => {
    using dir = new TempDir();
    const output = args.includes("-o") || args.includes("serve") ? [] : [`--outp=${dir.path}`];
    const { status, stdout, stderr } = await runRemote([...output, ...args]);
    expect(stderr).toContain(message);
    expect([status, stdout]).toEqual([1, ""]);
  });

  test("accepts --gnutls-log= and --seal with a warning, and the last of two values", async () => {
    using dir = new TempDir();
    const args = ["--gnutls-log=all", "--gnutls-log=hsk", "--seal", "-o/no/where", `-o${dir.path}`];
    const { status, stderr } = await runRemote([...args, "--trust=-", "--compress"]);
    expect(stderr).toContain("--gnutls-log= has no effect");
    expect(stderr).toContain("Sealing is not supported");
    expect(stderr).toContain("zero sources specified");
    expect(stderr).not.toContain("/no/where");
    expect(status).toBe(1);
  });
});
