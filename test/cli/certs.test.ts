import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseBundle } from "../../src/certs/bundle.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";
import { type RunResult, runAgent } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";

const VERBS = [
  "init",
  "issue",
  "bundle",
  "request",
  "sign",
  "accept",
  "token",
  "renew",
  "needs-renewal",
  "revoke",
  "crl",
  "list",
  "inspect",
  "verify",
  "rotate-ca",
];

const certs = (...args: string[]): Promise<RunResult> => runAgent(["certs", ...args]);

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await certs(...args, "--json");
  if (status > 1) throw new Error(`certs ${args.join(" ")}: exit ${status}: ${stderr}`);
  return { status, ...JSON.parse(stdout) };
}

describe("agent certs --help", () => {
  test("lists the verbs, as the root's lists certs", async () => {
    const { status, stdout, stderr } = await certs("--help");
    expect([status, stderr]).toEqual([0, ""]);
    for (const verb of VERBS) expect(stdout).toMatch(new RegExp(`^ {2}${verb} +[A-Z]`, "m"));
    expect(stdout).not.toMatch(/^ {2}answer/m);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(96);
    expect((await runAgent(["--help"])).stdout).toMatch(/^ {2}certs +/m);
  });

  test.each(VERBS)("of %s tells its options", async (verb) => {
    const { status, stdout, stderr } = await certs(verb, "--help");
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toStartWith(`Usage: agent certs ${verb} [OPTION]...`);
    for (const option of ["--directory=DIR", "--json", "--help"]) expect(stdout).toContain(option);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(96);
  });
});

