import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseCommandLine } from "../../src/cli/options.ts";
import { findServeProblems } from "../../src/cli/serve-check.ts";
import { ALL_SERVE_SETTINGS } from "../../src/cli/serve-options.ts";
import { resolveServeSettings } from "../../src/cli/serve-settings.ts";
import { formatProblem } from "../../src/cli/setting.ts";
import { TestAuthority } from "../support/openssl-certificates.ts";
import { runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const DAY_MS = 86_400_000;

/** A CA, a server's key and certificate, and an output directory. */
class Setup extends TempDir {
  readonly authority = new TestAuthority(this.path);
  readonly server = this.authority.issue("server", "DNS:server.example.net");
  readonly output = join(this.path, "out");

  constructor() {
    super();
    mkdirSync(this.output);
    chmodSync(this.server.keyFile, 0o640);
  }

  args(): string[] {
    return [
      `--key=${this.server.keyFile}`,
      `--cert=${this.server.certificateFile}`,
      `--trust=${this.authority.files.certificateFile}`,
      `--output=${this.output}`,
    ];
  }

  makeRevocationList(): string {
    const path = join(this.path, "crl.pem");
    const config = this.write(
      "ca.conf",
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${this.write("index", "")}\ndefault_md=sha256\n`,
    );
    const { keyFile, certificateFile } = this.authority.files;
    const command = ["ca", "-gencrl", "-config", config, "-crldays", "2", "-out", path];
    const { status, stderr } = spawnSync(
      "openssl",
      [...command, "-keyfile", keyFile, "-cert", certificateFile],
      { encoding: "utf8" },
    );
    if (status !== 0) throw new Error(stderr);
    return path;
  }
}

function problemsOf(argv: string[], nowMs = Date.now()): string[] {
  const config = { files: [], assignments: [], sections: [], problems: [] };
  const line = parseCommandLine(argv, ALL_SERVE_SETTINGS, { lenient: true });
  const { settings } = resolveServeSettings(config, line, {});
  return findServeProblems(settings, nowMs).map(formatProblem);
}

describe("findServeProblems()", () => {
  test("finds nothing wrong with a good set, PEM and DER lists", () => {
    using setup = new Setup();
    const crl = setup.makeRevocationList();
    const der = join(setup.path, "crl.der");
    spawnSync("openssl", ["crl", "-in", crl, "-outform", "DER", "-out", der]);
    expect(problemsOf([...setup.args(), `--crl=${crl}`, `--crl=${der}`])).toEqual([]);
  });

  test("names each file that is missing", () => {
    const argv = ["--key=/no/k", "--cert=/no/c", "--trust=/no/t", "--crl=/no/crl"];
    expect(problemsOf(argv)).toEqual([
      "/no/c: Cannot use it: no such file",
      "/no/k: Cannot use it: no such file",
      "/no/t: Cannot use it: no such file",
      "/no/crl: Cannot use it: no such file",
    ]);
    expect(problemsOf([...argv, "--listen-raw=1"])).toEqual([]);
    expect(problemsOf([...argv, "--listen-raw=1", "--listen-https=2"])).toHaveLength(4);
    expect(problemsOf([...argv, "--trust=all"])).toHaveLength(3);
  });

  test("sees a key of another certificate, and one that everybody can read", () => {
    using setup = new Setup();
    const other = setup.authority.issue("other", "DNS:other.example.net").keyFile;
    chmodSync(other, 0o644);
    expect(problemsOf([...setup.args(), `--key=${other}`])).toEqual([
      `${other}: Everybody can read this private key, need mode 0640`,
      `${other}: The key does not belong to the server's certificate`,
    ]);
  });

  test("sees certificates and lists that are out of date", () => {
    using setup = new Setup();
    const argv = [...setup.args(), `--crl=${setup.makeRevocationList()}`];
    const late = problemsOf(argv, Date.now() + 3 * DAY_MS);
    expect(late).toHaveLength(3);
    expect(late[0]).toContain('The certificate "CN=server" expired on ');
    expect(late[1]).toContain('The certificate "CN=ca" expired on ');
    expect(late[2]).toContain("The list is out of date, the next was due on 2");
    const early = problemsOf(argv, Date.now() - DAY_MS);
    expect(early).toHaveLength(2);
    expect(early[0]).toContain('The certificate "CN=server" is valid from ');
  });

  test("sees files with something else in them", () => {
    using setup = new Setup();
    const junk = setup.write("junk", "junk");
    expect(problemsOf([...setup.args(), `--cert=${junk}`])).toEqual([
      `${junk}: No certificate in PEM form here`,
    ]);
    expect(problemsOf([...setup.args(), `--trust=${junk}`])).toHaveLength(1);
    for (const name of ["key", "crl"]) {
      const [problem, ...more] = problemsOf([...setup.args(), `--${name}=${junk}`]);
      expect(problem).toStartWith(`${junk}: Cannot use it: `);
      expect(more).toEqual([]);
    }
  });
});

describe("agent serve --check-config", () => {
  test("prints values with their origin and exits 0 when all is well", async () => {
    using setup = new Setup();
    const file = setup.write("own.conf", "[Remote]\nMaxUse=3G\n\nMaxFiles=7\n");
    const env = { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: file };
    const args = ["serve", "--check-config", ...setup.args(), "--max-files=9"];
    const { status, stdout, stderr } = await runAgent(args, { env });
    expect(stderr).toBe("");
    expect(stdout).toStartWith(`Configuration files, a later one wins:\n  ${file}\n`);
    expect(stdout).toMatch(new RegExp(`^MaxUse= +3G +${file}:2$`, "m"));
    expect(stdout).toMatch(/^MaxFiles= +9 +command line$/m);
    expect(stdout).toMatch(/^MaxConnections= +16384 +default$/m);
    expect(stdout).toMatch(/^SplitMode= +host +default$/m);
    expect(stdout).toEndWith("\nNo problems found\n");
    expect(status).toBe(0);
  });

  test("prints what is wrong on stdout and exits 78", async () => {
    using setup = new Setup();
    const file = setup.write("own.conf", "[Remote]\nMaxUze=3G\nMaxFiles=many\n");
    const env = { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: file, SYSTEMD_JOURNAL_COMPACT: "maybe" };
    const args = ["serve", "--check-config", ...setup.args().slice(0, 3), "-o", "/no/where"];
    const { status, stdout, stderr } = await runAgent(args, { env });
    expect(stderr).toBe("");
    expect(stdout.slice(stdout.indexOf("Problems:"))).toBe(
      [
        "Problems:",
        `  ${file}:2: Unknown key "MaxUze" in section [Remote], ignoring`,
        `  ${file}:3: MaxFiles=: Cannot read count "many": a whole number is needed, ignoring`,
        '  SYSTEMD_JOURNAL_COMPACT: Cannot use "maybe": a boolean is needed, ignoring',
        '  Cannot write to "/no/where": no such directory, need one to split by host',
        "",
      ].join("\n"),
    );
    expect(status).toBe(78);
  });
});
