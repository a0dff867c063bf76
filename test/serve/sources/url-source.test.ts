import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { AgentError } from "../../../src/errors.ts";
import { systemClock } from "../../../src/platform/clock.ts";
import { parseGateway } from "../../../src/serve/sources/gateway.ts";
import type { SourceReport } from "../../../src/serve/sources/source.ts";
import { followGateway, type UrlSourceOptions } from "../../../src/serve/sources/url-source.ts";
import { CapturedLog } from "../../support/captured-log.ts";
import { FakeGateway } from "../../support/fake-gateway.ts";
import {
  cursorOf,
  exportEntries,
  messages,
  messagesOf,
  RecordingIngest,
} from "../../support/recording-ingest.ts";
import { TestClock } from "../../support/test-clock.ts";
import { until } from "../../support/until.ts";

const NO_TLS = { keyFile: "/nonexistent", certificateFile: "/nonexistent", authority: "all" };

/** A gateway being followed, until the end of the scope. */
class Following implements AsyncDisposable {
  readonly ingest = new RecordingIngest();
  readonly clock: TestClock;
  readonly gateway: FakeGateway;
  readonly #stop = new AbortController();
  #running: Promise<SourceReport> | undefined;

  constructor(gateway: FakeGateway, clock = new TestClock()) {
    this.gateway = gateway;
    this.clock = clock;
  }

