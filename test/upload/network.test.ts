/** Pipelines over real sockets, to receivers that misbehave, to ours and to systemd's. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { UploadClient } from "../../src/upload/delivery-types.ts";
import { makeUploadClient } from "../../src/upload/http/upload-client.ts";
import { parseUploadUrl } from "../../src/upload/http/upload-url.ts";
import { readState } from "../../src/upload/state.ts";
import { ACCEPTED, FakeReceiver, type ReceivedRequest } from "../support/fake-receiver.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { ListSource, listCursor, messages } from "../support/list-source.ts";
import { PipelineRig } from "../support/pipeline-rig.ts";
import { freePort } from "../support/ports.ts";
import { AGENT_SOURCES, ReceiverProcess } from "../support/receiver-process.ts";
import { storedEntries } from "../support/stored-journals.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";

const JOURNAL_REMOTE = "/lib/systemd/systemd-journal-remote";
const LIMIT_MS = 60_000;

interface ClientSetup {
  trust?: string;
  keyFile?: string;
  certificateFile?: string;
  networkTimeoutMs?: number;
}

function client(url: string, setup: ClientSetup = {}): UploadClient {
  return makeUploadClient({
    ...{ url: parseUploadUrl(url), proxy: undefined, headers: [], userAgent: "agent/test" },
    ...{ bearerTokenFile: undefined, basicAuthFile: undefined, credentialsDirectory: undefined },
    ...{ keyFile: undefined, certificateFile: undefined, trust: "all" },
    ...{ networkTimeoutMs: Infinity, connectionAgeMs: Infinity, nowMs: () => Date.now() },
    ...setup,
  });
}

/** MESSAGE of each entry of a request in the export format. */
function messagesOf({ body }: ReceivedRequest): string[] {
  return [...body.toString().matchAll(/^MESSAGE=(.*)$/gm)].map(([, text = ""]) => text);
}

/** A receiver that keeps what it takes, except requests for which `refuse` has done something else. */
async function openReceiver(
  refuse: (found: readonly string[], socket: Socket, count: number) => boolean,
): Promise<FakeReceiver & { stored: string[] }> {
  const stored: string[] = [];
  let count = 0;
  const receiver = await FakeReceiver.open({
    onRequest(request, socket) {
      const found = messagesOf(request);
      count++;
      if (refuse(found, socket, count)) return;
      stored.push(...found);
      socket.write(ACCEPTED);
    },
  });
  return Object.assign(receiver, { stored });
}

const REFUSED = "HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nBad\n";

describe("over a real connection", () => {
  const all = messages(500).map((text, index) => (index === 321 ? "poison" : text));
  const rest = all.filter((text) => text !== "poison");

  test.each([
    ["answers 400", (socket: Socket) => socket.write(REFUSED)],
    ["closes the connection", (socket: Socket) => socket.destroy()],
    ["resets the connection", (socket: Socket) => socket.resetAndDestroy()],
  ] as const)("an entry for which the receiver %s is set aside", async (_, refuse) => {
    using receiver = await openReceiver((found, socket) => {
      if (!found.includes("poison")) return false;
      refuse(socket);
      return true;
    });
    using rig = new PipelineRig({
      source: new ListSource(all),
      clients: [client(receiver.url)],
      speed: 100,
    });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.stored).toEqual(rest);
    expect(rig.quarantine.count).toBe(1);
    expect(readFileSync(rig.quarantinePath, "utf8")).toContain("MESSAGE=poison\n");
  });

  test("a receiver that wants to be left alone for a while gets all after that", async () => {
    using receiver = await openReceiver((_, socket, count) => {
      if (count > 2) return false;
      socket.write("HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n");
      return true;
    });
    using rig = new PipelineRig({
      source: new ListSource(all),
      clients: [client(receiver.url)],
      speed: 100,
    });
    await rig.pipeline.run();
    expect(receiver.stored).toEqual(all);
    expect(rig.clock.delaysMs.filter((delayMs) => delayMs === 3000)).toHaveLength(2);
  });

  test(
    "a receiver that is away, then there, gets all",
    async () => {
      const port = await freePort();
      using rig = new PipelineRig({
        source: new ListSource(all),
        clients: [client(`http://127.0.0.1:${port}`)],
        speed: 10,
      });
      const run = rig.pipeline.run();
      await until(() => rig.pipeline.progress.problem !== undefined);
      using dir = new TempDir();
      const output = join(dir.path, "out");
      mkdirSync(output);
      await using receiver = new ReceiverProcess([
        ...AGENT_SOURCES,
        ...["serve", `--listen-http=127.0.0.1:${port}`, `--output=${output}`],
      ]);
      expect(await run).toBe("delivered");
      await receiver.stop();
      expect(storedEntries(output)).toHaveLength(500);
    },
    LIMIT_MS,
  );

  test("a receiver that never answers does not hold up the end", async () => {
    using receiver = await openReceiver(() => true);
    using rig = new PipelineRig({
      source: new ListSource(all, { follow: true }),
      clients: [client(receiver.url)],
      speed: 1,
    });
    const run = rig.pipeline.run();
    await until(() => receiver.requests.length === 1);
    const startMs = performance.now();
    rig.stop.abort();
    expect(await run).toBe("stopped");
    expect(performance.now() - startMs).toBeLessThan(1500);
    expect(readState(rig.statePath)).toBeUndefined();
  });

  test("with a time limit, one that hangs is given up and tried again", async () => {
    using receiver = await openReceiver((_, __, count) => count === 1);
    using rig = new PipelineRig({
      source: new ListSource(all),
      clients: [client(receiver.url, { networkTimeoutMs: 200 })],
      speed: 100,
    });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.stored).toEqual(all);
  });
});

