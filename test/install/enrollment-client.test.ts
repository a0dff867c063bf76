/** Over real TLS: a receiver that enrols, and others that only say so. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createPublicKey, type KeyObject } from "node:crypto";
import { createServer } from "node:net";
import { readCertificate } from "../../src/certs/certificate.ts";
import { generateKey, isSameKey, readPrivateKey } from "../../src/certs/keys.ts";
import { parseToken, type Token } from "../../src/certs/token.ts";
import { createLeaf, readRequest } from "../../src/certs/x509.ts";
import { enroll, enrollAtFirst, renewAtReceiver } from "../../src/install/enrollment-client.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { EnrollingReceiver } from "../support/enrolling-receiver.ts";
import { httpAnswer, ScriptedHttps } from "../support/scripted-https.ts";

const environment = {};
let receiver: EnrollingReceiver;
let foreign: CertsAuthority;
let token: Token;
let server: ScriptedHttps | undefined;
beforeAll(async () => {
  receiver = await EnrollingReceiver.start();
  foreign = await CertsAuthority.create();
  await foreign.issue("receiver", { names: ["localhost"], role: "server" });
  await receiver.ca.issue("other", { names: ["other.example.net"], role: "server" });
  token = parseToken(await receiver.token("web9"));
});
afterAll(async () => {
  await receiver[Symbol.asyncDispose]();
  foreign[Symbol.dispose]();
});
afterEach(() => {
  server?.[Symbol.dispose]();
  server = undefined;
});

async function keyOf(request: string): Promise<KeyObject> {
  const pem = request.slice(request.indexOf("-----BEGIN"));
  return (await readRequest(pem, "the request")).publicKey;
}

/** Without a trace in the authority's directory. */
function signLeaf(
  ca: CertsAuthority,
  name: string,
  publicKey: KeyObject,
  validMs = DAY_MS,
): Promise<string> {
  const now = Date.now();
  const validity = { notBeforeMs: now - DAY_MS, notAfterMs: now + validMs };
  const draft = { commonName: name, names: [], role: "client", serial: "77", publicKey } as const;
  const key = readPrivateKey(ca.text("ca.key"), "ca.key");
  return createLeaf({ ...draft, ...validity }, { certificate: ca.text("ca.pem"), key });
}

describe("a receiver that enrols", () => {
  test("gives a certificate for the key that was made here, and the same trust that it has", async () => {
    const web1 = parseToken(await receiver.token("web1"));
    const host = await enroll({ server: receiver.url, token: web1, environment });
    const { facts, x509 } = readCertificate(host.certificate, "it");
    expect(facts).toMatchObject({ name: "web1", role: "client" });
    expect(isSameKey(readPrivateKey(host.key, "it"), x509.publicKey)).toBe(true);
    expect(host.authority).toBe(receiver.ca.text("ca.pem"));
    expect(host.lists).toContain("BEGIN X509 CRL");
    expect(receiver.signer.questions.at(-1)?.request).toStartWith("-----BEGIN CERTIFICATE REQ");

    const files = { keyFile: "key", certificateFile: "certificate", trust: "authority" };
    const renewed = await renewAtReceiver({
      server: receiver.url,
      files,
      present: host,
      environment,
    });
    if (renewed === "off") throw new Error("It is on");
    const next = readCertificate(renewed.certificate, "it");
    expect(next.facts.serial).not.toBe(facts.serial);
    expect(next.x509.publicKey.equals(x509.publicKey)).toBe(true);
  });

  test("says why when it does not", async () => {
    const used = parseToken(await receiver.token("web2"));
    await enroll({ server: receiver.url, token: used, environment });
    await expect(enroll({ server: receiver.url, token: used, environment })).rejects.toThrow(
      `Cannot enrol at "${receiver.url}": it answers 403: This token was used already, need a new one`,
    );
  });

  test("is found among several; when none is, the first one's answer is thrown", async () => {
    const web3 = parseToken(await receiver.token("web3"));
    const dead = "https://127.0.0.1:1";
    const found = await enrollAtFirst([dead, receiver.url], { token: web3, environment });
    expect(found.server).toBe(receiver.url);
    await expect(enrollAtFirst([dead], { token: web3, environment })).rejects.toThrow(dead);
  });

  test("where it is off, that is said; renewal is told apart from failure", async () => {
    await using off = await EnrollingReceiver.start({ enrolls: false });
    await off.ca.issue("web1", { role: "client" });
    const web1 = parseToken(await off.token("web1", true));
    await expect(enroll({ server: off.url, token: web1, environment })).rejects.toMatchObject({
      message: `Cannot enrol at "${off.url}": it does not enrol hosts`,
      hint: "On the server: agent install --role=server --enroll",
    });
    const present = {
      key: off.ca.text("web1.key"),
      certificate: off.ca.text("web1.pem"),
      authority: off.ca.text("ca.pem"),
      lists: "",
    };
    const files = { keyFile: "key", certificateFile: "certificate", trust: "authority" };
    expect(await renewAtReceiver({ server: off.url, files, present, environment })).toBe("off");
  });
});

