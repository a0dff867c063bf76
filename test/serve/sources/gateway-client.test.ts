import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import type { AgentError } from "../../../src/errors.ts";
import { parseGateway } from "../../../src/serve/sources/gateway.ts";
import { type GatewayAnswer, requestEntries } from "../../../src/serve/sources/gateway-client.ts";
import type { GatewayTls } from "../../../src/serve/sources/gateway-tls.ts";
import { FakeGateway } from "../../support/fake-gateway.ts";
import { exportEntries } from "../../support/recording-ingest.ts";
import { TestPki } from "../../support/tls.ts";
import { until } from "../../support/until.ts";

const pki = new TestPki();
pki.addAuthority("foreign");
pki.issue("client");
pki.issue("stranger", { authority: "foreign" });
pki.issue("elsewhere", { extensions: ["subjectAltName=DNS:elsewhere.example.net"] });
pki.issue("revoked", { extensions: ["subjectAltName=IP:127.0.0.1"] });
pki.revoke("revoked");
pki.writeCrl();
pki.issue("expired", {
  extensions: ["subjectAltName=DNS:localhost,IP:127.0.0.1"],
  start: "20200101000000Z",
  end: "20200102000000Z",
});
const gateways: FakeGateway[] = [];
afterAll(() => {
  for (const gateway of gateways) gateway.stop();
  pki[Symbol.dispose]();
});

async function startTlsGateway(certificate: string): Promise<FakeGateway> {
  const gateway = await FakeGateway.start(2, {
    key: readFileSync(pki.path(`${certificate}.key`)),
    cert: readFileSync(pki.path(`${certificate}.pem`)),
    ca: readFileSync(pki.path("ca.pem")),
    requestCert: true,
    rejectUnauthorized: true,
  });
  gateway.otherwise = "complete";
  gateways.push(gateway);
  return gateway;
}

function tlsOf(identity: string, authority = pki.path("ca.pem")): GatewayTls {
  return {
    keyFile: pki.path(`${identity}.key`),
    certificateFile: pki.path(`${identity}.pem`),
    authority,
  };
}

function ask(gateway: FakeGateway, tls: GatewayTls, host = "127.0.0.1"): Promise<GatewayAnswer> {
  return requestEntries(parseGateway(`https://${host}:${gateway.port}`), {
    tls,
    cursor: undefined,
    nowMs: 0,
    signal: AbortSignal.timeout(5000),
  });
}

/** The error of an attempt that gets no answer. */
async function refusalOf(attempt: Promise<unknown>): Promise<AgentError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ name: "AgentError" });
  return error as AgentError;
}

