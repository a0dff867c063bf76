import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { AgentError } from "../../src/errors.ts";
import {
  BodyRecorder,
  curl,
  FrontFixture,
  JOURNAL_TYPE,
  portOf,
  startTestFront,
} from "../support/front.ts";
import { TempDir } from "../support/temp-dir.ts";

const fixture = new FrontFixture();
afterEach(() => fixture.stop());

describe("UNIX sockets", () => {
  test("take uploads under the host's name, replace a dead daemon's socket and clean up", async () => {
    using dir = new TempDir();
    const path = `${dir.path}/http.socket`;
    const listen = `Bun.listen({unix:${JSON.stringify(path)},socket:{data(){}}}); console.log("listens")`;
    const dead = Bun.spawn([process.execPath, "-e", listen], { stdout: "pipe" });
    // The file is there before anybody can connect.
    await dead.stdout.getReader().read();
    const ingest = new BodyRecorder();
    const failure: unknown = await startTestFront(ingest, { http: [path] }).catch((error) => error);
    expect(String(failure)).toContain("the address is in use");
    dead.kill("SIGKILL");
    await dead.exited;
    fixture.front = await startTestFront(ingest, { http: [path] });
    const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
    const result = await curl("--unix-socket", path, ...data, "http://a/upload");
    expect(result.status).toBe(202);
    expect(ingest.streams[0]?.sender).toBe("this-host");
    await fixture.front.stop(0);
    expect(existsSync(path)).toBe(false);
  });

  test("may have abstract names", async () => {
    const name = `agent-test-${process.pid}`;
    const ingest = new BodyRecorder();
    fixture.front = await startTestFront(ingest, { http: [`@${name}`] });
    expect(fixture.front.addresses.http).toEqual([`@${name}`]);
    const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
    const result = await curl("--abstract-unix-socket", name, ...data, "http://a/upload");
    expect(result.status).toBe(202);
  });
});

describe("Listening", () => {
  test("on a bare port takes IPv4, folded, and IPv6", async () => {
    const ingest = new BodyRecorder();
    fixture.front = await startTestFront(ingest, { http: ["[::]:0"] });
    const port = portOf(fixture.front.addresses.http[0]);
    for (const host of ["127.0.0.1", "[::1]"]) {
      const data = ["-H", JOURNAL_TYPE, "-d", "A=b"];
      expect((await curl(...data, `http://${host}:${port}/upload`)).status).toBe(202);
    }
    expect(ingest.streams.map(({ sender }) => sender)).toEqual(["127.0.0.1", "::1"]);
  });

  const cases: [string, string][] = [
    ["127.0.0.1:PORT", "the address is in use"],
    ["192.0.2.1:1234", "no interface has this address"],
    ["/nonexistent/folder/socket", "its folder does not exist"],
    ["-987", "no socket was passed there"],
  ];
  for (const [address, problem] of cases) {
    test(`fails for ${address}: ${problem}`, async () => {
      const { port } = await fixture.start();
      const text = address.replace("PORT", String(port));
      const starting = startTestFront(new BodyRecorder(), { http: ["127.0.0.1:0", text] });
      const failure: unknown = await starting.catch((error) => error);
      expect(failure).toBeInstanceOf(AgentError);
      expect(String(failure)).toContain(problem);
    });
  }
});
