import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import type { Front } from "../../src/serve/front.ts";
import type { IngestLimits, TrustSettings } from "../../src/serve/settings.ts";
import {
  BodyRecorder,
  type CurlResult,
  curl,
  JOURNAL_TYPE,
  portOf,
  startTestFront,
} from "../support/front.ts";
import { TestPki } from "../support/tls.ts";
import { until } from "../support/until.ts";

const pki = new TestPki();
pki.addAuthority("foreign");
pki.issue("web1", { extensions: ["extendedKeyUsage=clientAuth"] });
pki.issue("web2", { extensions: ["extendedKeyUsage=serverAuth,clientAuth"] });
pki.issue("any-use", { extensions: ["extendedKeyUsage=anyExtendedKeyUsage"] });
pki.issue("no-use", { extensions: ["keyUsage=digitalSignature"] });
pki.issue("plain-v1");
pki.issue("san", {
  subject: "/O=x",
  extensions: ["subjectAltName=email:a@b,IP:192.0.2.7,DNS:web7.example.net"],
});
pki.issue("ip", { subject: "/O=x", extensions: ["subjectAltName=IP:2001:db8::7"] });
pki.issue("odd", { subject: "/CN=a b\\/..\\/é" });
pki.issue("nameless", { subject: "/O=x", extensions: ["keyUsage=digitalSignature"] });
pki.issue("foreigner", { subject: "/CN=web1", authority: "foreign" });
pki.issue("expired", { start: "20200101000000Z", end: "20200201000000Z" });
pki.issue("early", { start: "20400101000000Z", end: "20410101000000Z" });
pki.issue("server-only", { extensions: ["extendedKeyUsage=serverAuth"] });
pki.issue("revoked");
pki.revoke("revoked");
pki.writeCrl();
afterAll(() => pki[Symbol.dispose]());

let front: Front | undefined;
let ingest = new BodyRecorder();
beforeEach(() => {
  ingest = new BodyRecorder();
});
afterEach(async () => {
  await front?.stop(0);
  front = undefined;
});

function certificates(trust: Partial<TrustSettings> = {}) {
  const crlFiles = [pki.path("ca.crl.pem")];
  return {
    keyFile: pki.path("server.key"),
    certificateFile: pki.path("server.pem"),
    trust: { authority: pki.path("ca.pem"), crlFiles, allowSubject: [], ...trust },
  };
}

async function start(
  trust: Partial<TrustSettings> = {},
  limits: Partial<IngestLimits> = {},
): Promise<number> {
  const options = { certificates: certificates(trust) };
  front = await startTestFront(ingest, { https: ["127.0.0.1:0"], limits, options });
  return portOf(front.addresses.https[0]);
}

function upload(port: number, name: string, ...args: string[]): Promise<CurlResult> {
  const url = `https://localhost:${port}/upload`;
  return curl(...pki.curlArgs(name), ...args, "-4", "-H", JOURNAL_TYPE, "-d", "A=b", url);
}

describe("A client is accepted", () => {
  const cases: [string, string][] = [
    ["web1", "web1"],
    ["web2", "web2"],
    ["no-use", "no-use"],
    ["plain-v1", "plain-v1"],
    ["san", "web7.example.net"],
    ["ip", "2001:db8::7"],
    ["odd", "a b/../é"],
  ];
  for (const [name, sender] of cases) {
    test(`with the certificate "${name}", as ${sender}`, async () => {
      const port = await start();
      expect(await upload(port, name)).toMatchObject({ status: 202, body: "OK.\n" });
      expect(ingest.streams).toMatchObject([{ sender, state: "ended" }]);
    });
  }
  test("and the v1 certificate really is one", () => {
    const text = Bun.spawnSync([
      "openssl",
      "x509",
      "-in",
      pki.path("plain-v1.pem"),
      "-noout",
      "-text",
    ]);
    expect(text.stdout.toString()).toContain("Version: 1 ");
  });
  test("over TLS 1.2 as over 1.3", async () => {
    const port = await start();
    expect((await upload(port, "web1", "--tls-max", "1.2")).status).toBe(202);
    expect((await upload(port, "web1", "--tlsv1.3")).status).toBe(202);
  });
  test("without a certificate, under its address, when all are trusted", async () => {
    const port = await start({ authority: "all", crlFiles: [] });
    expect((await upload(port, "")).status).toBe(202);
    expect(ingest.streams).toMatchObject([{ sender: "127.0.0.1" }]);
  });
});

