import { describe, expect, test } from "bun:test";
import { AgentError } from "../../src/errors.ts";
import type { Entry } from "../../src/journal/entry.ts";
import { Counters } from "../../src/serve/counters.ts";
import { IngestPipeline } from "../../src/serve/ingest.ts";
import type { Sink, SinkOpener } from "../../src/serve/ingest-types.ts";
import { DEFAULT_LIMITS, type IngestLimits, WIRE_ENCODINGS } from "../../src/serve/settings.ts";
import { encodedBodies } from "../support/encoded-bodies.ts";
import { bytesOf, concat, cutEvery, entry, sampleEntry } from "../support/export-stream.ts";

/** A sink that counts, and fails when it is told to. */
class TestSink implements Sink {
  stored = 0;
  readonly duplicates = 0;
  readonly blocks: Uint8Array[] = [];
  closes = 0;
  commits = 0;
  addError: AgentError | undefined;
  commitError: AgentError | undefined;
  pause: Promise<void> | undefined;

  add(_entry: Entry): void {
    if (this.addError !== undefined) throw this.addError;
    this.stored++;
  }

  addBlock(block: Uint8Array): void {
    if (this.addError !== undefined) throw this.addError;
    this.blocks.push(block.slice());
  }

  async commit(): Promise<void> {
    this.commits++;
    if (this.commitError !== undefined) throw this.commitError;
  }

  ready(): Promise<void> | undefined {
    return this.pause;
  }

  close(): void {
    this.closes++;
  }
}

class Rig implements SinkOpener {
  readonly sinks: TestSink[] = [];
  readonly lines: string[] = [];
  nowMs = 0;
  readonly pipeline: IngestPipeline;
  readonly counters = new Counters({
    warn: (line) => this.lines.push(line),
    nowMs: () => this.nowMs,
  });

  constructor(limits: Partial<IngestLimits> = {}) {
    this.pipeline = new IngestPipeline(this, { ...DEFAULT_LIMITS, ...limits }, this.counters);
  }

  openSink(): Sink {
    const sink = new TestSink();
    this.sinks.push(sink);
    return sink;
  }

  get sink(): TestSink {
    const sink = this.sinks.at(-1);
    if (sink === undefined) throw new Error("no sink was opened");
    return sink;
  }

  open(encoding?: string) {
    return this.pipeline.open("web1", encoding);
  }
}

const BAD = entry("__REALTIME_TIMESTAMP=soon", "MESSAGE=no time");