describe("somebody else", () => {
  /** @param who whose certificate is shown */
  async function start(
    who: { ca: CertsAuthority; name: string },
    answer: (request: string) => string | Promise<string>,
  ): Promise<string> {
    const identity = { key: who.ca.text(`${who.name}.key`), cert: who.ca.text(`${who.name}.pem`) };
    server = await ScriptedHttps.start(identity, answer);
    return server.url;
  }

  function tryAt(url: string): Promise<Error> {
    return enroll({ server: url, token, environment }).then(
      () => new Error("It enrolled"),
      (error) => error,
    );
  }

  const stranger = () => ({ ca: foreign, name: "receiver" });
  const right = () => ({ ca: receiver.ca, name: "receiver" });
  const authority = () => httpAnswer(200, receiver.ca.text("ca.pem"));

  test("that is busy, or whose answer is lost, is asked again with the same key", async () => {
    const troubles = [
      httpAnswer(503, "Busy\n", "Retry-After: 0\r\n"),
      httpAnswer(429, "Later\n", "Retry-After: 0\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    ];
    const url = await start(right(), async (request) => {
      if (request.startsWith("GET")) return authority();
      const trouble = troubles.shift();
      if (trouble !== undefined) return trouble;
      const leaf = await signLeaf(receiver.ca, "web9", await keyOf(request));
      return httpAnswer(200, leaf + receiver.ca.text("ca.pem"));
    });
    const host = await enroll({ server: url, token, environment });
    expect(readCertificate(host.certificate, "it").facts.name).toBe("web9");
    const [, ...posts] = server?.requests ?? [];
    expect(posts).toHaveLength(4);
    expect(new Set(posts).size).toBe(1);
  });

  test("that wants to be asked much later is not waited for", async () => {
    const later = httpAnswer(429, "Too many\n", "Retry-After: 600\r\n");
    const url = await start(right(), (request) =>
      request.startsWith("GET") ? authority() : later,
    );
    expect((await tryAt(url)).message).toBe(`Cannot enrol at "${url}": it answers 429: Too many`);
    expect(server?.requests).toHaveLength(2);
  });

  function expectNoSecret(): void {
    const sent = server?.requests.join("\n") ?? "";
    expect(sent).toContain("GET /enroll/authority");
    expect(sent).not.toContain(token.secret.toString("base64url"));
    expect(sent).not.toContain("POST");
  }

  test("with an authority of its own learns nothing", async () => {
    const url = await start(stranger(), () => httpAnswer(200, foreign.text("ca.pem")));
    expect((await tryAt(url)).message).toBe(
      `Cannot enrol at "${url}": its authority is not the one that the token names`,
    );
    expectNoSecret();
  });

  test("with the right authority's certificate, which everybody has, learns nothing", async () => {
    const both = receiver.ca.text("ca.pem") + foreign.text("ca.pem");
    const url = await start(stranger(), () => httpAnswer(200, both));
    expect((await tryAt(url)).message).toContain("Cannot enrol at");
    expectNoSecret();
  });

  test("with a certificate of the right authority for another host learns nothing", async () => {
    const url = await start({ ca: receiver.ca, name: "other" }, authority);
    expect((await tryAt(url)).message).toContain("other.example.net");
    expectNoSecret();
  });

  test.each<[string, (request: string) => Promise<string>, string]>([
    [
      "for another key",
      async () => await signLeaf(receiver.ca, "web9", createPublicKey(await generateKey("p256"))),
      "the certificate is for another key",
    ],
    [
      "for another name",
      async (request) => await signLeaf(receiver.ca, "evil", await keyOf(request)),
      'the certificate is for "evil", need one for "web9"',
    ],
    [
      "of another authority",
      async (request) => await signLeaf(foreign, "web9", await keyOf(request)),
      "no authority that this host trusts, or that one of those vouches for, signed it",
    ],
    [
      "about to end",
      async (request) => await signLeaf(receiver.ca, "web9", await keyOf(request), DAY_MS / 3),
      "the certificate is old, it ends on",
    ],
    ["no PEM", async () => "hello", "need the certificates of this host and of its authority"],
  ])("an answer that is %s is not used", async (_, leaf, message) => {
    const url = await start(right(), async (request) => {
      if (request.startsWith("GET")) return authority();
      const first = await leaf(request);
      const authorities = receiver.ca.text("ca.pem") + foreign.text("ca.pem");
      return httpAnswer(200, first === "hello" ? first : first + authorities);
    });
    expect((await tryAt(url)).message).toStartWith(
      `Cannot use the answer of the receiver: ${message}`,
    );
  });

  test("who has taken the receiver over brings no authority of its own in", async () => {
    const web5 = parseToken(await receiver.token("web5"));
    const present = await enroll({ server: receiver.url, token: web5, environment });
    const files = { keyFile: "key", certificateFile: "certificate", trust: "authority" };
    const leaf = readCertificate(present.certificate, "it").x509.publicKey;
    const own = foreign.text("ca.pem");
    const renewFrom = async (signer: CertsAuthority, authorities: string) => {
      const name = "web5";
      const url = await start(right(), async () =>
        httpAnswer(200, (await signLeaf(signer, name, leaf)) + authorities),
      );
      const renewed = await renewAtReceiver({ server: url, files, present, environment });
      server?.[Symbol.dispose]();
      if (renewed === "off") throw new Error("It is on");
      return renewed;
    };
    for (const authorities of [own, receiver.ca.text("ca.pem") + own]) {
      await expect(renewFrom(foreign, authorities)).rejects.toThrow(
        "no authority that this host trusts",
      );
    }
    // With a good certificate, which it may have from the signer, nothing of its own comes along.
    const { authority } = await renewFrom(receiver.ca, own + receiver.ca.text("ca.pem"));
    expect(authority).toBe(receiver.ca.text("ca.pem"));
  });

  test.each<[string, string, string]>([
    ["too much", "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "at most 16777216"],
    ["an endless head", `HTTP/1.1 200 OK\r\nA: ${"a".repeat(70_000)}`, "its head is too long"],
    ["without a size", "HTTP/1.1 200 OK\r\n\r\nhello", "it does not say how long it is"],
    [
      "in chunks",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "how long it is",
    ],
    ["not HTTP", "220 mail.example.net ESMTP\r\n\r\n", "it is not HTTP/1.1"],
    ["cut off", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "Cannot enrol at"],
    ["a redirect", httpAnswer(301, "", "Location: https://192.0.2.1/\r\n"), "it answers 301"],
    ["full of escapes", httpAnswer(403, "\x1b[2Jgone\nmore"), "it answers 403: ?[2Jgone"],
  ])("an answer that is %s ends it", async (_, answer, message) => {
    const url = await start(right(), () => answer);
    const started = performance.now();
    const failure = await tryAt(url);
    expect(failure.message).toContain(message);
    expect(failure.message).toContain(url);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("without TLS, or behind plain http, is not asked", async () => {
    const plain = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    const { port } = plain.address() as { port: number };
    expect((await tryAt(`https://127.0.0.1:${port}`)).message).toContain("Cannot enrol at");
    expect((await tryAt(`http://127.0.0.1:${port}`)).message).toEndWith(
      'need a URL that begins with "https:"',
    );
    plain.close();
  });

  test("nothing of the token is in a message", async () => {
    const url = await start(right(), () => httpAnswer(403, "no"));
    const failure = await tryAt(url);
    expect(`${failure.message}${failure.stack}`).not.toContain(token.secret.toString("base64url"));
  });
});