const UNRECOGNIZED = "Client certificate not signed by recognized authority\n";
const UNFIT = "Client certificate is not meant for clients\n";
const REFUSED: [string, number, string, string][] = [
  ["", 401, "Authorization through certificate is required\n", "peer-no-certificate"],
  ["foreigner", 401, UNRECOGNIZED, "peer-certificate-unable-to-verify-leaf-signature"],
  ["foreign", 401, UNRECOGNIZED, "peer-certificate-depth-zero-self-signed-cert"],
  ["expired", 401, "Client certificate has expired\n", "peer-certificate-cert-has-expired"],
  ["early", 401, "Client certificate is not valid yet\n", "peer-certificate-cert-not-yet-valid"],
  ["revoked", 401, "Client certificate is revoked\n", "peer-certificate-cert-revoked"],
  ["server-only", 401, UNFIT, "peer-certificate-invalid-purpose"],
  ["any-use", 401, UNFIT, "peer-certificate-invalid-purpose"],
  ["nameless", 401, "Failed to determine distinguished name from certificate\n", "peer-nameless"],
];

describe("A client is refused, and nothing is stored,", () => {
  for (const [name, status, body, reason] of REFUSED) {
    test(`with ${name === "" ? "no certificate" : `the certificate "${name}"`}`, async () => {
      const port = await start();
      for (const version of [["--tls-max", "1.2"], ["--tlsv1.3"]]) {
        expect(await upload(port, name, ...version)).toMatchObject({ status, body });
      }
      expect(ingest.streams).toEqual([]);
      expect(front?.counts()).toEqual(new Map([[reason, 2]]));
    });
  }
  test("every one of 40 times, among accepted ones", async () => {
    const port = await start();
    const kinds = REFUSED.map(([name]) => name);
    const rounds = Array.from({ length: 40 }, (_, index) => kinds[index % kinds.length] ?? "");
    for (let index = 0; index < rounds.length; index += 4) {
      const names = [...rounds.slice(index, index + 4), "web1"];
      const results = await Promise.all(names.map((name) => upload(port, name)));
      expect(results.map(({ status }) => status)).toEqual([401, 401, 401, 401, 202]);
    }
    expect(ingest.streams.map(({ sender }) => sender)).toEqual(Array(10).fill("web1"));
  });
  test("when its name matches no pattern", async () => {
    const port = await start({ allowSubject: ["db*", "web?"] });
    expect((await upload(port, "web1")).status).toBe(202);
    const result = await upload(port, "plain-v1");
    expect(result).toMatchObject({
      status: 403,
      body: "This certificate is not allowed to send here\n",
    });
    expect(ingest.streams).toHaveLength(1);
  });
  test("with TLS 1.1 and below", async () => {
    const port = await start();
    for (const version of ["-tls1", "-tls1_1"]) {
      const target = ["-connect", `127.0.0.1:${port}`, "-cipher", "ALL:@SECLEVEL=0"];
      const run = Bun.spawn(["openssl", "s_client", version, ...target], {
        stdin: null,
        stderr: "pipe",
      });
      expect(await new Response(run.stderr).text()).toMatch(/alert protocol version/);
      expect(await run.exited).not.toBe(0);
    }
    expect(front?.counts().get("tls-eproto")).toBe(2);
  });
  test("without TLS", async () => {
    const port = await start();
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", `http://127.0.0.1:${port}/upload`);
    expect(result.exitCode).not.toBe(0);
    await until(() => front?.connectionCount === 0);
  });
  test("when the revocation list is out of date", async () => {
    pki.addAuthority("lapsed");
    pki.issue("member", { authority: "lapsed" });
    pki.writeCrl({ authority: "lapsed", start: "20200101000000Z", end: "20200201000000Z" });
    const crlFiles = [pki.path("lapsed.crl.der")];
    const port = await start({ authority: pki.path("lapsed.pem"), crlFiles });
    expect(await upload(port, "member")).toMatchObject({
      status: 401,
      body: "Receiver's revocation list is out of date\n",
    });
    expect(front?.counts().get("peer-certificate-crl-has-expired")).toBe(1);
  });
});

test("A refused client's body is not read", async () => {
  const port = await start();
  const big = pki.path("big");
  writeFileSync(big, new Uint8Array(20e6));
  const url = `https://localhost:${port}/upload`;
  const data = ["-H", "Expect:", "-H", JOURNAL_TYPE, "--data-binary", `@${big}`];
  const result = await curl(...pki.curlArgs("foreigner"), "-4", ...data, url);
  expect(result).toMatchObject({ status: 401, body: UNRECOGNIZED });
  expect(ingest.streams).toEqual([]);
});

