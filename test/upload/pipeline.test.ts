import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { readState } from "../../src/upload/state.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { ListSource, listCursor, messages } from "../support/list-source.ts";
import {
  answer,
  cut,
  type Decide,
  failure,
  MemoryReceiver,
  OURS,
} from "../support/memory-receiver.ts";
import { PipelineRig } from "../support/pipeline-rig.ts";
import { until } from "../support/until.ts";

/** Refuses any request with an entry that says "poison". */
function refusing(result: () => ReturnType<typeof answer> | ReturnType<typeof cut>): Decide {
  return (found) => (found.some((text) => text.includes("poison")) ? result() : undefined);
}

describe("a pipeline that ends", () => {
  test("brings all entries in order, saves the last position and closes its source", async () => {
    const source = new ListSource(messages(5000));
    const receiver = new MemoryReceiver();
    using rig = new PipelineRig({ source, clients: [receiver] });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.stored).toEqual(messages(5000));
    expect(readState(rig.statePath)?.position).toEqual({
      cursor: listCursor(5000),
      tails: new Map([
        [
          "739ad463348b4ceca5a9e69c95a3c93f",
          {
            seqnum: 5000,
            realtimeUsec: 1_700_000_005_000_000,
            bootId: "6c7c6013a26343b29e964691ff25d04c",
          },
        ],
      ]),
    });
    expect(source.isClosed).toBe(true);
    expect(rig.pipeline.progress).toMatchObject({ entries: 5000, backlog: 0, problem: undefined });
  });

  test("makes no request when there is nothing to send", async () => {
    const receiver = new MemoryReceiver();
    using rig = new PipelineRig({ source: new ListSource([]), clients: [receiver] });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.requests).toBeEmpty();
    expect(readState(rig.statePath)).toBeUndefined();
  });

  test("sends to strangers in the export format, one request at a time", async () => {
    const receiver = new MemoryReceiver(async () => {
      await Bun.sleep(5);
      return undefined;
    });
    using rig = new PipelineRig({ source: new ListSource(messages(3000)), clients: [receiver] });
    await rig.pipeline.run();
    expect(receiver.inFlightMax).toBe(1);
    expect(receiver.requests.length).toBeGreaterThan(5);
    for (const { request } of receiver.requests) {
      expect(request).toMatchObject({
        contentType: "application/vnd.fdo.journal",
        contentEncoding: undefined,
        isChunked: false,
      });
    }
  });

  test("sends to ours in the batch format from the second request on, two at a time", async () => {
    const receiver = new MemoryReceiver(async () => {
      await Bun.sleep(5);
      return undefined;
    }, OURS);
    using rig = new PipelineRig({
      source: new ListSource(messages(20_000)),
      clients: [receiver],
    });
    await rig.pipeline.run();
    expect(receiver.stored).toEqual(messages(20_000));
    expect(receiver.inFlightMax).toBe(2);
    const types = receiver.requests.map(({ request }) => request.contentType);
    expect(types.slice(0, 2)).not.toContain("application/vnd.agent.journal-batch");
    expect(types.at(-1)).toBe("application/vnd.agent.journal-batch");
  });

  test("begins with a small batch, and makes each larger until they are full", async () => {
    const receiver = new MemoryReceiver();
    const sizeMax = 512 * 1024;
    using rig = new PipelineRig({
      source: new ListSource(messages(20_000)),
      clients: [receiver],
      sizeMax,
      delayMs: 1e6,
    });
    await rig.pipeline.run();
    const sizes = receiver.requests.map(({ sizeBytes }) => sizeBytes);
    const kib = sizes.map((size) => Math.floor(size / 1024));
    expect(kib.slice(0, 3)).toEqual([64, 64, 256]);
    expect(new Set(kib.slice(3, -1))).toEqual(new Set([512]));
  });
});

test("a pipeline that gives up ends though a batch waits behind the one that failed", async () => {
  const receiver = new MemoryReceiver(() => failure("connect", "refused"));
  using rig = new PipelineRig({
    source: new ListSource(messages(5000)),
    clients: [receiver],
    retry: { attemptsMax: 3 },
  });
  expect(await rig.pipeline.run()).toBe("gave-up");
}, 5_000);

