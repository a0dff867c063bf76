import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ThrowawayAuthority } from "../../scripts/throwaway-certificates.ts";
import { hasSystemd, journalctlVerify } from "../support/journal-tools.ts";
import { freePort } from "../support/ports.ts";
import { countDescriptors, diskUse, readRss } from "../support/process-usage.ts";
import { AGENT_SOURCES, ReceiverProcess } from "../support/receiver-process.ts";
import { forEachAtOnce, makeSenders, proveStored, type Sender } from "../support/sender-fleet.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const SENDERS = 50;
const ENTRIES = 100;
const BATCH = 20;
const RECONNECTS = 3;
const RECONNECT_ENTRIES = 2;

const dir = new TempDir();
const output = join(dir.path, "output");
let receiver: ReceiverProcess;
let senders: Sender[];
let baseline: number;

beforeAll(async () => {
  mkdirSync(output);
  const authority = await ThrowawayAuthority.create("many senders");
  const server = await authority.issue({
    commonName: "server",
    usage: "server",
    alternativeNames: [{ type: "ip", value: "127.0.0.1" }],
  });
  const write = (name: string, text: string): string => dir.write(name, text);
  const port = await freePort();
  receiver = new ReceiverProcess([
    ...AGENT_SOURCES,
    "serve",
    `--listen-https=127.0.0.1:${port}`,
    `--output=${output}`,
    `--trust=${write("ca.pem", authority.certificate)}`,
    `--cert=${write("server.pem", server.certificate)}`,
    `--key=${write("server.key", server.key)}`,
  ]);
  await receiver.listening(port);
  baseline = countDescriptors(receiver.pid);
  senders = await makeSenders(SENDERS, authority, { port, authority: authority.certificate });
}, 30_000);

afterAll(async () => {
  if (receiver.isRunning) await receiver.stop("SIGKILL");
  dir[Symbol.dispose]();
});

describe(`${SENDERS} senders`, () => {
  test("connected at once send all they have", async () => {
    await Promise.all(senders.map((sender) => sender.client.connect()));
    expect(countDescriptors(receiver.pid)).toBeGreaterThanOrEqual(SENDERS);
    await Promise.all(
      senders.map(async (sender) => {
        while (sender.entryCount < ENTRIES) await sender.deliver(BATCH);
      }),
    );
    for (const sender of senders) sender.client.close();
  }, 20_000);

  test("that reconnect all the time do not make it grow", async () => {
    const rssBefore = readRss(receiver.pid);
    for (let round = 0; round < RECONNECTS; round++) {
      await forEachAtOnce(senders, SENDERS / 2, async (sender) => {
        await sender.deliver(RECONNECT_ENTRIES);
        sender.client.close();
      });
    }
    expect(readRss(receiver.pid) - rssBefore).toBeLessThan(64e6);
    expect(senders.map((sender) => sender.client.retries)).toEqual(senders.map(() => 0));
  }, 20_000);

  test("that have gone hold no descriptor", async () => {
    await until(() => countDescriptors(receiver.pid) <= baseline + 2, 15_000);
    expect(countDescriptors(receiver.pid)).toBeLessThanOrEqual(baseline + 2);
  }, 20_000);

  test("find every entry stored once, in files that are sound and small", async () => {
    expect(await receiver.stop()).toBe(0);
    const proof = proveStored(output, senders);
    const each = ENTRIES + RECONNECTS * RECONNECT_ENTRIES;
    expect(proof).toEqual({ files: SENDERS, entries: SENDERS * each, problems: [] });
    expect(diskUse(output) / SENDERS).toBeLessThanOrEqual(2 << 20);
    if (!hasSystemd()) return;
    for (const name of readdirSync(output).slice(0, 5)) {
      expect(journalctlVerify(join(output, name))).toMatchObject({ ok: true });
    }
  }, 20_000);
});