describe("an authority's life", () => {
  const owned = new DisposableStack();
  let dir: TempDir;
  let ca: string;
  let host: string;

  beforeAll(() => {
    dir = owned.use(new TempDir());
    ca = `--directory=${join(dir.path, "ca")}`;
    host = `--directory=${join(dir.path, "host")}`;
  });
  afterAll(() => owned.dispose());
  const path = (file: string): string => join(dir.path, file);

  test("init, twice", async () => {
    expect(await json("init", ca)).toMatchObject({
      outcome: "created",
      issued: 0,
      authority: { name: "systemd-journal-remote-ca", keyType: "p256" },
    });
    expect(await json("init", ca)).toMatchObject({ outcome: "unchanged" });
  });

  test("issue, as Netdata's script is called; again; with other names", async () => {
    const args = [
      "issue",
      "server1",
      "DNS:hostname1",
      "IP:10.0.0.1",
      "plain.example.net",
      "2001:db8::7",
      ca,
    ];
    const names = [
      "DNS:server1",
      "DNS:hostname1",
      "IP:10.0.0.1",
      "DNS:plain.example.net",
      "IP:2001:db8::7",
    ];
    expect(await json(...args)).toMatchObject({
      outcome: "issued",
      name: "server1",
      role: "both",
      names,
      files: [path("ca/server1.pem"), path("ca/server1.key")],
    });
    const again = await certs(...args);
    expect(again.status).toBe(0);
    expect(again.stdout).toStartWith('"server1" has a certificate\n');
    expect(again.stderr).toContain("nothing is changed");
    const other = await certs("issue", "server1", "DNS:hostname2", ca);
    expect([other.status, other.stdout]).toEqual([64, ""]);
    expect(other.stderr).toContain('Cannot issue "server1": its certificate, valid until');
    expect(other.stderr).toContain("--renew");
    expect(
      await json("issue", "server1", "DNS:hostname2", "--renew", "--role=server", "--days=90", ca),
    ).toMatchObject({ outcome: "issued", role: "server", former: { names } });
  });

  test("request, sign, accept", async () => {
    expect(await json("request", "web1", "web1.example.net", host)).toMatchObject({
      request: path("host/web1.csr"),
      isNewKey: true,
    });
    expect(await json("sign", path("host/web1.csr"), "--role=client", ca)).toMatchObject({
      outcome: "issued",
      name: "web1",
      role: "client",
      files: [path("ca/web1.pem")],
    });
    expect(
      await json("accept", path("ca/web1.pem"), `--authority=${path("ca/ca.pem")}`, host),
    ).toMatchObject({ outcome: "accepted", name: "web1" });
    expect(
      await json("verify", path("host/web1.pem"), "--role=client", "--host=web1.example.net", host),
    ).toMatchObject({ status: 0, good: true });
  });

  test("bundle", async () => {
    const server = "--server=https://logs.example.net:19532";
    expect(await json("bundle", "server1", server, ca)).toMatchObject({
      hasKey: true,
      files: [path("ca/server1.bundle"), path("ca/runme-on-server1.sh")],
    });
    const { stdout, stderr } = await certs("bundle", "web1", "--output=-", ca);
    expect(parseBundle(stdout, "-")).toMatchObject({ name: "web1", key: undefined });
    expect(stderr).toContain('The key of "web1" is not here');
  });

  test("renew, needs-renewal, list", async () => {
    expect(await json("renew", "--all", "--expiring", "100d", ca)).toMatchObject({
      renewed: [{ name: "server1" }],
      notDue: ["web1"],
      skipped: [],
    });
    expect(await json("needs-renewal", path("ca/web1.pem"))).toMatchObject({
      status: 1,
      due: false,
    });
    expect(await json("needs-renewal", path("ca/web1.pem"), "--expiring=900d")).toMatchObject({
      status: 0,
      due: true,
    });
    expect(await json("renew", "server1", "--new-key", ca)).toMatchObject({
      renewed: [{ files: [path("ca/server1.pem"), path("ca/server1.key")] }],
    });
    const { certificates } = await json("list", ca);
    const statuses = certificates as { name: string; status: string }[];
    expect(statuses.map(({ name, status }) => `${name} ${status}`)).toEqual([
      "server1 replaced",
      "server1 replaced",
      "web1 valid",
      "server1 replaced",
      "server1 valid",
    ]);
    const { stdout } = await certs("list", "--expiring=100d", ca);
    expect(stdout).toMatch(
      /^NAME +STATUS +ENDS +SERIAL +REVOKED\nserver1 +valid +\d{4}-\d\d-\d\d +[0-9A-F]{32}\n$/,
    );
  });

  test("revoke, crl, verify, inspect", async () => {
    expect(await json("revoke", "web1", "--reason=keyCompromise", ca)).toMatchObject({
      revoked: [{ name: "web1" }],
      already: [],
      crl: path("ca/crl.pem"),
    });
    expect(await json("revoke", "web1", ca)).toMatchObject({
      revoked: [],
      already: [{ name: "web1" }],
    });
    const { nextUpdate } = await json("crl", "--days=10", ca);
    expect(Math.round((Date.parse(String(nextUpdate)) - Date.now()) / DAY_MS)).toBe(10);
    const verify = await certs("verify", path("ca/web1.pem"), ca);
    expect([verify.status, verify.stdout]).toEqual([
      1,
      `${path("ca/web1.pem")}: bad\n  it is revoked\n`,
    ]);
    expect(await json("verify", "--all", ca)).toMatchObject({
      status: 0,
      good: true,
      issued: 5,
      revoked: 1,
    });
    expect(await json("inspect", path("ca/server1.bundle"))).toMatchObject({
      objects: [
        { kind: "certificate", name: "server1" },
        { kind: "private key" },
        { kind: "certificate", isAuthority: true },
        { kind: "list of revoked certificates" },
      ],
    });
  });

  test("rotate-ca, step by step", async () => {
    expect(await json("rotate-ca", ca)).toMatchObject({ stage: "prepared", stillOld: ["server1"] });
    expect(await json("rotate-ca", "--switch", ca)).toMatchObject({
      stage: "switched",
      stillOld: ["server1"],
    });
    const early = await certs("rotate-ca", "--finish", ca);
    expect([early.status, early.stderr]).toEqual([
      64,
      expect.stringContaining("1 hosts have certificates of the old one only: server1"),
    ]);
    await json("renew", "--all", ca);
    const { stdout } = await certs("rotate-ca", "--status", ca);
    expect(stdout).toContain("Certificates of both: the old one may still be in use:\n  server1\n");
    expect(await json("rotate-ca", "--finish", ca)).toMatchObject({
      stage: "none",
      authorities: [{ name: "systemd-journal-remote-ca 2" }],
    });
    expect(await json("verify", "--all", ca)).toMatchObject({ status: 0, faults: [] });
  });
});

