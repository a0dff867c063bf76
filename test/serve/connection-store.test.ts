import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { Counters } from "../../src/serve/counters.ts";
import type { Front } from "../../src/serve/front.ts";
import { IngestPipeline } from "../../src/serve/ingest.ts";
import { DEFAULT_LIMITS } from "../../src/serve/settings.ts";
import { startStoreThread } from "../../src/serve/store-thread/store-thread.ts";
import { concat, sampleEntry } from "../support/export-stream.ts";
import { HEAD, portOf, RawClient, startTestFront } from "../support/front.ts";
import { HeldSyncs } from "../support/held-syncs.ts";
import { damage, foundFiles, foundKeys, NO_RETENTION, StoreRig } from "../support/store-rig.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { TlsClient } from "../support/tls-client.ts";
import { until } from "../support/until.ts";

const pki = new TestPki();
pki.issue("web1");
afterAll(() => pki[Symbol.dispose]());

let dir: TempDir;
let rig: StoreRig;
let front: Front;
let client: TlsClient;

const connect = () => TlsClient.connect(pki, "web1", portOf(front.addresses.https[0]));

/** Entries `from` … `to`-1. */
function entries(from: number, to: number): Uint8Array {
  return concat(...Array.from({ length: to - from }, (_, i) => sampleEntry(from + i)));
}

/** Does not wait for the answer. */
function post(body: Uint8Array, encoding = ""): void {
  const lines = [
    "POST /upload HTTP/1.1",
    "Host: localhost",
    "Content-Type: application/vnd.fdo.journal",
    `Content-Length: ${body.length}`,
    ...(encoding === "" ? [] : [`Content-Encoding: ${encoding}`]),
  ];
  client.send(`${lines.join("\r\n")}\r\n\r\n`);
  client.send(body);
}

const statusOf = async () => (await client.reply()).status;
const seqnums = () => foundFiles(dir.path).map((file) => file.seqnums);
/** Of files one after the other, as rotation leaves them: an entry out of order would have one of its own. */
const inFileOrder = () =>
  seqnums()
    .sort(([a = 0], [b = 0]) => a - b)
    .flat();
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("Two requests in flight over TLS", () => {
  beforeEach(async () => {
    dir = new TempDir();
    rig = await StoreRig.open(dir.path);
    const counters = new Counters({ warn: () => undefined, nowMs: () => performance.now() });
    front = await startTestFront(new IngestPipeline(rig.store, DEFAULT_LIMITS, counters), {
      https: ["127.0.0.1:0"],
      options: {
        certificates: {
          keyFile: pki.path("server.key"),
          certificateFile: pki.path("server.pem"),
          trust: { authority: pki.path("ca.pem"), crlFiles: [], allowSubject: [] },
        },
      },
    });
    client = await connect();
  });
  afterEach(async () => {
    client.close();
    await front.stop(0);
    dir[Symbol.dispose]();
  });

  test("overlap: while the first is synced the second is stored, and syncs are shared", async () => {
    using syncs = new HeldSyncs();
    post(entries(0, 100));
    await until(() => syncs.waiting.length === 1);
    post(entries(100, 200));
    post(entries(200, 300));
    let answers = 0;
    const replies = [client.reply()].map((reply) => reply.then(() => answers++));
    await until(() => foundKeys(dir.path).length === 300);
    expect([syncs.waiting.length, answers]).toEqual([1, 0]);
    syncs.release();
    await Promise.all(replies);
    // One for both of the others.
    await until(() => syncs.waiting.length === 1);
    syncs.release();
    expect([await statusOf(), await statusOf()]).toEqual([202, 202]);
    expect(syncs.waiting).toHaveLength(0);
    syncs[Symbol.dispose]();
    await rig.close();
    expect(seqnums()).toEqual([numbers(1, 300)]);
  });

  test("keep their order at the store when they arrive compressed", async () => {
    const sizes = [3000, 1, 3000, 1, 500, 3000, 1];
    let from = 0;
    for (const size of sizes) {
      post(gzipSync(entries(from, from + size)), "gzip");
      from += size;
    }
    for (const _ of sizes) expect(await statusOf()).toBe(202);
    await rig.close();
    expect(inFileOrder()).toEqual(numbers(1, from));
    expect(damage(dir.path)).toEqual([]);
  });

  test("of which the first fails are both repeated, and stored once", async () => {
    await client.post(entries(0, 10));
    using syncs = new HeldSyncs();
    post(entries(10, 20));
    await until(() => syncs.waiting.length === 1);
    post(entries(20, 30));
    await Bun.sleep(50);
    syncs.release(Object.assign(new Error("EIO: of fdatasync"), { code: "EIO" }));
    syncs[Symbol.dispose]();
    const refused = await client.reply();
    expect([refused.status, refused.headers.get("connection")]).toEqual([500, "close"]);
    await client.closed(4000);
    client.close();
    client = await connect();
    post(entries(10, 20));
    post(entries(20, 30));
    expect([await statusOf(), await statusOf()]).toEqual([202, 202]);
    await rig.close();
    const files = foundFiles(dir.path);
    expect(files.map(({ kind, seqnums: found }) => [kind, found])).toEqual([
      ["active", numbers(11, 30)],
      ["unclean", expect.arrayContaining(numbers(1, 10))],
    ]);
  });
});

test("Requests that arrive together keep their order on the way to the store's thread", async () => {
  using output = new TempDir();
  const thread = await startStoreThread({
    output: output.path,
    splitMode: "host",
    format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
    retention: NO_RETENTION,
    receiverId: "5e".repeat(16),
    log: { journald: false, level: "crit" },
    onFatal: (error) => expect(error).toBeUndefined(),
  });
  const counters = new Counters({ warn: () => undefined, nowMs: () => performance.now() });
  const plain = await startTestFront(new IngestPipeline(thread, DEFAULT_LIMITS, counters), {
    http: ["127.0.0.1:0"],
  });
  const sender = new RawClient(portOf(plain.addresses.http[0]));
  // Less than a batch, then several in what the socket delivers at once.
  const sizes = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 100 : 1200));
  let from = 0;
  const requests = sizes.map((size) => {
    const body = entries(from, from + size);
    from += size;
    return concat(`${HEAD}Content-Length: ${body.length}\r\n\r\n`, body);
  });
  sender.send(concat(...requests));
  await until(() => sender.text.match(/ 202 /g)?.length === sizes.length);
  sender.close();
  await plain.stop(1000);
  await thread.close();
  const files = foundFiles(output.path).map(({ seqnums: found }) => found);
  expect(files.sort(([a = 0], [b = 0]) => a - b).flat()).toEqual(numbers(1, from));
});
