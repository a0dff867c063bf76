import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  type CheckResult,
  type ClientCheck,
  checkClient,
  checkServer,
  type ServerCheck,
} from "../../src/install/check.ts";
import { isBehind } from "../../src/install/probe.ts";
import type { ServiceManager, UnitState } from "../../src/install/service-manager.ts";
import type { JournalWriter } from "../../src/journal/writer.ts";
import { type RunCommand, runCommand } from "../../src/platform/run.ts";
import { describeTrees } from "../support/debian-tree.ts";
import { OpensslServer } from "../support/openssl-server.ts";
import { freePort, isListening } from "../support/ports.ts";
import { createWriter, idOf, publish } from "../support/reader-journals.ts";
import { Receiver } from "../support/receiver.ts";
import { AGENT_SOURCES } from "../support/receiver-process.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";
import { UploaderProcess } from "../support/uploader-process.ts";

const TIMES = { unitMs: 300, handshakeMs: 5_000, probeMs: 15_000 };
const SEQNUM_ID = idOf(1);

/** Units by name; all others are active. */
const managerOf = (states: Record<string, UnitState> = {}): ServiceManager => ({
  daemonReload: () => Promise.reject(new Error("not needed")),
  start: () => Promise.reject(new Error("not needed")),
  restart: () => Promise.reject(new Error("not needed")),
  stop: () => Promise.reject(new Error("not needed")),
  state: async (unit) => states[unit] ?? { active: "active", problem: undefined },
});

const problemsOf = (results: readonly CheckResult[]) =>
  results.filter(({ problem }) => problem !== undefined).map(({ problem }) => problem);

let pki: TestPki;
let receiver: Receiver;
let dir: TempDir;
let received: string;

beforeAll(async () => {
  pki = new TestPki();
  pki.issue("web1");
  pki.issue("web2");
  pki.addAuthority("other");
  pki.issue("stranger", { authority: "other" });
  pki.issue("elsewhere", { extensions: ["subjectAltName=DNS:logs.example.net"] });
  pki.issue("old", { start: "20200101000000Z", end: "20200201000000Z" });
  dir = new TempDir();
  received = join(dir.path, "remote");
  mkdirSync(received);
  receiver = await Receiver.start({
    command: [...AGENT_SOURCES, "serve"],
    output: received,
    pki,
  });
}, 60_000);

afterAll(async () => {
  await receiver?.stop();
  pki?.[Symbol.dispose]();
  dir?.[Symbol.dispose]();
});

describe("a server", () => {
  const check = (more: Partial<ServerCheck> = {}) =>
    checkServer({
      manager: managerOf(),
      units: ["systemd-journal-remote.socket", "systemd-journal-remote.service"],
      port: receiver.port,
      certificate: pki.path("server.pem"),
      authority: pki.path("ca.pem"),
      times: TIMES,
      ...more,
    });

  test("that works is told of line by line", async () => {
    const results = await check();
    expect(problemsOf(results)).toEqual([]);
    expect(results.map(({ what }) => what)).toEqual([
      "systemd-journal-remote.socket is active",
      "systemd-journal-remote.service is active",
      `port ${receiver.port} answers with the certificate "${pki.path("server.pem")}"`,
    ]);
    expect(problemsOf(await check({ authority: undefined }))).toEqual([]);
  });

  test("whose units failed, or do not come up", async () => {
    const manager = managerOf({
      "systemd-journal-remote.socket": { active: "activating", problem: undefined },
      "systemd-journal-remote.service": { active: "failed", problem: "its process crashed" },
    });
    const results = await check({ manager });
    expect(problemsOf(results)).toEqual([
      '"systemd-journal-remote.socket" is activating',
      '"systemd-journal-remote.service" is failed: its process crashed',
    ]);
    expect(results[1]?.hint).toBe("See why: journalctl --unit=systemd-journal-remote.service");
  });

  test("that nobody can connect to", async () => {
    const port = await freePort();
    const [, , result] = await check({ port });
    expect(result?.problem).toBe(
      `Cannot talk to "https://localhost:${port}": 127.0.0.1:${port} and 1 more of "localhost" refuses the connection`,
    );
    expect(result?.hint).toBeDefined();
  });

  test("with another certificate than was installed, or one that nobody trusts", async () => {
    const [, , other] = await check({ certificate: pki.path("elsewhere.pem") });
    expect(other?.problem).toContain("it has DNS:localhost");
    const [, , foreign] = await check({ authority: pki.path("other.pem") });
    expect(foreign?.problem).toContain("is not signed by an authority in");
    const [, , same] = await check({ certificate: pki.path("web1.pem"), authority: undefined });
    expect(same?.problem).toBe(
      `Port ${receiver.port} answers with another certificate than "${pki.path("web1.pem")}"`,
    );
    const [, , gone] = await check({ certificate: join(pki.dir, "none.pem") });
    expect(gone?.problem).toEndWith('none.pem": no such file');
  });
});

