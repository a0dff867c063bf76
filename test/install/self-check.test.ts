import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SavedOptions } from "../../src/install/install-request.ts";
import { readManifest } from "../../src/install/manifest.ts";
import { selfCheck } from "../../src/install/self-check.ts";
import type { ServiceManager } from "../../src/install/service-manager.ts";
import type { RunCommand } from "../../src/platform/run.ts";
import { Receiver } from "../support/receiver.ts";
import { AGENT_SOURCES } from "../support/receiver-process.ts";
import { TempDir } from "../support/temp-dir.ts";
import { NEW_KEY, TestPki } from "../support/tls.ts";

const SERVICE = "systemd-journal-remote.service";
const PROGRAM = "/usr/local/bin/agent";
const STOCK = "/lib/systemd/systemd-journal-remote";

let pki: TestPki;
let dir: TempDir;
let receiver: Receiver;

beforeAll(async () => {
  pki = new TestPki();
  pki.addAuthority("senders");
  issueByIntermediate("chained");
  dir = new TempDir();
  mkdirSync(join(dir.path, "remote"));
  receiver = await Receiver.start({
    command: [...AGENT_SOURCES, "serve"],
    output: join(dir.path, "remote"),
    pki: { path: (file) => pki.path(file.replace(/^server\b/, "chained")) },
  });
}, 60_000);
afterAll(async () => {
  await receiver?.stop();
  pki?.[Symbol.dispose]();
  dir?.[Symbol.dispose]();
});

/** NAME.pem has the certificate of "middle" in it, which "ca" has signed. */
function issueByIntermediate(name: string): void {
  pki.addAuthority("middle");
  const request = ["-keyout", "middle.key", "-out", "middle.csr", "-subj", "/CN=middle"];
  pki.openssl("req", ...NEW_KEY, ...request);
  writeFileSync(pki.path("middle.ext"), "basicConstraints=critical,CA:TRUE\n");
  const signing = ["-config", "ca.cnf", "-batch", "-notext", "-days", "365"];
  const files = ["-in", "middle.csr", "-out", "middle.pem", "-extfile", "middle.ext"];
  pki.openssl("ca", ...signing, ...files);
  const extensions = ["subjectAltName=DNS:localhost"];
  pki.issue(name, { authority: "middle", extensions });
  const chain = [name, "middle"].map((each) => readFileSync(pki.path(`${each}.pem`), "utf8"));
  writeFileSync(pki.path(`${name}.pem`), chain.join(""));
}

const manager: ServiceManager = {
  daemonReload: () => Promise.reject(new Error("not needed")),
  start: () => Promise.reject(new Error("not needed")),
  restart: () => Promise.reject(new Error("not needed")),
  stop: () => Promise.reject(new Error("not needed")),
  state: async () => ({ active: "active", problem: undefined }),
};

const running =
  (program: string): RunCommand =>
  async () => {
    const exec = `ExecStart={ path=${program} ; argv[]=${program} ; ignore_errors=no }`;
    return { status: 0, stdout: `${exec}\nDropInPaths=\n`, stderr: "" };
  };

const check = (
  authority: string,
  more: Partial<SavedOptions> = {},
  run: RunCommand = running(PROGRAM),
) =>
  selfCheck({
    role: "server",
    manager,
    run,
    manifest: readManifest(dir.path),
    environment: {},
    options: {
      daemon: "agent",
      prefix: "/usr/local",
      port: receiver.port,
      enroll: false,
      servers: [],
      namespaces: [],
      names: [],
      places: {
        key: pki.path("chained.key"),
        certificate: pki.path("chained.pem"),
        authority: pki.path(authority),
        lists: undefined,
      },
      isLocalAuthority: false,
      ...more,
    },
  });

const problemsOf = async (results: ReturnType<typeof check>) =>
  (await results).flatMap(({ problem }) => problem ?? []);

test("a receiver with a certificate of the trusted authority works, and so does one of others", async () => {
  expect(await problemsOf(check("ca.pem"))).toEqual([]);
  // Which is no root.
  expect(await problemsOf(check("middle.pem"))).toEqual([]);
  expect(await problemsOf(check("senders.pem"))).toEqual([]);
});

test("a receiver has the certificate of its own authority", async () => {
  const [problem, ...others] = await problemsOf(check("senders.pem", { isLocalAuthority: true }));
  expect(problem).toContain("is not signed by an authority in");
  expect(others).toEqual([]);
});

test("files that cannot be read are told of", async () => {
  const [problem] = await problemsOf(check("none.pem"));
  expect(problem).toContain("none.pem");
});

test("a unit that runs another program is told of first", async () => {
  const run = running(STOCK);
  const [first] = await check("ca.pem", {}, run);
  expect(first).toMatchObject({
    what: `${SERVICE} runs "${PROGRAM}"`,
    problem: `"${SERVICE}" runs "${STOCK}" instead of "${PROGRAM}"`,
  });
  // Where it is meant to.
  expect(await problemsOf(check("ca.pem", { daemon: "systemd" }, run))).toEqual([]);
});

test("without a service manager to ask, that is the problem", async () => {
  const run: RunCommand = async () => ({ status: 1, stdout: "", stderr: "no bus\n" });
  const [problem] = await problemsOf(check("ca.pem", {}, run));
  expect(problem).toBe(`Cannot ask the service manager for "${SERVICE}": no bus`);
});
