import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { AgentError } from "../../src/errors.ts";
import type { Front } from "../../src/serve/front.ts";
import type { Ingest } from "../../src/serve/ingest-types.ts";
import {
  BodyRecorder,
  curl,
  type FrontSetup,
  JOURNAL_TYPE,
  portOf,
  RawClient,
  startTestFront,
} from "../support/front.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

let front: Front | undefined;
const clients: RawClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await front?.stop(0);
  front = undefined;
});

async function start(setup: FrontSetup = {}): Promise<{ ingest: BodyRecorder; port: number }> {
  const ingest = new BodyRecorder();
  front = await startTestFront(ingest, { http: ["127.0.0.1:0"], ...setup });
  return { ingest, port: portOf(front.addresses.http[0]) };
}

function client(port: number): RawClient {
  const made = new RawClient(port);
  clients.push(made);
  return made;
}

const HEAD = `POST /upload HTTP/1.1\r\nHost: a\r\n${JOURNAL_TYPE}\r\n`;
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
/** A whole answer. */
const ANSWER = /^HTTP\/1\.1 [2-5]\d\d [^\r]*\r\n(?:[^\r]+\r\n)*\r\n[^\n]*\n/;

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
      const { port } = await start();
      const sender = client(port);
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
    const { port } = await start();
    const result = await curl("--head", `http://127.0.0.1:${port}/upload`);
    expect(result).toMatchObject({ status: 406, exitCode: 0 });
  });

  test("417 for an unfinished entry, and the connection goes on", async () => {
    const { ingest, port } = await start();
    ingest.onEnd = () => Promise.resolve(17);
    const sender = client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    const first = await sender.until(ANSWER);
    expect(first).toContain("\r\n\r\nPremature EOF. 17 bytes of trailing data not processed.\n");
    ingest.onEnd = () => Promise.resolve(0);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nB`);
    expect(await sender.until(/202 Accepted/)).toContain("202 Accepted");
    expect(ingest.bodies()).toEqual(["A", "B"]);
  });

  test("403 on plain HTTP where a trusted authority is in effect, and nothing is stored", async () => {
    const { ingest, port } = await start({ options: { plaintext: "refuse" } });
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", `http://127.0.0.1:${port}/upload`);
    expect(result).toMatchObject({ status: 403, body: "Encrypted connection is required\n" });
    expect(ingest.streams).toEqual([]);
  });
});

describe("A body", () => {
  test("reaches the ingest whole, under the peer's address, with its encoding", async () => {
    const { ingest, port } = await start();
    const body = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
    using dir = new TempDir();
    const file = dir.write("body", body);
    for (const framing of [[], ["-H", "Transfer-Encoding: chunked"]]) {
      const data = ["--data-binary", `@${file}`, "-H", "Content-Encoding: zstd"];
      const url = `http://127.0.0.1:${port}/upload`;
      const result = await curl("-H", JOURNAL_TYPE, ...framing, ...data, url);
      expect(result).toMatchObject({ status: 202, body: "OK.\n" });
      const stream = ingest.streams.pop();
      expect(stream).toMatchObject({ sender: "127.0.0.1", encoding: "zstd", state: "ended" });
      expect(Buffer.concat(stream?.body ?? []).equals(body)).toBe(true);
    }
  });

  test("that never ends is passed on as it comes, and gets no answer before it ends", async () => {
    const { ingest, port } = await start();
    const sender = client(port);
    sender.send(CHUNKED);
    for (const part of ["one", "two", "three"]) {
      sender.send(`${part.length.toString(16)}\r\n${part}\r\n`);
      await until(() => ingest.bodies()[0]?.endsWith(part) === true);
    }
    expect(sender.text).toBe("");
    sender.send("0\r\n\r\n");
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
  });

  test("is answered only after the ingest has it on disk", async () => {
    const { ingest, port } = await start();
    const { promise, resolve } = Promise.withResolvers<number>();
    ingest.onEnd = () => promise;
    const sender = client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    await until(() => ingest.bodies()[0] === "A");
    await Bun.sleep(50);
    expect(sender.text).toBe("");
    resolve(0);
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
  });

  test("cut by the peer is aborted and counted", async () => {
    const { ingest, port } = await start();
    for (const how of ["sendEnd", "close"] as const) {
      const sender = client(port);
      sender.send(`${CHUNKED}5\r\nab`);
      await until(() => ingest.bodies().at(-1) === "ab" && ingest.streams.at(-1)?.state === "open");
      sender[how]();
      await until(() => ingest.streams.at(-1)?.state === "aborted");
    }
    expect(front?.counts().get("request-cut")).toBe(2);
    await until(() => front?.connectionCount === 0);
  });

  test("is awaited after 100 Continue when the client asks, and not when it is refused", async () => {
    const { ingest, port } = await start();
    const sender = client(port);
    sender.send(`${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    expect(await sender.until(/\r\n\r\n/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    sender.send("ab");
    expect(await sender.until(/202/)).toContain("202 Accepted");
    const refused = client(port);
    refused.send(`${HEAD.replace("upload", "x")}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    expect(await refused.until(ANSWER)).toStartWith("HTTP/1.1 404 ");
    expect(ingest.bodies()).toEqual(["ab"]);
  });

  test("of pipelined requests are kept apart and answered in order", async () => {
    const { ingest, port } = await start();
    const sender = client(port);
    ingest.onEnd = async () => {
      await Bun.sleep(5);
      return ingest.streams.length === 2 ? 9 : 0;
    };
    sender.send(
      `${HEAD}Content-Length: 3\r\n\r\none${CHUNKED}3\r\ntwo\r\n0\r\n\r\n${HEAD}Connection: close\r\nContent-Length: 5\r\n\r\nthree`,
    );
    await sender.untilClosed();
    expect(sender.text.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 202",
      "HTTP/1.1 417",
      "HTTP/1.1 202",
    ]);
    expect(ingest.bodies()).toEqual(["one", "two", "three"]);
  });

  test("of a client that has closed its sending side is answered", async () => {
    const { port } = await start();
    const sender = client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    sender.sendEnd();
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
    await until(() => front?.connectionCount === 0);
  });
});

