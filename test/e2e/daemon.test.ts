/** Manners of a daemon, and what others see of its files while it runs. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { FileState, HEADER } from "../../src/journal/format.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { concat, sampleEntry } from "../support/export-stream.ts";
import { LineReader } from "../support/line-reader.ts";
import { NotifyReceiver } from "../support/notify-receiver.ts";
import { freePort } from "../support/ports.ts";
import { countDescriptors, diskUse } from "../support/process-usage.ts";
import { Receiver } from "../support/receiver.ts";
import { run } from "../support/run-agent.ts";
import {
  findDamage,
  fingerprint,
  journalFiles,
  storedEntries,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { TlsClient } from "../support/tls-client.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 30_000;
const HAS_JOURNALCTL = Bun.which("journalctl") !== null;

const agent = useAgentBinary();
const owned = new DisposableStack();
let work: TempDir;
let pki: TestPki;

beforeAll(() => {
  work = owned.use(new TempDir());
  pki = owned.use(new TestPki());
  for (const name of ["web1", "web2"]) pki.issue(name);
}, LIMIT_MS);
afterAll(() => owned.dispose());

function newOutput(): string {
  const output = join(work.path, crypto.randomUUID());
  mkdirSync(output);
  return output;
}

function start(output: string, args: string[] = [], env: Record<string, string> = {}) {
  return Receiver.start({ command: [agent.path, "serve"], output, pki, args, env });
}

/** Entries `from` … `to`, the latter excluded. */
function entries(from: number, to: number, field = ""): Uint8Array {
  const fields = field === "" ? [] : [field];
  return concat(
    ...Array.from({ length: to - from }, (_, index) => sampleEntry(from + index, { fields })),
  );
}

function states(output: string): number[] {
  return journalFiles(output).map((file) => readFileSync(file)[HEADER.state] ?? -1);
}

/** Journal files of `output` that the process has open. */
function openJournals(pid: number, output: string): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      const isJournal = target.startsWith(`${output}/`) && !target.endsWith(".lock");
      return isJournal ? [target] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

describe.skipIf(!HAS_JOURNALCTL)("SIGTERM (needs journalctl)", () => {
  test(
    "lets an upload in flight finish, cuts one that does not, and leaves clean files",
    async () => {
      const output = newOutput();
      await using receiver = await start(output);
      using finishing = await TlsClient.connect(pki, "web1", receiver.port);
      using hanging = await TlsClient.connect(pki, "web2", receiver.port);
      using idle = await TlsClient.connect(pki, "web1", receiver.port);
      expect((await idle.post(entries(0, 10))).status).toBe(202);
      const body = entries(10, 2000);
      for (const client of [finishing, hanging]) {
        client.sendHead(body.length);
        client.send(body.subarray(0, body.length / 2));
      }
      await until(() => journalFiles(output).length === 2);

      receiver.signal("SIGTERM");
      const startMs = performance.now();
      await idle.closed(2000);
      await Bun.sleep(300);
      finishing.send(body.subarray(body.length / 2));
      const finished = await finishing.reply();
      expect([finished.status, finished.headers.get("connection")]).toEqual([202, "close"]);
      const cut = await hanging.reply();
      expect([cut.status, cut.headers.has("retry-after")]).toEqual([503, true]);
      expect(await receiver.ended()).toBe(0);
      expect(performance.now() - startMs).toBeLessThan(3500);

      expect(states(output)).toEqual([FileState.offline, FileState.offline]);
      expect(findDamage(journalFiles(output))).toEqual([]);
      const stored = storedEntries(output).length;
      // All of the one, and of the other the entries that were whole.
      expect(stored).toBeGreaterThan(2000 + 900);
      expect(stored).toBeLessThan(2000 + 1000);
    },
    LIMIT_MS,
  );
});

