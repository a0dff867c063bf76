import { describe, expect, test } from "bun:test";
import type { UploadRequest } from "../../src/upload/delivery-types.ts";
import { CapturedLog } from "../support/captured-log.ts";
import { ListSource, messages } from "../support/list-source.ts";
import { answer, cut, type Decide, MemoryReceiver, OURS } from "../support/memory-receiver.ts";
import { PipelineRig, type RigOptions } from "../support/pipeline-rig.ts";

const ZSTD = { encoding: "zstd", level: undefined } as const;
const GZIP = { encoding: "gzip", level: 1 } as const;

async function run(
  receiver: MemoryReceiver,
  options: Partial<RigOptions> = {},
): Promise<PipelineRig> {
  const source = new ListSource(messages(3000));
  const rig = new PipelineRig({ source, clients: [receiver], speed: 1000, ...options });
  await rig.pipeline.run();
  expect(receiver.stored).toEqual(messages(3000));
  return rig;
}

function encodings({ requests }: MemoryReceiver): (string | undefined)[] {
  return [...new Set(requests.map(({ request }) => request.contentEncoding))];
}

describe("compression", () => {
  test("begins when the receiver has said what it takes, and shown in what form", async () => {
    const receiver = new MemoryReceiver(() => undefined, { "accept-encoding": "zstd;q=1.0" });
    using _rig = await run(receiver, { compression: [GZIP, ZSTD] });
    const [first, probe, ...others] = receiver.requests.map(({ request }) => request);
    expect(first?.contentEncoding).toBeUndefined();
    expect(probe).toMatchObject({ contentEncoding: "zstd", isChunked: true });
    expect(receiver.requests[1]?.messages).toEqual([]);
    // The second batch was begun before the first was answered.
    expect(others.every(({ contentEncoding }) => contentEncoding === "zstd")).toBe(true);
    expect(others.every(({ pieces }) => pieces.length === 1)).toBe(true);
    expect(receiver.requests.filter(({ messages: found }) => found.length === 0)).toHaveLength(1);
  });

  test("begins at once where it is forced, on a receiver that decodes", async () => {
    const isMislabelled = ({ pieces }: UploadRequest): boolean =>
      Buffer.concat(pieces).toString() === "\n";
    const receiver = new MemoryReceiver((_, request) =>
      isMislabelled(request) ? answer(400) : undefined,
    );
    using _rig = await run(receiver, { compression: [GZIP, ZSTD], forceCompression: true });
    expect(encodings(receiver)).toEqual(["gzip"]);
  });

  test("is not forced on a receiver that takes anything and decodes nothing", async () => {
    using captured = new CapturedLog();
    // As systemd-journal-remote up to 257, and VictoriaLogs with encodings it does not know.
    const receiver = new MemoryReceiver((_, { contentEncoding }) =>
      contentEncoding === undefined ? undefined : answer(202),
    );
    using _rig = await run(receiver, { compression: [GZIP], forceCompression: true });
    expect(captured.lines.filter((line) => line.includes("does not decode"))).toHaveLength(1);
  });

  /** As systemd-journal-remote up to 262. */
  function pickyReceiver(takes: (request: UploadRequest) => boolean): MemoryReceiver {
    return new MemoryReceiver(
      (_, request) => (request.contentEncoding === undefined || takes(request) ? undefined : cut()),
      { "accept-encoding": "zstd,gzip" },
    );
  }
  /** zstd's magic number. */
  const isFramed = ({ pieces, isChunked }: UploadRequest): boolean =>
    isChunked && pieces.every((piece) => Buffer.from(piece).readUInt32LE() === 0xfd2fb528);

  test("is a frame for each record where that alone is understood", async () => {
    const receiver = pickyReceiver(isFramed);
    using _rig = await run(receiver, { compression: [ZSTD], scheme: "https" });
    const forms = receiver.requests.map(({ request }) => request.contentEncoding);
    expect(forms.slice(0, 3)).toEqual([undefined, "zstd", "zstd"]);
    expect(forms.slice(3).every((encoding) => encoding === "zstd")).toBe(true);
    expect(receiver.requests.slice(3).every(({ messages: found }) => found.length > 0)).toBe(true);
  });

  test.each([
    ["http", isFramed],
    ["https", () => false],
  ] as const)(
    "is given up over %s where it is cut, with no entry in doubt",
    async (scheme, takes) => {
      using captured = new CapturedLog();
      const receiver = pickyReceiver(takes);
      using _rig = await run(receiver, { compression: [ZSTD], scheme });
      const encoded = receiver.requests.filter(
        ({ request }) => request.contentEncoding !== undefined,
      );
      expect(encoded.map(({ messages: found }) => found)).toEqual(
        scheme === "http" ? [[]] : [[], []],
      );
      expect(captured.lines.filter((line) => line.includes("gets plain bodies"))).toHaveLength(1);
    },
  );

  test("is not given up while the receiver is in trouble", async () => {
    let troubles = 3;
    const receiver = new MemoryReceiver(
      (_, { contentEncoding }) =>
        contentEncoding !== undefined && troubles-- > 0 ? answer(503) : undefined,
      { "accept-encoding": "zstd" },
    );
    using _rig = await run(receiver, { compression: [ZSTD] });
    const forms = receiver.requests.map(({ request }) => request.contentEncoding);
    const [yes, no] = ["zstd", undefined];
    expect(forms.slice(0, 8)).toEqual([no, yes, no, yes, no, yes, no, yes]);
    expect(forms.slice(8).every((encoding) => encoding === "zstd")).toBe(true);
  });

  test("is not used when none is configured or announced", async () => {
    const announcing = new MemoryReceiver(() => undefined, { "accept-encoding": "zstd" });
    using _rig = await run(announcing, { compression: [] });
    const silent = new MemoryReceiver();
    using _other = await run(silent, { compression: [ZSTD] });
    expect([...encodings(announcing), ...encodings(silent)]).toEqual([undefined, undefined]);
  });

  test("of large batches towards ours is for slow networks", async () => {
    // The slower time passes, the faster is the network.
    for (const [speed, expected] of [
      [0.02, [undefined]],
      [10, [undefined, "zstd"]],
    ] as const) {
      const receiver = new MemoryReceiver(async () => {
        await Bun.sleep(5);
        return undefined;
      }, OURS);
      const source = new ListSource(messages(30_000));
      using rig = new PipelineRig({
        ...{ source, clients: [receiver], compression: [ZSTD], speed, sizeMax: 300 * 1024 },
      });
      await rig.pipeline.run();
      expect(receiver.stored).toEqual(messages(30_000));
      const most = Math.max(...receiver.requests.map(({ messages: found }) => found.length));
      const large = receiver.requests.filter(({ messages: found }) => found.length > 0.8 * most);
      expect(large.length).toBeGreaterThan(4);
      expect([...new Set(large.map(({ request }) => request.contentEncoding))]).toEqual([
        ...expected,
      ]);
    }
  });
});