  start(options: Partial<UrlSourceOptions> = {}, url?: string): void {
    const target = parseGateway(url ?? `http://127.0.0.1:${this.gateway.port}`);
    this.#running = followGateway(target, {
      ingest: this.ingest,
      resume: this.ingest,
      tls: NO_TLS,
      clock: this.clock,
      signal: this.#stop.signal,
      ...options,
    });
  }

  async stop(): Promise<SourceReport> {
    this.#stop.abort();
    if (this.#running === undefined) throw new Error("Not started");
    return await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

const gateways: FakeGateway[] = [];
afterEach(() => {
  for (const gateway of gateways.splice(0)) gateway.stop();
});

async function startGateway(tail: number): Promise<FakeGateway> {
  const gateway = await FakeGateway.start(tail);
  gateways.push(gateway);
  return gateway;
}

async function unusedPort(): Promise<number> {
  const gateway = await FakeGateway.start(0);
  const { port } = gateway;
  gateway.stop();
  return port;
}

const captured = new CapturedLog();
afterAll(() => captured[Symbol.dispose]());

describe("followGateway()", () => {
  test("asks for everything, then follows what is appended", async () => {
    const gateway = await startGateway(3);
    await using following = new Following(gateway);
    following.start();
    await until(() => following.ingest.entries.length === 3);
    gateway.append(5);
    await until(() => following.ingest.entries.length === 5);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 5));
    expect(following.ingest.senders).toEqual(["127.0.0.1"]);
    expect(gateway.requests).toHaveLength(1);
    const [request] = gateway.requests;
    expect(request?.target).toBe("/entries?follow");
    expect(request?.headers.get("accept")).toBe("application/vnd.fdo.journal");
    expect(request?.headers.get("accept-encoding")).toBe("identity");
    expect(request?.headers.has("range")).toBe(false);
    expect(request?.headers.has("authorization")).toBe(false);
  });

  test("starts at the entry stored last", async () => {
    const gateway = await startGateway(6);
    await using following = new Following(gateway);
    const stream = following.ingest.open("127.0.0.1");
    void stream.push(Buffer.from(exportEntries(1, 4)));
    following.start();
    await until(() => following.ingest.entries.length === 6);
    expect(gateway.requests[0]?.headers.get("range")).toBe(`entries=${cursorOf(4)}`);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 6));
    expect(following.ingest.duplicates).toBe(1);
  });

  test("shows user and password, decoded, and keeps the query", async () => {
    const gateway = await startGateway(1);
    await using following = new Following(gateway);
    following.start({}, `http://us%40er:pa%3Ass@127.0.0.1:${gateway.port}/entries?_UID=0`);
    await until(() => following.ingest.entries.length === 1);
    expect(gateway.requests[0]?.target).toBe("/entries?_UID=0&follow");
    const basic = Buffer.from("us@er:pa:ss").toString("base64");
    expect(gateway.requests[0]?.headers.get("authorization")).toBe(`Basic ${basic}`);
  });

  test("loses and repeats nothing when cut at every byte", async () => {
    const gateway = await startGateway(4);
    await using following = new Following(gateway);
    const length = exportEntries(1, 4).length;
    for (let size = 0; size < length; size += 7) gateway.acts.push({ cutAfterBytes: size });
    following.start();
    await until(() => gateway.acts.length === 0 && following.ingest.entries.length === 4);
    gateway.append(6);
    await until(() => following.ingest.entries.length === 6);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 6));
    const asked = gateway.requests.length;
    gateway.cutAll();
    await until(() => gateway.requests.length > asked);
    const report = await following.stop();
    expect(report.counts.stored).toBe(6);
  });

  test("follows through a hundred cuts while entries arrive", async () => {
    const gateway = await startGateway(1);
    await using following = new Following(gateway);
    following.start();
    for (let tail = 2; tail <= 101; tail++) {
      gateway.append(tail);
      if (tail % 3 === 0) await until(() => following.ingest.entries.length > tail - 5);
      gateway.cutAll();
    }
    await until(() => following.ingest.entries.length === 101);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 101));
  });

  test("takes no entry from a refusal, and goes on after it", async () => {
    const gateway = await startGateway(2);
    await using following = new Following(gateway);
    const body = exportEntries(8, 9);
    gateway.acts.push({ status: 404, body }, { status: 500, body }, { status: 302, body });
    following.start();
    await until(() => following.ingest.entries.length === 2);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 2));
    expect(following.clock.delaysMs).toEqual([1000, 2000, 4000]);
  });

  test("takes nothing of another type", async () => {
    const gateway = await startGateway(2);
    await using following = new Following(gateway);
    const html = { "Content-Type": "text/html" };
    gateway.acts.push({ status: 200, headers: html, body: exportEntries(8, 9) });
    following.start();
    await until(() => following.ingest.entries.length === 2);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 2));
  });

  test("asks for the whole journal once when its cursor is refused", async () => {
    const gateway = await startGateway(3);
    await using following = new Following(gateway);
    void following.ingest.open("127.0.0.1").push(Buffer.from(exportEntries(1, 2)));
    gateway.acts.push({ status: 400, body: "Failed to seek in journal.\n" }, { cutAfterBytes: 5 });
    following.start();
    await until(() => following.ingest.entries.length === 3);
    const ranges = gateway.requests.map(({ headers }) => headers.get("range"));
    expect(ranges).toEqual([`entries=${cursorOf(2)}`, null, `entries=${cursorOf(2)}`]);
  });

  test("tells when the gateway no longer has the entry stored last", async () => {
    const gateway = await startGateway(6);
    gateway.head = 5;
    await using following = new Following(gateway);
    void following.ingest.open("127.0.0.1").push(Buffer.from(exportEntries(1, 2)));
    following.start();
    await until(() => following.ingest.entries.length === 4);
    const cursors = `stored="${cursorOf(2)}" first="${cursorOf(5)}"`;
    expect(captured.lines.filter((line) => line.includes("may be missing"))).toEqual([
      `warn: Entries of "127.0.0.1" may be missing: the gateway no longer has the one stored last ${cursors}`,
    ]);
  });

  test("tells what refused it, until it works", async () => {
    const gateway = await startGateway(0);
    await using following = new Following(gateway);
    gateway.otherwise = { status: 403, body: "No \u0007such thing\nsecond line" };
    following.start();
    await until(() => following.clock.delaysMs.length > 3);
    const { error, outcome } = await following.stop();
    expect(outcome).toBe("stopped");
    expect(error?.code).toBe("E_PEER");
    expect(error?.message).toBe(
      `Cannot pull from "http://127.0.0.1:${gateway.port}/entries?follow": it answers 403, "No  such thing"`,
    );
  });
});