describe.skipIf(Bun.which("python3") === null)("sd_notify (needs python3)", () => {
  for (const kind of ["path", "abstract"] as const) {
    test(
      `READY, STATUS and STOPPING go to a socket with ${kind} name`,
      async () => {
        using manager = await NotifyReceiver.open(kind, 2);
        await using receiver = await start(newOutput(), [], { NOTIFY_SOCKET: manager.address });
        using client = await TlsClient.connect(pki, "web1", receiver.port);
        expect((await client.post(entries(0, 3))).status).toBe(202);
        expect(await receiver.stop()).toBe(0);
        const [ready = "", stopping = ""] = await manager.messages();
        expect(ready).toMatch(/^READY=1\nSTATUS=0 connections, 0 entries stored/);
        expect(stopping).toMatch(/^STOPPING=1\nSTATUS=Shutting down, /);
      },
      LIMIT_MS,
    );
  }
});

test.skipIf(Bun.which("systemd-socket-activate") === null)(
  "a socket of the service manager is served as --listen-https=-3 (needs systemd-socket-activate)",
  async () => {
    const [output, port] = [newOutput(), await freePort()];
    const activate = ["systemd-socket-activate", `--listen=127.0.0.1:${port}`];
    await using receiver = await Receiver.start({
      command: [...activate, "--setenv=SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE", agent.path, "serve"],
      readyText: "Listening on",
      args: ["--listen-https=-3"],
      output,
      pki,
      port,
    });
    // It starts the executable when the first client comes.
    using client = await TlsClient.connect(pki, "web1", port);
    expect((await client.post(entries(0, 3))).status).toBe(202);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain("Finished stored=3");
    expect(journalFiles(output)).toEqual([join(output, "remote-web1.journal")]);
  },
  LIMIT_MS,
);

test(
  "started as systemd-journal-remote it serves",
  async () => {
    const output = newOutput();
    const link = join(work.path, "systemd-journal-remote");
    symlinkSync(agent.path, link);
    await using receiver = await Receiver.start({
      command: [link],
      args: ["--split-mode=host"],
      output,
      pki,
    });
    using client = await TlsClient.connect(pki, "web1", receiver.port);
    expect((await client.post(entries(0, 3))).status).toBe(202);
    expect(await receiver.stop()).toBe(0);
    expect(journalFiles(output)).toEqual([join(output, "remote-web1.journal")]);
  },
  LIMIT_MS,
);

test(
  "a second receiver of the same directory, by whatever path, is refused",
  async () => {
    const output = newOutput();
    const alias = join(work.path, "alias");
    symlinkSync(output, alias);
    await using receiver = await start(output);
    using client = await TlsClient.connect(pki, "web1", receiver.port);
    expect((await client.post(entries(0, 3))).status).toBe(202);
    for (const path of [output, alias]) {
      const args = [`--listen-http=127.0.0.1:${await freePort()}`, `--output=${path}`];
      const { status, stderr } = await run([agent.path, "serve", ...args]);
      expect(stderr).toContain(`Cannot write to "${path}": another process does`);
      expect(status).toBe(78);
    }
    expect((await client.post(entries(0, 5))).status).toBe(202);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain("Finished stored=5 duplicates=3");
    expect(journalFiles(output)).toEqual([join(output, "remote-web1.journal")]);
  },
  LIMIT_MS,
);