test("a receiver that is far away, but not behind a slow network, gets plain bodies", async () => {
  const receiver = new MemoryReceiver(async () => {
    await Bun.sleep(70);
    return undefined;
  }, OURS);
  const texts = messages(60_000);
  const source = new ListSource(texts);
  const options = { clients: [receiver], compression: [ZSTD], sizeMax: 1024 * 1024, speed: 1 };
  using rig = new PipelineRig({ source, ...options });
  await rig.pipeline.run();
  expect(receiver.stored).toEqual(texts);
  const large = receiver.requests.filter(({ messages: found }) => found.length > 5000);
  expect(large.length).toBeGreaterThan(2);
  expect([...new Set(large.map(({ request }) => request.contentEncoding))]).toEqual([undefined]);
});

describe("a receiver that announces what it does not take", () => {
  test.each([400, 415])("and answers %p gets the plain export format", async (status) => {
    using captured = new CapturedLog();
    const refuse: Decide = (_, { contentType, contentEncoding }) =>
      contentType.includes("batch") || contentEncoding !== undefined ? answer(status) : undefined;
    const receiver = new MemoryReceiver(refuse, OURS);
    using rig = await run(receiver, { compression: [ZSTD] });
    expect(rig.quarantine.count).toBe(0);
    expect(captured.lines.filter((line) => line.includes("plain export format"))).toHaveLength(1);
    const later = receiver.requests.slice(-5).map(({ request }) => request.contentEncoding);
    expect(later).toEqual([undefined, undefined, undefined, undefined, undefined]);
  });
});

