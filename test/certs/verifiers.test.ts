/**
 * What others think of the certificates: issue 4, point 1. Each case is shown to OpenSSL, GnuTLS, curl and Bun; the
 * table of their answers is printed at the end.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { createRevocationList } from "../../src/certs/revocation-list.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";

type Verdict = "accepts" | "refuses";
type Verifier = (name: string, purpose: "server" | "client", host: string) => Promise<Verdict>;

interface Case {
  what: string;
  name: string;
  purpose: "server" | "client";
  host: string;
  expected: Verdict;
}

const HOST = "logs.example.net";
const CASES: Case[] = [
  { what: "server", name: "server", purpose: "server", host: HOST, expected: "accepts" },
  {
    what: "server, by address",
    name: "server",
    purpose: "server",
    host: "127.0.0.1",
    expected: "accepts",
  },
  {
    what: "server, by its own name",
    name: "server",
    purpose: "server",
    host: "server",
    expected: "accepts",
  },
  { what: "server, RSA", name: "server-rsa", purpose: "server", host: HOST, expected: "accepts" },
  { what: "both, as server", name: "both", purpose: "server", host: HOST, expected: "accepts" },
  { what: "both, as client", name: "both", purpose: "client", host: "", expected: "accepts" },
  { what: "client", name: "client", purpose: "client", host: "", expected: "accepts" },
  { what: "client, RSA", name: "client-rsa", purpose: "client", host: "", expected: "accepts" },
  {
    what: "client, as server",
    name: "client",
    purpose: "server",
    host: "client",
    expected: "refuses",
  },
  { what: "server, as client", name: "server", purpose: "client", host: "", expected: "refuses" },
  {
    what: "server, other host",
    name: "server",
    purpose: "server",
    host: "other.example.net",
    expected: "refuses",
  },
  { what: "server, revoked", name: "revoked", purpose: "server", host: HOST, expected: "refuses" },
  { what: "client, revoked", name: "revoked", purpose: "client", host: "", expected: "refuses" },
  { what: "server, expired", name: "expired", purpose: "server", host: HOST, expected: "refuses" },
  { what: "client, expired", name: "expired", purpose: "client", host: "", expected: "refuses" },
  {
    what: "server of another authority",
    name: "foreign",
    purpose: "server",
    host: HOST,
    expected: "refuses",
  },
  {
    what: "client of another authority",
    name: "foreign",
    purpose: "client",
    host: "",
    expected: "refuses",
  },
];

for (const keyType of ["p256", "rsa2048"] as const) {
  describe(`with an authority of type ${keyType}`, () => {
    const owned = new DisposableStack();
    let ca: CertsAuthority;
    let foreign: CertsAuthority;
    const answers = new Map<Case, Map<string, string>>();

    beforeAll(async () => {
      ca = owned.use(await CertsAuthority.create({ keyType }));
      foreign = owned.use(await CertsAuthority.create());
      const names = [HOST, "127.0.0.1", "2001:db8::7"];
      await ca.issue("server", { names, role: "server" });
      await ca.issue("server-rsa", { names, role: "server", keyType: "rsa2048" });
      await ca.issue("both", { names });
      await ca.issue("client", { role: "client" });
      await ca.issue("client-rsa", { role: "client", keyType: "rsa3072" });
      await ca.issue("revoked", { names });
      await ca.issue("expired", { names, days: 2, nowMs: Date.now() - 10 * DAY_MS });
      await ca.revoke("revoked", "keyCompromise");
      await foreign.issue("foreign", { names });
    }, 30_000);
    afterAll(() => {
      printTable(keyType, answers);
      owned.dispose();
    });

    const file = (name: string, suffix: string): string =>
      (name === "foreign" ? foreign : ca).path(`${name}.${suffix}`);
    const identity = (name: string) => ({
      cert: readFileSync(file(name, "pem")),
      key: readFileSync(file(name, "key")),
    });

    const openssl: Verifier = async (name, purpose, host) => {
      const hostOption = /^[\d.]+$/.test(host) ? "-verify_ip" : "-verify_hostname";
      return await verdictOf([
        ...["openssl", "verify", "-x509_strict", "-purpose", `ssl${purpose}`],
        ...["-CAfile", ca.path("ca.pem"), "-CRLfile", ca.path("crl.pem"), "-crl_check"],
        ...(host === "" ? [] : [hostOption, host]),
        file(name, "pem"),
      ]);
    };

    const certtool: Verifier = async (name, purpose, host) => {
      const oid = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" }[purpose];
      return await verdictOf([
        ...["certtool", "--verify", `--verify-purpose=${oid}`, "--infile", file(name, "pem")],
        ...["--load-ca-certificate", ca.path("ca.pem"), "--load-crl", ca.path("crl.pem")],
        ...(host === "" ? [] : [`--verify-hostname=${host}`]),
      ]);
    };

    /** Of a client's certificate curl has nothing to say. */
    const curl: Verifier = async (name, _purpose, host) => {
      using server = await listen({ ...identity(name) });
      return await verdictOf([
        ...["curl", "--silent", "--max-time", "10", "--noproxy", "*"],
        ...["--cacert", ca.path("ca.pem"), "--crlfile", ca.path("crl.pem")],
        ...["--resolve", `${host}:${server.port}:127.0.0.1`, `https://${host}:${server.port}/`],
      ]);
    };

    const trust = () => ({ ca: ca.text("ca.pem"), crl: ca.text("crl.pem") });

    const bun: Verifier = async (name, purpose, host) => {
      if (purpose === "server") {
        using server = await listen(identity(name));
        return await connect({ port: server.port, servername: host, ...trust() });
      }
      using server = await listen({ ...identity("server"), ...trust(), requestCert: true });
      const options = { port: server.port, servername: HOST, ca: ca.text("ca.pem") };
      return await connect({ ...options, ...identity(name) });
    };

    const programs: Record<string, Verifier> = { openssl, certtool, curl };
    const installed = Object.entries(programs).filter(([name]) => Bun.which(name) !== null);
    const verifiers: Record<string, Verifier> = { ...Object.fromEntries(installed), Bun: bun };

    for (const each of CASES) {
      const { what, name, purpose, host, expected } = each;
      test(`${what}: ${expected === "accepts" ? "accepted" : "refused"} by all`, async () => {
        const found = new Map<string, string>();
        answers.set(each, found);
        for (const [verifier, verify] of Object.entries(verifiers)) {
          const isAsked = verifier !== "curl" || purpose === "server";
          found.set(verifier, isAsked ? await verify(name, purpose, host) : "–");
        }
        const wanted = Object.keys(verifiers).map((verifier): [string, string] => [
          verifier,
          verifier === "curl" && purpose === "client" ? "–" : expected,
        ]);
        expect([...found]).toEqual(wanted);
      });
    }

    test("openssl has nothing to complain about in the authority and its list", () => {
      expect(
        ca.openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.pem", "ca.pem"),
      ).toBe("ca.pem: OK\n");
      const list = ca.openssl("crl", "-in", "crl.pem", "-noout", "-text", "-CAfile", "ca.pem");
      expect(list).toContain("verify OK");
      expect(list).toContain("Version 2");
      expect(list).toContain("X509v3 CRL Number");
      expect(list).toContain("Key Compromise");
      const text = ca.openssl("x509", "-in", "ca.pem", "-noout", "-text");
      expect(text).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
      expect(text).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign/);
    });

    test.skipIf(Bun.which("certtool") === null)("certtool reads the list", () => {
      const run = Bun.spawnSync(["certtool", "--crl-info", "--infile", ca.path("crl.pem")]);
      expect(`${run.stdout}`).toContain("Revoked certificates (1)");
    });
  });
}

