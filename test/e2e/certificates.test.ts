/**
 * Who may send to the executable, with curl: issue 2, point 4. The finer points are in
 * test/serve/front-tls.test.ts.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { sampleEntry } from "../support/export-stream.ts";
import { curl, JOURNAL_TYPE } from "../support/front.ts";
import { Receiver } from "../support/receiver.ts";
import { journalFiles } from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";
import { TlsClient } from "../support/tls-client.ts";

const LIMIT_MS = 30_000;
const TLS_VERSIONS = [["--tls-max", "1.2"], ["--tlsv1.3"]];
const REFUSED: [name: string, what: string, reason: string][] = [
  ["", "none", "peer-no-certificate"],
  ["foreigner", "one of another authority", "peer-certificate-unable-to-verify-leaf-signature"],
  ["expired", "one that has expired", "peer-certificate-cert-has-expired"],
  ["early", "one that is not valid yet", "peer-certificate-cert-not-yet-valid"],
  ["revoked", "a revoked one", "peer-certificate-cert-revoked"],
  ["server-only", "one for servers only", "peer-certificate-invalid-purpose"],
];

const agent = useAgentBinary();

describe("certificates", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let pki: TestPki;
  let output: string;
  let receiver: Receiver;

  beforeAll(() => {
    work = owned.use(new TempDir());
    pki = owned.use(new TestPki());
    pki.addAuthority("foreign");
    pki.issue("foreigner", { subject: "/CN=web1", authority: "foreign" });
    pki.issue("expired", { start: "20200101000000Z", end: "20200201000000Z" });
    pki.issue("early", { start: "20400101000000Z", end: "20410101000000Z" });
    pki.issue("server-only", { extensions: ["extendedKeyUsage=serverAuth"] });
    for (const name of ["web1", "v1", "leaver", "revoked"]) pki.issue(name);
    pki.revoke("revoked");
    pki.writeCrl();
  }, LIMIT_MS);
  afterAll(() => owned.dispose());
  beforeEach(async () => {
    output = join(work.path, crypto.randomUUID());
    mkdirSync(output);
    const args = [`--crl=${pki.path("ca.crl.pem")}`];
    receiver = await Receiver.start({ command: [agent.path, "serve"], output, pki, args });
  });
  afterEach(() => receiver.kill());

  async function upload(name: string, ...args: string[]): Promise<number> {
    const body = work.write("entry", sampleEntry(0));
    const data = ["-H", JOURNAL_TYPE, "--data-binary", `@${body}`];
    return (await curl(...pki.curlArgs(name), ...args, ...data, receiver.url)).status;
  }

  async function stored(): Promise<string[]> {
    expect(await receiver.stop()).toBe(0);
    return journalFiles(output).map((file) => basename(file));
  }

  for (const [name, what, reason] of REFUSED) {
    test(`${what}: refused, and nothing is stored`, async () => {
      for (const version of TLS_VERSIONS) expect(await upload(name, ...version)).toBe(401);
      expect(await stored()).toEqual([]);
      expect(receiver.log).toContain(`reason=${reason}`);
      expect(receiver.log).toContain("Finished stored=0");
    });
  }

  test("an X.509 v1 one with a CN only, as Netdata's script makes them: accepted", async () => {
    const print = ["openssl", "x509", "-in", pki.path("v1.pem"), "-noout", "-text"];
    expect(Bun.spawnSync(print).stdout.toString()).toContain("Version: 1 ");
    for (const version of TLS_VERSIONS) expect(await upload("v1", ...version)).toBe(202);
    expect(await stored()).toEqual(["remote-v1.journal"]);
  });

  test("TLS 1.1: refused", async () => {
    const probe = (...protocol: string[]) => {
      const target = ["-connect", `127.0.0.1:${receiver.port}`, "-cipher", "ALL:@SECLEVEL=0"];
      const identity = ["-cert", pki.path("web1.pem"), "-key", pki.path("web1.key")];
      return Bun.spawnSync(["openssl", "s_client", ...target, ...identity, ...protocol], {
        stdin: new Blob([""]),
      });
    };
    expect(probe("-tls1_2").stdout.toString()).toMatch(/Cipher is (?!\(NONE\))/);
    for (const version of ["-tls1", "-tls1_1"]) {
      expect(probe(version).stdout.toString()).toContain("Cipher is (NONE)");
    }
    expect(await stored()).toEqual([]);
  });

  test("revoked while connected: SIGHUP closes that connection and no other", async () => {
    using leaver = await TlsClient.connect(pki, "leaver", receiver.port);
    using stayer = await TlsClient.connect(pki, "web1", receiver.port);
    expect((await leaver.post(sampleEntry(0))).status).toBe(202);
    expect((await stayer.post(sampleEntry(0))).status).toBe(202);
    pki.revoke("leaver");
    pki.writeCrl();
    receiver.signal("SIGHUP");
    await leaver.closed(5000);
    expect(await upload("leaver")).toBe(401);
    expect((await stayer.post(sampleEntry(1))).status).toBe(202);
    expect(await stored()).toEqual(["remote-leaver.journal", "remote-web1.journal"]);
    expect(receiver.log).toContain("Finished stored=3");
  });

  test("SIGHUP takes a new server certificate into use, and keeps connections", async () => {
    using client = await TlsClient.connect(pki, "web1", receiver.port);
    expect((await client.post(sampleEntry(0))).status).toBe(202);
    pki.issue("renewed", { extensions: ["subjectAltName=IP:127.0.0.1"] });
    // In this order the pair does not match for a moment.
    for (const file of ["key", "pem"]) {
      copyFileSync(pki.path(`server.${file}`), pki.path(`former.${file}`));
      copyFileSync(pki.path(`renewed.${file}`), pki.path(`server.${file}`));
    }
    receiver.signal("SIGHUP");
    await receiver.logged("Certificates were read again");
    expect((await client.post(sampleEntry(1))).status).toBe(202);
    const target = ["-connect", `127.0.0.1:${receiver.port}`];
    const { stdout } = Bun.spawnSync(["openssl", "s_client", ...target], { stdin: new Blob([""]) });
    expect(stdout.toString()).toContain("subject=CN = renewed");
  });
});
