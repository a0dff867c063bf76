/**
 * `agent upload` to receivers that cannot be reached, do not answer, or are not the right ones: it says why, tries again,
 * goes on when that is mended, and ends at once when it is told to: issue 3, "what must hold" 6.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { countEntries } from "../support/entry-digests.ts";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd, sampleExport } from "../support/journal-tools.ts";
import { OpensslServer } from "../support/openssl-server.ts";
import { freePort } from "../support/ports.ts";
import type { Receiver } from "../support/receiver.ts";
import { SeverableNetwork } from "../support/severable-network.ts";
import {
  compareEntries,
  journalctlExport,
  journalFiles,
  NO_DIFFERENCE,
  parseExport,
  storedEntries,
} from "../support/stored-journals.ts";
import { until } from "../support/until.ts";
import { useUploadRig } from "../support/upload-rig.ts";
import type { UploaderProcess } from "../support/uploader-process.ts";

const LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 2000;
const ENTRIES = 20_000;
const FEW_ENTRIES = 100;
/** Far away. */
const RECEIVER = "192.0.2.2:19532";

const hasNetwork = await SeverableNetwork.isPossible();

describe.skipIf(!hasSystemd())("agent upload (needs systemd-journal-remote)", () => {
  const rig = useUploadRig();
  let journals: string;
  let few: string;

  beforeAll(() => {
    const { pki } = rig;
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
    journals = rig.newJournal(sampleExport(ENTRIES));
    few = rig.newJournal(sampleExport(FEW_ENTRIES));
  }, LIMIT_MS);

  function expectAllStored(output: string): void {
    const expected = parseExport(journalctlExport(`--directory=${journals}`));
    expect(compareEntries(storedEntries(output), expected)).toEqual(NO_DIFFERENCE);
  }

  describe.skipIf(!hasNetwork)(
    "over a network that loses everything (needs network namespaces)",
    () => {
      const owned = new DisposableStack();
      let network: SeverableNetwork;

      beforeAll(async () => {
        network = owned.use(await SeverableNetwork.open());
      });
      afterAll(() => owned.dispose());

      async function startReceiver(output: string): Promise<Receiver> {
        const command = network.far(rig.agent, "serve");
        const far = { path: (file: string) => rig.pki.path(file.replace(/^server\./, "far.")) };
        return await rig.startReceiver(output, {
          ...{ command, pki: far },
          args: [`--listen-https=${RECEIVER}`],
        });
      }

      /** A connection is being made, as the kernel sees it. */
      const isConnecting = (): boolean => {
        const { stdout } = Bun.spawnSync(network.near("cat", "/proc/net/tcp"));
        return / [0-9A-F]{8}:4C4C 02 /.test(`${stdout}`);
      };

      const within = (...words: string[]): string[] => network.near(...words);
      const withNoNames = (...words: string[]): string[] => {
        const file = rig.dir.write("resolv.conf", "nameserver 192.0.2.9\n");
        const script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
        return network.near("unshare", "--mount", "sh", "-c", script, "sh", file, ...words);
      };

      test.each([
        ["connecting", "http://192.0.2.9:19532", within],
        ["looking up a name", "http://logs.example.net:19532", withNoNames],
      ] as const)(
        "SIGTERM ends it within 2 s while %s",
        async (_, url, wrap) => {
          const sender = rig.startUpload({ url, directory: journals, within: wrap });
          await Bun.sleep(1500);
          await expectQuickEnd(sender, _);
        },
        LIMIT_MS,
      );

      test(
        "SIGTERM ends it within 2 s in the middle of sending; the next start goes on",
        async () => {
          const output = rig.newDirectory();
          const receiver = await startReceiver(output);
          const state = rig.newState();
          const upload = { url: `https://${RECEIVER}`, directory: journals, within, state };
          const args = ["--batch-size=32K", "--rate-limit-bytes=200K"];
          const first = rig.startUpload({ ...upload, args });
          await until(() => existingText(state).includes("LAST_CURSOR"), 20_000);
          network.cut();
          await Bun.sleep(1500);
          await expectQuickEnd(first, "sending");
          network.mend();
          const stored = storedEntries(output).length;
          expect(stored).toBeGreaterThan(0);
          expect(stored).toBeLessThan(ENTRIES);
          const second = rig.startUpload({ ...upload, args: ["--follow=no"] });
          expect(await second.ended()).toBe(0);
          expect(await receiver.stop()).toBe(0);
          expectAllStored(output);
        },
        LIMIT_MS,
      );

      test(
        "a connection that does not move is given up, and all is sent when the network is back",
        async () => {
          const output = rig.newDirectory();
          const receiver = await startReceiver(output);
          const args = [
            "--batch-size=32K",
            "--rate-limit-bytes=200K",
            "--network-timeout=2s",
            "--follow=no",
          ];
          const sender = rig.startUpload({
            ...{ url: `https://${RECEIVER}`, directory: journals, within },
            args,
          });
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
      const url = `${protocol}://127.0.0.1:${receiver.port}`;
      const sender = rig.startUpload({ url, directory: journals, args: ["--compression=no"] });
      await until(() => receiver.connections > 0, 20_000);
      await Bun.sleep(1000);
      await expectQuickEnd(sender, name);
    },
    LIMIT_MS,
  );

  test(
    "says which name cannot be looked up, and goes on trying",
    async () => {
      const url = "https://no-such-host.invalid";
      const sender = rig.startUpload({ url, directory: journals });
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
      open: () => OpensslServer.open(rig.pki),
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
      message: () => 'status 401 "Client certificate is revoked", need 2xx;',
      hint: "Check --cert= and --key=",
    },
  };

  test.each(Object.entries(troubles))(
    "names what is wrong, tries again and sends when it is mended: %s",
    async (_, { open, identity = "web1", authority = "ca", message, hint = "" }) => {
      const [output, own] = [rig.newDirectory(), rig.newDirectory()];
      const copy = (name: string, to: string): void => {
        copyFileSync(rig.pki.path(name), join(own, to));
      };
      copy(`${identity}.key`, "key");
      copy(`${identity}.pem`, "cert");
      copy(`${authority}.pem`, "ca");
      let port = await freePort();
      const start = (): Promise<Receiver> => {
        const args = [`--crl=${rig.pki.path("ca.crl.pem")}`];
        return rig.startReceiver(output, { port, args });
      };
      const isReceiverAtFault = identity === "web1" && authority === "ca";
      const instead = await open?.();
      port = instead?.port ?? port;
      const isHere = !isReceiverAtFault && instead === undefined;
      let receiver = isHere ? await start() : undefined;
      const sender = rig.startUpload({
        url: `https://127.0.0.1:${port}`,
        directory: few,
        identity: [`--key=${own}/key`, `--cert=${own}/cert`, `--trust=${own}/ca`],
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
      receiver ??= await start();
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
      const { port } = await rig.startReceiver(rig.newDirectory());
      const sender = rig.startUpload({ url: `http://127.0.0.1:${port}`, directory: journals });
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
      key: readFileSync(rig.pki.path(`${name}.key`), "utf8"),
      cert: readFileSync(rig.pki.path(`${name}.pem`), "utf8"),
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
