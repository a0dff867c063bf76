import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import type { ErrorCode } from "../../../src/errors.ts";
import type { UploadFailure } from "../../../src/upload/delivery-types.ts";
import { DIAL_TIMEOUT, describeDialFailure } from "../../../src/upload/http/describe-failure.ts";
import { parseUploadUrl } from "../../../src/upload/http/upload-url.ts";
import { type ClientChanges, openClient, plainRequest } from "../../support/client-rig.ts";
import { FakeReceiver, type FakeReceiverOptions } from "../../support/fake-receiver.ts";
import { OpensslServer } from "../../support/openssl-server.ts";
import { TestPki } from "../../support/tls.ts";

const pki = new TestPki();
beforeAll(() => {
  pki.addAuthority("other");
  const names = "subjectAltName=DNS:a.example.net,DNS:*.example.net,IP:192.0.2.7";
  pki.issue("elsewhere", { extensions: [names] });
  pki.issue("localhost");
  pki.issue("expired", {
    extensions: ["subjectAltName=DNS:localhost"],
    start: "20200101000000Z",
    end: "20210101000000Z",
  });
  pki.issue("future", {
    extensions: ["subjectAltName=DNS:localhost"],
    start: "20900101000000Z",
    end: "20910101000000Z",
  });
  pki.issue("sender");
  pki.issue("stale", { start: "20200101000000Z", end: "20210101000000Z" });
  pki.issue("foreign", { authority: "other" });
});
afterAll(() => pki[Symbol.dispose]());

async function tlsOptions(name: string, more: TlsOptions = {}): Promise<TlsOptions> {
  const read = (file: string): Promise<string> => Bun.file(pki.path(file)).text();
  return { key: await read(`${name}.key`), cert: await read(`${name}.pem`), ...more };
}

async function mutualOptions(more: TlsOptions = {}): Promise<TlsOptions> {
  const ca = await Bun.file(pki.path("ca.pem")).text();
  return tlsOptions("server", { ca, requestCert: true, rejectUnauthorized: true, ...more });
}

function identity(name: string): ClientChanges {
  return { keyFile: pki.path(`${name}.key`), certificateFile: pki.path(`${name}.pem`) };
}

const trustsCa: () => ClientChanges = () => ({ trust: pki.path("ca.pem") });

async function failureOf(url: string, changes: ClientChanges): Promise<UploadFailure> {
  using client = openClient(url, changes);
  const outcome = await client.send(plainRequest("x"));
  if (outcome.kind === "answer") throw new Error(`There was an answer: ${outcome.status}`);
  return outcome;
}

interface Case {
  receiver?(): Promise<FakeReceiverOptions> | FakeReceiverOptions;
  url(port: number): string;
  changes?(): ClientChanges;
  phase: UploadFailure["phase"];
  code?: ErrorCode;
  message: RegExp;
  hint?: RegExp;
}

async function check({
  receiver,
  url,
  changes,
  phase,
  code = "E_PEER",
  message,
  hint = /^/,
}: Case): Promise<void> {
  using server = await FakeReceiver.open((await receiver?.()) ?? {});
  const failure = await failureOf(url(server.port), { ...changes?.() });
  const where = url(server.port).replace(/\/\/.*@/, "//");
  if (code === "E_PEER") {
    expect(failure.error.message).toStartWith(`Cannot upload to "${where}/upload": `);
  }
  expect(failure.error.message).toMatch(message);
  expect(failure.error.hint ?? "").toMatch(hint);
  expect({ phase: failure.phase, code: failure.error.code }).toEqual({ phase, code });
  expect(server.requests).toEqual([]);
}

const overTls = (port: number): string => `https://localhost:${port}`;
const plain = (port: number): string => `http://127.0.0.1:${port}`;

