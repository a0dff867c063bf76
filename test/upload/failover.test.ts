import { describe, expect, test } from "bun:test";
import { readState } from "../../src/upload/state.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { ListSource, listCursor, messages } from "../support/list-source.ts";
import { answer, failure, MemoryReceiver } from "../support/memory-receiver.ts";
import { PipelineRig } from "../support/pipeline-rig.ts";
import { until } from "../support/until.ts";

const refused = () => failure("connect", "refused");

describe("failover", () => {
  test("goes to the next receiver after two failures, with nothing lost or twice", async () => {
    using captured = new CapturedLog();
    const first = new MemoryReceiver(refused);
    const second = new MemoryReceiver();
    using rig = new PipelineRig({
      source: new ListSource(messages(3000)),
      clients: [first, second],
      speed: 1000,
    });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(second.stored).toEqual(messages(3000));
    expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(3000));
    expect(captured.lines.filter((line) => line.includes(" instead of "))).toEqual([
      'warn: Uploading to "http://receiver-1.example.net:19532/upload" instead of "http://receiver-0.example.net:19532/upload"',
    ]);
  });

  test("goes on in the middle, and returns when the preferred receiver is back", async () => {
    using _captured = new CapturedLog();
    const source = new ListSource(messages(10, "a"), { follow: true });
    const first = new MemoryReceiver();
    const second = new MemoryReceiver();
    using rig = new PipelineRig({ source, clients: [first, second], speed: 1000 });
    const run = rig.pipeline.run();
    await until(() => first.stored.length === 10);
    first.decide = refused;
    source.push(...messages(10, "b"));
    await until(() => second.stored.length === 10);
    expect(rig.pipeline.progress.url).toContain("receiver-1");
    source.push(...messages(10, "c"));
    await until(() => second.stored.length === 20);
    first.decide = () => undefined;
    await until(() => rig.pipeline.progress.url.includes("receiver-0"));
    source.push(...messages(10, "d"));
    await until(() => first.stored.length === 20);
    rig.stop.abort();
    expect(await run).toBe("stopped");
    expect(first.stored).toEqual([...messages(10, "a"), ...messages(10, "d")]);
    expect(second.stored).toEqual([...messages(10, "b"), ...messages(10, "c")]);
  });

  test("leaves a receiver at once that asks for a long patience", async () => {
    const first = new MemoryReceiver(() => answer(503, "", { "retry-after": "60" }));
    const second = new MemoryReceiver();
    using rig = new PipelineRig({
      source: new ListSource(messages(3)),
      clients: [first, second],
      speed: 100,
    });
    await rig.pipeline.run();
    expect(first.requests).toHaveLength(1);
    expect(second.stored).toEqual(messages(3));
  });

  test("tries all of them again and again while none works", async () => {
    const clients = [0, 1, 2].map(() => new MemoryReceiver(refused));
    using rig = new PipelineRig({
      source: new ListSource(messages(3)),
      clients,
      speed: 10_000,
    });
    const run = rig.pipeline.run();
    await until(() => clients.every(({ requests }) => requests.length >= 5));
    const [, , last] = clients;
    if (last !== undefined) last.decide = () => undefined;
    expect(await run).toBe("delivered");
    expect(last?.stored).toEqual(messages(3));
  });

  test("gives a receiver of another kind what it takes", async () => {
    const first = new MemoryReceiver(() => undefined, {
      "accept-post": "application/vnd.fdo.journal, application/vnd.agent.journal-batch",
    });
    const second = new MemoryReceiver();
    const source = new ListSource(messages(2000), { follow: true });
    using rig = new PipelineRig({ source, clients: [first, second], speed: 1000 });
    const run = rig.pipeline.run();
    await until(() => first.stored.length === 2000);
    first.decide = refused;
    source.push(...messages(500, "later"));
    await until(() => second.stored.length === 500);
    expect(first.requests.some(({ request }) => request.contentType.includes("batch"))).toBe(true);
    expect(second.stored).toEqual(messages(500, "later"));
    expect(second.requests[0]?.request.contentType).toBe("application/vnd.fdo.journal");
    rig.stop.abort();
    await run;
  });
});