test("a pipeline sends no faster than it may", async () => {
  for (const rateLimit of [
    { bytesPerSec: 0, entriesPerSec: 100 },
    { bytesPerSec: 50_000, entriesPerSec: 0 },
  ]) {
    const receiver = new MemoryReceiver();
    using rig = new PipelineRig({
      ...{ source: new ListSource(messages(500)), clients: [receiver], rateLimit, speed: 50 },
    });
    const startMs = rig.clock.now();
    expect(await rig.pipeline.run()).toBe("delivered");
    const seconds = (rig.clock.now() - startMs) / 1000;
    const bytes = receiver.requests.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    // The first second's worth goes at once, and of the last one only its beginning is waited for.
    const expected = rateLimit.bytesPerSec > 0 ? bytes / rateLimit.bytesPerSec : 500 / 100;
    expect(seconds).toBeGreaterThan(expected - 2);
    expect(receiver.stored).toEqual(messages(500));
  }
});

describe("a pipeline that follows", () => {
  test("sends a lone entry soon, and many together", async () => {
    const source = new ListSource([], { follow: true });
    const receiver = new MemoryReceiver();
    using rig = new PipelineRig({ source, clients: [receiver], speed: 1 });
    const run = rig.pipeline.run();
    await Bun.sleep(50);
    const startMs = performance.now();
    source.push("lone");
    await until(() => receiver.stored.length === 1);
    expect(performance.now() - startMs).toBeLessThan(500);
    for (let i = 0; i < 100; i++) {
      source.push(...messages(10, `burst ${i}`));
      await Bun.sleep(1);
    }
    await until(() => receiver.stored.length === 1001);
    expect(receiver.requests.length).toBeLessThan(20);
    rig.stop.abort();
    expect(await run).toBe("stopped");
    expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(1001));
  });

  test("ends within two seconds when the receiver never answers, and saves what it had", async () => {
    const source = new ListSource(["first"], { follow: true });
    const receiver = new MemoryReceiver(([message]) =>
      message === "first" ? undefined : new Promise(() => undefined),
    );
    using rig = new PipelineRig({ source, clients: [receiver], speed: 1 });
    const run = rig.pipeline.run();
    await until(() => receiver.stored.length === 1);
    source.push("second");
    await until(() => receiver.requests.length === 2);
    const startMs = performance.now();
    rig.stop.abort();
    expect(await run).toBe("stopped");
    expect(performance.now() - startMs).toBeLessThan(1500);
    expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(1));
  });

  test("waits for an answer that comes soon after the signal", async () => {
    const source = new ListSource(["first"], { follow: true });
    const receiver = new MemoryReceiver(async () => {
      await Bun.sleep(200);
      return undefined;
    });
    using rig = new PipelineRig({ source, clients: [receiver], speed: 1 });
    const run = rig.pipeline.run();
    await until(() => receiver.requests.length === 1);
    rig.stop.abort();
    expect(await run).toBe("stopped");
    expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(1));
  });
});

