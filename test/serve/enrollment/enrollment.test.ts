/** Over real TLS on loopback: what strangers and known hosts may ask a front, and what it asks the signer. */

import { heapStats } from "bun:jsc";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { SignerAnswer, SignerQuestion } from "../../../src/platform/signer-protocol.ts";
import { Counters } from "../../../src/serve/counters.ts";
import { Enrollment, FAILURES } from "../../../src/serve/enrollment/enrollment.ts";
import type { EnrollmentRequest } from "../../../src/serve/enrollment/routes.ts";
import type { Front } from "../../../src/serve/front.ts";
import type { IngestLimits } from "../../../src/serve/settings.ts";
import { FakeSigner } from "../../support/fake-signer.ts";
import { BodyRecorder, type FrontSetup, portOf, startTestFront } from "../../support/front.ts";
import { TestPki } from "../../support/tls.ts";
import { type HttpReply, TlsClient } from "../../support/tls-client.ts";

const pki = new TestPki();
pki.addAuthority("foreign");
pki.issue("web1", { extensions: ["extendedKeyUsage=clientAuth"] });
pki.issue("foreigner", { subject: "/CN=web1", authority: "foreign" });
pki.issue("expired", { start: "20200101000000Z", end: "20200201000000Z" });
pki.issue("revoked");
pki.revoke("revoked");
pki.writeCrl();
afterAll(() => pki[Symbol.dispose]());

const PROOF = "a".repeat(128);
const CSR = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
const TOKEN = `Authorization: Token ${PROOF}`;
const REFUSED: SignerAnswer = {
  status: 403,
  reason: "unknown",
  text: "This token is not valid here",
};

let front: Front | undefined;
let ingest = new BodyRecorder();
let signer: FakeSigner;
let answer: (question: SignerQuestion) => SignerAnswer | Promise<SignerAnswer>;
beforeEach(async () => {
  ingest = new BodyRecorder();
  answer = ({ op }) => ({ status: 200, text: `PEM of ${op}\n` });
  signer = await FakeSigner.start((question) => answer(question));
});
afterEach(async () => {
  await front?.stop(0);
  front = undefined;
  signer[Symbol.dispose]();
});

async function start(
  options: FrontSetup["options"] = {},
  limits: Partial<IngestLimits> = {},
): Promise<number> {
  front = await startTestFront(ingest, {
    https: ["127.0.0.1:0"],
    http: ["127.0.0.1:0"],
    limits,
    options: {
      certificates: {
        keyFile: pki.path("server.key"),
        certificateFile: pki.path("server.pem"),
        trust: {
          authority: pki.path("ca.pem"),
          crlFiles: [pki.path("ca.crl.pem")],
          allowSubject: [],
        },
      },
      enrollSocket: signer.path,
      ...options,
    },
  });
  return portOf(front.addresses.https[0]);
}