describe("followGateway() waits", () => {
  test("longer and longer without luck, up to a minute, with jitter", async () => {
    const gateway = await startGateway(1);
    gateway.otherwise = { status: 500 };
    await using following = new Following(gateway, new TestClock(0, 0.5));
    following.start();
    await until(() => following.clock.delaysMs.length >= 8);
    const delays = following.clock.delaysMs.slice(0, 8);
    expect(delays).toEqual([1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000, 45_000]);
  });

  test("from the start again after a connection that brought something new", async () => {
    const gateway = await startGateway(1);
    gateway.acts.push({ status: 500 }, { status: 500 }, "complete", { status: 500 }, "complete");
    await using following = new Following(gateway);
    following.start();
    await until(() => following.clock.delaysMs.length >= 5);
    // The second "complete" brings only what is known: a gateway that keeps closing is no luck.
    expect(following.clock.delaysMs.slice(0, 5)).toEqual([1000, 2000, 1000, 2000, 4000]);
  });

  test.each([429, 503])("as long as a %d asks for, in seconds or until a date", async (status) => {
    const gateway = await startGateway(1);
    const now = Date.UTC(2026, 0, 1);
    const after = (value: string) => ({ status, headers: { "Retry-After": value } });
    gateway.acts.push(
      after("100"),
      after("Thu, 01 Jan 2026 00:05:00 GMT"),
      after("2"),
      after("1e9"),
    );
    await using following = new Following(gateway, new TestClock(now));
    following.start();
    await until(() => following.ingest.entries.length === 1);
    expect(following.clock.delaysMs).toEqual([100_000, 200_000, 4000, 8000]);
  });

  test("no longer for a Retry-After on any other status", async () => {
    const gateway = await startGateway(1);
    gateway.acts.push({ status: 404, headers: { "Retry-After": "100" } });
    await using following = new Following(gateway);
    following.start();
    await until(() => following.ingest.entries.length === 1);
    expect(following.clock.delaysMs).toEqual([1000]);
  });

  test("when nobody listens", async () => {
    const gateway = await startGateway(1);
    await using following = new Following(gateway);
    following.start({}, `http://127.0.0.1:${await unusedPort()}`);
    await until(() => following.clock.delaysMs.length >= 3);
    const { error } = await following.stop();
    expect(error?.message).toContain("the connection is refused");
  });

  test("when the store is full, and repeats what it did not take", async () => {
    const gateway = await startGateway(3);
    await using following = new Following(gateway);
    const full = () => new AgentError("E_NO_SPACE", "Cannot write: disk full");
    following.ingest.openErrors.push(full());
    following.ingest.pushErrors.push(full());
    following.start();
    await until(() => following.ingest.entries.length === 3);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 3));
    expect(following.ingest.aborts).toBe(1);
    expect(following.clock.delaysMs).toEqual([1000, 2000]);
  });
});

describe("followGateway() and silence", () => {
  test("asks again when nothing came for too long, without growing delays", async () => {
    const gateway = await startGateway(2);
    await using following = new Following(gateway);
    following.start({ idleMsMax: 40 });
    await until(() => gateway.requests.length === 4);
    expect(following.clock.delaysMs.slice(0, 3)).toEqual([1000, 1000, 1000]);
    gateway.append(3);
    await until(() => following.ingest.entries.length === 3);
    expect(messagesOf(following.ingest)).toEqual(messages(1, 3));
    await until(() => gateway.connections <= 1);
  });

  test("asks again when no answer came", async () => {
    const gateway = await startGateway(2);
    gateway.acts.push("silent", "silent");
    await using following = new Following(gateway);
    following.start({ idleMsMax: 40 });
    await until(() => following.ingest.entries.length === 2);
    expect(gateway.requests.length).toBeGreaterThanOrEqual(3);
  });

  test("a slow store is not a silent gateway", async () => {
    const gateway = await startGateway(2);
    await using following = new Following(gateway);
    following.ingest.pauseMs = 150;
    following.start({ idleMsMax: 50 });
    await until(() => following.ingest.pushes.length > 0);
    await Bun.sleep(100);
    expect(gateway.requests).toHaveLength(1);
  });

  test("stops within a second: silent, following, storing, waiting", async () => {
    const soon = async (following: Following) => {
      const startMs = performance.now();
      expect(await following.stop()).toMatchObject({ outcome: "stopped" });
      expect(performance.now() - startMs).toBeLessThan(1000);
    };
    const gateway = await startGateway(2);
    gateway.acts.push("silent");
    const silent = new Following(gateway);
    silent.start();
    await until(() => gateway.requests.length === 1);
    await soon(silent);

    const following = new Following(gateway);
    following.start();
    await until(() => following.ingest.entries.length === 2);
    await soon(following);

    const storing = new Following(gateway);
    storing.ingest.pauseMs = 60_000;
    storing.start();
    await until(() => storing.ingest.pushes.length === 1);
    await soon(storing);

    const waiting = new Following(gateway);
    gateway.acts.push({ status: 503, headers: { "Retry-After": "500" } });
    const before = gateway.requests.length;
    waiting.start({ clock: systemClock });
    await until(() => gateway.requests.length > before);
    await Bun.sleep(50);
    await soon(waiting);
    await until(() => gateway.connections === 0);
  });
});