test("a list made in time and one past its end are told apart by openssl", async () => {
  using ca = await CertsAuthority.create();
  await ca.issue("web1");
  using authority = await ca.open();
  const signer = await authority.signer();
  const made = Date.now() - 3 * DAY_MS;
  const keyId = ca.openssl("x509", "-in", "ca.pem", "-noout", "-ext", "subjectKeyIdentifier");
  const list = createRevocationList({
    certificate: signer.x509.raw,
    keyId: (keyId.split("\n")[1] ?? "").replaceAll(":", "").trim(),
    key: signer.key,
    thisUpdateMs: made,
    nextUpdateMs: made + DAY_MS,
    entries: [],
  });
  ca.dir.write("old.pem", list);
  const verify = ["verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile"];
  expect(ca.openssl(...verify, "crl.pem", "web1.pem")).toContain("OK");
  expect(() => ca.openssl(...verify, "../old.pem", "web1.pem")).toThrow("CRL has expired");
});

async function verdictOf(command: string[]): Promise<Verdict> {
  const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"] });
  return (await child.exited) === 0 ? "accepts" : "refuses";
}

/** A web server that says yes to clients it trusts, and closes the connection of others. */
async function listen(options: tls.TlsOptions): Promise<Disposable & { port: number }> {
  const server = tls.createServer({ ...options, rejectUnauthorized: false }, (socket) => {
    socket.on("error", () => undefined);
    if (options.requestCert === true && !socket.authorized) socket.destroy();
    else socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]: () => void server.close(),
  };
}

/** Whether an answer comes. */
async function connect(options: tls.ConnectionOptions): Promise<Verdict> {
  const { promise, resolve } = Promise.withResolvers<Verdict>();
  const { servername = "" } = options;
  const isAddress = /^[\d.]+$/.test(servername);
  const socket = tls.connect({
    host: "127.0.0.1",
    ...options,
    ...(isAddress ? { servername: "" } : {}),
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(servername, certificate),
  });
  socket.on("data", () => resolve("accepts"));
  socket.on("error", () => resolve("refuses"));
  socket.on("close", () => resolve("refuses"));
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const verdict = await promise;
  socket.destroy();
  return verdict;
}

function printTable(
  keyType: string,
  answers: ReadonlyMap<Case, ReadonlyMap<string, string>>,
): void {
  const names = ["openssl", "certtool", "curl", "Bun"];
  console.log(`| authority ${keyType} | ${names.join(" | ")} |`);
  console.log(`|---|${names.map(() => "---|").join("")}`);
  for (const [{ what }, found] of answers) {
    console.log(`| ${what} | ${names.map((name) => found.get(name) ?? "not here").join(" | ")} |`);
  }
}
