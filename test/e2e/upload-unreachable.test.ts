/**
 * `agent upload` to receivers that cannot be reached, do not answer, or are not the right ones: it says why, tries again,
 * goes on when that is mended, and ends at once when it is told to: issue 3, "what must hold" 6.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { countEntries } from "../support/entry-digests.ts";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd, makeJournal, sampleExport } from "../support/journal-tools.ts";
import { OpensslServer } from "../support/openssl-server.ts";
import { freePort, Receiver } from "../support/receiver.ts";
import { SeverableNetwork } from "../support/severable-network.ts";
import {
  compareEntries,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";
import { UploaderProcess } from "../support/uploader-process.ts";

const LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 2000;
const ENTRIES = 20_000;
const FEW_ENTRIES = 100;
/** Far away. */
const RECEIVER = "192.0.2.2:19532";

const agent = useAgentBinary();
const hasNetwork = await SeverableNetwork.isPossible();

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let pki: TestPki;
  let journals: string;
  let few: string;

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    pki.issue("web1");
    pki.issue("far", { extensions: ["subjectAltName=IP:192.0.2.2"] });
    pki.issue("elsewhere", { extensions: ["subjectAltName=DNS:a.example.net"] });
    pki.issue("expired", {
      extensions: ["subjectAltName=IP:127.0.0.1"],
      start: "20200101000000Z",
      end: "20210101000000Z",
    });
    pki.addAuthority("other");
    pki.issue("foreign", { authority: "other" });
    pki.issue("revoked");
    pki.revoke("revoked");
    pki.writeCrl();
    journals = newDirectory();
    makeJournal(join(journals, "system.journal"), sampleExport(ENTRIES));
    few = newDirectory();
    makeJournal(join(few, "system.journal"), sampleExport(FEW_ENTRIES));
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  function newDirectory(): string {
    const path = join(work.path, crypto.randomUUID());
    mkdirSync(path);
    return path;
  }

  interface Changes {
    /** In front of the command. */
    within?: (...words: string[]) => string[];
    key?: string;
    cert?: string;
    trust?: string;
    directory?: string;
    state?: string;
  }

  function startUpload(url: string, args: string[] = [], changes: Changes = {}): UploaderProcess {
    const { within = (...words) => words, directory = journals } = changes;
    const { state = join(newDirectory(), "state") } = changes;
    const {
      key = pki.path("web1.key"),
      cert = pki.path("web1.pem"),
      trust = pki.path("ca.pem"),
    } = changes;
    return new UploaderProcess(
      within(
        ...[agent.path, "upload", `--url=${url}`, `--directory=${directory}`],
        ...[`--save-state=${state}`],
        ...[`--key=${key}`, `--cert=${cert}`, `--trust=${trust}`, ...args],
      ),
    );
  }

  function expectAllStored(output: string): void {
    const expected = parseExport(journalctlExport(`--directory=${journals}`));
    expect(compareEntries(storedEntries(output), expected)).toEqual(NO_DIFFERENCE);
  }

  describe.skipIf(!hasNetwork)(
    "over a network that loses everything (needs network namespaces)",
    () => {
      let network: SeverableNetwork;

      beforeAll(async () => {
        network = owned.use(await SeverableNetwork.open());
      });

      async function startReceiver(output: string): Promise<Receiver> {
        const command = network.far(agent.path, "serve");
        const far = { path: (file: string) => pki.path(file.replace(/^server\./, "far.")) };
        const args = [`--listen-https=${RECEIVER}`];
        return await Receiver.start({ command, output, pki: far, args });
      }

      /** A connection is being made, as the kernel sees it. */
      const isConnecting = (): boolean => {
        const { stdout } = Bun.spawnSync(network.near("cat", "/proc/net/tcp"));
        return / [0-9A-F]{8}:4C4C 02 /.test(`${stdout}`);
      };

      const within = (...words: string[]): string[] => network.near(...words);
      const withNoNames = (...words: string[]): string[] => {
        const file = work.write("resolv.conf", "nameserver 192.0.2.9\n");
        const script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
        return network.near("unshare", "--mount", "sh", "-c", script, "sh", file, ...words);
      };

      test.each([
        ["connecting", "http://192.0.2.9:19532", within],
        ["looking up a name", "http://logs.example.net:19532", withNoNames],
      ] as const)(
        "SIGTERM ends it within 2 s while %s",
        async (_, url, wrap) => {
          await using sender = startUpload(url, [], { within: wrap });
          await Bun.sleep(1500);
          await expectQuickEnd(sender, _);
        },
        LIMIT_MS,
      );

      test(
        "SIGTERM ends it within 2 s in the middle of sending; the next start goes on",
        async () => {
          const output = newDirectory();
          await using receiver = await startReceiver(output);
          const state = join(newDirectory(), "state");
          const args = ["--batch-size=32K", "--rate-limit-bytes=200K"];
          {
            await using sender = startUpload(`https://${RECEIVER}`, args, { within, state });
            await until(() => existingText(state).includes("LAST_CURSOR"), 20_000);
            network.cut();
            await Bun.sleep(1500);
            await expectQuickEnd(sender, "sending");
            network.mend();
          }
          const stored = storedEntries(output).length;
          expect(stored).toBeGreaterThan(0);
          expect(stored).toBeLessThan(ENTRIES);
          await using sender = startUpload(`https://${RECEIVER}`, ["--follow=no"], {
            within,
            state,
          });
          expect(await sender.ended()).toBe(0);
          expect(await receiver.stop()).toBe(0);
          expectAllStored(output);
        },
        LIMIT_MS,
      );

      test(
        "a connection that does not move is given up, and all is sent when the network is back",
        async () => {
          const output = newDirectory();
          await using receiver = await startReceiver(output);
          const args = [
            "--batch-size=32K",
            "--rate-limit-bytes=200K",
            "--network-timeout=2s",
            "--follow=no",
          ];
          await using sender = startUpload(`https://${RECEIVER}`, args, { within });
          await until(() => countEntries(journalFiles(output)) > 0, 20_000);
          network.cut();
          await until(() => isConnecting(), 20_000);
          network.mend();
          expect(await sender.ended()).toBe(0);
          expect(await receiver.stop()).toBe(0);
          expectAllStored(output);
        },
        LIMIT_MS,
      );
    },
  );

  test.each([
    ["the handshake", "https", () => undefined],
    ["a receiver that does not read", "http", (socket: { pause(): void }) => socket.pause()],
    [
      "a receiver that reads and does not answer",
      "http",
      (socket: { resume(): void }) => socket.resume(),
    ],
  ] as const)(
    "SIGTERM ends it within 2 s while it waits for %s",
    async (name, protocol, onConnection) => {
      using receiver = await FakeReceiver.open({ onConnection });
      await using sender = startUpload(`${protocol}://127.0.0.1:${receiver.port}`, [
        "--compression=no",
      ]);
      await until(() => receiver.connections > 0, 20_000);
      await Bun.sleep(1000);
      await expectQuickEnd(sender, name);
    },
    LIMIT_MS,
  );

  test(
    "says which name cannot be looked up, and goes on trying",
    async () => {
      await using sender = startUpload("https://no-such-host.invalid");
      await sender.logged("it is tried again until it works");
      expect(sender.log).toMatch(
        /Cannot upload to "https:\/\/no-such-host\.invalid:19532\/upload": (the host name|no name server answers for) "no-such-host\.invalid"/,
      );
      await expectQuickEnd(sender, "a name that does not exist");
    },
    LIMIT_MS,
  );

  interface Trouble {
    /** Instead of the receiver; resolves with its port. */
    open?(): Promise<Disposable & { port: number }>;
    /** Of ours, to be replaced by good ones: names of files without ending. */
    identity?: string;
    authority?: string;
    /** Behind `Cannot upload to "URL": `, up to where it goes on. */
    message(port: number, own: string): string;
    hint?: string;
  }

  const troubles: Record<string, Trouble> = {
    "nobody who listens": { message: (port) => `127.0.0.1:${port} refuses the connection;` },
    "a port without TLS": {
      open: () =>
        FakeReceiver.open({
          onConnection: (socket) => void socket.on("data", () => socket.end("what?\n")),
        }),
      message: (port) => `127.0.0.1:${port} does not speak TLS, which "https:" means;`,
    },
    "a certificate that has expired": {
      open: () => FakeReceiver.open({ tls: tlsFiles("expired") }),
      message: () => "the server's certificate has expired at Jan  1 00:00:00 2021 GMT;",
    },
    "a certificate for another host": {
      open: () => FakeReceiver.open({ tls: tlsFiles("elsewhere") }),
      message: () =>
        'the server\'s certificate is for another host: it has DNS:a.example.net, "127.0.0.1" is needed;',
    },
    "a certificate of another authority than ours": {
      authority: "other",
      message: (_, own) =>
        `the server's certificate is not signed by an authority in "${own}/ca", but by "Test Authority ca";`,
      hint: "TrustedCertificateFile= or --trust= must name the file",
    },
    "one that refuses our certificate, with an alert": {
      open: () => OpensslServer.open(pki),
      identity: "foreign",
      message: (_, own) => `the server refuses our certificate "${own}/cert"`,
      hint: "signed by an authority that the server trusts, and not be revoked",
    },
    "agent serve, to which our certificate is of a foreign authority": {
      identity: "foreign",
      message: () =>
        'status 401 "Client certificate not signed by recognized authority", need 2xx;',
      hint: "Check --cert= and --key=",
    },
    "agent serve, to which our certificate is revoked": {
      identity: "revoked",
      message: () =>
        'status 401 "Client certificate not signed by recognized authority", need 2xx;',
      hint: "Check --cert= and --key=",
    },
  };

  test.each(Object.entries(troubles))(
    "names what is wrong, tries again and sends when it is mended: %s",
    async (_, { open, identity = "web1", authority = "ca", message, hint = "" }) => {
      const [output, own] = [newDirectory(), newDirectory()];
      const copy = (name: string, to: string): void => copyFileSync(pki.path(name), join(own, to));
      copy(`${identity}.key`, "key");
      copy(`${identity}.pem`, "cert");
      copy(`${authority}.pem`, "ca");
      let port = await freePort();
      const files = { key: join(own, "key"), cert: join(own, "cert"), trust: join(own, "ca") };
      const start = (): Promise<Receiver> => {
        const args = [`--crl=${pki.path("ca.crl.pem")}`];
        return Receiver.start({ command: [agent.path, "serve"], output, pki, port, args });
      };
      const isReceiverAtFault = identity === "web1" && authority === "ca";
      const instead = await open?.();
      port = instead?.port ?? port;
      await using started = new AsyncDisposableStack();
      const isHere = !isReceiverAtFault && instead === undefined;
      let receiver = isHere ? started.use(await start()) : undefined;
      await using sender = startUpload(`https://127.0.0.1:${port}`, [], {
        ...files,
        directory: few,
      });
      try {
        await sender.logged(
          `Cannot upload to "https://127.0.0.1:${port}/upload": ${message(port, own)}`,
        );
        await sender.logged("it is tried again until it works");
        await sender.logged(hint);
      } finally {
        instead?.[Symbol.dispose]();
      }
      copy("web1.key", "key");
      copy("web1.pem", "cert");
      copy("ca.pem", "ca");
      receiver ??= started.use(await start());
      await sender.logged(`Uploading to "https://127.0.0.1:${port}/upload" works again`);
      await until(() => countEntries(journalFiles(output)) === FEW_ENTRIES, 20_000);
      await expectQuickEnd(sender, "there is nothing to do");
      expect(await receiver.stop()).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "says that a server speaks TLS where the URL does not",
    async () => {
      await using receiver = await Receiver.start({
        command: [agent.path, "serve"],
        output: newDirectory(),
        pki,
      });
      await using sender = startUpload(`http://127.0.0.1:${receiver.port}`);
      await sender.logged("it is tried again until it works");
      expect(sender.log).toMatch(
        /: (the server speaks TLS|the server closed the connection without an answer|the connection broke: it was reset);/,
      );
      await expectQuickEnd(sender, "it waits for the next attempt");
    },
    LIMIT_MS,
  );

  function tlsFiles(name: string): { key: string; cert: string } {
    return {
      key: readFileSync(pki.path(`${name}.key`), "utf8"),
      cert: readFileSync(pki.path(`${name}.pem`), "utf8"),
    };
  }
});

/** How long it took is printed. */
async function expectQuickEnd(sender: UploaderProcess, state: string): Promise<void> {
  expect(sender.isRunning).toBe(true);
  const startMs = performance.now();
  sender.signal("SIGTERM");
  const status = await sender.ended();
  const tookMs = performance.now() - startMs;
  console.log(`SIGTERM while ${state}: ${Math.round(tookMs)} ms`);
  expect({ status, log: status === 0 ? "" : sender.log }).toEqual({ status: 0, log: "" });
  expect(tookMs).toBeLessThan(STOP_LIMIT_MS);
}

function existingText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