describe.skipIf(!hasSystemd())("to receivers of journals (needs systemd)", () => {
  const owned = new DisposableStack();
  let pki: TestPki;
  let work: TempDir;

  beforeAll(() => {
    pki = owned.use(new TestPki());
    pki.issue("web1");
    work = owned.use(new TempDir());
  });
  afterAll(() => owned.dispose());

  function newOutput(): string {
    const output = join(work.path, crypto.randomUUID());
    mkdirSync(output);
    return output;
  }

  function storedMessages(output: string): string[] {
    return storedEntries(output).map(({ fields }) => {
      return fields.find((field) => field.startsWith("MESSAGE="))?.slice("MESSAGE=".length) ?? "";
    });
  }

  test(
    "ours has every entry once, cursors included, however often the network is cut",
    async () => {
      const [output, port] = [newOutput(), await freePort()];
      await using receiver = new ReceiverProcess([
        ...[...AGENT_SOURCES, "serve", `--listen-https=127.0.0.1:${port}`, `--output=${output}`],
        ...[`--key=${pki.path("server.key")}`, `--cert=${pki.path("server.pem")}`],
        `--trust=${pki.path("ca.pem")}`,
      ]);
      await receiver.listening(port);
      using proxy = await TcpProxy.open(port);
      proxy.rateBytes = 10_000_000;
      const count = 30_000;
      using rig = new PipelineRig({
        source: new ListSource(messages(count, "x".repeat(300))),
        clients: [
          client(`https://127.0.0.1:${proxy.port}`, {
            trust: pki.path("ca.pem"),
            keyFile: pki.path("web1.key"),
            certificateFile: pki.path("web1.pem"),
          }),
        ],
        speed: 20,
      });
      const cuts = setInterval(() => proxy.cut(), 150);
      const run = rig.pipeline.run();
      await until(() => rig.pipeline.progress.entries > count / 2, 30_000);
      clearInterval(cuts);
      expect(await run).toBe("delivered");
      expect(proxy.connections).toBeGreaterThan(2);
      await receiver.stop();
      const cursors = storedEntries(output).map(({ cursor }) => cursor);
      const expected = Array.from({ length: count }, (_, index) => listCursor(index + 1));
      expect(cursors.toSorted()).toEqual(expected.toSorted());
      expect(rig.quarantine.count).toBe(0);
      expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(count));
    },
    LIMIT_MS,
  );

  test.skipIf(!existsSync(JOURNAL_REMOTE))(
    "systemd-journal-remote has every entry once, in order",
    async () => {
      const [output, port] = [newOutput(), await freePort()];
      await using receiver = new ReceiverProcess([
        ...[JOURNAL_REMOTE, `--listen-http=127.0.0.1:${port}`, `--output=${output}`],
      ]);
      await receiver.listening(port);
      using rig = new PipelineRig({
        source: new ListSource(messages(5000)),
        clients: [client(`http://127.0.0.1:${port}`)],
      });
      expect(await rig.pipeline.run()).toBe("delivered");
      await receiver.stop();
      expect(storedMessages(output)).toEqual(messages(5000));
    },
    LIMIT_MS,
  );
});
