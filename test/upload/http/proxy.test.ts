import { afterAll, describe, expect, test } from "bun:test";
import net, { type Socket } from "node:net";
import { chooseProxy, type ProxyEnvironment } from "../../../src/upload/http/proxy.ts";
import { parseUploadUrl } from "../../../src/upload/http/upload-url.ts";
import { openClient, plainRequest } from "../../support/client-rig.ts";
import { FakeReceiver, type FakeReceiverOptions } from "../../support/fake-receiver.ts";
import { TestPki } from "../../support/tls.ts";

const pki = new TestPki();
afterAll(() => pki[Symbol.dispose]());
const SERVER = {
  key: await Bun.file(pki.path("server.key")).text(),
  cert: await Bun.file(pki.path("server.pem")).text(),
};
const PAIR = `Basic ${Buffer.from("me:s@cret").toString("base64")}`;

describe("chooseProxy() reads the environment:", () => {
  const all = { all_proxy: "http://all:1" };
  const cases: [url: string, environment: ProxyEnvironment, expected: string | undefined][] = [
    ["https://h", {}, undefined],
    ["https://h", { https_proxy: "http://p:3128" }, "http://p:3128"],
    ["https://h", { HTTPS_PROXY: "https://p" }, "https://p:443"],
    ["https://h", { https_proxy: "p" }, "http://p:1080"],
    ["https://h", { https_proxy: "http://u:p@[::1]:8" }, "http://[::1]:8"],
    ["https://h", { http_proxy: "http://p:3128" }, undefined],
    ["http://h", { http_proxy: "http://p:3128", ...all }, "http://p:3128"],
    ["http://h", { HTTP_PROXY: "http://p:3128" }, undefined],
    ["http://h", all, "http://all:1"],
    ["https://h", { ALL_PROXY: "http://all:2" }, "http://all:2"],
    ["https://h", { https_proxy: "", ...all }, "http://all:1"],
  ];
  test.each(cases)("%s with %o", (url, environment, expected) => {
    expect(chooseProxy(parseUploadUrl(url), undefined, environment)?.text).toBe(expected);
  });

  test("and prefers what is configured, which may be none", () => {
    const url = parseUploadUrl("https://h");
    const environment = { https_proxy: "http://p:1", no_proxy: "*" };
    expect(chooseProxy(url, "http://c:2", environment)?.text).toBe("http://c:2");
    expect(chooseProxy(url, "", { https_proxy: "http://p:1" })).toBeUndefined();
  });
});

describe("chooseProxy() leaves out what no_proxy names:", () => {
  const cases: [url: string, noProxy: string, isLeftOut: boolean][] = [
    ["http://h.example.net", "*", true],
    ["http://h.example.net", "other, H.Example.net", true],
    ["http://h.example.net", "other h.example.net", true],
    ["http://h.example.net", "example.net", true],
    ["http://h.example.net", ".example.net", true],
    ["http://h.example.net", "*.example.net", true],
    ["http://h.example.net", "ample.net", false],
    ["http://h.example.net", "h.example.net:19532", true],
    ["http://h.example.net", "h.example.net:80", false],
    ["http://192.0.2.1", "192.0.2.1", true],
    ["http://192.0.2.11", "2.11", false],
    ["http://192.0.2.1", "192.0.2.0/24", true],
    ["http://192.0.3.1", "192.0.2.0/24", false],
    ["http://192.0.3.1", "192.0.2.0/240", false],
    ["http://h.example.net", "192.0.2.0/24", false],
    ["http://[2001:db8::1]", "2001:db8::1", true],
    ["http://[2001:db8::1]", "[2001:db8:0::1]", true],
    ["http://[2001:db8::1]", "[2001:db8::1]:19532", true],
    ["http://[2001:db8::1]", "2001:db8::/32", true],
    ["http://[2001:db9::1]", "2001:db8::/32", false],
    ["http://h", "", false],
  ];
  test.each(cases)("%s, %s", (url, no_proxy, isLeftOut) => {
    const proxy = chooseProxy(parseUploadUrl(url), undefined, {
      http_proxy: "http://p:1",
      no_proxy,
    });
    expect(proxy === undefined).toBe(isLeftOut);
  });

  test("NO_PROXY does as well", () => {
    const environment = { http_proxy: "http://p:1", NO_PROXY: "h" };
    expect(chooseProxy(parseUploadUrl("http://h"), undefined, environment)).toBeUndefined();
  });
});

