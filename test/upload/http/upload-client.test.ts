import { afterAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import type { UploadRequest } from "../../../src/upload/delivery-types.ts";
import { type ClientChanges, openClient, plainRequest } from "../../support/client-rig.ts";
import { ACCEPTED, clientName, FakeReceiver } from "../../support/fake-receiver.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { TestPki } from "../../support/tls.ts";
import { until } from "../../support/until.ts";

const pki = new TestPki();
pki.issue("sender");
pki.issue("renewed");
afterAll(() => pki[Symbol.dispose]());

const SERVER = { key: await pem("server.key"), cert: await pem("server.pem") };
const MUTUAL = { ...SERVER, ca: await pem("ca.pem"), requestCert: true, rejectUnauthorized: true };
const TRUSTING: ClientChanges = { trust: pki.path("ca.pem") };

function pem(file: string): Promise<string> {
  return Bun.file(pki.path(file)).text();
}

/** What is sent before the kernel's buffers of a connection nobody reads from are full is less than this. */
const LARGE = 64 * 1024 * 1024;

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("makeUploadClient() sends", () => {
  test("requests with our headers, the user's, and a Content-Length", async () => {
    using receiver = await FakeReceiver.open();
    const headers = [
      { name: "X-Scope", value: "a, b" },
      { name: "user-agent", value: "mine" },
    ];
    using client = openClient(`${receiver.url}/insert?x=1`, { headers });
    const answer = await client.send({ ...plainRequest("hello"), contentEncoding: "zstd" });
    expect(answer).toMatchObject({ kind: "answer", status: 202, text: "OK.\n" });
    const [request] = receiver.requests;
    expect(request?.method).toBe("POST");
    expect(request?.target).toBe("/insert/upload?x=1");
    expect(Object.fromEntries(request?.headers ?? [])).toEqual({
      host: [`127.0.0.1:${receiver.port}`],
      accept: ["text/plain"],
      "x-scope": ["a, b"],
      "user-agent": ["mine"],
      "content-type": ["application/vnd.fdo.journal"],
      "content-encoding": ["zstd"],
      "content-length": ["5"],
    });
    expect(request?.body.toString()).toBe("hello");
  });

  test("a request without a body", async () => {
    using receiver = await FakeReceiver.open();
    using client = openClient(receiver.url);
    const answer = await client.send({ ...plainRequest(""), pieces: [] });
    expect(answer).toMatchObject({ status: 202 });
    expect(receiver.requests[0]?.headers.get("content-length")).toEqual(["0"]);
  });

  test("each piece as a chunk of its own when told to, leaving out empty ones", async () => {
    const seen: Buffer[] = [];
    using receiver = await FakeReceiver.open({
      onConnection: (socket) =>
        socket.on("data", (chunk: Buffer) => {
          seen.push(chunk);
          if (chunk.includes("0\r\n\r\n")) socket.write(ACCEPTED);
        }),
    });
    using client = openClient(receiver.url);
    const pieces = ["first", "", "second one!"].map((text) => Buffer.from(text));
    await client.send({ ...plainRequest(""), pieces, isChunked: true });
    const [head = "", body] = Buffer.concat(seen).toString().split("\r\n\r\n5");
    expect(head).toContain("\r\nTransfer-Encoding: chunked");
    expect(head).not.toContain("Content-Length");
    expect(`5${body}`).toBe("5\r\nfirst\r\nb\r\nsecond one!\r\n0\r\n\r\n");
  });

  test.each([["plain"], ["over TLS"]])(
    "large bodies in many pieces unchanged, %s",
    async (kind) => {
      using receiver = await FakeReceiver.open(kind === "plain" ? {} : { tls: SERVER });
      using client = openClient(receiver.url, TRUSTING);
      const pieces = [1, 65_536, 3_000_000, 65_537, 0, 999].map((size) => randomBytes(size));
      await client.send({ ...plainRequest(""), pieces });
      await client.send({ ...plainRequest(""), pieces, isChunked: true });
      const expected = digest(Buffer.concat(pieces));
      expect(receiver.requests.map(({ body }) => digest(body))).toEqual([expected, expected]);
      expect(receiver.connections).toBe(1);
    },
  );

  test("the next request before the first is answered, and pairs answers in order", async () => {
    const sockets: Socket[] = [];
    using receiver = await FakeReceiver.open({ onRequest: (_, socket) => sockets.push(socket) });
    using client = openClient(receiver.url);
    const first = client.send(plainRequest("first"));
    const second = client.send(plainRequest("second"));
    await until(() => receiver.requests.length === 2);
    sockets[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 503 No\r\nCon");
    sockets[0]?.write("tent-Length: 1\r\n\r\n2");
    expect(await first).toMatchObject({ status: 200, text: "1" });
    expect(await second).toMatchObject({ status: 503, text: "2" });
    expect(receiver.requests.map(({ body }) => body.toString())).toEqual(["first", "second"]);
    expect(receiver.connections).toBe(1);
  });

  test("to an IPv6 address", async () => {
    using receiver = await FakeReceiver.open({}, "::1");
    using client = openClient(`http://[::1]:${receiver.port}`);
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
    expect(receiver.requests[0]?.headers.get("host")).toEqual([`[::1]:${receiver.port}`]);
  });

  test("to the address of a name that answers, when another one does not", async () => {
    // "localhost" has two addresses, and this receiver only one of them.
    using receiver = await FakeReceiver.open({}, "127.0.0.1");
    using client = openClient(`http://localhost:${receiver.port}`);
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
  });

  test("user and password of the URL, and never shows them", async () => {
    using receiver = await FakeReceiver.open({ onRequest: (_, socket) => socket.destroy() });
    using client = openClient(`http://me:s%40cret@127.0.0.1:${receiver.port}`);
    const failure = await client.send(plainRequest("x"));
    const sent = receiver.requests[0]?.headers.get("authorization");
    expect(sent).toEqual([`Basic ${Buffer.from("me:s@cret").toString("base64")}`]);
    expect(failure.kind).toBe("failure");
    expect(
      JSON.stringify(failure) + String(failure.kind === "failure" && failure.error),
    ).not.toContain("cret");
  });
});

describe("makeUploadClient() keeps connections", () => {
  test("and opens a new one silently after the server closed an idle one", async () => {
    using receiver = await FakeReceiver.open();
    using client = openClient(receiver.url);
    await client.send(plainRequest("1"));
    for (const socket of receiver.sockets) socket.end();
    await until(() => receiver.sockets.size === 0);
    expect(await client.send(plainRequest("2"))).toMatchObject({ status: 202 });
    expect(receiver.requests.map(({ connection }) => connection)).toEqual([1, 2]);
  });

  test("not when an idle one got an answer to nothing (408)", async () => {
    using receiver = await FakeReceiver.open();
    using client = openClient(receiver.url);
    await client.send(plainRequest("1"));
    const [socket] = receiver.sockets;
    socket?.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    await until(() => receiver.sockets.size === 0);
    expect(await client.send(plainRequest("2"))).toMatchObject({ status: 202 });
    expect(receiver.connections).toBe(2);
  });

  test("until they have their age, and lets answers come in before that", async () => {
    let nowMs = 1000;
    const held: Socket[] = [];
    using receiver = await FakeReceiver.open({ onRequest: (_, socket) => held.push(socket) });
    using client = openClient(receiver.url, { connectionAgeMs: 60_000, nowMs: () => nowMs });
    const first = client.send(plainRequest("1"));
    await until(() => held.length === 1);
    nowMs += 59_999;
    const second = client.send(plainRequest("2"));
    await until(() => held.length === 2);
    nowMs += 1;
    const third = client.send(plainRequest("3"));
    await Bun.sleep(20);
    expect(receiver.connections).toBe(1);
    held[0]?.write(ACCEPTED + ACCEPTED);
    await Promise.all([first, second]);
    await until(() => held.length === 3);
    held[2]?.write(ACCEPTED);
    expect(await third).toMatchObject({ status: 202 });
    expect(receiver.requests.map(({ connection }) => connection)).toEqual([1, 1, 2]);
  });

  test("not those that the server is about to close, and fails what was sent behind the last answer", async () => {
    const CLOSING = "HTTP/1.1 200 OK\r\nConnection: keep, Close\r\nContent-Length: 0\r\n\r\n";
    using receiver = await FakeReceiver.open({
      onRequest: (_, socket) => void (receiver.requests.length !== 1 && socket.write(CLOSING)),
    });
    using client = openClient(receiver.url);
    const bodies = ["first", "second", "third"];
    expect(await Promise.all(bodies.map((body) => client.send(plainRequest(body))))).toMatchObject([
      { kind: "answer", status: 200 },
      { kind: "failure", phase: "request", bytesSent: 6 },
      { kind: "failure", phase: "request", bytesSent: 5 },
    ]);
    expect(await client.send(plainRequest("fourth"))).toMatchObject({ status: 200 });
    expect(receiver.requests.at(-1)).toMatchObject({ connection: 2 });
  });

  test("until a key, certificate, authority or token changes", async () => {
    using dir = new TempDir();
    const own = (name: string): string => `${dir.path}/${name}`;
    const install = (name: string): void => {
      copyFileSync(pki.path(`${name}.key`), own("key"));
      copyFileSync(pki.path(`${name}.pem`), own("cert"));
    };
    install("sender");
    writeFileSync(own("token"), "one\n");
    const names: unknown[] = [];
    using receiver = await FakeReceiver.open({
      tls: MUTUAL,
      onRequest: ({ headers }, socket) => {
        names.push([clientName(socket), headers.get("authorization")?.[0]]);
        socket.write(ACCEPTED);
      },
    });
    using client = openClient(receiver.url, {
      trust: pki.path("ca.pem"),
      keyFile: own("key"),
      certificateFile: own("cert"),
      bearerTokenFile: "token",
      credentialsDirectory: dir.path,
    });
    await client.send(plainRequest("1"));
    await client.send(plainRequest("2"));
    install("renewed");
    await client.send(plainRequest("3"));
    writeFileSync(own("token"), "second\n");
    await client.send(plainRequest("4"));
    expect(names).toEqual([
      ["sender", "Bearer one"],
      ["sender", "Bearer one"],
      ["renewed", "Bearer one"],
      ["renewed", "Bearer second"],
    ]);
    expect(receiver.connections).toBe(3);
  });
});

describe("makeUploadClient() with answers that come early", () => {
  /** Reads a little, answers, and reads no more. */
  function refusing(answer: string, then: (socket: Socket) => void) {
    return FakeReceiver.open({
      onConnection: (socket) => {
        socket.once("data", () => {
          socket.pause();
          socket.write(answer);
          then(socket);
        });
      },
    });
  }
  const TOO_LARGE = "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\nToo large";

  test.each<[string, (socket: Socket) => void]>([
    ["stays", () => undefined],
    ["closes", (socket) => socket.end()],
    ["resets", (socket) => setTimeout(() => socket.resetAndDestroy(), 20)],
  ])("delivers a refusal, stops, and fails what follows, when the server %s", async (_, then) => {
    using receiver = await refusing(TOO_LARGE, then);
    using client = openClient(receiver.url);
    const [first, second] = await Promise.all([
      client.send(plainRequest(new Uint8Array(LARGE))),
      client.send(plainRequest("next")),
    ]);
    expect(first).toMatchObject({ kind: "answer", status: 413, text: "Too large" });
    expect(second).toMatchObject({ kind: "failure", phase: "request", bytesSent: 0 });
    for (const socket of receiver.sockets) socket.resume();
    await until(() => receiver.sockets.size === 0);
  });

  test("delivers a refusal that is cut", async () => {
    using receiver = await refusing(
      "HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\nNo cert",
      (socket) => socket.end(),
    );
    using client = openClient(receiver.url);
    expect(await client.send(plainRequest(new Uint8Array(LARGE)))).toMatchObject({
      status: 401,
      text: "No cert",
    });
  });

  test("takes a success for one only when everything was sent", async () => {
    let isComplete = false;
    using receiver = await FakeReceiver.open({
      onConnection(socket) {
        let size = 0;
        socket.once("data", () => socket.write(ACCEPTED));
        socket.on("data", (chunk) => {
          size += chunk.length;
          isComplete = size > LARGE;
        });
      },
    });
    using client = openClient(receiver.url);
    expect(await client.send(plainRequest(new Uint8Array(LARGE)))).toMatchObject({ status: 202 });
    await until(() => isComplete);
  });

  test.each<[string, string]>([
    ["says so", "Connection: close\r\n"],
    ["does not", ""],
  ])("takes an early success for a failure when the server goes and %s", async (_, header) => {
    const answer = `HTTP/1.1 202 OK\r\n${header}Content-Length: 0\r\n\r\n`;
    using receiver = await refusing(answer, (socket) => socket.end());
    using client = openClient(receiver.url);
    const failure = await client.send(plainRequest(new Uint8Array(LARGE)));
    expect(failure).toMatchObject({ kind: "failure", phase: "request" });
    expect(failure.kind === "failure" && failure.error.message).toContain(
      "the server answered 202 and went away before it had everything",
    );
  });

  test("skips 1xx", async () => {
    using receiver = await FakeReceiver.open({
      onRequest: (_, socket) =>
        socket.write(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\nA: b\r\n\r\n${ACCEPTED}`),
    });
    using client = openClient(receiver.url);
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202, text: "OK.\n" });
  });
});

describe("makeUploadClient() ends", () => {
  test("all requests when the connection breaks, and says how much of each was sent", async () => {
    using receiver = await FakeReceiver.open({
      onRequest: (_, socket) => void (receiver.requests.length === 2 && socket.resetAndDestroy()),
    });
    using client = openClient(receiver.url);
    const requests = ["first", "2nd"].map((text) => client.send(plainRequest(text)));
    const failures = await Promise.all(requests);
    expect(failures).toMatchObject([
      { kind: "failure", phase: "request", bytesSent: 5 },
      { kind: "failure", phase: "request", bytesSent: 3 },
    ]);
    // And goes on with a new connection.
    const next = client.send(plainRequest("third"));
    await until(() => receiver.requests.length === 3);
    for (const socket of receiver.sockets) socket.write(ACCEPTED);
    expect(await next).toMatchObject({ status: 202 });
  });

  test("at once with close(), wherever it is", async () => {
    using receiver = await FakeReceiver.open({ onConnection: (socket) => socket.pause() });
    // Nobody answers in 192.0.2.0/24; where there is no way to it the failure is quicker still.
    for (const url of [receiver.url, "http://192.0.2.1:9", `https://127.0.0.1:${receiver.port}`]) {
      const client = openClient(url, { networkTimeoutMs: Number.POSITIVE_INFINITY });
      const requests: Promise<unknown>[] = [];
      requests.push(client.send(plainRequest(new Uint8Array(LARGE))));
      requests.push(client.send(plainRequest("next")));
      await Bun.sleep(50);
      const startMs = performance.now();
      client.close();
      requests.push(client.send(plainRequest("after")));
      expect(await Promise.all(requests)).toMatchObject([
        { kind: "failure" },
        { kind: "failure" },
        { kind: "failure", phase: "request", bytesSent: 0 },
      ]);
      expect(performance.now() - startMs).toBeLessThan(500);
    }
  });

  test("what does not move for networkTimeoutMs: body not read, answer not sent", async () => {
    using receiver = await FakeReceiver.open({ onConnection: (socket) => socket.pause() });
    for (const body of [new Uint8Array(LARGE), new Uint8Array(10)]) {
      using client = openClient(receiver.url, { networkTimeoutMs: 400 });
      const startMs = performance.now();
      const failure = await client.send(plainRequest(body));
      expect(failure).toMatchObject({ kind: "failure", phase: "request" });
      expect(failure.kind === "failure" && failure.error.message).toContain(
        "nothing has moved on the connection for 0.4 s",
      );
      expect(performance.now() - startMs).toBeGreaterThan(300);
      expect(performance.now() - startMs).toBeLessThan(2000);
    }
  });

  test("not what moves slowly, though it takes far longer than networkTimeoutMs", async () => {
    using receiver = await FakeReceiver.open({
      onConnection(socket) {
        let left = LARGE;
        socket.on("data", (chunk) => {
          left -= chunk.length;
          socket.pause();
          setTimeout(() => socket.resume(), 12);
          if (left <= 0) socket.write(ACCEPTED);
        });
      },
    });
    using client = openClient(receiver.url, { networkTimeoutMs: 500 });
    const startMs = performance.now();
    const answer = await client.send(plainRequest(new Uint8Array(LARGE)));
    expect(answer).toMatchObject({ kind: "answer", status: 202 });
    expect(performance.now() - startMs).toBeGreaterThan(1000);
  });

  test("connections it makes no use of: none is opened before the first request", async () => {
    using receiver = await FakeReceiver.open();
    using client = openClient(receiver.url);
    await Bun.sleep(30);
    expect(receiver.connections).toBe(0);
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
  });
});

describe("makeUploadClient() reads answers", () => {
  test.each<[string, string, Partial<UploadRequest> & object]>([
    [
      "chunked",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nOK\r\n1\r\n.\r\n0\r\nT: 1\r\n\r\n",
      { text: "OK." },
    ],
    ["until the end of the connection", "HTTP/1.1 200 OK\r\n\r\nOK.", { text: "OK." }],
    ["of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nOK.", { text: "OK." }],
    [
      "without a body",
      "HTTP/1.1 204 No Content\r\nA: 1\r\na: 2\r\n\r\n",
      { text: "", status: 204 },
    ],
  ] as [string, string, object][])("%s", async (_, answer, expected) => {
    using receiver = await FakeReceiver.open({
      onRequest: (_request, socket) => socket.end(answer),
    });
    using client = openClient(receiver.url);
    expect(await client.send(plainRequest("x"))).toMatchObject({ kind: "answer", ...expected });
  });
});