test.skipIf(!HAS_JOURNALCTL)(
  "journalctl -f shows entries within 2 s, across rotations, each once (needs journalctl)",
  async () => {
    const output = newOutput();
    await using receiver = await start(output, ["--max-file-size=512K", "--max-files=0"]);
    using client = await TlsClient.connect(pki, "web1", receiver.port);
    expect((await client.post(entries(0, 1))).status).toBe(202);
    const follow = ["journalctl", `--directory=${output}`, "--follow", "--output=cat"];
    const journalctl = Bun.spawn(follow, { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const lines = new LineReader(journalctl.stdout);
      expect(await lines.next()).toBe("message 0");
      const startMs = performance.now();
      client.sendHead(10_000_000); // an upload that does not end
      client.send(entries(1, 2));
      expect(await lines.next()).toBe("message 1");
      expect(performance.now() - startMs).toBeLessThan(2000);
      client.close();
      using sender = await TlsClient.connect(pki, "web1", receiver.port);
      const detail = `DETAIL=${"detail ".repeat(50)}`;
      for (let from = 2; from < 2002; from += 100) {
        expect((await sender.post(entries(from, from + 100, `${detail}${from}`))).status).toBe(202);
      }
      for (let index = 2; index < 2002; index++)
        expect(await lines.next()).toBe(`message ${index}`);
      expect(journalFiles(output).length).toBeGreaterThan(1);
    } finally {
      journalctl.kill();
    }
    expect(await receiver.stop()).toBe(0);
  },
  LIMIT_MS,
);

test(
  "a quiet sender's 1,000 entries take at most 2 MiB, an idle one no descriptor",
  async () => {
    const output = newOutput();
    await using receiver = await start(output);
    using client = await TlsClient.connect(pki, "web1", receiver.port);
    const body = concat(
      ...Array.from({ length: 1000 }, (_, index) => {
        const noise = crypto.getRandomValues(Buffer.alloc(273)).toString("base64");
        return sampleEntry(index, { fields: [`DETAIL=${noise}`, ...COMMON_FIELDS] });
      }),
    );
    expect(Math.round(body.length / 1000)).toBeWithin(830, 850);
    expect((await client.post(body)).status).toBe(202);
    expect(openJournals(receiver.pid, output)).toEqual([join(output, "remote-web1.journal")]);
    expect(diskUse(output)).toBeLessThanOrEqual(2 * 1024 * 1024);

    await until(() => openJournals(receiver.pid, output).length === 0, 12_000);
    expect(states(output)).toEqual([FileState.offline]);
    expect(client.isClosed).toBe(false);
    console.log(
      `1,000 entries of ${Math.round(body.length / 1000)} bytes: ${diskUse(output)} bytes`,
    );
    expect(diskUse(output)).toBeLessThanOrEqual(2 * 1024 * 1024);

    expect((await client.post(entries(999, 1001))).status).toBe(202);
    expect(await receiver.stop()).toBe(0);
    expect(receiver.log).toContain("Finished stored=1001 duplicates=1");
  },
  LIMIT_MS,
);

test.skipIf(Bun.which("prlimit") === null)(
  "short of descriptors it refuses, and takes no good file for a bad one (needs prlimit)",
  async () => {
    const output = newOutput();
    const names = Array.from({ length: 12 }, (_, index) => `many${index}`);
    for (const name of names) pki.issue(name);
    const body = entries(0, 50);
    let refusals = 0;
    /** Connects them all before the first one posts; who is refused comes again. */
    const deliverAll = async (port: number): Promise<void> => {
      const connect = (name: string) => TlsClient.connect(pki, name, port);
      for (let left = names; left.length > 0; ) {
        const clients = await Promise.all(left.map(connect));
        const replies = await Promise.all(clients.map((client) => client.post(body)));
        for (const client of clients) client.close();
        left = left.filter((_, index) => replies[index]?.status !== 202);
        refusals += left.length;
      }
    };
    {
      await using receiver = await start(output);
      await deliverAll(receiver.port);
      expect(await receiver.stop()).toBe(0);
      expect(receiver.log).toContain("Finished stored=600 duplicates=0");
    }
    const before = fingerprint(output);
    await using receiver = await start(output);
    // Enough for all connections, not for a file of each sender besides.
    const limit = countDescriptors(receiver.pid) + names.length + 3;
    Bun.spawnSync(["prlimit", `--pid=${receiver.pid}`, `--nofile=${limit}`]);
    await deliverAll(receiver.port);
    expect(await receiver.stop()).toBe(0);
    expect(refusals).toBeGreaterThan(0);
    expect(receiver.log).toContain("Finished stored=0 duplicates=600");
    expect(fingerprint(output)).toEqual(before);
  },
  LIMIT_MS,
);

/** What journald adds to every line of a service. */
const COMMON_FIELDS = [
  "_TRANSPORT=stdout",
  "_UID=33",
  "_GID=33",
  "_COMM=apache2",
  "_SYSTEMD_UNIT=apache2.service",
  "_SYSTEMD_CGROUP=/system.slice/apache2.service",
  "_HOSTNAME=web1.example.net",
];