describe("bad input", () => {
  const owned = new DisposableStack();
  let ca: CertsAuthority;
  let files: TempDir;

  beforeAll(async () => {
    ca = owned.use(await CertsAuthority.create());
    files = owned.use(new TempDir());
    await ca.issue("web1");
    files.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("empty", "");
  });
  afterAll(() => owned.dispose());

  test.each<[string[], number, string]>([
    [[], 64, "Cannot run: no verb"],
    [["frobnicate"], 64, 'Cannot run "agent certs frobnicate": no such verb'],
    [["issue"], 64, "too few arguments"],
    [["issue", "web2", "--dir=x"], 64, 'Cannot use "--dir": no such option'],
    [["issue", "../web2"], 64, 'Cannot use name "../web2"'],
    [["issue", "a/b"], 64, 'Cannot use name "a/b"'],
    [["issue", "a\u0007b"], 64, 'Cannot use name "a\\u0007b"'],
    [["issue", "x".repeat(100)], 64, "100 characters, need at most 64"],
    [["issue", "ca"], 64, "the authority's own files have this name"],
    [["issue", "web2", "email:a@example.net"], 64, "need DNS:"],
    [
      ["issue", "web2", "--role=king"],
      64,
      '--role: Cannot use "king": need one of server, client, both',
    ],
    [["issue", "web2", "--key-type=dsa"], 64, "need one of p256, rsa2048, rsa3072, rsa4096"],
    [["issue", "web2", "--days=826"], 64, "at most 825"],
    [["issue", "web2", "--days=abc"], 64, '--days: Cannot read count "abc"'],
    [["sign", "EMPTY", "--days=abc"], 64, '--days: Cannot read count "abc"'],
    [["renew", "--all", "--days=abc"], 64, '--days: Cannot read count "abc"'],
    [["issue", "web2", "--days=0"], 64, "at least 1"],
    [["issue", "web2", "--renew", "--force"], 64, '"--renew" is given, too'],
    [["bundle", "web1", "extra"], 64, 'Cannot use "extra"'],
    [["bundle", "web1", "--server=ftp://x"], 64, "Cannot use server"],
    [["bundle", "web9"], 78, 'Cannot bundle "web9"'],
    [["bundle", "web1", "--output=-", "--json"], 64, "the bundle goes to stdout"],
    [["renew"], 64, "give either names or --all"],
    [["renew", "web1", "--all"], 64, "give either names or --all"],
    [["renew", "--all", "--expiring=soon"], 64, "--expiring: Cannot read time span"],
    [["revoke", "web1", "--reason=boredom"], 64, '--reason: Cannot use "boredom"'],
    [["revoke", "web9"], 64, "no certificate has this name or serial number"],
    [["crl", "--days=never"], 64, '--days: Cannot read count "never": a whole number is needed'],
    [["sign", "/no/such.csr"], 74, 'Cannot read "/no/such.csr": no such file'],
    [["sign", "BROKEN"], 78, "Cannot use request"],
    [["sign", "EMPTY"], 78, "Cannot use request"],
    [["accept", "BROKEN"], 78, "Cannot use certificate"],
    [["inspect", "BROKEN"], 78, "it is broken"],
    [["inspect", "EMPTY"], 78, "nothing in PEM form in it"],
    [["inspect", "/etc"], 74, "Cannot read"],
    [["needs-renewal", "BROKEN"], 78, "it is broken"],
    [["needs-renewal", "/no/such.pem"], 74, "no such file"],
    [["verify"], 64, "give either a file or --all"],
    [["verify", "EMPTY"], 78, "no PEM certificate in it"],
    [["rotate-ca", "--switch", "--finish"], 64, '"--switch" is given, too'],
    [["rotate-ca", "--finish"], 64, "Cannot change the authority"],
    [["init", "--name=a/CN=b"], 64, '--name: Cannot use "a/CN=b"'],
    [["init", "--days=100000"], 64, "at most 36500"],
    [["init", "--passphrase-file=/no/such"], 64, "Cannot read passphrase file"],
    [["init", "--passphrase"], 64, "no terminal"],
  ])("%j exits %d", async (args, status, message) => {
    const before = listFiles(ca.directory);
    const names: Record<string, string> = {
      BROKEN: join(files.path, "broken.pem"),
      EMPTY: join(files.path, "empty"),
    };
    const words = args.map((arg) => names[arg] ?? arg);
    const result = await certs(
      ...words,
      ...(args.length === 0 ? [] : [`--directory=${ca.directory}`]),
    );
    expect(result.stderr).toContain(message);
    expect([result.status, result.stdout]).toEqual([status, ""]);
    expect(result.stderr).not.toMatch(/^ +at /m);
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
  });

  test.each([
    "list",
    "issue web2",
    "crl",
    "revoke web1",
    "renew --all",
    "verify --all",
    "rotate-ca",
    "bundle web1",
  ])("%s without an authority exits 78 and makes nothing", async (words) => {
    const { status, stderr, stdout } = await certs(
      ...words.split(" "),
      `--directory=${files.path}/none`,
    );
    expect([status, stdout]).toEqual([78, ""]);
    expect(stderr).toContain("agent certs init --directory=");
    expect(existsSync(`${files.path}/none`)).toBe(false);
  });

  test("a directory that cannot be made exits 74", async () => {
    const { status, stderr } = await certs("init", `--directory=${files.path}/empty/ca`);
    expect(status).toBe(74);
    expect(stderr).toMatch(/^error: Cannot \w+ ".*\/empty\/ca": not a directory/);
  });

  test("a full disk or a lost file is no bug: the error says which", async () => {
    using other = await CertsAuthority.create();
    Bun.spawnSync(["rm", other.path("ca.key")]);
    const { status, stderr } = await certs("issue", "web1", `--directory=${other.directory}`);
    expect([status, stderr]).toEqual([
      78,
      `error: Cannot read the authority's key "${other.path("ca.key")}": no such file\n`,
    ]);
    expect(readdirSync(other.directory)).not.toContain("web1.key");
  });
});