describe("chooseProxy() refuses", () => {
  test.each([
    [
      "socks5://u:secret@p:1080",
      'Cannot use proxy "socks5://p:1080": it is a SOCKS proxy, an HTTP proxy is needed',
    ],
    ["ftp://p", 'Cannot use proxy "ftp://p": it begins with "ftp:", "https:" or "http:" is needed'],
    ["http://u:secret@p:x", 'Cannot use proxy "http://p:x": its port is "x", 1 to 65535 is needed'],
  ])("%s", (text, message) => {
    expect(() => chooseProxy(parseUploadUrl("h"), text, {})).toThrow(message);
  });
});

describe("makeUploadClient() goes through a proxy:", () => {
  /** Leads CONNECT requests to `target`, and is answered for the rest. */
  function openProxy(
    target: FakeReceiver,
    options: FakeReceiverOptions = {},
  ): Promise<FakeReceiver> {
    return FakeReceiver.open({
      ...options,
      onRequest(request, socket) {
        if (request.method !== "CONNECT") {
          socket.write("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
          return;
        }
        socket.removeAllListeners("data");
        const there = net.connect(target.port, "127.0.0.1");
        there.on("connect", () => {
          socket.write("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n");
          join(socket, there);
        });
      },
    });
  }
  function join(one: Socket, other: Socket): void {
    one.on("data", (chunk: Buffer) => other.write(chunk));
    other.on("data", (chunk: Buffer) => one.write(chunk));
    for (const [socket, peer] of [
      [one, other],
      [other, one],
    ] as const) {
      socket.on("error", () => peer.destroy());
      socket.on("close", () => peer.destroy());
    }
  }

  const trust = pki.path("ca.pem");
  const SIZE = 5_000_000;

  test.each([
    ["http://me:s%40cret@127.0.0.1", {}],
    ["https://me:s%40cret@localhost", { tls: SERVER }],
  ])("%s to a plain receiver, with the whole URL", async (proxyUrl, options) => {
    using receiver = await FakeReceiver.open();
    using proxy = await openProxy(receiver, options);
    const url = "http://logs.example.net:8080/a?b=c";
    const chosen = chooseProxy(parseUploadUrl(url), `${proxyUrl}:${proxy.port}`, {});
    using client = openClient(url, { proxy: chosen, trust });
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
    const [request] = proxy.requests;
    expect(request?.target).toBe("http://logs.example.net:8080/a/upload?b=c");
    expect(request?.headers.get("host")).toEqual(["logs.example.net:8080"]);
    expect(request?.headers.get("proxy-authorization")).toEqual([PAIR]);
  });

  test.each([
    ["http://me:s%40cret@127.0.0.1", {}],
    ["https://me:s%40cret@localhost", { tls: SERVER }],
  ])("%s to a receiver with TLS, by a tunnel", async (proxyUrl, options) => {
    using receiver = await FakeReceiver.open({ tls: SERVER });
    using proxy = await openProxy(receiver, options);
    const chosen = chooseProxy(parseUploadUrl(receiver.url), `${proxyUrl}:${proxy.port}`, {});
    using client = openClient(receiver.url, { proxy: chosen, trust });
    const body = new Uint8Array(SIZE).fill(7);
    expect(await client.send(plainRequest(body))).toMatchObject({ status: 202 });
    expect(await client.send(plainRequest(body))).toMatchObject({ status: 202 });
    const [connect] = proxy.requests;
    expect(connect?.target).toBe(`localhost:${receiver.port}`);
    expect(connect?.headers.get("proxy-authorization")).toEqual([PAIR]);
    expect(receiver.requests.map((request) => request.body.length)).toEqual([SIZE, SIZE]);
    expect(receiver.requests[0]?.headers.has("proxy-authorization")).toBe(false);
    expect(receiver.requests[0]?.target).toBe("/upload");
  });

  test("whose certificate is checked too", async () => {
    using receiver = await FakeReceiver.open({ tls: SERVER });
    using proxy = await FakeReceiver.open({ tls: SERVER }, "127.0.0.2");
    const proxyUrl = `https://127.0.0.2:${proxy.port}`;
    const chosen = chooseProxy(parseUploadUrl(receiver.url), proxyUrl, {});
    using client = openClient(receiver.url, { proxy: chosen, trust });
    const failure = await client.send(plainRequest("x"));
    expect(failure).toMatchObject({ kind: "failure", phase: "proxy" });
    expect(failure.kind === "failure" && failure.error.message).toContain(
      "the proxy's certificate is for another host",
    );
    expect(proxy.requests).toEqual([]);
  });
});
