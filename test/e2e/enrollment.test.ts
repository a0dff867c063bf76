/**
 * Enrolment as it is in service: a real receiver, a signer started for each question by a stand-in for its socket unit, hosts
 * that talk TLS: issue 5, point 7.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type KeyObject, X509Certificate } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateKey } from "../../src/certs/keys.ts";
import { parseToken, prove } from "../../src/certs/token.ts";
import { createRequest } from "../../src/certs/x509.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { CertsAuthority } from "../support/certs.ts";
import { sampleEntry } from "../support/export-stream.ts";
import { freePort } from "../support/ports.ts";
import { ReceiverProcess } from "../support/receiver-process.ts";
import { run } from "../support/run-agent.ts";
import { TempDir } from "../support/temp-dir.ts";
import { type HttpReply, TlsClient } from "../support/tls-client.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);
const { AGENT_TEST_KILLS } = Bun.env;
/** As with the other commands; more with AGENT_TEST_KILLS. */
const KILLS = Number(AGENT_TEST_KILLS ?? 50);
/** Until a signer has answered, when nothing else runs. */
const DELAY_MS_MAX = 400;
const ACTIVATOR = Bun.which("systemd-socket-activate");

const agent = useAgentBinary();

describe.skipIf(ACTIVATOR === null)("enrolment", () => {
  const owned = new DisposableStack();
  let ca: CertsAuthority;
  let work: TempDir;
  let port: number;
  let receiver: ReceiverProcess;
  let signers: Bun.Subprocess;

  beforeAll(async () => {
    ca = owned.use(await CertsAuthority.create());
    work = owned.use(new TempDir());
    work.write("ca.pem", ca.text("ca.pem"));
    await ca.issue("server", { names: ["localhost", "127.0.0.1"], role: "server" });
    const socket = join(work.path, "enroll.sock");
    const serve = ["certs", "answer", `--directory=${ca.directory}`];
    const command = [ACTIVATOR ?? "", "--accept", "--inetd", `--listen=${socket}`, agent.path];
    signers = Bun.spawn([...command, ...serve], { stdin: "ignore", stderr: "ignore" });
    port = await freePort();
    receiver = new ReceiverProcess([
      ...[agent.path, "serve", `--listen-https=127.0.0.1:${port}`, `--output=${work.path}`],
      ...[`--cert=${ca.path("server.pem")}`, `--key=${ca.path("server.key")}`],
      ...[
        `--trust=${ca.path("ca.pem")}`,
        `--crl=${ca.path("crl.pem")}`,
        `--enroll-socket=${socket}`,
      ],
    ]);
    await receiver.listening(port);
    await until(() => existsSync(socket));
  });
  afterAll(async () => {
    signers.kill();
    await receiver.stop();
    owned.dispose();
  });

  async function certs(...args: string[]): Promise<string> {
    const command = [agent.path, "certs", ...args, `--directory=${ca.directory}`];
    const { status, stdout, stderr } = await run(command);
    if (status !== 0) throw new Error(`certs ${args.join(" ")}: exit ${status}: ${stderr}`);
    return stdout;
  }

  /** @returns the secret */
  async function newToken(name: string): Promise<Buffer> {
    const { token } = JSON.parse(await certs("token", name, "--json"));
    return parseToken(token).secret;
  }

  /** @param host a name whose certificate is shown; "" = none */
  async function post(
    path: string,
    host: string,
    csr: string,
    secret?: Buffer,
  ): Promise<HttpReply> {
    using client = await TlsClient.connect({ path: (file) => join(work.path, file) }, host, port);
    const head = [`POST ${path} HTTP/1.1`, "Host: localhost", `Content-Length: ${csr.length}`];
    if (secret !== undefined) head.push(`Authorization: Token ${prove(secret, csr)}`);
    client.send(`${head.join("\r\n")}\r\n\r\n${csr}`);
    return await client.reply();
  }

  /** Keeps what the host was given, for its next connection. */
  function keep(name: string, { body }: HttpReply, key: KeyObject): X509Certificate {
    writeFileSync(join(work.path, `${name}.pem`), body);
    writeFileSync(join(work.path, `${name}.key`), key.export({ type: "pkcs8", format: "pem" }));
    return new X509Certificate(body);
  }

  async function upload(name: string): Promise<number> {
    using client = await TlsClient.connect({ path: (file) => join(work.path, file) }, name, port);
    return (await client.post(sampleEntry(1))).status;
  }

  test("a token is good for one certificate, which sends, renews, and is cut off when revoked", async () => {
    const key = await generateKey("p256");
    const csr = await createRequest({ commonName: "web1", names: [], key });
    const secret = await newToken("web1");
    const first = await post("/enroll", "", csr, secret);
    expect(first.status).toBe(200);
    const enrolled = keep("web1", first, key);
    expect(await upload("web1")).toBe(202);

    expect((await post("/enroll", "", csr, secret)).body).toBe(first.body);
    const thief = await createRequest({
      commonName: "web1",
      names: [],
      key: await generateKey("p256"),
    });
    expect(await post("/enroll", "", thief, secret)).toMatchObject({
      status: 403,
      body: "This token was used already, need a new one\n",
    });

    expect(await post("/renew", "web1", thief)).toMatchObject({ status: 403 });
    const renewal = await post("/renew", "web1", csr);
    expect(renewal.status).toBe(200);
    const renewed = keep("web1", renewal, key);
    expect(renewed.serialNumber).not.toBe(enrolled.serialNumber);
    expect(renewed.checkIssued(new X509Certificate(ca.text("ca.pem")))).toBe(true);
    expect(await upload("web1")).toBe(202);

    await certs("revoke", "web1");
    await until(() => receiver.log.includes("Certificates were read again"), 10_000);
    expect(await upload("web1")).toBe(401);
    expect(await post("/renew", "web1", csr)).toMatchObject({ status: 401 });
    expect(await certs("verify", "--all")).toContain(": good\n");
  });

  test("20 hosts at once get a certificate each", async () => {
    const hosts = Array.from({ length: 20 }, (_, i) => `many${i}`);
    const secrets: Buffer[] = [];
    for (const name of hosts) secrets.push(await newToken(name));
    const enrol = async (name: string, i: number): Promise<number> => {
      const csr = await createRequest({
        commonName: name,
        names: [],
        key: await generateKey("p256"),
      });
      for (;;) {
        const { status } = await post("/enroll", "", csr, secrets[i]);
        if (status !== 503) return status;
        await Bun.sleep(100);
      }
    };
    expect(new Set(await Promise.all(hosts.map(enrol)))).toEqual(new Set([200]));
    expect(await certs("verify", "--all")).toContain(": good\n");
  });

  test(`a signer that is killed ${KILLS} times: the token is used with its certificate, or not at all`, async () => {
    let given = 0;
    let interrupted = 0;
    for (let round = 0; round < KILLS; round++) {
      const name = `killed${round}`;
      const secret = await newToken(name);
      const key = await generateKey("p256");
      const csr = await createRequest({ commonName: name, names: [], key });
      const proof = prove(secret, csr);
      const question = { op: "enroll", proof, request: csr, address: "192.0.2.7" };
      const answer = [agent.path, "certs", "answer", `--directory=${ca.directory}`];
      const child = Bun.spawn(answer, {
        stdin: new Blob([`${JSON.stringify(question)}\n`]),
        stdout: "pipe",
        stderr: "ignore",
      });
      // At any moment; every second time in the middle of the change, if it can be caught.
      if (round % 2 === 0) await Bun.sleep((round / KILLS) * DELAY_MS_MAX);
      else await until(() => child.exitCode !== null || existsSync(ca.path(".pending")), 20_000);
      child.kill("SIGKILL");
      await child.exited;
      const lost = await new Response(child.stdout).text();
      const wasIssued = ca.text("index").includes(`/CN=${name}\n`);
      if (lost !== "") given++;
      else if (wasIssued || existsSync(ca.path(".pending"))) interrupted++;

      // Whatever has become of it, the host that asks again with its key gets one certificate.
      const { stdout } = await run(answer, { stdin: `${JSON.stringify(question)}\n` });
      const { status, text } = JSON.parse(stdout);
      expect(status).toBe(200);
      expect(new X509Certificate(text).checkPrivateKey(key)).toBe(true);
      if (lost !== "") expect(lost).toBe(stdout);
      expect(ca.text("index").split(`/CN=${name}\n`)).toHaveLength(2);
    }
    console.log(
      `${KILLS} kills: ${given} after the answer, ${interrupted} between change and answer`,
    );
    expect(interrupted).toBeGreaterThan(0);
    expect(await certs("verify", "--all")).toContain(": good\n");
  });
});
