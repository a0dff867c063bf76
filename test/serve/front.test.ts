import { afterEach, describe, expect, test } from "bun:test";
import { ANSWER, CHUNKED, curl, FrontFixture, HEAD, JOURNAL_TYPE } from "../support/front.ts";
import { until } from "../support/until.ts";

const fixture = new FrontFixture();
afterEach(() => fixture.stop());

/** [request, status line, body, whether the connection ends] */
const STATUS_CASES: [string, string, number, string, boolean][] = [
  ["an empty body", `${HEAD}Content-Length: 0\r\n\r\n`, 202, "OK.", false],
  ["neither length nor chunks in 1.1", `${HEAD}\r\n`, 202, "OK.", false],
  ["a body", `${HEAD}Content-Length: 4\r\n\r\nA=b\n`, 202, "OK.", false],
  ["chunks", `${CHUNKED}4\r\nA=b\n\r\n0\r\n\r\n`, 202, "OK.", false],
  ["Connection: close", `${HEAD}Connection: close\r\n\r\n`, 202, "OK.", true],
  [
    "HTTP/1.0",
    `POST /upload HTTP/1.0\r\n${JOURNAL_TYPE}\r\nContent-Length: 0\r\n\r\n`,
    202,
    "OK.",
    true,
  ],
  ["//upload", `${HEAD.replace("/upload", "//upload")}\r\n`, 202, "OK.", false],
  ["a query", `${HEAD.replace("/upload", "/upload?x=/y")}\r\n`, 202, "OK.", false],
  ["a percent-encoded path", `${HEAD.replace("/upload", "/%75pload")}\r\n`, 202, "OK.", false],
  [
    "a type in other case with parameters",
    `${HEAD.replace(JOURNAL_TYPE, "content-type:  Application/VND.fdo.Journal ; v=1")}\r\n`,
    202,
    "OK.",
    false,
  ],
  ["GET", `${HEAD.replace("POST", "GET")}\r\n`, 406, "Unsupported method.", true],
  ["PUT", `${HEAD.replace("POST", "PUT")}\r\n`, 406, "Unsupported method.", true],
  ["GET of another path", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 406, "Unsupported method.", true],
  ["another path", `${HEAD.replace("/upload", "/foo")}\r\n`, 404, "Not found.", true],
  ["/upload/", `${HEAD.replace("/upload", "/upload/")}\r\n`, 404, "Not found.", true],
  ["/UPLOAD", `${HEAD.replace("/upload", "/UPLOAD")}\r\n`, 404, "Not found.", true],
  ["a broken percent code", `${HEAD.replace("/upload", "/uploa%6")}\r\n`, 404, "Not found.", true],
  [
    "the absolute form",
    `${HEAD.replace("/upload", "http://a/upload")}\r\n`,
    404,
    "Not found.",
    true,
  ],
  [
    "no type",
    "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    415,
    "Content-Type: application/vnd.fdo.journal is required.",
    true,
  ],
  [
    "another type",
    `${HEAD.replace("journal", "journals")}\r\n`,
    415,
    "Content-Type: application/vnd.fdo.journal is required.",
    true,
  ],
  [
    "two types",
    `${HEAD}${JOURNAL_TYPE}\r\n\r\n`,
    415,
    "Content-Type: application/vnd.fdo.journal is required.",
    true,
  ],
  [
    "another transfer encoding",
    `${HEAD}Transfer-Encoding: gzip\r\nContent-Length: x\r\n\r\n`,
    400,
    "Unsupported Transfer-Encoding type: gzip",
    true,
  ],
  [
    "two transfer encodings",
    `${HEAD}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n`,
    400,
    "Unsupported Transfer-Encoding type: gzip, chunked",
    true,
  ],
  [
    "chunks in HTTP/1.0",
    `POST /upload HTTP/1.0\r\n${JOURNAL_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    400,
    "Unsupported Transfer-Encoding type: chunked",
    true,
  ],
  [
    "chunks and a length",
    `${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n`,
    400,
    "Content-Length not allowed when Transfer-Encoding type is 'chunked'",
    true,
  ],
  [
    "two lengths",
    `${HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`,
    400,
    "More than one Content-Length.",
    true,
  ],
  [
    "a length that is none",
    `${HEAD}Content-Length: 5x\r\n\r\n`,
    411,
    "Content-Length: 5x cannot be parsed: Invalid argument",
    true,
  ],
  [
    "a negative length",
    `${HEAD}Content-Length: -5\r\n\r\n`,
    411,
    "Content-Length: -5 cannot be parsed: Invalid argument",
    true,
  ],
  [
    "a length of 2^64",
    `${HEAD}Content-Length: 18446744073709551616\r\n\r\n`,
    411,
    "Content-Length: 18446744073709551616 cannot be parsed: Numerical result out of range",
    true,
  ],
  [
    "a body until EOF in HTTP/1.0",
    `POST /upload HTTP/1.0\r\n${JOURNAL_TYPE}\r\n\r\nA=b\n`,
    411,
    "Content-Length is required.",
    true,
  ],
  [
    "770 MiB",
    `${HEAD}Content-Length: 807403521\r\n\r\n`,
    413,
    "Payload larger than maximum size of 807403520 bytes",
    true,
  ],
  [
    "an unknown encoding",
    `${HEAD}Content-Encoding: br\r\n\r\n`,
    415,
    "Unsupported Content-Encoding type: br",
    true,
  ],
  ["no Host", `POST /upload HTTP/1.1\r\n${JOURNAL_TYPE}\r\n\r\n`, 400, "Host is required.", true],
  ["a bad chunk", `${CHUNKED}zz\r\n`, 400, "Bad chunk size.", true],
  [
    "a head above the limit",
    `${HEAD}X: ${"x".repeat(128 * 1024)}\r\n\r\n`,
    431,
    "Request header larger than 131072 bytes.",
    true,
  ],
  ["what is no HTTP", "\x16\x03\x01\x02", 400, "Bad request line.", true],
];

describe("A request is answered", () => {
  for (const [name, request, status, body, closes] of STATUS_CASES) {
    test(`${status} for ${name}`, async () => {
      const { port } = await fixture.start();
      const sender = fixture.client(port);
      sender.send(Buffer.from(request, "latin1"));
      const answer = await sender.until(ANSWER);
      expect(answer).toStartWith(`HTTP/1.1 ${status} `);
      expect(answer).toContain("\r\nContent-Type: text/plain\r\n");
      expect(answer).toEndWith(`\r\n\r\n${body}\n`);
      expect(/\r\nConnection: close\r\n/.test(answer)).toBe(closes);
      expect(/\r\nAccept-Encoding: zstd;q=1.0,xz;q=0.8,lz4;q=0.6,gzip;q=0.4\r\n/.test(answer)).toBe(
        status === 202 || name === "an unknown encoding",
      );
    });
  }

  test("406 without a body for HEAD", async () => {
    const { port } = await fixture.start();
    const result = await curl("--head", `http://127.0.0.1:${port}/upload`);
    expect(result).toMatchObject({ status: 406, exitCode: 0 });
  });

  test("417 for an unfinished entry, and the connection goes on", async () => {
    const { ingest, port } = await fixture.start();
    ingest.onEnd = () => Promise.resolve(17);
    const sender = fixture.client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    const first = await sender.until(ANSWER);
    expect(first).toContain("\r\n\r\nPremature EOF. 17 bytes of trailing data not processed.\n");
    ingest.onEnd = () => Promise.resolve(0);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nB`);
    expect(await sender.until(/202 Accepted/)).toContain("202 Accepted");
    expect(ingest.bodies()).toEqual(["A", "B"]);
  });

  test("403 on plain HTTP where a trusted authority is in effect, and nothing is stored", async () => {
    const { ingest, port } = await fixture.start({ options: { plaintext: "refuse" } });
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", `http://127.0.0.1:${port}/upload`);
    expect(result).toMatchObject({ status: 403, body: "Encrypted connection is required\n" });
    expect(ingest.streams).toEqual([]);
  });
});

