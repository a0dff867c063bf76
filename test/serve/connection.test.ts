import { afterEach, describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import {
  ANSWER,
  CHUNKED,
  curl,
  FrontFixture,
  type FrontSetup,
  HEAD,
  JOURNAL_TYPE,
} from "../support/front.ts";
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
    ingest.onEnd = async (stream) => {
      await Bun.sleep(5);
      return stream === ingest.streams[1] ? 9 : 0;
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

/** Requests whose store is told by the test when it has them on disk. */
async function startHeld(setup: FrontSetup = {}) {
  const { ingest, port } = await fixture.start(setup);
  const ends: PromiseWithResolvers<number>[] = [];
  ingest.onEnd = (stream) => {
    const end = Promise.withResolvers<number>();
    ends[ingest.streams.indexOf(stream)] = end;
    return end.promise;
  };
  return {
    ...{ ingest, ends, port },
    get client() {
      return fixture.client(port);
    },
  };
}

const post = (body: string, header = ""): string =>
  `${HEAD}${header}Content-Length: ${body.length}\r\n\r\n${body}`;
const statuses = (text: string): string[] => text.match(/(?<=HTTP\/1\.1 )\d+/g) ?? [];
const SILENCE_MS = 50;

describe("Pipelined requests", () => {
  test("reach the store while the first one waits for the disk; answers keep their order", async () => {
    const { ingest, ends, client } = await startHeld();
    client.send(post("one") + post("two"));
    await until(() => ends.length === 2);
    expect(ingest.bodies()).toEqual(["one", "two"]);
    ends[1]?.resolve(5);
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    await client.until(/417/);
    expect(statuses(client.text)).toEqual(["202", "417"]);
    client.send(post("three"));
    await until(() => ends.length === 3);
    ends[2]?.resolve(0);
    await client.until(/202[\s\S]*417[\s\S]*202/);
    expect(client.text).not.toContain("Connection: close");
    expect(client.isClosed).toBe(false);
  });

  test("are begun only when the store has been given all of the one before", async () => {
    const { ingest, client } = await startHeld();
    const handOver = Promise.withResolvers<void>();
    ingest.onHandOver = () => handOver.promise;
    client.send(post("one") + post("two"));
    await until(() => ingest.streams.length === 1);
    await Bun.sleep(SILENCE_MS);
    expect(ingest.bodies()).toEqual(["one"]);
    handOver.resolve();
    await until(() => ingest.bodies().join() === "one,two");
  });

  test("are four at most, then the socket is paused until there is an answer", async () => {
    const { ingest, ends, client } = await startHeld();
    const bodies = ["a", "b", "c", "d", "e", "f"];
    client.send(bodies.map((body) => post(body)).join(""));
    await until(() => ends.length === 4);
    client.send(post("g"));
    await Bun.sleep(SILENCE_MS);
    expect(ingest.bodies()).toEqual(["a", "b", "c", "d"]);
    ends[1]?.resolve(0);
    await Bun.sleep(SILENCE_MS);
    expect(ingest.streams).toHaveLength(4);
    ends[0]?.resolve(0);
    await until(() => ends.length === 6);
    for (let i = 2; i < 7; i++) {
      await until(() => ends[i] !== undefined);
      ends[i]?.resolve(0);
    }
    await client.until(/(202 [\s\S]*){7}/);
    expect(ingest.bodies()).toEqual([...bodies, "g"]);
  });

  test("behind one that cannot be stored get no answer; one in mid-body is aborted", async () => {
    const { ingest, ends, client } = await startHeld();
    client.send(`${post("one") + post("two") + post("three")}${HEAD}Content-Length: 9\r\n\r\nfo`);
    await until(() => ingest.bodies()[3] === "fo");
    ends[2]?.resolve(0);
    ends[1]?.reject(new AgentError("E_NO_SPACE", "x"));
    await until(() => ingest.streams[3]?.state === "aborted");
    client.send("urth!!!");
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    expect(await client.untilClosed()).toBe(true);
    expect(statuses(client.text)).toEqual(["202", "503"]);
    expect(client.text.match(/Connection: close/g)).toHaveLength(1);
    expect(ingest.streams.map(({ state }) => state)).toEqual(["ended", "open", "ended", "aborted"]);
    const counts = fixture.front?.counts();
    expect([counts?.get("store-no-space"), counts?.get("request-cut")]).toEqual([1, 1]);
  });

  test("of which two fail get the answer of the first one", async () => {
    const { ends, client } = await startHeld();
    client.send(post("one") + post("two"));
    await until(() => ends.length === 2);
    ends[1]?.reject(new AgentError("E_NO_SPACE", "x"));
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.reject(new AgentError("E_IO", "x"));
    await client.untilClosed();
    expect(statuses(client.text)).toEqual(["500"]);
    expect(fixture.front?.counts()).toEqual(new Map([["store-io", 1]]));
  });

  test.each([
    ["a wrong path", post("two").replace("upload", "x"), "404"],
    ["a malformed head", "POST\r\n\r\n", "400"],
    ["a broken chunk", `${CHUNKED}2\r\nabc\r\n`, "400"],
  ])("with %s are refused behind the answers before", async (_, bytes, status) => {
    const { ingest, ends, client } = await startHeld();
    client.send(post("one") + bytes + post("three"));
    await until(() => ends.length === 1);
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    await client.until(new RegExp(`202[\\s\\S]*${status}[\\s\\S]*\\n$`));
    expect(statuses(client.text)).toEqual(["202", status]);
    expect(ingest.bodies()).not.toContain("three");
  });

  test("that stall are refused behind the answers before; waiting for the disk is no stall", async () => {
    const { ends, client } = await startHeld({ limits: { stalledTimeoutMs: 200 } });
    client.send(post("one"));
    await until(() => ends.length === 1);
    await Bun.sleep(400);
    client.send(`${HEAD}Content-Length: 9\r\n\r\ntw`);
    await Bun.sleep(400);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    await client.until(/408/);
    expect(statuses(client.text)).toEqual(["202", "408"]);
  });

  test("get their 100 Continue when it is their turn", async () => {
    const { ingest, ends, client } = await startHeld();
    const expecting = `${HEAD}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`;
    client.send(post("one") + expecting);
    await until(() => ingest.streams.length === 2);
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    await client.until(/100 Continue\r\n\r\n$/);
    expect(statuses(client.text)).toEqual(["202", "100"]);
    client.send("two");
    await until(() => ends.length === 2);
    ends[1]?.resolve(0);
    await client.until(/100 [\s\S]*202/);
    expect(statuses(client.text)).toEqual(["202", "100", "202"]);
  });

  test("that do not wait for their 100 Continue get none", async () => {
    const { ends, client } = await startHeld();
    client.send(post("one") + post("two", "Expect: 100-continue\r\n"));
    await until(() => ends.length === 2);
    for (const end of ends) end.resolve(0);
    await client.until(/202[\s\S]*202/);
    expect(statuses(client.text)).toEqual(["202", "202"]);
  });

  test("behind Connection: close are not read", async () => {
    const { ingest, ends, client } = await startHeld();
    client.send(post("one", "Connection: close\r\n") + post("two"));
    await until(() => ends.length === 1);
    ends[0]?.resolve(0);
    expect(await client.untilClosed()).toBe(true);
    expect(ingest.bodies()).toEqual(["one"]);
    expect(client.text).toContain("Connection: close\r\n");
  });

  test("before FIN are all answered, the last one with Connection: close", async () => {
    const { ingest, ends, client } = await startHeld();
    const bodies = ["a", "b", "c", "d", "e", "f"];
    client.send(bodies.map((body) => post(body)).join(""));
    client.sendEnd();
    for (let i = 0; i < bodies.length; i++) {
      await until(() => ends[i] !== undefined);
      ends[i]?.resolve(0);
    }
    expect(await client.untilClosed()).toBe(true);
    expect(statuses(client.text)).toEqual(bodies.map(() => "202"));
    expect(ingest.bodies()).toEqual(bodies);
    await until(() => fixture.front?.connectionCount === 0);
  });

  test("before FIN in the middle of another are answered all the same", async () => {
    const { ingest, ends, client } = await startHeld();
    client.send(`${post("one")}${HEAD}Content-Length: 9\r\n\r\ntw`);
    client.sendEnd();
    await until(() => ingest.streams[1]?.state === "aborted");
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    expect(await client.untilClosed()).toBe(true);
    expect(statuses(client.text)).toEqual(["202"]);
    expect(fixture.front?.counts()).toEqual(new Map([["request-cut", 1]]));
  });

  test("of a peer that is gone are given up quietly, whatever the store says later", async () => {
    const { ingest, ends, port } = await startHeld();
    const socket = { data: () => undefined };
    const peer = await Bun.connect({ hostname: "127.0.0.1", port, socket });
    peer.write(`${post("one") + post("two")}${HEAD}Content-Length: 9\r\n\r\nth`);
    await until(() => ingest.bodies()[2] === "th");
    peer.terminate();
    await until(() => fixture.front?.connectionCount === 0);
    ends[0]?.resolve(0);
    ends[1]?.reject(new AgentError("E_IO", "x"));
    await Bun.sleep(SILENCE_MS);
    expect(ingest.streams.map(({ state }) => state)).toEqual(["ended", "open", "aborted"]);
    expect(fixture.front?.counts()).toEqual(new Map([["request-cut", 1]]));
  });

  test("whose body is there are answered at the end of the service; no further one is begun", async () => {
    const { ingest, ends, client } = await startHeld();
    client.send(`${post("one")}${HEAD}Content-Length: 3\r\n\r\ntw`);
    await until(() => ingest.bodies()[1] === "tw");
    const stopped = fixture.front?.stop(5000);
    client.send(`o${post("three")}`);
    await until(() => ends.length === 2);
    ends[1]?.resolve(0);
    await Bun.sleep(SILENCE_MS);
    expect(client.text).toBe("");
    ends[0]?.resolve(0);
    await client.until(/202[\s\S]*202[\s\S]*\nOK\.\n$/);
    client.close();
    await stopped;
    expect(client.text).toMatch(/^(?:(?!close)[\s\S])*202[\s\S]*Connection: close/);
    expect(client.text.match(/Connection: close/g)).toHaveLength(1);
    expect(ingest.bodies()).toEqual(["one", "two"]);
    expect(fixture.front?.counts().size).toBe(0);
  });

  test("that a peer's certificate or the end of the grace cuts are told so once", async () => {
    const { ingest, client } = await startHeld();
    client.send(`${post("one") + post("two")}${HEAD}Content-Length: 9\r\n\r\nth`);
    await until(() => ingest.bodies()[2] === "th");
    const stopped = fixture.front?.stop(50);
    await client.until(/503[\s\S]*\n$/);
    client.close();
    await stopped;
    expect(statuses(client.text)).toEqual(["503"]);
    expect(ingest.streams[2]?.state).toBe("aborted");
  });

  test("wait until the peer reads: a peer that does not is cut", async () => {
    const { ingest, port } = await fixture.start({ limits: { stalledTimeoutMs: 300 } });
    const requests = post("").repeat(2000);
    const fill = (socket: Bun.Socket<undefined>): void => {
      while (socket.write(requests) > 0);
    };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: () => undefined, drain: fill },
    });
    socket.pause();
    fill(socket);
    await until(() => fixture.front?.counts().get("stalled-answer") === 1, 15_000);
    const begun = ingest.streams.length;
    await Bun.sleep(SILENCE_MS);
    expect(ingest.streams).toHaveLength(begun);
    socket.terminate();
  }, 20_000);
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