describe("a receiver in trouble", () => {
  const troubles = [
    ["cannot be reached", () => failure("connect", "refused")],
    ["has no name", () => failure("resolve", "no such host")],
    ["has the wrong certificate", () => failure("tls", "certificate unknown")],
    ["redirects", () => answer(301, "", { location: "https://example.net/" })],
    ["wants a certificate", () => answer(401)],
    ["has nothing there", () => answer(404)],
    ["takes too long", () => answer(408)],
    ["is too busy", () => answer(429)],
    ["is broken", () => answer(500)],
    ["says no to the body", () => answer(400)],
    ["cuts the connection", () => cut()],
  ] as const;

  test.each(troubles)("that %s is tried again until it works", async (_, result) => {
    using captured = new CapturedLog();
    let failures = 6;
    const receiver = new MemoryReceiver(() => (failures-- > 0 ? result() : undefined));
    using rig = new PipelineRig({
      source: new ListSource(messages(100)),
      clients: [receiver],
      speed: 1000,
    });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.stored).toEqual(messages(100));
    expect(rig.quarantine.count).toBe(0);
    const warnings = captured.lines.filter((line) => line.includes("tried again until it works"));
    expect(warnings).toHaveLength(1);
    expect(captured.lines.filter((line) => line.includes("works again"))).toHaveLength(1);
  });

  test("is asked again when it says, in seconds or by date", async () => {
    const answers = [
      answer(503, "", { "retry-after": "300" }),
      answer(429, "", { "retry-after": "20" }),
    ];
    const receiver = new MemoryReceiver(() => answers.shift());
    using rig = new PipelineRig({
      source: new ListSource(["one"]),
      clients: [receiver],
      speed: 10_000,
    });
    await rig.pipeline.run();
    expect(rig.clock.delaysMs.filter((delayMs) => delayMs >= 1000)).toEqual([300_000, 20_000]);
  });

  test("is asked less and less often", async () => {
    let failures = 8;
    const receiver = new MemoryReceiver(() =>
      failures-- > 0 ? failure("connect", "refused") : undefined,
    );
    using rig = new PipelineRig({
      source: new ListSource(["one"]),
      clients: [receiver],
      speed: 10_000,
    });
    await rig.pipeline.run();
    expect(rig.clock.delaysMs.filter((delayMs) => delayMs >= 1000)).toEqual([
      1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000,
    ]);
  });

  test("ends the run after so many attempts, or so long", async () => {
    const away: Decide = () => failure("connect", "refused");
    for (const retry of [{ attemptsMax: 3 }, { durationUsecMax: 2_500_000 }]) {
      const receiver = new MemoryReceiver(away);
      using rig = new PipelineRig({ source: new ListSource(["one"]), clients: [receiver], retry });
      expect(await rig.pipeline.run()).toBe("gave-up");
      expect(receiver.requests).toHaveLength(3);
      expect(readState(rig.statePath)).toBeUndefined();
    }
  });

  test("ends the run at once where that is asked for", async () => {
    for (const result of [answer(413), answer(400), failure("connect", "refused")]) {
      const receiver = new MemoryReceiver(() => result);
      using rig = new PipelineRig({
        source: new ListSource(messages(10), { follow: true }),
        clients: [receiver],
        exitOnFailure: true,
      });
      expect(await rig.pipeline.run()).toBe("gave-up");
      expect(receiver.requests).toHaveLength(1);
    }
  });

  test("is told nothing twice that it took behind a batch that failed", async () => {
    let isFirst = true;
    const receiver = new MemoryReceiver(async (found, { contentType }) => {
      await Bun.sleep(2);
      if (!contentType.includes("batch") || !isFirst || found.length === 0) return undefined;
      isFirst = false;
      return answer(503);
    }, OURS);
    using rig = new PipelineRig({
      source: new ListSource(messages(20_000)),
      clients: [receiver],
      speed: 1000,
    });
    await rig.pipeline.run();
    expect(receiver.stored.toSorted()).toEqual(messages(20_000).toSorted());
  });
});