describe("a passphrase", () => {
  test("comes from a file or stdin, and is in no message", async () => {
    using dir = new TempDir();
    const directory = `--directory=${join(dir.path, "ca")}`;
    const file = `--passphrase-file=${dir.write("secret", "correct horse\nmore\n")}`;
    const { stderr } = await certs("init", directory, file);
    expect(stderr).toContain("Others can read the passphrase file");
    expect(stderr).not.toContain("correct horse");
    expect(readFileSync(join(dir.path, "ca/ca.key"), "utf8")).toContain("ENCRYPTED");
    expect((await certs("issue", "web1", directory, file)).status).toBe(0);
    const stdin = await runAgent(["certs", "issue", "web2", directory, "--passphrase-file=-"], {
      stdin: "correct horse\n",
    });
    expect(stdin.status).toBe(0);
    const missing = await certs("issue", "web3", directory);
    expect([missing.status, missing.stderr]).toEqual([
      78,
      expect.stringContaining("--passphrase-file=FILE"),
    ]);
    const wrong = await runAgent(["certs", "issue", "web3", directory, "--passphrase-file=-"], {
      stdin: "wrong\n",
    });
    expect([wrong.status, wrong.stderr]).toEqual([
      78,
      expect.stringContaining("the passphrase is wrong"),
    ]);
    expect((await certs("list", directory)).status).toBe(0);
    const again = await runAgent(["certs", "init", directory, "--passphrase-file=-"], {
      stdin: "correct horse\n",
    });
    expect([again.status, again.stdout]).toEqual([0, expect.stringContaining("There is an auth")]);
    expect((await certs("verify", "--all", directory, file)).status).toBe(0);
    const wrongFile = `--passphrase-file=${dir.write("wrong", "wrong\n")}`;
    const audit = await certs("verify", "--all", directory, wrongFile);
    expect([audit.status, audit.stdout]).toEqual([
      1,
      expect.stringContaining("the passphrase is wrong"),
    ]);
    const prepare = await certs("rotate-ca", directory, file);
    expect(prepare.status).toBe(0);
    expect(readFileSync(join(dir.path, "ca/ca-new.key"), "utf8")).toContain("ENCRYPTED");
  });

  test.skipIf(Bun.which("script") === null)(
    "is asked for on a terminal, twice for a new one, and not shown",
    async () => {
      using dir = new TempDir();
      const directory = `--directory=${join(dir.path, "ca")}`;
      const made = await onTerminal(
        ["certs", "init", "--passphrase", directory],
        ["correct hors\u00fc\u007fX\u007fe", "correct horse"],
      );
      expect(made).toContain("New passphrase for the authority's key: ");
      expect(made).toContain("Once more: ");
      expect(made).not.toContain("horse");
      expect(made).toContain("Made an authority");
      const issued = await onTerminal(["certs", "issue", "web1", directory], ["correct horse"]);
      expect(issued).toContain("Passphrase of the authority's key: ");
      expect(issued).toContain('Issued "web1"');
      expect(issued).not.toContain("horse");
      const differing = await onTerminal(
        ["certs", "init", "--passphrase", `${directory}2`],
        ["one thing", "another"],
      );
      expect(differing).toContain("the second one differs");
      expect(existsSync(join(dir.path, "ca2"))).toBe(false);
    },
  );
});