describe("requestEntries() over https", () => {
  test("shows its certificate to a gateway it trusts", async () => {
    const gateway = await startTlsGateway("server");
    for (const host of ["127.0.0.1", "localhost"]) {
      const answer = await ask(gateway, tlsOf("client"), host);
      if (answer.kind !== "open") throw answer.error;
      expect(await new Response(answer.body).text()).toBe(exportEntries(1, 2));
    }
    expect(gateway.requests.map(({ client }) => client)).toEqual(["client", "client"]);
  });

  const distrusted: [certificate: string, authority: string, what: string][] = [
    ["server", "foreign.pem", "certificate"],
    ["elsewhere", "ca.pem", "its certificate is for another host"],
    ["expired", "ca.pem", "its certificate has expired"],
  ];
  test.each(distrusted)("sends nothing to %p when it trusts %p", async (certificate, ca, what) => {
    const gateway = await startTlsGateway(certificate);
    const error = await refusalOf(ask(gateway, tlsOf("client", pki.path(ca))));
    expect(error.code).toBe("E_PEER");
    expect(error.message).toContain(what);
    expect(gateway.requests).toEqual([]);
  });

  test.each(["ca.crl.pem", "ca.crl.der"])("sends nothing to one that %s revokes", async (list) => {
    const tls = { ...tlsOf("client"), crlFiles: [pki.path(list)] };
    const good = await startTlsGateway("server");
    expect((await ask(good, tls)).kind).toBe("open");
    const gateway = await startTlsGateway("revoked");
    const error = await refusalOf(ask(gateway, tls));
    expect(error.message).toContain("its certificate is revoked");
    expect(gateway.requests).toEqual([]);
  });

  test("does not trust an unknown CA when clients are not checked", async () => {
    const gateway = await startTlsGateway("server");
    const error = await refusalOf(ask(gateway, tlsOf("client", "all")));
    expect(error.message).toContain("certificate");
    expect(gateway.requests).toEqual([]);
  });

  test("gets nothing from a gateway that wants another certificate, or one at all", async () => {
    const gateway = await startTlsGateway("server");
    for (const identity of ["stranger", "missing"]) {
      expect((await refusalOf(ask(gateway, tlsOf(identity)))).code).toBe("E_PEER");
    }
    expect(gateway.requests).toEqual([]);
  });

  test("uses a certificate that was renewed in the meantime", async () => {
    const gateway = await startTlsGateway("server");
    pki.issue("old");
    pki.issue("new");
    const tls = tlsOf("old");
    await ask(gateway, tls);
    writeFileSync(tls.keyFile, readFileSync(pki.path("new.key")));
    writeFileSync(tls.certificateFile, readFileSync(pki.path("new.pem")));
    await ask(gateway, tls);
    expect(gateway.requests.map(({ client }) => client)).toEqual(["old", "new"]);
  });

  const unusable: [what: string, tls: GatewayTls, message: string][] = [
    ["no CA", tlsOf("client", pki.path("no.pem")), "there is no such file"],
    ["a CA that is none", tlsOf("client", pki.path("client.key")), "it holds no certificate"],
    ["half an identity", { ...tlsOf("client"), keyFile: pki.path("no.key") }, "does not exist"],
    ["another's key", { ...tlsOf("client"), keyFile: pki.path("server.key") }, "Cannot use"],
    ["no list", { ...tlsOf("client"), crlFiles: [pki.path("no.crl")] }, "a revocation list"],
    ["a list that is none", { ...tlsOf("client"), crlFiles: [pki.path("ca.key")] }, "Cannot use"],
    ["a directory", { ...tlsOf("client"), keyFile: pki.dir }, "Cannot read "],
  ];
  test.each(unusable)("refuses to work with %s", async (_what, tls, message) => {
    const gateway = await startTlsGateway("server");
    const error = await refusalOf(ask(gateway, tls));
    expect(error.code).toBe("E_CERT");
    expect(error.message).toContain(message);
    expect(gateway.requests).toEqual([]);
  });
});

describe("requestEntries()", () => {
  async function startGateway(): Promise<FakeGateway> {
    const gateway = await FakeGateway.start(2);
    gateways.push(gateway);
    return gateway;
  }

  test("does not follow a redirect, but tells where it points", async () => {
    const gateway = await startGateway();
    gateway.otherwise = { status: 301, headers: { Location: "http://192.0.2.1/" } };
    const answer = await requestEntries(parseGateway(`http://127.0.0.1:${gateway.port}`), {
      tls: tlsOf("client"),
      cursor: undefined,
      nowMs: 0,
      signal: AbortSignal.timeout(5000),
    });
    if (answer.kind !== "refused") throw new Error("Not refused");
    expect(answer.error.message).toContain("it answers 301");
    expect(answer.error.hint).toContain("http://192.0.2.1/");
    expect(gateway.requests).toHaveLength(1);
  });

  test("gives back a connection whose body is cancelled", async () => {
    const gateway = await startGateway();
    const stop = new AbortController();
    const answer = await requestEntries(parseGateway(`http://127.0.0.1:${gateway.port}`), {
      tls: tlsOf("client"),
      cursor: undefined,
      nowMs: 0,
      signal: stop.signal,
    });
    expect(answer.kind).toBe("open");
    expect(gateway.connections).toBe(1);
    stop.abort();
    await until(() => gateway.connections === 0);
  });
});