describe("a client", () => {
  const started: UploaderProcess[] = [];
  const writers: JournalWriter[] = [];
  afterEach(async () => {
    for (const process of started.splice(0)) await process.stop();
    for (const writer of writers.splice(0)) writer.close("archived");
  });

  /** A journal with a journald that writes what systemd-cat is given. */
  const makeHost = () => {
    const journal = join(dir.path, crypto.randomUUID());
    mkdirSync(journal);
    const writer = createWriter(join(journal, "system.journal"));
    writers.push(writer);
    let seqnum = 0;
    const write = (message: string, identifier: string) => {
      seqnum++;
      publish(writer, [
        {
          seqnum,
          realtimeUsec: Date.now() * 1000,
          monotonicUsec: seqnum * 1000,
          bootId: idOf(2),
          fields: [`MESSAGE=${message}`, `SYSLOG_IDENTIFIER=${identifier}`, "PRIORITY=6"],
        },
      ]);
    };
    write("the machine is up", "kernel");
    const run: RunCommand = async (argv, options = {}) => {
      expect(argv).toEqual(["systemd-cat", "--identifier=agent-install", "--priority=info"]);
      write((options.input ?? "").trimEnd(), "agent-install");
      return { status: 0, stdout: "", stderr: "" };
    };
    const stateFile = join(journal, "upload-state");
    return { journal, run, stateFile };
  };

  const upload = (
    host: ReturnType<typeof makeHost>,
    urls: readonly string[],
    ...more: string[]
  ) => {
    const options = [`--directory=${host.journal}`, `--save-state=${host.stateFile}`, "--follow"];
    const targets = urls.map((url) => `--url=${url}`);
    const process = new UploaderProcess([
      ...AGENT_SOURCES,
      "upload",
      ...targets,
      ...options,
      ...pki.uploadArgs("web1"),
      ...more,
    ]);
    started.push(process);
    return process;
  };

  const places = (name: string) => ({
    key: pki.path(`${name}.key`),
    certificate: pki.path(`${name}.pem`),
    authority: pki.path("ca.pem"),
    lists: undefined,
  });

  const check = (host: ReturnType<typeof makeHost>, more: Partial<ClientCheck> = {}) =>
    checkClient({
      manager: managerOf(),
      instances: [
        {
          unit: "systemd-journal-upload.service",
          stateFile: host.stateFile,
          namespace: undefined,
        },
      ],
      urls: [receiver.url],
      targets: "failover",
      places: places("web1"),
      environment: {},
      receivedDirectory: received,
      run: host.run,
      times: TIMES,
      localJournals: { directory: host.journal },
      ...more,
    });

  test("that works sends a probe, which is acknowledged and read back", async () => {
    const host = makeHost();
    upload(host, [receiver.url]);
    const results = await check(host);
    expect(problemsOf(results)).toEqual([]);
    expect(results.map(({ what }) => what)).toEqual([
      "systemd-journal-upload.service is active",
      `"${receiver.url}" and this host know each other's certificates`,
      "a probe is in the local journal",
      "systemd-journal-upload.service has sent it, and it was acknowledged",
      `it is in the received journals in "${received}"`,
    ]);
  }, 30_000);

  test("whose receiver is elsewhere asks it for the probe", async () => {
    const host = makeHost();
    upload(host, [receiver.url]);
    const results = await check(host, { receivedDirectory: undefined });
    expect(problemsOf(results)).toEqual([]);
    expect(results.at(-1)?.what).toBe("it is read back from the receiver");
    // Under another certificate it is another sender's, who has not sent it.
    const stranger = await check(host, { receivedDirectory: undefined, places: places("web2") });
    expect(problemsOf(stranger)).toEqual([
      "The probe was acknowledged, but the receiver does not know it",
    ]);
  }, 60_000);

  test("that sends to two receivers has to reach both", async () => {
    const output = join(dir.path, "second");
    mkdirSync(output);
    const second = await Receiver.start({ command: [...AGENT_SOURCES, "serve"], output, pki });
    try {
      const host = makeHost();
      const urls = [receiver.url, second.url];
      upload(host, urls, "--targets=mirror");
      expect(problemsOf(await check(host, { urls, targets: "mirror" }))).toEqual([]);
    } finally {
      await second.stop();
    }
    const host = makeHost();
    const urls = [receiver.url, second.url];
    const results = await check(host, { urls, targets: "mirror" });
    expect(problemsOf(results)).toEqual([expect.stringContaining("refuses the connection")]);
    // The probe would not arrive.
    expect(results).toHaveLength(3);
  }, 60_000);

  test("whose uploader does not send is found out", async () => {
    const host = makeHost();
    const results = await check(host, { times: { ...TIMES, probeMs: 1_000 } });
    expect(problemsOf(results)).toEqual([
      `The probe is not acknowledged by "${receiver.url}" according to "${host.stateFile}"`,
    ]);
    expect(results.at(-1)?.hint).toContain("journalctl --unit=systemd-journal-upload.service");
  });

  test("whose entries go somewhere else is found out where the receiver is here", async () => {
    const host = makeHost();
    upload(host, [receiver.url]);
    const elsewhere = join(dir.path, "elsewhere");
    mkdirSync(elsewhere, { recursive: true });
    const results = await check(host, {
      receivedDirectory: elsewhere,
      times: { ...TIMES, probeMs: 4_000 },
    });
    expect(problemsOf(results)).toEqual([
      `The probe was acknowledged, but is not in the journals of "${elsewhere}"`,
    ]);
  }, 30_000);

  test("whose journal keeps nothing is found out", async () => {
    const host = makeHost();
    const run: RunCommand = async () => ({ status: 0, stdout: "", stderr: "" });
    const results = await check(host, { run, times: { ...TIMES, probeMs: 500 } });
    expect(results.at(-1)?.problem).toBe(
      "What was written to the local journal is not in its files within 0.5 s",
    );
    const failing: RunCommand = async () => ({ status: 1, stdout: "", stderr: "no socket\n" });
    expect(problemsOf(await check(host, { run: failing }))).toEqual([
      "Cannot write to the journal: no socket",
    ]);
  });

  test("for a namespace in which nothing runs yet is right: there is nothing to send", async () => {
    const host = makeHost();
    const unit = "systemd-journal-upload@apps.service";
    const idle: UnitState = { active: "inactive", problem: undefined };
    const results = await check(host, {
      manager: managerOf({ "systemd-journald@agent-test-none.socket": idle }),
      instances: [{ unit, stateFile: host.stateFile, namespace: "agent-test-none" }],
      run: () => Promise.reject(new Error("not needed")),
    });
    expect(problemsOf(results)).toEqual([]);
    expect(results.at(-1)?.what).toBe(
      'nothing runs in journal namespace "agent-test-none" yet, so nothing was sent',
    );
  });

  test("for a namespace whose journald cannot be written to", async () => {
    const host = makeHost();
    const unit = "systemd-journal-upload@apps.service";
    const results = await check(host, {
      instances: [{ unit, stateFile: host.stateFile, namespace: "agent-test-none" }],
      run: runCommand,
    });
    expect(problemsOf(results)).toEqual([
      'Cannot write to journal namespace "agent-test-none": nobody listens on "/run/systemd/journal.agent-test-none/dev-log"',
    ]);
  });

  describe("that cannot talk to its receiver", () => {
    const problemWith = async (more: Partial<ClientCheck>) => {
      const host = makeHost();
      const results = await check(host, more);
      expect(results).toHaveLength(2);
      expect(results[1]?.problem).toStartWith("Cannot ");
      return `${results[1]?.problem} (${results[1]?.hint})`;
    };

    test("since it is not there", async () => {
      const port = await freePort();
      const text = await problemWith({ urls: [`https://127.0.0.1:${port}`] });
      expect(text).toContain("refuses the connection (Is the receiver running");
    });

    test("since its name is unknown", async () => {
      const text = await problemWith({ urls: ["https://nowhere.invalid"] });
      expect(text).toContain('"nowhere.invalid"');
    });

    test("since it takes too long", async () => {
      using silence = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
      const text = await problemWith({
        urls: [`https://127.0.0.1:${silence.port}`],
        times: { ...TIMES, handshakeMs: 400 },
      });
      expect(text).toContain("the TLS handshake was not done within 0.4 s");
    });

    test("since it has another authority", async () => {
      const authority = pki.path("other.pem");
      const text = await problemWith({ places: { ...places("web1"), authority } });
      expect(text).toContain(`is not signed by an authority in "${authority}"`);
      expect(text).toContain('but by "Test Authority ca"');
    });

    test("since the proxy is not there, which only one of the receivers is behind", async () => {
      const proxy = `http://127.0.0.1:${await freePort()}`;
      const environment = { https_proxy: proxy, no_proxy: "127.0.0.1" };
      const urls = [receiver.url, "https://logs.example.net"];
      const results = await check(makeHost(), { urls, targets: "mirror", environment });
      const [, direct, behind] = results;
      expect(direct?.problem).toBeUndefined();
      expect(behind?.problem).toContain("the proxy 127.0.0.1");
      expect(behind?.problem).toContain("refuses the connection");
    });

    test("since its certificate is for another host", async () => {
      const options = { command: [...AGENT_SOURCES, "serve"], output: join(dir.path, "other") };
      mkdirSync(options.output);
      const swapped = {
        path: (file: string) => pki.path(file.replace("server.", "elsewhere.")),
      };
      const other = await Receiver.start({ ...options, pki: swapped });
      const text = await problemWith({ urls: [other.url] }).finally(() => other.stop());
      expect(text).toContain('it has DNS:logs.example.net, "127.0.0.1" is needed');
    });

    test("since ours is not taken", async () => {
      using server = await OpensslServer.open(pki);
      const urls = [`https://127.0.0.1:${server.port}`];
      const text = await problemWith({ urls, places: places("stranger") });
      expect(text).toContain(`the server refuses our certificate "${pki.path("stranger.pem")}"`);
      // Ours says so in its answer.
      expect(await problemWith({ places: places("stranger") })).toContain(
        'it answers 401 ("Client certificate not signed by recognized authority")',
      );
    });

    test("since ours has expired", async () => {
      using server = await OpensslServer.open(pki);
      const urls = [`https://127.0.0.1:${server.port}`];
      expect(await problemWith({ urls, places: places("old") })).toContain(
        "It has expired at 2020",
      );
    });

    test("since something else is there", async () => {
      const talk = (answer: string) =>
        Bun.listen({
          hostname: "127.0.0.1",
          port: 0,
          socket: { data: (socket) => void socket.end(answer) },
        });
      using wrong = talk("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhat?");
      expect(await problemWith({ urls: [`http://127.0.0.1:${wrong.port}`] })).toContain(
        'it answers 404 ("what?")',
      );
      using mail = talk("220 mail.example.net ESMTP\r\n");
      expect(await problemWith({ urls: [`http://127.0.0.1:${mail.port}`] })).toContain(
        "what answers there does not speak HTTP",
      );
    });

    test("but one that wants a password, which the service knows, is right", async () => {
      using guarded = Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        socket: {
          data: (socket) =>
            void socket.end(
              "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            ),
        },
      });
      const manager = managerOf({ late: { active: "inactive", problem: undefined } });
      const instances = [{ unit: "late", stateFile: "/nowhere", namespace: undefined }];
      const urls = [`http://127.0.0.1:${guarded.port}`];
      const results = await check(makeHost(), { manager, instances, urls });
      expect(problemsOf(results)).toEqual(['"late" is inactive']);
    });

    test("since our key is gone", async () => {
      const key = join(pki.dir, "none.key");
      expect(await problemWith({ places: { ...places("web1"), key } })).toContain("no such file");
    });
  });
});

