/** install.sh in every shell, with a stand-in for the program: it is only hashed and started. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { CertsAuthority } from "../support/certs.ts";
import { ReleaseServer } from "../support/release-server.ts";
import { type RunResult, run } from "../support/run-agent.ts";
import { httpAnswer, ScriptedHttps } from "../support/scripted-https.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const INSTALL_SH = join(import.meta.dir, "../../install.sh");
const SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]];
/** All that install.sh uses, besides uname and one of curl and wget. */
const COMMANDS = ["chmod", "cp", "grep", "mktemp", "rm", "sed", "sha256sum"];
const FETCHERS = ["curl", "wget", "busybox"];
const X64 = "agent-linux-x64";
const BASELINE = "agent-linux-x64-baseline";
const ARM64 = "agent-linux-arm64";
const HERE = /^flags.* avx2( |$)/m.test(readFileSync("/proc/cpuinfo", "latin1")) ? X64 : BASELINE;
const NEWEST = "1.10.0";
const OLDER = "1.9.1";

/** Keeps what it was started with and from where, and puts itself where an installed one is. */
const STAND_IN = `#!/bin/sh
PATH=/usr/bin:/bin
printf '<%s>\\n' "$@" >"$RECORD/arguments"
echo "$0" >"$RECORD/path"
tail -n 1 "$0" >"$RECORD/build"
cat >"$RECORD/stdin"
[ "$0" -ef "$RECORD/prefix/bin/agent" ] || cp "$0" "$RECORD/prefix/bin/agent"
exit "$STATUS"
# `;

const MOUNT = ["unshare", "--mount", "sh", "-c"];
const BIND = [...MOUNT, 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "bind"];
const NOEXEC = [...MOUNT, 'mount -t tmpfs -o noexec tmpfs "$1" && shift && exec "$@"', "noexec"];
const NO_NETWORK = ["unshare", "--net"];
const mayUnshare = Bun.spawnSync(["unshare", "--mount", "--net", "true"]).success;
const PIPED = ["sh", "-c", '/bin/cat "$1" | { shift && "$@"; }', "piped", INSTALL_SH];

interface How {
  /** Commands that start the shell, and are found in the PATH of the tests. */
  within?: string[];
  /** The arguments of the shell that come before those of the script. */
  script?: string[];
  env?: Record<string, string>;
  stdin?: string;
}