describe("IngestPipeline", () => {
  test("counts what is stored and what is refused, by reason, and goes on", async () => {
    const rig = new Rig();
    const stream = rig.open();
    for (const chunk of cutEvery(concat(sampleEntry(0), BAD, sampleEntry(1), BAD), 100)) {
      await stream.push(chunk);
    }
    const { counts, trailingBytes } = await stream.end();
    expect([counts.stored, [...counts.refused.values()], trailingBytes]).toEqual([2, [2], 0]);
    expect(rig.pipeline.refused).toBe(2);
    expect([rig.sink.commits, rig.sink.closes]).toEqual([1, 1]);
  });

  test("tells when the store has been given everything, and ends when it is on disk", async () => {
    const rig = new Rig();
    const stream = rig.open();
    await stream.push(sampleEntry(0));
    const onDisk = Promise.withResolvers<void>();
    const calls: string[] = [];
    rig.sink.commit = () => {
      calls.push("commit");
      return onDisk.promise;
    };
    const ended = stream.end(() => calls.push("handed over")).then(() => calls.push("ended"));
    await Bun.sleep(1);
    expect(calls).toEqual(["commit", "handed over"]);
    onDisk.resolve();
    await ended;
    expect(calls).toEqual(["commit", "handed over", "ended"]);
  });

  test("logs a reason once a minute, with how often and who", async () => {
    const rig = new Rig();
    const stream = rig.open();
    for (let i = 0; i < 50; i++) await stream.push(BAD);
    expect(rig.lines).toHaveLength(1);
    expect(rig.lines[0]).toMatch(/^Refused an entry: .* sender="web1" offset=0 reason=entry-/);
    rig.nowMs = 61_000;
    rig.counters.flush();
    expect(rig.lines).toHaveLength(2);
    expect(rig.lines[1]).toEndWith(" new=49 total=50");
    stream.abort();
  });

  test("bytes of an unfinished entry are told, not thrown", async () => {
    const rig = new Rig();
    const stream = rig.open();
    await stream.push(concat(sampleEntry(0), "__REALTIME_TIMESTAMP=17"));
    expect(rig.pipeline.heldBytes).toBeGreaterThan(0);
    const { counts, trailingBytes } = await stream.end();
    expect([counts.stored, trailingBytes]).toEqual([1, 23]);
    expect(rig.pipeline.heldBytes).toBe(0);
  });

  test("over the budget of all streams: E_BUSY, for who makes it grow", async () => {
    const rig = new Rig({ inFlightBytesMax: 300_000 });
    const head = "__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE=";
    const [quiet, greedy] = [rig.open(), rig.open()];
    await quiet.push(bytesOf(head + "x".repeat(50_000)));
    const push = async () => {
      for (let i = 0; i < 10; i++) await greedy.push(bytesOf(head + "x".repeat(64_000)));
    };
    const failure = await push().catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "AgentError", code: "E_BUSY" });
    greedy.abort();
    const held = rig.pipeline.heldBytes;
    expect(held).toBeGreaterThanOrEqual(50_000);
    expect(held).toBeLessThan(300_000);
    await quiet.push(bytesOf("\n\n"));
    await quiet.end();
    expect(rig.pipeline.heldBytes).toBe(0);
  });

  test("the sum of held bytes is 0 after streams end, fail or are aborted at any point", async () => {
    const rig = new Rig();
    for (const { encoding, body } of encodedBodies(200_000)) {
      for (const part of [1, 1000, Math.floor(body.length / 2), body.length]) {
        const stream = rig.open(encoding);
        await stream.push(body.subarray(0, part >> 1));
        // Not waited for: it is aborted in the middle of decoding.
        const pending = stream.push(body.subarray(part >> 1, part));
        stream.abort();
        stream.abort();
        await pending;
        expect(rig.pipeline.heldBytes).toBe(0);
        const other = rig.open(encoding);
        await other.push(body.subarray(0, part));
        await other.end().catch((error: unknown) => {
          expect(error).toBeInstanceOf(AgentError);
        });
        expect(rig.pipeline.heldBytes).toBe(0);
      }
    }
    expect(rig.sinks.every(({ closes }) => closes >= 1)).toBe(true);
  });

  test("what the sink throws reaches the caller, as do a broken encoding and an unknown one", async () => {
    const rig = new Rig();
    const full = new AgentError("E_NO_SPACE", "no space");
    const first = rig.open();
    rig.sink.addError = full;
    expect(() => first.push(sampleEntry(0))).toThrow("no space");
    first.abort();
    const second = rig.open();
    rig.sink.commitError = full;
    await second.push(sampleEntry(0));
    await expect(second.end()).rejects.toBe(full);
    for (const encoding of WIRE_ENCODINGS) {
      const stream = rig.open(encoding);
      const garbage = async () => {
        await stream.push(bytesOf("this is neither of them ".repeat(10)));
        await stream.end();
      };
      expect(await garbage().catch((error: unknown) => error)).toMatchObject({
        code: "E_EXPORT_SYNTAX",
      });
      stream.abort();
    }
    expect(() => rig.open("br")).toThrow('Cannot decode "br": no such encoding here');
    expect(rig.pipeline.heldBytes).toBe(0);
    expect(rig.sinks.every(({ closes }) => closes === 1)).toBe(true);
  });

  test("a sink that is behind pauses the source", async () => {
    const rig = new Rig();
    const stream = rig.open();
    expect(stream.push(sampleEntry(0))).toBeUndefined();
    const gate = Promise.withResolvers<void>();
    rig.sink.pause = gate.promise;
    const paused = stream.push(sampleEntry(1));
    expect(paused).toBeInstanceOf(Promise);
    rig.sink.pause = undefined;
    gate.resolve();
    await paused;
    expect((await stream.end()).counts.stored).toBe(2);
  });
});