describe("A refusal in mid-body", () => {
  const cases: [string, AgentError, number, string][] = [
    ["a full disk", new AgentError("E_NO_SPACE", "x"), 503, "No space left on device."],
    ["a broken disk", new AgentError("E_IO", "x"), 500, "Input/output error."],
    ["too much at once", new AgentError("E_LIMIT", "x"), 413, "Payload too large."],
    [
      "a broken encoding",
      new AgentError("E_EXPORT_SYNTAX", "x"),
      400,
      "Decompression of received blob failed.",
    ],
  ];
  for (const [index, [name, error, status, text]] of cases.entries()) {
    for (const how of index === 0 ? ["throws", "rejects"] : ["rejects"]) {
      test(`reaches curl in the middle of 30 MB: ${name}, push ${how}`, async () => {
        const { ingest, port } = await start();
        ingest.onPush = () => {
          if (ingest.streams[0]?.body.length !== 3) return undefined;
          if (how === "throws") throw error;
          return Promise.reject(error);
        };
        using dir = new TempDir();
        const file = dir.write("body", new Uint8Array(30e6));
        const url = `http://127.0.0.1:${port}/upload`;
        const result = await curl("-i", "-H", JOURNAL_TYPE, "-T", file, "-X", "POST", url);
        expect(result.status).toBe(status);
        expect(result.body).toEndWith(`\r\n\r\n${text}\n`);
        expect(result.body).toContain("Connection: close\r\n");
        expect(result.body.includes("Retry-After: 30\r\n")).toBe(status === 503 || status === 413);
        expect(ingest.streams[0]?.state).toBe("aborted");
        expect(front?.counts().size).toBe(1);
      });
    }
  }

  test("at open is an answer too, and nothing of the body is read", async () => {
    const { ingest, port } = await start();
    ingest.onOpen = () => {
      throw new AgentError("E_NO_SPACE", "x");
    };
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
  });

  test("at the end is an answer too", async () => {
    const { ingest, port } = await start();
    ingest.onEnd = () => Promise.reject(new AgentError("E_NO_SPACE", "x"));
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
  });

  test("ends with the connection, for a client that goes on sending for ever", async () => {
    const { port } = await start();
    const sender = client(port);
    sender.send(`${HEAD.replace("upload", "x")}Content-Length: 800000000\r\n\r\n`);
    const startMs = performance.now();
    const flood = setInterval(() => sender.send(new Uint8Array(200_000)), 1);
    expect(await sender.untilClosed()).toBe(true);
    clearInterval(flood);
    expect(performance.now() - startMs).toBeLessThan(4500);
    expect(sender.text).toStartWith("HTTP/1.1 404 ");
  });
});