test("A handshake that never comes is cut in time", async () => {
  const port = await start({}, { handshakeTimeoutMs: 200 });
  const socket = connectPlain({ port, host: "127.0.0.1" });
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("close", () => resolve());
  socket.on("error", () => undefined);
  await promise;
  await until(() => front?.connectionCount === 0);
});

test("A session cannot be resumed, so that revocation reaches whoever reconnects", async () => {
  const port = await start();
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    let session: Buffer | undefined;
    const first = await connectTls(port, "web1", { maxVersion });
    first.on("session", (ticket: Buffer) => {
      session = ticket;
    });
    first.write(EMPTY_REQUEST);
    await until(() => first.bytesRead > 0);
    await Bun.sleep(50);
    const again = await connectTls(port, "web1", { maxVersion, ...(session && { session }) });
    expect(again.isSessionReused()).toBe(false);
    first.destroy();
    again.destroy();
  }
});

const EMPTY_REQUEST = `POST /upload HTTP/1.1\r\nHost: a\r\n${JOURNAL_TYPE}\r\n\r\n`;

async function connectTls(port: number, name: string, more: object = {}): Promise<TLSSocket> {
  const read = (file: string) => readFileSync(pki.path(file));
  const identity = { key: read(`${name}.key`), cert: read(`${name}.pem`), ca: read("ca.pem") };
  const socket = connect({
    port,
    host: "127.0.0.1",
    servername: "localhost",
    ...identity,
    ...more,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.on("secureConnect", () => resolve());
  socket.on("error", reject);
  await promise;
  return socket;
}

describe("Limits go by certificate", () => {
  test("so that many machines may come from one address", async () => {
    const port = await start({}, { connectionsPerPeerMax: 1 });
    const open = [await connectTls(port, "web1"), await connectTls(port, "web2")];
    for (const socket of open) socket.write(EMPTY_REQUEST);
    await until(() => ingest.streams.length === 2);
    expect((await upload(port, "plain-v1")).status).toBe(202);
    expect((await upload(port, "web1")).status).toBe(429);
    for (const socket of open) socket.destroy();
  });
});

describe("Front.reloadCertificates()", () => {
  async function startWithCopies() {
    const dir = pki.path("live");
    Bun.spawnSync(["mkdir", "-p", dir]);
    const copy = (from: string, to: string) => copyFileSync(pki.path(from), join(dir, to));
    for (const [from, to] of [
      ["server.key", "server.key"],
      ["server.pem", "server.pem"],
      ["ca.pem", "ca.pem"],
      ["ca.crl.pem", "crl.pem"],
    ])
      copy(from ?? "", to ?? "");
    const live = {
      keyFile: join(dir, "server.key"),
      certificateFile: join(dir, "server.pem"),
      trust: { authority: join(dir, "ca.pem"), crlFiles: [join(dir, "crl.pem")], allowSubject: [] },
    };
    front = await startTestFront(ingest, {
      https: ["127.0.0.1:0"],
      options: { certificates: live },
    });
    return { port: portOf(front.addresses.https[0]), copy };
  }

  test("serves the new certificate to new connections and keeps the open ones", async () => {
    const { port, copy } = await startWithCopies();
    const open = await connectTls(port, "web1");
    open.write(EMPTY_REQUEST);
    await until(() => ingest.streams.length === 1);
    pki.issue("renewed", { extensions: ["subjectAltName=DNS:localhost"] });
    copy("renewed.key", "server.key");
    copy("renewed.pem", "server.pem");
    expect(front?.reloadCertificates()).toBe(true);
    const fresh = await connectTls(port, "web2");
    expect(fresh.getPeerCertificate().subject.CN).toBe("renewed");
    open.write(EMPTY_REQUEST);
    await until(() => ingest.streams.length === 2);
    expect(ingest.streams.map(({ sender }) => sender)).toEqual(["web1", "web1"]);
    fresh.destroy();
    open.destroy();
  });

  test("takes another authority into use, for and against clients", async () => {
    const { port, copy } = await startWithCopies();
    pki.writeCrl({ authority: "foreign" });
    copy("foreign.pem", "ca.pem");
    copy("foreign.crl.pem", "crl.pem");
    expect(front?.reloadCertificates()).toBe(true);
    expect((await upload(port, "web1")).status).toBe(401);
    expect((await upload(port, "foreigner")).status).toBe(202);
    expect((await upload(port, "")).status).toBe(401);
  });

  test("closes the connections of certificates revoked since, in mid-request, and no others", async () => {
    const { port, copy } = await startWithCopies();
    pki.issue("leaving");
    const [leaving, idle, staying] = await Promise.all(
      ["leaving", "leaving", "web1"].map((name) => connectTls(port, name)),
    );
    const chunked = EMPTY_REQUEST.replace(/\r\n$/, "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    leaving?.write(chunked);
    staying?.write(chunked);
    await until(() => ingest.bodies().filter((body) => body === "ab").length === 2);
    let answer = "";
    let closed = 0;
    leaving?.on("data", (bytes: Buffer) => {
      answer += bytes.toString();
    });
    for (const socket of [leaving, idle]) socket?.on("end", () => closed++);
    pki.revoke("leaving");
    pki.writeCrl();
    copy("ca.crl.der", "crl.pem");
    expect(front?.reloadCertificates()).toBe(true);
    await until(() => closed === 2);
    expect(answer).toStartWith("HTTP/1.1 401 ");
    expect(ingest.streams.find(({ sender }) => sender === "leaving")?.state).toBe("aborted");
    staying?.write("2\r\ncd\r\n0\r\n\r\n");
    await until(() => ingest.streams.find(({ sender }) => sender === "web1")?.state === "ended");
    expect((await upload(port, "leaving")).status).toBe(401);
    staying?.destroy();
  });

  test("keeps the former certificates when the new ones do not work", async () => {
    const { port, copy } = await startWithCopies();
    copy("web1.key", "server.key");
    expect(front?.reloadCertificates()).toBe(false);
    expect((await upload(port, "web1")).status).toBe(202);
  });

  test("happens by itself when a file changes", async () => {
    const { port, copy } = await startWithCopies();
    pki.issue("noticed");
    expect((await upload(port, "noticed")).status).toBe(202);
    pki.revoke("noticed");
    pki.writeCrl();
    copy("ca.crl.pem", "crl.pem");
    let status = 202;
    for (let round = 0; round < 50 && status === 202; round++) {
      await Bun.sleep(100);
      status = (await upload(port, "noticed")).status;
    }
    expect(status).toBe(401);
  });
});

describe("An inherited socket", () => {
  function spawnChild(protocol: string, fd: number) {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../support/front-child.ts"), protocol, pki.dir],
      { stdio: ["ignore", "pipe", "inherit", fd] },
    );
    const state = { output: "" };
    void (async () => {
      for await (const bytes of child.stdout) state.output += Buffer.from(bytes).toString();
    })();
    return { child, state };
  }

  test("serves TLS, and new certificates after a reload", async () => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { child, state } = spawnChild("https", Number(Reflect.get(listener, "fd")));
    const former = readFileSync(pki.path("server.pem"));
    const formerKey = readFileSync(pki.path("server.key"));
    try {
      await until(() => state.output.includes("ready"));
      // From now on only the child accepts.
      const port = listener.port;
      listener.stop();
      expect((await upload(port, "web1")).status).toBe(202);
      expect((await upload(port, "foreigner")).status).toBe(401);
      pki.issue("server", { extensions: ["subjectAltName=DNS:localhost"] });
      child.kill("SIGHUP");
      await until(() => state.output.includes("reloaded"));
      const socket = await connectTls(port, "web1");
      const renewed = new X509Certificate(readFileSync(pki.path("server.pem"))).serialNumber;
      expect(socket.getPeerCertificate().serialNumber).toBe(renewed);
      socket.destroy();
    } finally {
      child.kill();
      await child.exited;
      writeFileSync(pki.path("server.pem"), former);
      writeFileSync(pki.path("server.key"), formerKey);
    }
  });

  test("that is a connection already is one raw stream, and the end of it the end", async () => {
    const { promise: accepted, resolve } = Promise.withResolvers<number>();
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          socket.pause();
          resolve(Number(Reflect.get(socket, "fd")));
        },
        data() {},
      },
    });
    const sender = connectPlain({ port: listener.port, host: "127.0.0.1" });
    const fd = await accepted;
    const { child, state } = spawnChild("raw", fd);
    try {
      await until(() => state.output.includes("ready"));
      sender.end("A=b\n\n");
      await until(() => state.output.includes("over"));
      expect(state.output).toContain('"A=b\\n\\n"');
    } finally {
      child.kill();
      await child.exited;
      listener.stop(true);
    }
  });
});