describe("when another program takes a receiver's place,", () => {
  /** From the third request on: `decide` is asked, and announced is something else. */
  function replaced(decide: Decide, announced: Record<string, string> = {}): MemoryReceiver {
    const receiver: MemoryReceiver = new MemoryReceiver((found, request) => {
      if (receiver.requests.length < 3) return undefined;
      receiver.headers.clear();
      for (const [name, value] of Object.entries(announced)) receiver.headers.set(name, value);
      return decide(found, request);
    }, OURS);
    return receiver;
  }
  const isPlain = ({ contentType, contentEncoding }: UploadRequest): boolean =>
    !contentType.includes("batch") && contentEncoding === undefined;

  test("one that takes everything and understands nothing, what it took is sent again", async () => {
    using captured = new CapturedLog();
    const receiver = replaced((_, request) => (isPlain(request) ? undefined : answer(202)));
    using rig = await run(receiver, { compression: [ZSTD] });
    expect(rig.quarantine.count).toBe(0);
    expect(captured.lines.join("\n")).not.toContain("undefined");
  });

  test.each([{}, { "accept-encoding": "zstd" }] as const)(
    "one that cuts batches and announces %p, it is not taken for one that decodes like ours",
    async (announced) => {
      let isProbed = false;
      // As systemd-journal-remote: it decodes nothing, or nothing but one frame.
      const receiver = replaced((found, request) => {
        if (request.contentType.includes("batch")) return cut();
        isProbed ||= found.length === 0;
        return isPlain(request) || isProbed ? undefined : answer(202, "", announced);
      }, announced);
      using rig = await run(receiver, { compression: [ZSTD] });
      expect(rig.quarantine.count).toBe(0);
    },
  );
});

test("cuts of the network are not taken for a refusal of the batch format", async () => {
  using captured = new CapturedLog();
  let cuts = 12;
  const receiver = new MemoryReceiver((found, { contentType }) => {
    const isCut = found.length > 1 && contentType.includes("batch") && cuts-- > 0;
    return isCut ? cut() : undefined;
  }, OURS);
  const source = new ListSource(messages(5000));
  using rig = new PipelineRig({ source, clients: [receiver], speed: 1000 });
  await rig.pipeline.run();
  expect(receiver.stored.toSorted()).toEqual(messages(5000).toSorted());
  expect(receiver.requests.at(-1)?.request.contentType).toContain("batch");
  expect(captured.lines.join("\n")).not.toContain("plain export format");
});

describe("a receiver with a limit for bodies", () => {
  test("that one entry passes gets batches of full size again", async () => {
    using captured = new CapturedLog();
    const all = messages(3000).map((text, index) => (index === 100 ? "x".repeat(200_000) : text));
    const receiver = new MemoryReceiver((found) =>
      found.some(({ length }) => length > 100_000) ? answer(413) : undefined,
    );
    const source = new ListSource(all);
    using rig = new PipelineRig({ source, clients: [receiver], speed: 1000, delayMs: 1e6 });
    await rig.pipeline.run();
    expect(receiver.stored).toEqual(all.toSpliced(100, 1));
    expect(rig.quarantine.count).toBe(1);
    expect(captured.lines.join("\n")).toContain("batches of at most");
    expect(receiver.requests.at(-3)?.sizeBytes).toBeGreaterThan(60_000);
  });

  test("gets smaller batches from then on", async () => {
    const limit = 40_000;
    const receiver = new MemoryReceiver((_, { pieces }) => {
      const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
      return size > limit ? answer(413) : undefined;
    });
    using rig = await run(receiver);
    expect(rig.quarantine.count).toBe(0);
    const sizes = receiver.requests.map(({ sizeBytes }) => sizeBytes);
    expect(sizes.filter((size) => size > limit).length).toBeLessThan(4);
  });
});