test("A slow ingest slows the sender down: no more than a chunk is taken ahead", async () => {
  let taken = 0;
  let done = 0;
  let aheadMax = 0;
  const slow: Ingest = {
    open: () => ({
      push: async (chunk) => {
        taken += chunk.length;
        aheadMax = Math.max(aheadMax, taken - done);
        await Bun.sleep(1);
        done += chunk.length;
      },
      end: () =>
        Promise.resolve({
          counts: { stored: 0, duplicates: 0, refused: new Map() },
          trailingBytes: 0,
        }),
      abort: () => undefined,
    }),
  };
  front = await startTestFront(slow, { http: ["127.0.0.1:0"] });
  using dir = new TempDir();
  const size = 200e6;
  const file = dir.write("body", new Uint8Array(size));
  Bun.gc(true);
  const rssBefore = process.memoryUsage.rss();
  let rssMax = 0;
  const watch = setInterval(() => {
    rssMax = Math.max(rssMax, process.memoryUsage.rss());
  }, 5);
  const url = `http://127.0.0.1:${portOf(front.addresses.http[0])}/upload`;
  const result = await curl("-H", JOURNAL_TYPE, "-H", "Expect:", "--data-binary", `@${file}`, url);
  clearInterval(watch);
  expect(result.status).toBe(202);
  expect(done).toBe(size);
  expect(aheadMax).toBeLessThanOrEqual(512 * 1024);
  // The rest is chunks the garbage collector has not got round to.
  expect(rssMax - rssBefore).toBeLessThan(size / 2);
});

describe("Limits", () => {
  test("above connectionsMax answer 503 with Retry-After and give the place back", async () => {
    const { port } = await start({ limits: { connectionsMax: 2, connectionsPerPeerMax: 2 } });
    const first = [client(port), client(port)];
    await until(() => front?.connectionCount === 2);
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-i", "-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
    expect(result.body).toContain("Retry-After: 30\r\n");
    first[0]?.close();
    await until(() => front?.connectionCount === 1);
    expect(await curl("-H", JOURNAL_TYPE, "-d", "A=b", url)).toMatchObject({ status: 202 });
    expect(front?.counts().get("connections-max")).toBe(1);
  });

  test("above connectionsPerPeerMax answer 429 with Retry-After", async () => {
    const { port } = await start({ limits: { connectionsPerPeerMax: 1 } });
    client(port);
    await until(() => front?.connectionCount === 1);
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-i", "-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(429);
    expect(result.body).toContain("Retry-After: 30\r\n");
  });

  test("beyond all refusals close at once", async () => {
    const { port } = await start({ limits: { connectionsMax: 1 } });
    for (let i = 0; i < 65; i++) client(port);
    await until(() => front?.connectionCount === 65);
    expect(await client(port).untilClosed()).toBe(true);
  });

  test("of time end a silent connection and a stalled head, but not a quiet body or keep-alive", async () => {
    const { ingest, port } = await start({
      limits: { handshakeTimeoutMs: 300, stalledTimeoutMs: 300 },
    });
    const [silent, head, half, quiet, idle] = Array.from({ length: 5 }, () => client(port));
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
    const { ingest, port } = await start();
    const [idle, busy] = [client(port), client(port)];
    idle.send(`${HEAD}\r\n`);
    await idle.until(ANSWER);
    busy.send(`${HEAD}Content-Length: 2\r\n\r\na`);
    await until(() => ingest.bodies().includes("a"));
    const stopped = front?.stop(5000);
    expect(await idle.untilClosed()).toBe(true);
    const late = client(port);
    expect(await late.untilClosed()).toBe(true);
    busy.send("b");
    const answer = await busy.until(ANSWER);
    expect(answer).toStartWith("HTTP/1.1 202 ");
    expect(answer).toContain("Connection: close\r\n");
    await stopped;
    expect(front?.connectionCount).toBe(0);
    expect(front?.isActive).toBe(false);
  });

  test("cuts with 503 what does not finish in time", async () => {
    const { ingest, port } = await start();
    const sender = client(port);
    sender.send(`${CHUNKED}2\r\nab\r\n`);
    await until(() => ingest.bodies().includes("ab"));
    const stopped = front?.stop(100);
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 503 ");
    sender.close();
    await stopped;
    expect(ingest.streams[0]?.state).toBe("aborted");
  });
});

describe("UNIX sockets", () => {
  test("take uploads under the host's name, replace a dead daemon's socket and clean up", async () => {
    using dir = new TempDir();
    const path = `${dir.path}/http.socket`;
    const dead = Bun.spawn([
      process.execPath,
      "-e",
      `Bun.listen({unix:${JSON.stringify(path)},socket:{data(){}}})`,
    ]);
    await until(() => existsSync(path));
    const ingest = new BodyRecorder();
    expect(startTestFront(ingest, { http: [path] })).rejects.toThrow("the address is in use");
    dead.kill("SIGKILL");
    await dead.exited;
    front = await startTestFront(ingest, { http: [path] });
    const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
    const result = await curl("--unix-socket", path, ...data, "http://a/upload");
    expect(result.status).toBe(202);
    expect(ingest.streams[0]?.sender).toBe("this-host");
    await front.stop(0);
    expect(existsSync(path)).toBe(false);
  });

  test("may have abstract names", async () => {
    const name = `agent-test-${process.pid}`;
    const ingest = new BodyRecorder();
    front = await startTestFront(ingest, { http: [`@${name}`] });
    expect(front.addresses.http).toEqual([`@${name}`]);
    const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
    const result = await curl("--abstract-unix-socket", name, ...data, "http://a/upload");
    expect(result.status).toBe(202);
  });
});