test("certs leaves umask-proof files", async () => {
  using dir = new TempDir();
  const main = join(import.meta.dir, "../../src/main.ts");
  const command = `umask 000; "${process.execPath}" "${main}" certs init -d "${dir.path}/ca"; umask 777; "${process.execPath}" "${main}" certs issue web1 -d "${dir.path}/ca"`;
  expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
  const modeOf = (file: string) => (statSync(join(dir.path, "ca", file)).mode & 0o777).toString(8);
  expect(["ca.key", "ca.pem", "serial", "web1.pem", "web1.key", "."].map(modeOf)).toEqual([
    "600",
    "644",
    "600",
    "644",
    "600",
    "755",
  ]);
});

/** @param answers typed one after the other, each when a question has come. @returns all that the terminal shows */
async function onTerminal(args: string[], answers: readonly string[]): Promise<string> {
  const main = join(import.meta.dir, "../../src/main.ts");
  const command = [process.execPath, main, ...args].map((word) => `'${word}'`).join(" ");
  const child = Bun.spawn(
    ["script", "--quiet", "--flush", "--echo=never", "--command", command, "/dev/null"],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  let shown = "";
  let questions = 0;
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    shown += decoder.decode(chunk, { stream: true });
    const asked = shown.match(/(?:key|more): /g)?.length ?? 0;
    for (; questions < asked; questions++) {
      // The terminal is switched to raw mode after the question.
      await Bun.sleep(100);
      child.stdin.write(`${answers[questions] ?? ""}\r`);
      child.stdin.flush();
    }
  }
  await child.exited;
  return shown;
}
