/** Issue 5, "what must hold" 7: a host gets its certificate by a one-time token, and nobody else gets one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { formatToken, parseToken, prove } from "../../src/certs/token.ts";
import { useAgentBinary } from "../support/agent-binary.ts";
import { compareJournals } from "../support/entry-digests.ts";
import { changedFiles } from "../support/file-listing.ts";
import { describeHosts, type HostMachine } from "../support/host-machine.ts";
import {
  expectActive,
  expectArrival,
  HostRig,
  install,
  SERVER_NAME,
  SERVER_URL,
  sh,
  startLoad,
  tryInstall,
  UPLOAD_UNIT,
} from "../support/host-rig.ts";

const LIMIT_MS = 120_000;
const GUESSES = 1000;
const CUT_OFF_MS = 10_000;
const KEY = "etc/ssl/journal-agent/client/key.pem";
const CERTIFICATE = "etc/ssl/journal-agent/client/certificate.pem";

const agent = useAgentBinary();
await describeHosts("enrolment", ["bookworm-host"], () => {
  const owned = new AsyncDisposableStack();
  let rig: HostRig;
  let server: HostMachine;
  let client: HostMachine;
  let thief: HostMachine;
  let used: string;

  beforeAll(async () => {
    rig = owned.use(await HostRig.open(agent.path));
    [server, client, thief] = await Promise.all([
      rig.boot({ suite: "bookworm-host", name: "logs", address: "192.0.2.10" }),
      rig.boot({ suite: "trixie-host", name: "web1", address: "192.0.2.20" }),
      rig.boot({ suite: "trixie-host", name: "thief", address: "192.0.2.66" }),
    ]);
    await rig.installServer(server, "--enroll");
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  /** The one line that is the token. */
  async function makeToken(name: string, options = ""): Promise<string> {
    const { stdout, stderr } = await sh(server, `agent certs token ${name} ${options} --json`);
    if (stdout === "") throw new Error(stderr);
    const { token } = JSON.parse(stdout);
    if (typeof token !== "string") throw new Error(`no token: ${stdout}${stderr}`);
    return token;
  }

  const enroll = (machine: HostMachine, token: string) =>
    tryInstall(machine, `--role=client --server=${SERVER_URL} --token=${token}`);

  /** Nothing of it may stay on the host. */
  async function expectRefused(token: string, says: RegExp): Promise<void> {
    const before = thief.list();
    const { exitCode, stderr } = await enroll(thief, token);
    expect(stderr).toMatch(says);
    expect(exitCode).not.toBe(0);
    expect(changedFiles(before, thief.list())).toEqual([]);
  }

  test(
    "a good token works, the key is made on the host, and entries arrive",
    async () => {
      used = await makeToken("web1");
      await install(client, `--role=client --server=${SERVER_URL} --token=${used}`);
      await expectActive(client, UPLOAD_UNIT);
      await expectArrival(client, server, "enrolled");
      const key = client.read(KEY).split("\n")[1] ?? "";
      expect(key.length).toBeGreaterThan(40);
      expect((await sh(server, `grep -rF '${key}' /etc /var /run`)).stdout).toBe("");
      const stored = (await sh(server, "cat /etc/ssl/systemd-journal/tokens")).stdout;
      expect(stored).not.toContain(parseToken(used).secret.toString("base64url"));
      expect(stored).not.toContain(parseToken(used).secret.toString("hex"));
    },
    LIMIT_MS,
  );

  test(
    "a used, an expired, a tampered one, one of another name or of nobody is refused",
    async () => {
      await expectRefused(used, /used already/);
      const expired = await makeToken("web2");
      const tokens = "etc/ssl/systemd-journal/tokens";
      const past = `"name":"web2"$1"expiresMs":${Date.now() - 1000}`;
      server.write(
        tokens,
        server.read(tokens).replace(/"name":"web2"(.*)"expiresMs":\d+/, past),
        0o600,
      );
      await expectRefused(expired, /expired/);
      const good = parseToken(await makeToken("web2"));
      await expectRefused(formatToken({ ...good, name: "web1" }), /for "web2"/);
      const secret = Buffer.from(good.secret);
      secret[0] = (secret[0] ?? 0) ^ 1;
      await expectRefused(formatToken({ ...good, secret }), /not valid here/);
      const fingerprint = Buffer.from(good.fingerprint);
      fingerprint[31] = (fingerprint[31] ?? 0) ^ 1;
      await expectRefused(formatToken({ ...good, fingerprint }), /authority|token/);
      await expectRefused(formatToken(good).slice(0, 60), /its end is missing/);
    },
    LIMIT_MS,
  );

  test(
    "a man in the middle with an authority of his own learns nothing and gets nobody",
    async () => {
      const evil = await rig.boot({
        suite: "bookworm-host",
        name: "evil",
        address: "192.0.2.99",
      });
      await rig.installServer(evil, "--enroll");
      try {
        await expectRefused(await makeToken("web2"), /authority|certificate|fingerprint/);
      } finally {
        rig.network.name(SERVER_NAME, server.address);
      }
      const journal = await evil.run(
        "journalctl",
        "-q",
        "--no-pager",
        "-u",
        "systemd-journal-remote",
      );
      expect(journal).not.toMatch(/Authorization|Token /);
      // He has got nothing that the real server takes.
      await expectArrival(client, server, "the real one is there");
    },
    LIMIT_MS,
  );

  test(
    `${GUESSES} guesses are slowed down, and a good token works all the same elsewhere`,
    async () => {
      const config = Array.from({ length: GUESSES }, () => {
        const guess = prove(Buffer.from(crypto.getRandomValues(new Uint8Array(32))), "");
        return [
          `url = "${SERVER_URL}/enroll"`,
          "insecure",
          'data-binary = "@request.pem"',
          'output = "/dev/null"',
          'write-out = "%{http_code}\\n"',
          `header = "Authorization: Token ${guess}"`,
        ].join("\n");
      }).join("\nnext\n");
      thief.write("root/guesses", config);
      const key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout /dev/null";
      await thief.run("sh", "-c", `openssl req -new ${key} -subj /CN=web2 > /root/request.pem`);
      const { stdout } = await sh(thief, "curl -s -K guesses; rm guesses request.pem");
      const codes = Map.groupBy(stdout.trim().split("\n"), (code) => code);
      const count = (code: string): number => codes.get(code)?.length ?? 0;
      console.log(
        `guesses: ${Array.from(codes, ([code, all]) => `${all.length} × ${code}`).join(", ")}`,
      );
      expect(count("429")).toBeGreaterThan(GUESSES * 0.9);
      expect([...codes.keys()].every((code) => ["400", "403", "429", "000"].includes(code))).toBe(
        true,
      );
      await expectArrival(client, server, "while it guesses");
      const honest = await rig.boot({
        suite: "bookworm-host",
        name: "web3",
        address: "192.0.2.23",
      });
      await install(
        honest,
        `--role=client --server=${SERVER_URL} --token=${await makeToken("web3")}`,
      );
      await expectArrival(honest, server, "an honest one");
    },
    LIMIT_MS,
  );

  test(
    "a renewed certificate is used, and no entry is lost or there twice",
    async () => {
      const load = await startLoad(client);
      const [before, key] = [client.read(CERTIFICATE), client.read(KEY)];
      await Bun.sleep(1000);
      const { exitCode, stderr } = await sh(client, "agent install --renew --force");
      expect(stderr).toContain('Certificate "web1" of the client: renewed');
      expect(exitCode).toBe(0);
      expect(client.read(CERTIFICATE)).not.toBe(before);
      expect(client.read(KEY)).toBe(key);
      await expectArrival(client, server, "with the renewed one");
      await load[Symbol.asyncDispose]();
      await expectArrival(client, server, "the end of the load");
      const deadlineMs = performance.now() + 10_000;
      while (compareClient().length > 0 && performance.now() < deadlineMs) await Bun.sleep(500);
      expect(compareClient()).toEqual([]);
    },
    LIMIT_MS,
  );

  function compareClient(): string[] {
    const received = server.file("var/log/journal/remote");
    const sent = client.file(`var/log/journal/${client.machineId}`);
    // Others are in the same directory.
    return compareJournals(received, sent).filter((line) => !line.startsWith("unexpected"));
  }

  test(
    "a revoked client is cut off within seconds",
    async () => {
      const connections = `ss -Htn state established | grep -F ':19532' | grep -F '${client.address}'`;
      expect(await server.run("sh", "-c", connections)).not.toBe("");
      const startMs = performance.now();
      await server.run("agent", "certs", "revoke", "web1");
      await server.until(`! { ${connections}; }`, CUT_OFF_MS);
      console.log(`revoked: cut off after ${(performance.now() - startMs) | 0} ms`);
      await client.run("logger", "from a revoked one");
      await Bun.sleep(3000);
      const search =
        "journalctl -q --directory=/var/log/journal/remote MESSAGE='from a revoked one'";
      expect((await sh(server, search)).stdout).toBe("");
      expect(await client.property(UPLOAD_UNIT, "StatusText")).toMatch(/RETRYING/);
    },
    LIMIT_MS,
  );
});