describe("Listening", () => {
  test("on a bare port takes IPv4, folded, and IPv6", async () => {
    const ingest = new BodyRecorder();
    front = await startTestFront(ingest, { http: ["[::]:0"] });
    const port = portOf(front.addresses.http[0]);
    for (const host of ["127.0.0.1", "[::1]"]) {
      const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
      expect((await curl(...data, `http://${host}:${port}/upload`)).status).toBe(202);
    }
    expect(ingest.streams.map(({ sender }) => sender)).toEqual(["127.0.0.1", "::1"]);
  });

  const cases: [string, string][] = [
    ["127.0.0.1:PORT", "the address is in use"],
    ["192.0.2.1:1234", "no interface has this address"],
    ["/nonexistent/folder/socket", "its folder does not exist"],
    ["-987", "no socket was passed there"],
  ];
  for (const [address, problem] of cases) {
    test(`fails for ${address}: ${problem}`, async () => {
      const { port } = await start();
      const text = address.replace("PORT", String(port));
      const failing = startTestFront(new BodyRecorder(), { http: ["127.0.0.1:0", text] });
      expect(failing).rejects.toThrow(problem);
      await failing.catch(() => undefined);
    });
  }
});

describe("A raw connection", () => {
  async function startRaw(setup: FrontSetup = {}) {
    const { ingest } = await start({ raw: ["127.0.0.1:0"], ...setup });
    return { ingest, port: portOf(front?.addresses.raw[0]) };
  }

  test("is one stream of its peer, ended by EOF", async () => {
    const { ingest, port } = await startRaw();
    const sender = client(port);
    sender.send("A=b\n\n");
    await until(() => ingest.bodies()[0] === "A=b\n\n");
    sender.send("C=d\n\n");
    sender.sendEnd();
    await until(() => ingest.streams[0]?.state === "ended");
    expect(ingest.streams[0]).toMatchObject({ sender: "127.0.0.1", encoding: undefined });
    expect(ingest.bodies()).toEqual(["A=b\n\nC=d\n\n"]);
    await until(() => front?.connectionCount === 0);
  });

  test("cut in the middle of an entry is counted", async () => {
    const { ingest, port } = await startRaw();
    ingest.onEnd = () => Promise.resolve(3);
    const sender = client(port);
    sender.send("A=b");
    await until(() => ingest.bodies()[0] === "A=b");
    sender.close();
    await until(() => front?.counts().get("raw-premature-end") === 1);
  });

  test("feels a slow ingest", async () => {
    const { ingest, port } = await startRaw();
    let taken = 0;
    let done = 0;
    let aheadMax = 0;
    ingest.onPush = async (chunk) => {
      taken += chunk.length;
      aheadMax = Math.max(aheadMax, taken - done);
      await Bun.sleep(1);
      done += chunk.length;
    };
    const socket = connect({ port, host: "127.0.0.1" });
    socket.end(new Uint8Array(20e6));
    await until(() => ingest.streams[0]?.state === "ended");
    expect(done).toBe(20e6);
    expect(aheadMax).toBeLessThanOrEqual(512 * 1024);
  });

  test("is closed and counted when the store fails", async () => {
    const { ingest, port } = await startRaw();
    ingest.onPush = () => {
      throw new AgentError("E_NO_SPACE", "x");
    };
    const sender = client(port);
    sender.send("A=b\n\n");
    expect(await sender.untilClosed()).toBe(true);
    expect(ingest.streams[0]?.state).toBe("aborted");
    expect(front?.counts().get("raw-store-no-space")).toBe(1);
    await until(() => front?.connectionCount === 0);
  });

  test("is ended, with what it brought, by stop()", async () => {
    const { ingest, port } = await startRaw();
    const sender = client(port);
    sender.send("A=b\n\n");
    await until(() => ingest.bodies()[0] === "A=b\n\n");
    await front?.stop(1000);
    expect(ingest.streams[0]?.state).toBe("ended");
    expect(await sender.untilClosed()).toBe(true);
  });

  test("above the limit is closed and counted", async () => {
    const { port } = await startRaw({ limits: { connectionsPerPeerMax: 1 } });
    client(port);
    await until(() => front?.connectionCount === 1);
    expect(await client(port).untilClosed()).toBe(true);
    expect(front?.counts().get("connections-per-peer-max")).toBe(1);
  });
});