await describeTrees(["trixie"], (tree) => {
  test("systemd-journal-remote answers a client that asks", async () => {
    const port = await freePort();
    const output = join(dir.path, "stock");
    mkdirSync(output, { recursive: true });
    const program = "/usr/lib/systemd/systemd-journal-remote";
    const stock = tree.spawn([program, `--listen-http=127.0.0.1:${port}`, `--output=${output}`]);
    try {
      await until(() => isListening(port));
      const [, way] = await checkClient({
        manager: managerOf({ idle: { active: "inactive", problem: undefined } }),
        instances: [{ unit: "idle", stateFile: "/nowhere", namespace: undefined }],
        urls: [`http://127.0.0.1:${port}`],
        targets: "failover",
        places: undefined,
        environment: {},
        receivedDirectory: undefined,
        run: runCommand,
        times: TIMES,
      });
      expect(way).toEqual({
        what: `"http://127.0.0.1:${port}/upload" answers`,
        problem: undefined,
        hint: undefined,
      });
    } finally {
      stock.kill("SIGKILL");
      await stock.exited;
    }
  });
});

describe("a position", () => {
  const tail = (seqnum: number) => ({ seqnum, realtimeUsec: 50, bootId: idOf(2) });
  const cursor = (digit: number, seqnum: number, time: number) =>
    `s=${idOf(digit)};i=${seqnum.toString(16)};b=${idOf(2)};m=1;t=${time.toString(16)};x=0`;

  test("of our own tells of each sequence where it is", () => {
    const tails = new Map([
      [SEQNUM_ID, tail(10)],
      [idOf(3), tail(99)],
    ]);
    const position = { cursor: cursor(3, 99, 5000), tails };
    expect(isBehind(position, cursor(1, 10, 100))).toBeTrue();
    expect(isBehind(position, cursor(1, 11, 100))).toBeFalse();
    // Of which nothing was sent.
    expect(isBehind(position, cursor(4, 1, 100))).toBeFalse();
  });

  test("of systemd-journal-upload is a cursor alone", () => {
    const position = { cursor: cursor(1, 10, 5000), tails: new Map() };
    expect(isBehind(position, cursor(1, 10, 5000))).toBeTrue();
    expect(isBehind(position, cursor(1, 11, 5000))).toBeFalse();
    // Of another sequence, times tell: it is sent in their order.
    expect(isBehind(position, cursor(2, 7, 4999))).toBeTrue();
    expect(isBehind(position, cursor(2, 7, 5001))).toBeFalse();
  });
});
