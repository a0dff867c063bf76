import { afterEach, describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import { ANSWER, CHUNKED, curl, FrontFixture, HEAD, JOURNAL_TYPE } from "../support/front.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

/** What the runtime delivers at most at a time. */
const CHUNK_SIZE_MAX = 512 * 1024;

const fixture = new FrontFixture();
afterEach(() => fixture.stop());

describe("A body", () => {
  test("reaches the ingest whole, under the peer's address, with its encoding", async () => {
    const { ingest, port } = await fixture.start();
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
    const { ingest, port } = await fixture.start();
    const sender = fixture.client(port);
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
    const { ingest, port } = await fixture.start();
    const { promise, resolve } = Promise.withResolvers<number>();
    ingest.onEnd = () => promise;
    const sender = fixture.client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    await until(() => ingest.bodies()[0] === "A");
    await Bun.sleep(50);
    expect(sender.text).toBe("");
    resolve(0);
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
  });

  test("cut by the peer is aborted and counted", async () => {
    const { ingest, port } = await fixture.start();
    for (const how of ["sendEnd", "close"] as const) {
      const sender = fixture.client(port);
      sender.send(`${CHUNKED}5\r\nab`);
      await until(() => ingest.bodies().at(-1) === "ab" && ingest.streams.at(-1)?.state === "open");
      sender[how]();
      await until(() => ingest.streams.at(-1)?.state === "aborted");
    }
    expect(fixture.front?.counts().get("request-cut")).toBe(2);
    await until(() => fixture.front?.connectionCount === 0);
  });

  test("is awaited after 100 Continue when the client asks, and not when it is refused", async () => {
    const { ingest, port } = await fixture.start();
    const sender = fixture.client(port);
    sender.send(`${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    expect(await sender.until(/\r\n\r\n/)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    sender.send("ab");
    expect(await sender.until(/202/)).toContain("202 Accepted");
    const refused = fixture.client(port);
    refused.send(`${HEAD.replace("upload", "x")}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    expect(await refused.until(ANSWER)).toStartWith("HTTP/1.1 404 ");
    expect(ingest.bodies()).toEqual(["ab"]);
  });

  test("of pipelined requests are kept apart and answered in order", async () => {
    const { ingest, port } = await fixture.start();
    const sender = fixture.client(port);
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
    const { port } = await fixture.start();
    const sender = fixture.client(port);
    sender.send(`${HEAD}Content-Length: 1\r\n\r\nA`);
    sender.sendEnd();
    expect(await sender.until(ANSWER)).toStartWith("HTTP/1.1 202 ");
    await until(() => fixture.front?.connectionCount === 0);
  });
});

describe("A refusal in mid-body", () => {
  const cases: [string, AgentError, number, string][] = [
    ["a full disk", new AgentError("E_NO_SPACE", "x"), 503, "No space left on device."],
    ["a broken disk", new AgentError("E_IO", "x"), 500, "Input/output error."],
    ["too much at once", new AgentError("E_BUSY", "x"), 503, "Too many bytes in flight."],
    ["too large a window", new AgentError("E_LIMIT", "x"), 413, "Payload too large."],
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
        const { ingest, port } = await fixture.start();
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
        expect(result.body.includes("Retry-After: 30\r\n")).toBe(status === 503);
        expect(ingest.streams[0]?.state).toBe("aborted");
        expect(fixture.front?.counts().size).toBe(1);
      });
    }
  }

  test("at open is an answer too, and nothing of the body is read", async () => {
    const { ingest, port } = await fixture.start();
    ingest.onOpen = () => {
      throw new AgentError("E_NO_SPACE", "x");
    };
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
  });

  test("at the end is an answer too", async () => {
    const { ingest, port } = await fixture.start();
    ingest.onEnd = () => Promise.reject(new AgentError("E_NO_SPACE", "x"));
    const url = `http://127.0.0.1:${port}/upload`;
    const result = await curl("-H", JOURNAL_TYPE, "-d", "A=b", url);
    expect(result.status).toBe(503);
  });

  test("ends with the connection, for a client that goes on sending for ever", async () => {
    const { port } = await fixture.start();
    const sender = fixture.client(port);
    sender.send(`${HEAD.replace("upload", "x")}Content-Length: 800000000\r\n\r\n`);
    const startMs = performance.now();
    const flood = setInterval(() => sender.send(new Uint8Array(200_000)), 1);
    expect(await sender.untilClosed()).toBe(true);
    clearInterval(flood);
    expect(performance.now() - startMs).toBeLessThan(4500);
    expect(sender.text).toStartWith("HTTP/1.1 404 ");
  });
});

describe("A slow ingest", () => {
  test("is never more than one chunk behind", async () => {
    const { ingest, port } = await fixture.start();
    let [taken, done, aheadMax] = [0, 0, 0];
    ingest.onPush = async (chunk) => {
      taken += chunk.length;
      aheadMax = Math.max(aheadMax, taken - done);
      await Bun.sleep(1);
      done += chunk.length;
    };
    using dir = new TempDir();
    const file = dir.write("body", new Uint8Array(60e6));
    const data = ["-H", JOURNAL_TYPE, "-H", "Expect:", "--data-binary", `@${file}`];
    const result = await curl(...data, `http://127.0.0.1:${port}/upload`);
    expect(result.status).toBe(202);
    expect(done).toBe(60e6);
    expect(aheadMax).toBeLessThanOrEqual(CHUNK_SIZE_MAX);
  });

  test("stops the network: what is sent stays in the kernel's buffers", async () => {
    const { ingest, port } = await fixture.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    ingest.onPush = () => promise;
    let accepted = 0;
    const bytes = new Uint8Array(1e6);
    const fill = (socket: Bun.Socket<undefined>): void => {
      for (let written = 1; written > 0; accepted += written) written = socket.write(bytes);
    };
    const sender = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: () => undefined, drain: fill },
    });
    sender.write(`${HEAD}Content-Length: 800000000\r\n\r\n`);
    fill(sender);
    await Bun.sleep(500);
    const acceptedFirst = accepted;
    await Bun.sleep(200);
    // Linux lets a socket's two buffers grow to some 6 and 4 MB.
    expect(accepted).toBeLessThan(32e6);
    expect(accepted).toBe(acceptedFirst);
    expect(ingest.streams[0]?.body).toHaveLength(1);
    resolve();
    await until(() => accepted > 100e6);
    sender.terminate();
  });
});