describe("Limits", () => {
  test("above connectionsMax answer 503 with Retry-After and give the place back", async () => {
    const { port } = await fixture.start({
      limits: { connectionsMax: 2, connectionsPerPeerMax: 2 },
    });
    const first = [fixture.client(port), fixture.client(port)];
    await until(() => fixture.front?.connectionCount === 2);
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-i", "-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
    expect(result.body).toContain("Retry-After: 30\r\n");
    first[0]?.close();
    await until(() => fixture.front?.connectionCount === 1);
    expect(await curl("-H", JOURNAL_TYPE, "-d", "A=b", url)).toMatchObject({ status: 202 });
    expect(fixture.front?.counts().get("connections-max")).toBe(1);
  });

  test("above connectionsPerPeerMax answer 429 with Retry-After", async () => {
    const { port } = await fixture.start({ limits: { connectionsPerPeerMax: 1 } });
    fixture.client(port);
    await until(() => fixture.front?.connectionCount === 1);
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-i", "-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(429);
    expect(result.body).toContain("Retry-After: 30\r\n");
  });

  test("beyond all refusals close at once", async () => {
    const { port } = await fixture.start({ limits: { connectionsMax: 1 } });
    for (let i = 0; i < 65; i++) fixture.client(port);
    await until(() => fixture.front?.connectionCount === 65);
    expect(await fixture.client(port).untilClosed()).toBe(true);
  });

  test("of time end a silent connection and a stalled head, but not a quiet body or keep-alive", async () => {
    const { ingest, port } = await fixture.start({
      limits: { handshakeTimeoutMs: 300, stalledTimeoutMs: 300 },
    });
    const [silent, head, half, quiet, idle] = Array.from({ length: 5 }, () => fixture.client(port));
    head?.send("POST /upl");
    half?.send(`${CHUNKED}5\r\nab`);
    quiet?.send(`${CHUNKED}2\r\nab\r\n`);
    idle?.send(`${HEAD}\r\n`);
    expect(await silent?.untilClosed()).toBe(true);
    expect(silent?.text).toBe("");
    expect(await head?.until(ANSWER)).toStartWith("HTTP/1.1 408 ");
    expect(await half?.until(ANSWER)).toStartWith("HTTP/1.1 408 ");
    await Bun.sleep(700);
    quiet?.send("2\r\ncd\r\n0\r\n\r\n");
    expect(await quiet?.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
    idle?.send(`${HEAD}\r\n`);
    expect(await idle?.until(/202[\s\S]*202/)).toMatch(/202[\s\S]*202/);
    expect(ingest.bodies()).toContain("abcd");
  });
});

describe("Front.stop()", () => {
  test("lets requests finish, closes idle connections and accepts none", async () => {
    const { ingest, port } = await fixture.start();
    const [idle, busy] = [fixture.client(port), fixture.client(port)];
    idle.send(`${HEAD}\r\n`);
    await idle.until(ANSWER);
    busy.send(`${HEAD}Content-Length: 2\r\n\r\na`);
    await until(() => ingest.bodies().includes("a"));
    const stopped = fixture.front?.stop(5000);
    expect(await idle.untilClosed()).toBe(true);
    const late = fixture.client(port);
    expect(await late.untilClosed()).toBe(true);
    busy.send("b");
    const answer = await busy.until(ANSWER);
    expect(answer).toStartWith("HTTP/1.1 202 ");
    expect(answer).toContain("Connection: close\r\n");
    await stopped;
    expect(fixture.front?.connectionCount).toBe(0);
    expect(fixture.front?.isActive).toBe(false);
  });

  test("waits for a slow request, but neither for a quiet one nor for who ignores its answer", async () => {
    const { ingest, port } = await fixture.start();
    const [slow, quiet, head, answered] = Array.from({ length: 4 }, () => fixture.client(port));
    slow?.send(`${HEAD}Content-Length: 10\r\n\r\n`);
    quiet?.send(`${CHUNKED}2\r\nab\r\n`);
    head?.send("POST /upl");
    const { promise: onDisk, resolve } = Promise.withResolvers<number>();
    ingest.onEnd = (stream) => (stream.body.join("") === "last" ? onDisk : Promise.resolve(0));
    answered?.send(`${HEAD}Content-Length: 4\r\n\r\nlast`);
    await until(() => ingest.bodies().sort().join() === ",ab,last");
    const startMs = performance.now();
    const stopped = fixture.front?.stop(60_000);
    for (const byte of "0123456789") {
      await Bun.sleep(150);
      slow?.send(byte);
    }
    expect(await slow?.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
    expect(await quiet?.until(ANSWER)).toStartWith("HTTP/1.1 503 ");
    expect(await head?.until(ANSWER)).toStartWith("HTTP/1.1 503 ");
    slow?.close();
    resolve(0);
    // Nobody but "slow" closes.
    await stopped;
    expect(performance.now() - startMs).toBeLessThan(3000);
    expect(answered?.text).toMatch(/^HTTP\/1\.1 202 [\s\S]*Connection: close/);
  });

  test("cuts with 503 what does not finish in time", async () => {
    const { ingest, port } = await fixture.start();
    const sender = fixture.client(port);
    sender.send(`${CHUNKED}2\r\nab\r\n`);
    await until(() => ingest.bodies().includes("ab"));
    const stopped = fixture.front?.stop(100);
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 503 ");
    sender.close();
    await stopped;
    expect(ingest.streams[0]?.state).toBe("aborted");
  });
});
