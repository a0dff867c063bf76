import { describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { parseCommandLine } from "../../src/cli/options.ts";
import { formatProblem } from "../../src/cli/setting.ts";
import { findUploadProblems, uploadRows } from "../../src/cli/upload-check.ts";
import { ALL_UPLOAD_SETTINGS } from "../../src/cli/upload-options.ts";
import { resolveUploadSettings } from "../../src/cli/upload-settings.ts";
import { TestAuthority } from "../support/openssl-certificates.ts";
import { runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const DAY_MS = 86_400_000;

/** A CA, and a sender's key and certificate. */
class Setup extends TempDir {
  readonly authority = new TestAuthority(this.path);
  readonly sender = this.authority.issue("web1", "DNS:web1.example.net");

  constructor() {
    super();
    chmodSync(this.sender.keyFile, 0o640);
  }

  args(): string[] {
    return [
      "--url=https://logs.example.net",
      `--key=${this.sender.keyFile}`,
      `--cert=${this.sender.certificateFile}`,
      `--trust=${this.authority.files.certificateFile}`,
    ];
  }
}

function setupOf(argv: string[]) {
  const config = { files: [], assignments: [], sections: [], problems: [] };
  // Lenient: the last of two --key= counts.
  const line = parseCommandLine(argv, ALL_UPLOAD_SETTINGS, { lenient: true });
  return resolveUploadSettings(config, line, { environment: {}, isStock: false });
}

function problemsOf(argv: string[], nowMs = Date.now()): string[] {
  return findUploadProblems(setupOf(argv).settings, nowMs).map(formatProblem);
}

describe("findUploadProblems()", () => {
  test("finds nothing wrong with a good set", () => {
    using setup = new Setup();
    const token = setup.write("token", "abc\n");
    chmodSync(token, 0o600);
    const argv = [`--bearer-token-file=${token}`, `--save-state=${setup.path}/new/state`];
    expect(problemsOf([...setup.args(), ...argv, `-D${setup.path}`])).toEqual([]);
    expect(problemsOf(["--url=http://h", "--key=/no/k", "--cert=/no/c"])).toEqual([]);
  });

  test("names each file that is missing", () => {
    const argv = [
      "--url=h",
      "--key=/no/k",
      "--cert=/no/c",
      "--trust=/no/t",
      "-D/no/d",
      "/no/x",
      "-",
    ];
    expect(problemsOf([...argv, "--basic-auth-file=/no/pair"])).toEqual([
      "/no/c: Cannot use it: no such file",
      "/no/k: Cannot use it: no such file",
      "/no/t: Cannot use it: no such file",
      "/no/pair: Cannot use it: no such file",
      "/no/x: Cannot use it: no such file",
      "/no/d: Cannot use it: no such file",
    ]);
    expect(problemsOf(["--url=h", "--key=-", "--cert=-", "--trust=all"])).toEqual([]);
    expect(problemsOf(["--url=h", "--key=-", "--cert=-", "--trust=/no/t"])).toHaveLength(1);
  });

  test("sees a key of another certificate, and certificates out of date", () => {
    using setup = new Setup();
    const other = setup.authority.issue("other", "DNS:other.example.net").keyFile;
    chmodSync(other, 0o600);
    expect(problemsOf([...setup.args(), `--key=${other}`])).toEqual([
      `${other}: The key does not belong to the sender's certificate`,
    ]);
    const late = problemsOf(setup.args(), Date.now() + 3 * DAY_MS);
    expect(late).toHaveLength(2);
    expect(late[0]).toContain('The certificate "CN=web1" expired on ');
    expect(late[1]).toContain('The certificate "CN=ca" expired on ');
  });

  test("sees secrets that are none, or everybody's", () => {
    using dir = new TempDir();
    const empty = dir.write("empty", "\n");
    const pair = dir.write("pair", "user");
    chmodSync(empty, 0o600);
    chmodSync(pair, 0o644);
    expect(problemsOf(["--url=http://h", `--bearer-token-file=${empty}`])).toEqual([
      `${empty}: It is empty`,
    ]);
    expect(problemsOf(["--url=http://h", `--basic-auth-file=${pair}`])).toEqual([
      `${pair}: No USER:PASSWORD here`,
      `${pair}: Everybody can read this, need mode 0640`,
    ]);
  });

  test("sees where state and quarantine cannot be kept", () => {
    using dir = new TempDir();
    const file = dir.write("file", "");
    expect(problemsOf(["--url=http://h", `--save-state=${file}/state`])).toEqual([
      `${file}: Cannot use it: it is not a directory`,
    ]);
    expect(problemsOf(["--url=http://h", `--quarantine=${file}/no/x`])).toEqual([
      `${file}: Cannot use it: it is not a directory`,
    ]);
  });
});

test("uploadRows() has a row for every setting, and what they come to", () => {
  const rows = uploadRows(setupOf(["--url=http://h", "--key=/k", "--cert=/c", "--proxy=no", "-"]));
  expect(rows).toHaveLength(ALL_UPLOAD_SETTINGS.length + 1);
  expect(rows[0]).toEqual(["FILE", "-", "command line"]);
  expect(rows).toContainEqual(["ServerKeyFile=", "none", "command line"]);
  expect(rows).toContainEqual(["Proxy=", "no", "command line"]);
  expect(rows).toContainEqual(["--cursor", "the state file's", "default"]);
});

describe("agent upload --check-config", () => {
  test("prints values with their origin and exits 0 when all is well", async () => {
    using setup = new Setup();
    const file = setup.write("own.conf", "[Upload]\nURL=https://a\nBatchSize=1M\nUnit=ssh\n");
    const env = { SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: file };
    const args = ["upload", "--check-config", ...setup.args(), "--batch-size=2M", "_COMM=sudo"];
    const { status, stdout, stderr } = await runAgent(args, { env });
    expect(stderr).toBe("");
    expect(stdout).toStartWith(`Configuration files, a later one wins:\n  ${file}\n`);
    expect(stdout).toMatch(/^URL= +https:\/\/logs\.example\.net +command line$/m);
    expect(stdout).toMatch(/^BatchSize= +2M +command line$/m);
    expect(stdout).toMatch(new RegExp(`^Unit= +ssh\\.service +${file}:4$`, "m"));
    expect(stdout).toMatch(/^Match= +_COMM=sudo +command line$/m);
    expect(stdout).toMatch(/^NetworkTimeoutSec= +2min +default$/m);
    expect(stdout).toEndWith("\nNo problems found\n");
    expect(status).toBe(0);
  });

  test("prints what is wrong on stdout and exits 78", async () => {
    using dir = new TempDir();
    const file = dir.write("own.conf", "[Upload]\nUrl=https://a\nRetry=never\n");
    const env = { SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: file };
    const args = [
      "upload",
      "--check-config",
      "--cert=/no/c",
      `--directory=${join(dir.path, "no")}`,
    ];
    const { status, stdout, stderr } = await runAgent(args, { env });
    expect(stderr).toBe("");
    expect(stdout.slice(stdout.indexOf("Problems:"))).toBe(
      [
        "Problems:",
        `  ${file}:2: Unknown key "Url" in section [Upload], ignoring`,
        `  ${file}:3: Retry=: Cannot read time span "never": a number and a unit like "30s" or "1month 2d" are needed, ignoring`,
        "  Cannot start: no URL to send to",
        "  Cannot use one of --key= and --cert= alone: they belong together",
        `  ${dir.path}/no: Cannot use it: no such file`,
        "",
      ].join("\n"),
    );
    expect(status).toBe(78);
  });
});
