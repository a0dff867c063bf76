import { afterEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { AgentError } from "../../src/errors.ts";
import { FrontFixture, type FrontSetup, portOf } from "../support/front.ts";
import { until } from "../support/until.ts";

const fixture = new FrontFixture();
afterEach(() => fixture.stop());

describe("A raw connection", () => {
  async function startRaw(setup: FrontSetup = {}) {
    const { ingest } = await fixture.start({ raw: ["127.0.0.1:0"], ...setup });
    return { ingest, port: portOf(fixture.front?.addresses.raw[0]) };
  }

  test("is one stream of its peer, ended by EOF", async () => {
    const { ingest, port } = await startRaw();
    const sender = fixture.client(port);
    sender.send("A=b\n\n");
    await until(() => ingest.bodies()[0] === "A=b\n\n");
    sender.send("C=d\n\n");
    sender.sendEnd();
    await until(() => ingest.streams[0]?.state === "ended");
    expect(ingest.streams[0]).toMatchObject({ sender: "127.0.0.1", encoding: undefined });
    expect(ingest.bodies()).toEqual(["A=b\n\nC=d\n\n"]);
    await until(() => fixture.front?.connectionCount === 0);
  });

  test("cut in the middle of an entry is counted", async () => {
    const { ingest, port } = await startRaw();
    ingest.onEnd = () => Promise.resolve(3);
    const sender = fixture.client(port);
    sender.send("A=b");
    await until(() => ingest.bodies()[0] === "A=b");
    sender.close();
    await until(() => fixture.front?.counts().get("raw-premature-end") === 1);
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
    const sender = fixture.client(port);
    sender.send("A=b\n\n");
    expect(await sender.untilClosed()).toBe(true);
    expect(ingest.streams[0]?.state).toBe("aborted");
    expect(fixture.front?.counts().get("raw-store-no-space")).toBe(1);
    await until(() => fixture.front?.connectionCount === 0);
  });

  test("is ended, with what it brought, by stop()", async () => {
    const { ingest, port } = await startRaw();
    const sender = fixture.client(port);
    sender.send("A=b\n\n");
    await until(() => ingest.bodies()[0] === "A=b\n\n");
    await fixture.front?.stop(1000);
    expect(ingest.streams[0]?.state).toBe("ended");
    expect(await sender.untilClosed()).toBe(true);
  });

  test("above the limit is closed and counted", async () => {
    const { port } = await startRaw({ limits: { connectionsPerPeerMax: 1 } });
    fixture.client(port);
    await until(() => fixture.front?.connectionCount === 1);
    expect(await fixture.client(port).untilClosed()).toBe(true);
    expect(fixture.front?.counts().get("connections-per-peer-max")).toBe(1);
  });
});