describe("a failure says what is wrong on the way:", () => {
  const cases: Record<string, Case> = {
    "a name that does not exist": {
      url: () => "http://no-such-host.invalid:9",
      phase: "resolve",
      // What there is without any name server at all.
      message:
        /: (?:the host name "no-such-host\.invalid" is unknown|no name server answers for "no-such-host\.invalid")$/,
      hint: /getent hosts no-such-host\.invalid/,
    },
    "a port nobody listens on": {
      url: () => "http://127.0.0.1:1",
      phase: "connect",
      message: /: 127\.0\.0\.1:1 refuses the connection$/,
      hint: /Is the receiver running/,
    },
    "a name with a port nobody listens on": {
      url: () => "http://localhost:1",
      phase: "connect",
      message:
        /: (?:127\.0\.0\.1|\[::1\]):1(?: and 1 more)? of "localhost" refuses the connection$/,
    },
    "a server that says nothing": {
      receiver: () => ({ onConnection: (socket) => void socket.on("data", () => socket.end()) }),
      url: plain,
      phase: "request",
      message: /: the server closed the connection without an answer$/,
    },
    "a server that cuts": {
      receiver: () => ({
        onConnection: (socket) => void socket.on("data", () => socket.resetAndDestroy()),
      }),
      url: plain,
      phase: "request",
      message: /: the connection broke: it was reset$/,
    },
    "a server of another protocol": {
      receiver: () => ({
        onConnection: (socket) => void socket.write("220 mail.example.net ESMTP\r\n\r\n"),
      }),
      url: plain,
      phase: "request",
      message: /: the answer cannot be understood: it does not begin with a status of HTTP\/1$/,
    },
    "https on a plain URL": {
      receiver: async () => ({ tls: await tlsOptions("server") }),
      url: plain,
      phase: "request",
      message:
        /: (?:the server speaks TLS|the server closed the connection without an answer|the connection broke: it was reset)$/,
    },
  };
  test.each(Object.entries(cases))("%s", (_, value) => check(value));
});

describe("a failure says what is wrong with TLS:", () => {
  const cases: Record<string, Case> = {
    "a server without": {
      receiver: () => ({
        onConnection: (socket) =>
          void socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
      }),
      url: overTls,
      changes: trustsCa,
      phase: "tls",
      message: /: localhost:\d+ does not speak TLS, which "https:" means$/,
      hint: /"http:\/\/"/,
    },
    "a server that hangs up": {
      receiver: () => ({ onConnection: (socket) => void socket.on("data", () => socket.end()) }),
      url: overTls,
      phase: "tls",
      message: /: the server closed the connection during the TLS handshake$/,
    },
    "a server that does not go on": {
      receiver: () => ({ onConnection: () => undefined }),
      url: overTls,
      changes: () => ({ connectTimeoutMs: 100 }),
      phase: "tls",
      message: /: the TLS handshake was not done within 0\.1 s$/,
    },
    "a certificate of another authority": {
      receiver: async () => ({ tls: await tlsOptions("server") }),
      url: overTls,
      changes: () => ({ trust: pki.path("other.pem") }),
      phase: "tls",
      message:
        /: the server's certificate is not signed by an authority in ".*other\.pem", but by "Test Authority ca"$/,
      hint: /--trust=/,
    },
    "a certificate for other names": {
      receiver: async () => ({ tls: await tlsOptions("elsewhere") }),
      url: overTls,
      changes: trustsCa,
      phase: "tls",
      message:
        /: the server's certificate is for another host: it has DNS:a\.example\.net, DNS:\*\.example\.net, IP:192\.0\.2\.7, "localhost" is needed$/,
      hint: /subjectAltName=DNS:localhost$/,
    },
    "a certificate that has only a name, and a URL with an address": {
      receiver: async () => ({ tls: await tlsOptions("localhost") }),
      url: (port) => `https://127.0.0.1:${port}`,
      changes: trustsCa,
      phase: "tls",
      message:
        /: the server's certificate is for another host: it has CN:localhost, "127\.0\.0\.1" is needed$/,
      hint: /^Use the name in URL= or --url=, or issue a certificate with subjectAltName=IP:127\.0\.0\.1$/,
    },
    "a certificate that has expired": {
      receiver: async () => ({ tls: await tlsOptions("expired") }),
      url: overTls,
      changes: trustsCa,
      phase: "tls",
      message: /: the server's certificate has expired at Jan .* 2021 GMT$/,
    },
    "a certificate that is not valid yet": {
      receiver: async () => ({ tls: await tlsOptions("future") }),
      url: overTls,
      changes: trustsCa,
      phase: "tls",
      message: /: the server's certificate is not valid before Jan .* 2090 GMT$/,
      hint: /clocks/,
    },
  };
  test.each(Object.entries(cases))("%s", (_, value) => check(value));

  test("not with a version 1 certificate that has the right name only", async () => {
    using server = await FakeReceiver.open({ tls: await tlsOptions("localhost") });
    using client = openClient(server.url, trustsCa());
    expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
  });

  test("nothing of all that with trust=all", async () => {
    for (const name of ["elsewhere", "expired", "foreign"]) {
      using server = await FakeReceiver.open({ tls: await tlsOptions(name) });
      using client = openClient(server.url, { trust: "all" });
      expect(await client.send(plainRequest("x"))).toMatchObject({ status: 202 });
    }
  });
});