/** A server with two releases, and a machine with nothing but what install.sh needs. */
class Rig implements AsyncDisposable {
  readonly #dir = new TempDir();
  readonly #shell: string[];
  readonly releases = join(this.#dir.path, "releases");
  readonly temporary = join(this.#dir.path, "tmp");
  readonly prefix = join(this.#dir.path, "prefix");
  readonly searchPath = join(this.#dir.path, "bin");
  readonly server = new ReleaseServer(this.#dir.path);
  readonly baseUrl = `${this.server.url}/releases`;

  constructor(shell: string[] = ["dash"]) {
    this.#shell = shell;
    for (const path of [this.temporary, join(this.prefix, "bin"), this.searchPath]) {
      mkdirSync(path, { recursive: true });
    }
    for (const version of [OLDER, NEWEST]) this.#release(version);
    this.write("releases/latest", `${NEWEST}\n`);
    for (const name of COMMANDS) this.link(name);
    this.link("curl");
    this.pretend("Linux", "x86_64");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.#dir[Symbol.dispose]();
  }

  write(name: string, content: string): string {
    return this.#dir.write(name, content);
  }

  /** Puts a command of this machine into the PATH. */
  link(name: string, target = name): void {
    symlinkSync(Bun.which(target) ?? target, join(this.searchPath, name));
  }

  unlink(name: string): void {
    rmSync(join(this.searchPath, name));
  }

  /** What uname says. */
  pretend(system: string, machine: string): void {
    const text = `#!/bin/sh\ncase $1 in -s) echo ${system} ;; -m) echo ${machine} ;; esac\n`;
    chmodSync(this.write("bin/uname", text), 0o755);
  }

  command(args: string[], { within = [], script = [INSTALL_SH] }: How = {}): string[] {
    const [name = "", ...options] = this.#shell;
    return [...within, Bun.which(name) ?? name, ...options, ...script, ...args];
  }

  environment(env: Record<string, string> = {}): Record<string, string> {
    return {
      PATH: this.searchPath,
      TMPDIR: this.temporary,
      AGENT_BASE_URL: this.baseUrl,
      RECORD: this.#dir.path,
      STATUS: "0",
      ...env,
    };
  }

  /** Runs install.sh; fails when it leaves its directory. */
  async run(args: string[] = [], how: How = {}): Promise<RunResult> {
    for (const name of ["arguments", "path", "build", "stdin"]) {
      rmSync(join(this.#dir.path, name), { force: true });
    }
    const [program = "", ...rest] = this.command(args, how);
    const result = await run([Bun.which(program) ?? program, ...rest], {
      env: this.environment(how.env),
      ...(how.stdin === undefined ? {} : { stdin: how.stdin }),
    });
    expect(readdirSync(this.temporary)).toEqual([]);
    const path = this.read("path").trim();
    if (path !== join(this.prefix, "bin/agent")) expect(existsSync(path)).toBe(false);
    return result;
  }

  /** @returns "" when there is none. */
  read(name: string): string {
    const path = join(this.#dir.path, name);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** The build that ran, like "agent-linux-x64 1.10.0"; "" = none did. */
  get build(): string {
    return this.read("build").replace("# ", "").trim();
  }

  /** Paths below the base URL, in the order they were asked for. */
  get requests(): string[] {
    return this.server.requests.map((path) => path.replace(/^.*\/releases\//, ""));
  }

  #release(version: string): void {
    const sums = [X64, BASELINE, ARM64].map((name) => {
      const text = `${STAND_IN}${name} ${version}\n`;
      this.write(`releases/v${version}/${name}`, text);
      return `${createHash("sha256").update(text).digest("hex")}  ${name}\n`;
    });
    this.write(`releases/v${version}/SHA256SUMS`, sums.join(""));
  }
}

const agent = useAgentBinary();

for (const shell of SHELLS) {
  describe.skipIf(isMissing(shell[0]))(shell.join(" "), () => testsIn(shell));
}
for (const fetcher of FETCHERS) {
  describe.skipIf(isMissing(fetcher))(`with ${fetcher}`, () => testsWith(fetcher));
}

test("the real program is run", async () => {
  await using rig = new Rig();
  const hash = createHash("sha256").update(readFileSync(agent.path)).digest("hex");
  rig.write("releases/v2/SHA256SUMS", `${hash}  ${HERE}\n`);
  symlinkSync(agent.path, join(rig.releases, "v2", HERE));
  const { status, stdout } = await rig.run(["--help"], { env: { AGENT_VERSION: "2" } });
  expect(stdout).toContain("agent install");
  expect(status).toBe(0);
});

function testsIn(shell: string[]): void {
  test("the newest version for this machine installs itself", async () => {
    await using rig = new Rig(shell);
    const result = await rig.run(["--role=client"]);
    expect(result).toEqual({
      status: 0,
      stdout: "",
      stderr: `install.sh: Taking "${rig.baseUrl}/v${NEWEST}/${HERE}"\n`,
    });
    expect(rig.requests).toEqual(["latest", `v${NEWEST}/SHA256SUMS`, `v${NEWEST}/${HERE}`]);
    expect(rig.build).toBe(`${HERE} ${NEWEST}`);
    expect(rig.read("arguments")).toBe("<install>\n<--role=client>\n");
  });

  test.each([OLDER, `v${OLDER}`])("AGENT_VERSION=%s is that version", async (version) => {
    await using rig = new Rig(shell);
    const env = { AGENT_VERSION: version, AGENT_BASE_URL: `${rig.baseUrl}/` };
    expect((await rig.run([], { env })).status).toBe(0);
    expect(rig.requests).toEqual([`v${OLDER}/SHA256SUMS`, `v${OLDER}/${HERE}`]);
    expect(rig.build).toBe(`${HERE} ${OLDER}`);
  });

  test("arguments go on as they are, but for --offline", async () => {
    await using rig = new Rig(shell);
    const args = ["a b", "", "it's", '"q"', "$HOME", "*", "back\\slash", "two\nlines\n", "-", "--"];
    const given = ["--name", ...args, "--offline", join(rig.releases, `v${OLDER}`), "last"];
    expect((await rig.run(given)).status).toBe(0);
    const expected = ["install", "--name", ...args, "last"];
    expect(rig.read("arguments")).toBe(expected.map((text) => `<${text}>\n`).join(""));
  });

  test("its exit status is that of agent install, its stdin goes there", async () => {
    await using rig = new Rig(shell);
    const how = { stdin: "the token\n", env: { STATUS: "69" } };
    expect((await rig.run(["--token", "-"], how)).status).toBe(69);
    expect(rig.read("stdin")).toBe("the token\n");
  });

  test("from a pipe it runs like from a file", async () => {
    await using rig = new Rig(shell);
    const how = { within: PIPED, script: ["-s", "--"], env: { STATUS: "3" } };
    expect((await rig.run(["--role=client", "a b"], how)).status).toBe(3);
    expect(rig.build).toBe(`${HERE} ${NEWEST}`);
    expect(rig.read("arguments")).toBe("<install>\n<--role=client>\n<a b>\n");
    expect(rig.read("stdin")).toBe("");
  });

  test("cut off anywhere it runs nothing, and fails", async () => {
    await using rig = new Rig(shell);
    const text = readFileSync(INSTALL_SH, "utf8");
    const started = text.indexOf("\n{ #") + 2;
    const end = text.trimEnd().length;
    expect(started).toBeGreaterThan(2);
    chmodSync(rig.write("bin/uname", '#!/bin/sh\necho ran >"$RECORD/ran"\n'), 0o755);
    const wrong: string[] = [];
    for (const length of cutsOf(text, started, end)) {
      const cut = rig.write("cut.sh", text.slice(0, length));
      const command = rig.command([], { script: [cut] });
      const { exitCode } = Bun.spawnSync(command, { env: rig.environment() });
      if (exitCode === 0 || rig.read("ran") !== "") wrong.push(text.slice(0, length).slice(-40));
    }
    expect(wrong).toEqual([]);
    const whole = rig.command([], { script: [rig.write("cut.sh", text.slice(0, end))] });
    Bun.spawnSync(whole, { env: rig.environment() });
    expect(rig.read("ran")).toBe("ran\n");
  }, 60_000);

  test("what is installed already is not fetched again", async () => {
    await using rig = new Rig(shell);
    const place = [["--prefix", rig.prefix], [`--prefix=${rig.prefix}`]];
    expect((await rig.run(place[0])).status).toBe(0);
    for (const args of place) {
      rig.server.requests.length = 0;
      const { status, stderr } = await rig.run(args);
      expect(status).toBe(0);
      expect(stderr).toBe(`install.sh: "${rig.prefix}/bin/agent" is this version already\n`);
      expect(rig.requests).toEqual(["latest", `v${NEWEST}/SHA256SUMS`]);
      expect(rig.read("path")).toBe(`${rig.prefix}/bin/agent\n`);
    }
    await rig.run([`--prefix=${rig.prefix}`], { env: { AGENT_VERSION: OLDER } });
    expect(rig.build).toBe(`${HERE} ${OLDER}`);
  });

  test("a wrong checksum: nothing is run", async () => {
    await using rig = new Rig(shell);
    appendFileSync(join(rig.releases, `v${NEWEST}`, HERE), "# more\n");
    const { status, stderr } = await rig.run();
    expect(stderr).toContain(`${HERE}" is not what its SHA256SUMS says, nothing of it was run\n`);
    expect([status, rig.build]).toEqual([1, ""]);
  });

  test.each([
    ["armv7l", "Linux"],
    ["riscv64", "Linux"],
    ["aarch64", "Darwin"],
  ])("on %s with %s nothing is fetched", async (machine, system) => {
    await using rig = new Rig(shell);
    rig.pretend(system, machine);
    const { status, stderr } = await rig.run();
    expect(stderr).toBe(
      `install.sh: Cannot install: this machine is ${system}/${machine}, need Linux/x86_64 or Linux/aarch64\n`,
    );
    expect([status, rig.build, rig.requests]).toEqual([1, "", []]);
  });

  test("aarch64 has a build", async () => {
    await using rig = new Rig(shell);
    rig.pretend("Linux", "aarch64");
    expect((await rig.run()).status).toBe(0);
    expect(rig.build).toBe(`${ARM64} ${NEWEST}`);
  });

  test.skipIf(!mayUnshare).each([
    ["flags\t\t: fpu sse4_2 avx avx2 bmi2\n", X64],
    ["flags\t\t: fpu sse4_2 avx bmi2\n", BASELINE],
    ["flags\t\t: fpu avx512_avx2x xavx2\n", BASELINE],
  ])("for a processor with %j it is %s", async (flags, build) => {
    await using rig = new Rig(shell);
    const within = [...BIND, rig.write("cpuinfo", flags), "/proc/cpuinfo"];
    expect((await rig.run([], { within, env: searching(rig) })).status).toBe(0);
    expect(rig.build).toBe(`${build} ${NEWEST}`);
  });

  test.skipIf(!mayUnshare)("where TMPDIR is noexec it runs from elsewhere", async () => {
    await using rig = new Rig(shell);
    const within = [...NOEXEC, rig.temporary];
    expect((await rig.run([], { within, env: searching(rig) })).status).toBe(0);
    expect(rig.build).toBe(`${HERE} ${NEWEST}`);
    expect(rig.read("path")).toMatch(/^\/(var\/tmp|root)\/journal-agent\.\w{6}\//);
  });

  describe("--offline", () => {
    test.skipIf(!mayUnshare)("needs no network and nothing that fetches", async () => {
      await using rig = new Rig(shell);
      rig.unlink("curl");
      const release = join(rig.releases, `v${OLDER}`);
      const args = [`--offline=${release}`, "--role=server"];
      const env = { ...searching(rig), AGENT_BASE_URL: "" };
      expect((await rig.run(args, { within: NO_NETWORK, env })).status).toBe(0);
      expect(rig.build).toBe(`${HERE} ${OLDER}`);
      expect(rig.read("arguments")).toBe("<install>\n<--role=server>\n");
    });

    test("from a damaged copy nothing is run", async () => {
      await using rig = new Rig(shell);
      const release = join(rig.releases, `v${OLDER}`);
      renameSync(join(release, ARM64), join(release, HERE));
      const { status, stderr } = await rig.run(["--offline", release]);
      expect(stderr).toContain("is not what its SHA256SUMS says");
      expect([status, rig.build, rig.requests]).toEqual([1, "", []]);
    });

    test.each([
      [["--offline"], "--offline= is empty, need a directory"],
      [["--offline="], "--offline= is empty, need a directory"],
      [["--offline", "", "--role=client"], "--offline= is empty, need a directory"],
      [["--offline", "/nowhere"], 'there is no SHA256SUMS in "/nowhere"'],
    ])("%j is refused", async (args, problem) => {
      await using rig = new Rig(shell);
      const { status, stderr } = await rig.run(args);
      expect(stderr).toContain(`install.sh: Cannot install: ${problem}\n`);
      expect([status, rig.build, rig.requests]).toEqual([1, "", []]);
    });
  });

  test.each([
    ["no address", { AGENT_BASE_URL: "" }, "AGENT_BASE_URL is not set"],
    ["no such version", { AGENT_VERSION: "7.7.7" }, "cannot fetch"],
    ["no version", { AGENT_VERSION: "../1.9.1" }, '"../1.9.1" is no version'],
    ["nobody who answers", { AGENT_BASE_URL: "http://127.0.0.1:1" }, "cannot fetch"],
  ])("with %s it says so", async (__, env, problem) => {
    await using rig = new Rig(shell);
    const { status, stderr } = await rig.run([], { env });
    expect(stderr).toContain(`install.sh: Cannot install: ${problem}`);
    expect([status, rig.build]).toEqual([1, ""]);
  });

  test.each([
    ["latest is a page", "latest", "<html>\n", "is no version, need one like 1.2.3"],
    ["latest is empty", "latest", "", "is no version"],
    ["the build is not in SHA256SUMS", `v${NEWEST}/SHA256SUMS`, "x  y\n", "does not name agent-"],
  ])("when %s it says so", async (__, name, text, problem) => {
    await using rig = new Rig(shell);
    rig.write(`releases/${name}`, text);
    const { status, stderr } = await rig.run();
    expect(stderr).toContain(problem);
    expect([status, rig.build]).toEqual([1, ""]);
  });

  test.each(["curl", "sha256sum"])("without %s it says what is missing", async (name) => {
    await using rig = new Rig(shell);
    rig.unlink(name);
    const { status, stderr } = await rig.run();
    expect(stderr).toStartWith("install.sh: Cannot install: there is n");
    expect(stderr).toContain(name);
    expect(stderr).not.toContain("not found");
    expect([status, rig.build, rig.requests]).toEqual([1, "", []]);
  });

  test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)(
    "%s leaves nothing behind",
    async (signal) => {
      await using rig = new Rig(shell);
      rig.server.heldFile = HERE;
      // In a process group of its own, as on a terminal.
      const child = Bun.spawn(rig.command([]), {
        env: rig.environment(),
        stdio: ["ignore", "ignore", "ignore"],
        detached: true,
      });
      await until(() => rig.server.requests.length === 3);
      expect(readdirSync(rig.temporary)).toHaveLength(1);
      process.kill(-child.pid, signal);
      expect(await child.exited).toBe(128 + constants.signals[signal]);
      expect(readdirSync(rig.temporary)).toEqual([]);
      expect(rig.build).toBe("");
    },
  );
}

test.skipIf(isMissing("curl"))("from https: it is not led to plain http:", async () => {
  await using rig = new Rig();
  using ca = await CertsAuthority.create();
  await ca.issue("releases", { names: ["localhost"], role: "server" });
  const identity = { key: ca.text("releases.key"), cert: ca.text("releases.pem") };
  const elsewhere = `Location: ${rig.baseUrl}/latest\r\nConnection: close\r\n`;
  using server = await ScriptedHttps.start(identity, () => httpAnswer(301, "", elsewhere));
  const env = { AGENT_BASE_URL: server.url, CURL_CA_BUNDLE: ca.path("ca.pem") };
  const { status, stderr } = await rig.run([], { env });
  expect(stderr).toContain(`cannot fetch "${server.url}/latest"`);
  expect([status, server.requests.length, rig.requests]).toEqual([1, 1, []]);
});

function testsWith(fetcher: string): void {
  const rigWithFetcher = (): Rig => {
    const rig = new Rig();
    rig.unlink("curl");
    rig.link(fetcher === "curl" ? "curl" : "wget", fetcher);
    return rig;
  };

  test("it fetches", async () => {
    await using rig = rigWithFetcher();
    expect((await rig.run()).status).toBe(0);
    expect(rig.build).toBe(`${HERE} ${NEWEST}`);
  });

  test.each(["latest", "SHA256SUMS", HERE])(
    "an interrupted %s: nothing is run",
    async (name) => {
      await using rig = rigWithFetcher();
      rig.server.cutFile = name;
      const { status, stderr } = await rig.run();
      expect(stderr).toMatch(/Cannot install: cannot fetch ".*\/\w/);
      expect([status, rig.build]).toEqual([1, ""]);
    },
    30_000,
  );

  test("it asks the proxy of http_proxy", async () => {
    await using rig = rigWithFetcher();
    const base = "http://downloads.example.net/releases";
    const env = { AGENT_BASE_URL: base, http_proxy: rig.server.url };
    expect((await rig.run([], { env })).status).toBe(0);
    const [latest] = rig.server.requests;
    expect(latest).toBe(`${base}/latest`);
    expect(rig.build).toBe(`${HERE} ${NEWEST}`);
  });
}

/** Every line's end, some places in lines, and every byte of the last lines. */
function cutsOf(text: string, start: number, end: number): number[] {
  const cuts: number[] = [];
  for (let length = start + 1; length < end; length++) {
    if (text[length - 1] === "\n" || length % 29 === 0 || length > end - 40) cuts.push(length);
  }
  return cuts;
}

/** The PATH of install.sh, with what `within` needs behind it. */
function searching(rig: Rig): Record<string, string> {
  const { PATH = "" } = Bun.env;
  return { PATH: `${rig.searchPath}:${PATH}` };
}

function isMissing(command = ""): boolean {
  return Bun.which(command) === null;
}