function message(line: string, body = "", fields: readonly string[] = []): string {
  const head = [`${line} HTTP/1.1`, "Host: localhost", `Content-Length: ${body.length}`, ...fields];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

const ENROLL = message("POST /enroll", CSR, [TOKEN]);
const RENEW = message("POST /renew", CSR);
const AUTHORITY = message("GET /enroll/authority");
const UPLOAD = message("POST /upload", "MESSAGE=a\n\n", [
  "Content-Type: application/vnd.fdo.journal",
]);

/** @param name of the certificate; "" = none */
async function send(port: number, name: string, text: string): Promise<HttpReply> {
  using client = await TlsClient.connect(pki, name, port);
  client.send(text);
  return await client.reply();
}

const count = (reason: string): number => front?.counts().get(reason) ?? 0;

describe("a host without a certificate", () => {
  test("sees the authority, and gets what the signer says; the connection ends with it", async () => {
    const port = await start();
    expect(await send(port, "", AUTHORITY)).toMatchObject({
      status: 200,
      body: "PEM of authority\n",
    });
    using client = await TlsClient.connect(pki, "", port);
    client.send(ENROLL);
    const reply = await client.reply();
    expect(reply).toMatchObject({ status: 200, body: "PEM of enroll\n" });
    expect(reply.headers.get("connection")).toBe("close");
    await client.closed(2000);
    expect(signer.questions).toEqual([
      { op: "authority", address: "127.0.0.1" },
      { op: "enroll", request: CSR, address: "127.0.0.1", proof: PROOF },
    ]);
    // Nothing was refused: an enrolment is no failed upload.
    expect([...(front?.counts().keys() ?? [])]).toEqual([]);
  });

  test("is refused everywhere else before a byte of the body is read, and counted", async () => {
    const port = await start();
    expect(await send(port, "", UPLOAD)).toMatchObject({ status: 401 });
    expect(await send(port, "", RENEW)).toMatchObject({
      status: 401,
      body: "Authorization through certificate is required\n",
    });
    expect([ingest.streams.length, signer.questions.length]).toEqual([0, 0]);
    expect(count("peer-no-certificate")).toBe(2);
  });

  test("cannot send behind an enrolment on the same connection", async () => {
    const port = await start();
    using client = await TlsClient.connect(pki, "", port);
    client.send(AUTHORITY + UPLOAD);
    expect(await client.reply()).toMatchObject({ status: 200 });
    await client.closed(5000);
    expect(ingest.streams).toHaveLength(0);
  });

  test("gets the signer's refusal, which is counted by its reason", async () => {
    answer = () => REFUSED;
    const port = await start();
    expect(await send(port, "", ENROLL)).toMatchObject({
      status: 403,
      body: "This token is not valid here\n",
    });
    expect(count("enroll-unknown")).toBe(1);
  });

  test("sends its body in chunks, or when it is asked to", async () => {
    const port = await start();
    const head = `POST /enroll HTTP/1.1\r\nHost: a\r\n${TOKEN}\r\n`;
    const chunk = `${CSR.length.toString(16)}\r\n${CSR}\r\n0\r\n\r\n`;
    expect(await send(port, "", `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`)).toMatchObject(
      {
        status: 200,
      },
    );
    using client = await TlsClient.connect(pki, "", port);
    client.send(`${head}Content-Length: ${CSR.length}\r\nExpect: 100-continue\r\n\r\n`);
    expect(await client.reply()).toMatchObject({ status: 100 });
    client.send(CSR);
    expect(await client.reply()).toMatchObject({ status: 200 });
    expect(signer.questions.map(({ request }) => request)).toEqual([CSR, CSR]);
  });
});

describe("a host whose certificate is no good", () => {
  test.each(["foreigner", "expired", "revoked"])("%s may enrol, but not renew", async (name) => {
    const port = await start();
    expect(await send(port, name, ENROLL)).toMatchObject({ status: 200 });
    expect(await send(port, name, RENEW)).toMatchObject({ status: 401 });
    expect(await send(port, name, UPLOAD)).toMatchObject({ status: 401 });
    expect(signer.questions.map(({ op }) => op)).toEqual(["enroll"]);
  });
});

describe("a host with a certificate", () => {
  test("renews under its name, and enrols", async () => {
    const port = await start();
    expect(await send(port, "web1", RENEW)).toMatchObject({ status: 200, body: "PEM of renew\n" });
    expect(await send(port, "web1", ENROLL)).toMatchObject({ status: 200 });
    expect(signer.questions).toEqual([
      { op: "renew", request: CSR, address: "127.0.0.1", name: "web1" },
      { op: "enroll", request: CSR, address: "127.0.0.1", proof: PROOF },
    ]);
  });

  test("renews behind an upload on the same connection, in order", async () => {
    const port = await start();
    using client = await TlsClient.connect(pki, "web1", port);
    client.send(UPLOAD + RENEW);
    expect(await client.reply()).toMatchObject({ status: 202 });
    expect(await client.reply()).toMatchObject({ status: 200, body: "PEM of renew\n" });
    await client.closed(5000);
  });

  test("that renews without end is slowed down, and others are not", async () => {
    pki.issue("web2");
    const port = await start();
    const replies: number[] = [];
    for (let i = 0; i < 12; i++) replies.push((await send(port, "web1", RENEW)).status);
    expect(replies).toEqual([...Array(10).fill(200), 429, 429]);
    expect(await send(port, "web2", RENEW)).toMatchObject({ status: 200 });
    expect(count("enroll-rate")).toBe(2);
  });
});

describe("when it is off", () => {
  test("there is nothing at its paths, and refused peers are refused as ever", async () => {
    const port = await start({ enrollSocket: undefined });
    for (const each of [AUTHORITY, ENROLL, RENEW]) {
      expect(await send(port, "", each)).toMatchObject({ status: 404 });
      expect(await send(port, "web1", each)).toMatchObject({ status: 404 });
    }
    expect(await send(port, "", UPLOAD)).toMatchObject({ status: 401 });
    expect(count("peer-no-certificate")).toBe(4); // as soon as the handshake is over
    expect(signer.questions).toEqual([]);
  });

  test("plain HTTP has none even when it is on", async () => {
    await start();
    const port = portOf(front?.addresses.http[0]);
    const response = await fetch(`http://127.0.0.1:${port}/enroll/authority`);
    expect(response.status).toBe(404);
    expect(signer.questions).toEqual([]);
  });
});

describe("limits", () => {
  test("1,000 guesses: the signer is asked ten times, everybody else is told when to come again", async () => {
    answer = () => REFUSED;
    const port = await start();
    const statuses = new Map<number, number>();
    const guess = async (): Promise<void> => {
      const reply = await send(port, "", ENROLL);
      statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
      if (reply.status === 403) return;
      const waitSec = Number(reply.headers.get("retry-after"));
      expect(waitSec).toBeGreaterThan(0);
      expect(waitSec).toBeLessThanOrEqual(60);
    };
    for (let round = 0; round < 200; round++) await Promise.all([1, 2, 3, 4, 5].map(guess));
    expect(signer.questions).toHaveLength(FAILURES.perOwnerMax);
    expect(statuses).toEqual(
      new Map([
        [403, FAILURES.perOwnerMax],
        [429, 1000 - FAILURES.perOwnerMax],
      ]),
    );
    expect(count("enroll-rate")).toBe(1000 - FAILURES.perOwnerMax);
    // Who has a certificate does not suffer from it.
    expect(await send(port, "web1", UPLOAD)).toMatchObject({ status: 202 });
    expect((await send(port, "web1", RENEW)).status).toBe(403);
    expect(signer.questions.at(-1)?.op).toBe("renew");
  }, 60_000);

  test("enrolments that succeed have no limit", async () => {
    const port = await start();
    for (let i = 0; i < 30; i++) expect((await send(port, "", ENROLL)).status).toBe(200);
  });

  test("the authority's certificate is asked for once, however many want it", async () => {
    const port = await start();
    const replies = await Promise.all(Array.from({ length: 8 }, () => send(port, "", AUTHORITY)));
    for (let i = 0; i < 20; i++) replies.push(await send(port, "", AUTHORITY));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(signer.questions).toHaveLength(1);
  });

  test("no more questions at a time than the signer's socket takes", async () => {
    answer = async () => {
      await Bun.sleep(100);
      return { status: 200, text: "PEM" };
    };
    const port = await start();
    const replies = await Promise.all(Array.from({ length: 8 }, () => send(port, "", ENROLL)));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(signer.peak).toBe(6);
  });

  test("nor requests of one address than eight, the others come again", async () => {
    answer = async () => {
      await Bun.sleep(300);
      return { status: 200, text: "PEM" };
    };
    const port = await start();
    const replies = await Promise.all(Array.from({ length: 20 }, () => send(port, "", ENROLL)));
    const refused = replies.filter(({ status }) => status === 503);
    expect(refused).toHaveLength(12);
    expect(refused[0]?.headers.get("retry-after")).toBe("5");
    expect(await send(port, "", ENROLL)).toMatchObject({ status: 200 });
  });

  test("a body of more than 64 KiB is refused, whether its head says so or not", async () => {
    const port = await start();
    const large = `-----BEGIN ${"x".repeat(64 * 1024)}`;
    expect(await send(port, "", message("POST /enroll", large, [TOKEN]))).toMatchObject({
      status: 413,
    });
    const head = `POST /enroll HTTP/1.1\r\nHost: a\r\n${TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunk = `${large.length.toString(16)}\r\n${large}\r\n`;
    expect(await send(port, "", head + chunk)).toMatchObject({ status: 413 });
    expect(signer.questions).toEqual([]);
  });

  test("a body that comes byte by byte takes no more memory than one that comes whole", async () => {
    const counters = new Counters({ warn: () => undefined, nowMs: () => 0 });
    const enrollment = new Enrollment({ socket: signer.path, counters, nowMs: () => 0 });
    const head: EnrollmentRequest = {
      ...{ operation: "enroll", proof: PROOF, expectsContinue: false, keepAlive: false },
      framing: { kind: "chunked" },
    };
    const stream = enrollment.open(head, { address: "192.0.2.7", name: undefined });
    if ("reply" in stream) throw new Error("It is refused");
    const objects = (): number => {
      Bun.gc(true);
      return heapStats().objectCount;
    };
    const before = objects();
    for (const byte of Buffer.from(CSR.padEnd(60_000, "x"))) stream.push(Uint8Array.of(byte));
    expect(objects() - before).toBeLessThan(10_000);
    expect(await stream.end()).toMatchObject({ status: 200 });
    expect(signer.questions.at(-1)?.request).toBe(CSR.padEnd(60_000, "x"));
  });

  test("a body that is no PEM does not reach the signer", async () => {
    const port = await start();
    expect(await send(port, "", message("POST /enroll", "x", [TOKEN]))).toMatchObject({
      status: 400,
    });
    expect(await send(port, "", message("POST /enroll", "", [TOKEN]))).toMatchObject({
      status: 400,
    });
    expect(signer.questions).toEqual([]);
  });

  test("a body that trickles is cut in time, however steadily it grows", async () => {
    const port = await start({}, { stalledTimeoutMs: 5000, handshakeTimeoutMs: 500 });
    using client = await TlsClient.connect(pki, "", port);
    const startMs = performance.now();
    const [head = "", body = ""] = ENROLL.split("\r\n\r\n");
    client.send(`${head}\r\n\r\n`);
    const trickle = setInterval(() => client.send(body.slice(0, 1)), 40);
    expect(await client.reply()).toMatchObject({ status: 408 });
    clearInterval(trickle);
    expect(performance.now() - startMs).toBeLessThan(2000);
    expect(signer.questions).toEqual([]);
  });

  test("a body that stops in the middle is cut, one that is cut frees its place", async () => {
    const port = await start({}, { stalledTimeoutMs: 300, handshakeTimeoutMs: 300 });
    const half = ENROLL.slice(0, -10);
    for (let i = 0; i < 3; i++) {
      const clients = await Promise.all(
        Array.from({ length: 8 }, () => TlsClient.connect(pki, "", port)),
      );
      for (const client of clients) client.send(half);
      expect((await clients[0]?.reply())?.status).toBe(408);
      for (const client of clients) client.close();
    }
    await Bun.sleep(50);
    expect(await send(port, "", ENROLL)).toMatchObject({ status: 200 });
    expect(signer.questions).toHaveLength(1);
  });
});

describe("without a signer", () => {
  test("503 with the time to come again; senders do not notice", async () => {
    signer[Symbol.dispose]();
    const port = await start();
    for (const each of [AUTHORITY, ENROLL]) {
      const reply = await send(port, "", each);
      expect(reply).toMatchObject({ status: 503, body: "The authority does not answer.\n" });
      expect(reply.headers.get("retry-after")).toBe("5");
    }
    expect(count("enroll-no-signer")).toBe(2);
    expect(await send(port, "web1", UPLOAD)).toMatchObject({ status: 202 });
  });

  test("an authority that was not shown is asked for again soon", async () => {
    let isUp = false;
    answer = () => (isUp ? { status: 200, text: "PEM" } : { status: 503, text: "no" });
    const port = await start();
    expect(await send(port, "", AUTHORITY)).toMatchObject({ status: 503 });
    isUp = true;
    await Bun.sleep(1100);
    expect(await send(port, "", AUTHORITY)).toMatchObject({ status: 200 });
  });
});