describe("a failure says that the server refuses our certificate:", () => {
  const cases: [name: string | undefined, message: RegExp, hint: RegExp][] = [
    [
      undefined,
      /: the server (?:wants a client certificate, there is none|breaks off the TLS handshake, perhaps for lack of a client certificate)$/,
      /--key= and --cert=/,
    ],
    [
      "foreign",
      /: the server refuses our certificate ".*foreign\.pem" \(it does not know its authority\)$/,
      /signed by an authority that the server trusts/,
    ],
    [
      "stale",
      /: the server refuses our certificate ".*stale\.pem" \(it has expired\)$/,
      /^It has expired at 2021-01-01T00:00:00\.000Z: renew it$/,
    ],
  ];
  for (const version of ["-tls1_2", "-tls1_3"]) {
    test.each(cases)(`${version}, %s`, async (name, message, hint) => {
      using server = await OpensslServer.open(pki, version);
      const own = name === undefined ? {} : identity(name);
      const { phase, error } = await failureOf(`https://localhost:${server.port}`, {
        ...trustsCa(),
        ...own,
      });
      expect(error.message).toMatch(message);
      expect(error.hint).toMatch(hint);
      expect({ phase, code: error.code }).toEqual({ phase: "tls", code: "E_PEER" });
    });
  }

  test("or that its log may say so, where it only hangs up", async () => {
    using server = await FakeReceiver.open({ tls: await mutualOptions() });
    const failure = await failureOf(server.url, { ...trustsCa(), ...identity("foreign") });
    expect(failure.error.message).toContain("the server closed the connection");
    expect(failure.error.hint).toBe("It may not take our certificate: its log may say why");
  });

  test("and TLS that is too old", async () => {
    using server = await OpensslServer.open(pki, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0");
    const { phase, error } = await failureOf(`https://localhost:${server.port}`, trustsCa());
    expect(phase).toBe("tls");
    expect(error.message).toEndWith(": the server speaks no TLS that is new enough, 1.2 is needed");
  });
});

describe("a failure names the file of ours that is at fault:", () => {
  const cases: Record<
    string,
    Pick<Case, "message"> & {
      changes(): ClientChanges;
      code?: ErrorCode;
      hint?: RegExp;
      phase?: UploadFailure["phase"];
    }
  > = {
    "a key of another certificate": {
      changes: () => ({ keyFile: pki.path("stale.key"), certificateFile: pki.path("sender.pem") }),
      message:
        /^Cannot use certificate ".*sender\.pem": it does not belong to the private key ".*stale\.key"$/,
    },
    "a missing key": {
      changes: () => ({ keyFile: "/none.key", certificateFile: pki.path("sender.pem") }),
      message: /^Cannot use private key "\/none\.key": no such file$/,
      hint: /--key=/,
    },
    "a certificate without key": {
      changes: () => ({ certificateFile: pki.path("sender.pem") }),
      message: /^Cannot use ".*sender\.pem": a private key is needed with it$/,
    },
    "a missing authority": {
      changes: () => ({ trust: "/none.pem" }),
      message: /^Cannot use trusted certificate "\/none\.pem": no such file$/,
      hint: /--trust=/,
    },
    "an authority that is a directory": {
      changes: () => ({ trust: "/" }),
      message: /^Cannot use trusted certificate "\/": it is a directory, a file is needed$/,
    },
    "an authority without certificate": {
      changes: () => ({ trust: pki.path("ca.key") }),
      message: /^Cannot use trusted certificate ".*ca\.key": no PEM certificate in it$/,
    },
    "a missing token": {
      changes: () => ({ bearerTokenFile: "token", credentialsDirectory: "/none" }),
      code: "E_CONFIG",
      message: /^Cannot use bearer token of "\/none\/token": no such file$/,
      hint: /BearerTokenFile=/,
    },
  };
  test.each(Object.entries(cases))("%s", async (_, value) => {
    await check({
      url: overTls,
      phase: "resolve",
      code: "E_CERT",
      ...value,
      receiver: async () => ({ tls: await tlsOptions("server") }),
    });
  });
});

describe("a failure says what is wrong with a proxy:", () => {
  const proxyAt = (port: number, more: object = {}): ClientChanges => ({
    proxy: {
      text: `http://127.0.0.1:${port}`,
      isSecure: false,
      host: "127.0.0.1",
      port,
      userinfo: undefined,
      ...more,
    },
  });
  async function proxyFailure(url: string, options: FakeReceiverOptions): Promise<UploadFailure> {
    using proxy = await FakeReceiver.open(options);
    return await failureOf(url, proxyAt(proxy.port));
  }

  test("not there", async () => {
    const { phase, error } = await failureOf("https://logs.example.net", proxyAt(1));
    expect(phase).toBe("connect");
    expect(error.message).toBe(
      'Cannot upload to "https://logs.example.net:19532/upload": the proxy 127.0.0.1:1 refuses the connection',
    );
  });

  test.each<[number, string]>([
    [403, "does not let us to logs.example.net:19532 (status 403)"],
    [407, "wants a user and a password (status 407)"],
  ])("answers CONNECT with %i", async (status, expected) => {
    const { phase, error } = await proxyFailure("https://logs.example.net", {
      onRequest: (_, socket) => socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`),
    });
    expect(phase).toBe("proxy");
    expect(error.message).toContain(`: the proxy "http://127.0.0.1:`);
    expect(error.message).toEndWith(expected);
  });

  test.each<[string, (socket: Socket) => unknown]>([
    ["does not speak HTTP", (socket) => socket.write("220 mail.example.net\r\n")],
    ["hangs up", (socket) => socket.end()],
  ])("%s", async (_, onConnection) => {
    const { phase, error } = await proxyFailure("https://logs.example.net", {
      onConnection: (socket) => void socket.once("data", () => onConnection(socket)),
    });
    expect(phase).toBe("proxy");
    expect(error.message).toMatch(/the proxy "http:\/\/127\.0\.0\.1:\d+" does not speak HTTP$/);
  });
});

describe("a connection that is not made says why:", () => {
  test("nobody answers the packets", async () => {
    // A listener whose queue is full drops them.
    using full = await openFullListener();
    const { phase, error } = await failureOf(`http://127.0.0.1:${full.port}`, {
      connectTimeoutMs: 300,
    });
    expect(phase).toBe("connect");
    expect(error.message).toEndWith(`: 127.0.0.1:${full.port} has not answered within 0.3 s`);
    expect(error.hint).toContain("firewall");
  });

  test("time is up, in every phase", () => {
    const url = parseUploadUrl("https://logs.example.net");
    const files = { keyFile: undefined, certificateFile: undefined, trust: "all" };
    const context = {
      url,
      verb: "upload to",
      proxy: undefined,
      files,
      certificateEndMs: undefined,
      nowMs: 0,
      networkTimeoutMs: 1,
      connectTimeoutMs: 2500,
    };
    for (const phase of ["resolve", "connect", "proxy", "tls"] as const) {
      expect(describeDialFailure(context, phase, DIAL_TIMEOUT).message).toEndWith(" within 2.5 s");
    }
  });
});

/** Holds a port to which no further connection comes about. */
async function openFullListener(): Promise<{ port: number } & Disposable> {
  // Python, since the runtime's listeners accept behind our back.
  const script = `import socket, time
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(0)
port = listener.getsockname()[1]
clients = [socket.socket() for _ in range(8)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
print(port, flush=True)
time.sleep(60)`;
  const child = Bun.spawn(["python3", "-c", script], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  return { port: Number(new TextDecoder().decode(value)), [Symbol.dispose]: () => child.kill() };
}