describe("an entry that is refused for ever", () => {
  const all = messages(1000).map((text, index) => (index === 700 ? "poison" : text));
  const rest = all.filter((text) => text !== "poison");

  test.each([
    ["400", () => answer(400, "bad entry")],
    ["413", () => answer(413)],
    ["417", () => answer(417)],
    ["422", () => answer(422)],
    ["a cut", () => cut()],
  ] as const)("by %s ends in quarantine, everything else arrives in order", async (_, result) => {
    using captured = new CapturedLog();
    const receiver = new MemoryReceiver(refusing(result));
    using rig = new PipelineRig({ source: new ListSource(all), clients: [receiver], speed: 1000 });
    expect(await rig.pipeline.run()).toBe("delivered");
    expect(receiver.stored).toEqual(rest);
    expect(rig.quarantine.count).toBe(1);
    const kept = readFileSync(rig.quarantinePath, "utf8");
    expect(kept).toContain("MESSAGE=poison\n\n");
    expect(kept.match(/^__CURSOR=/gm)).toHaveLength(1);
    expect(captured.lines.join("\n")).toContain(`Entry "${listCursor(701)}" is refused`);
    expect(readState(rig.statePath)?.position.cursor).toBe(listCursor(1000));
  });

  test("is found in the batch format, too", async () => {
    const receiver = new MemoryReceiver(
      refusing(() => answer(400)),
      OURS,
    );
    const many = [...messages(3000, "before"), ...all];
    using rig = new PipelineRig({ source: new ListSource(many), clients: [receiver], speed: 1000 });
    expect(await rig.pipeline.run()).toBe("delivered");
    // A second request, behind the one that is refused, may have been taken.
    expect(receiver.stored.toSorted()).toEqual(many.filter((text) => text !== "poison").toSorted());
    expect(rig.quarantine.count).toBe(1);
  });

  test.each([0, 1, 2])("is passed over when it is one of few: %p", async (index) => {
    const few = ["a", "b", "c"].map((text, at) => (at === index ? "poison" : text));
    const receiver = new MemoryReceiver(refusing(() => answer(400)));
    using rig = new PipelineRig({ source: new ListSource(few), clients: [receiver], speed: 1000 });
    await rig.pipeline.run();
    expect(receiver.stored).toEqual(few.filter((text) => text !== "poison"));
    expect(rig.quarantine.count).toBe(1);
  });

  test("is passed over when there is no other", async () => {
    const receiver = new MemoryReceiver(refusing(() => answer(400)));
    using rig = new PipelineRig({
      source: new ListSource(["poison"]),
      clients: [receiver],
      speed: 1000,
    });
    await rig.pipeline.run();
    expect(rig.quarantine.count).toBe(1);
  });

  test("does not block even as one of many in a row", async () => {
    const run = messages(30, "poison");
    const many = [...messages(50, "before"), ...run, ...messages(50, "after")];
    const receiver = new MemoryReceiver(refusing(() => answer(400)));
    using rig = new PipelineRig({
      source: new ListSource(many),
      clients: [receiver],
      speed: 100_000,
    });
    await rig.pipeline.run();
    expect(receiver.stored).toEqual(many.filter((text) => !text.includes("poison")));
    expect(rig.quarantine.count).toBe(30);
  });
});

describe("a receiver that refuses everything", () => {
  test.each([
    ["400 to all", () => answer(400)],
    ["a cut of all", () => cut()],
    ["413 to all", () => answer(413)],
  ] as const)("with %s gets nothing quarantined, and all when it is cured", async (_, result) => {
    const receiver = new MemoryReceiver(() => result());
    using rig = new PipelineRig({
      source: new ListSource(messages(200)),
      clients: [receiver],
      speed: 10_000,
    });
    const run = rig.pipeline.run();
    await until(() => receiver.requests.length > 200);
    expect(rig.quarantine.count).toBe(0);
    expect(rig.pipeline.progress.problem).toContain("Cannot upload");
    receiver.decide = () => undefined;
    expect(await run).toBe("delivered");
    // Those that were being tried when it was cured may come a little late.
    expect(receiver.stored.toSorted()).toEqual(messages(200).toSorted());
    expect(rig.quarantine.count).toBe(0);
  });

  test("after it worked, gets nothing quarantined either", async () => {
    const source = new ListSource(messages(20), { follow: true });
    const receiver = new MemoryReceiver();
    using rig = new PipelineRig({ source, clients: [receiver], speed: 10_000 });
    const run = rig.pipeline.run();
    await until(() => receiver.stored.length === 20);
    receiver.decide = () => answer(400);
    source.push(...messages(50, "later"));
    await until(() => receiver.requests.length > 100);
    expect(rig.quarantine.count).toBe(0);
    receiver.decide = () => undefined;
    await until(() => receiver.stored.length === 70);
    rig.stop.abort();
    await run;
    expect(rig.quarantine.count).toBe(0);
    expect(receiver.stored.slice(20).toSorted()).toEqual(messages(50, "later").toSorted());
  });

  test("except empty requests, costs ten entries at most", async () => {
    const receiver = new MemoryReceiver((found) => (found.length > 0 ? answer(400) : undefined));
    const source = new ListSource([], { follow: true });
    using rig = new PipelineRig({ source, clients: [receiver], speed: 10_000 });
    const run = rig.pipeline.run();
    for (let i = 0; i < 15; i++) {
      source.push(`lone ${i}`);
      await Bun.sleep(20);
    }
    await until(() => rig.quarantine.count === 10);
    const requests = receiver.requests.length;
    await until(() => receiver.requests.length > requests + 20);
    expect(rig.quarantine.count).toBe(10);
    rig.stop.abort();
    expect(await run).toBe("stopped");
  });
});
