/** The signer's and the renewal's units on booted Debian hosts: what they have to do, their sandbox lets them do. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { parseToken, prove } from "../../../src/certs/token.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import { useAgentBinary } from "../../support/agent-binary.ts";
import { describeHosts, HOST_SUITES, HostMachine } from "../../support/host-machine.ts";
import { HostNetwork } from "../../support/host-network.ts";
import {
  hostFacts,
  SYSTEMD_VERSIONS,
  serverOptions,
  setUp,
} from "../../support/planned-machine.ts";

const LIMIT_MS = 120_000;
const AUTHORITY = "/etc/ssl/systemd-journal";
const RECEIVER = "systemd-journal-remote.service";

/** What the renewal's service does, in short: it writes certificates and restarts what uses them. */
const RENEWAL = `[Service]
ExecStart=
ExecStart=sh -c 'touch /etc/ssl/renewed /var/lib/journal-agent/renewed && systemctl try-restart ${RECEIVER}'
`;

const agent = useAgentBinary();
await describeHosts("units around certificates", HOST_SUITES, (suite) => {
  const owned = new AsyncDisposableStack();
  let machine: HostMachine;

  beforeAll(async () => {
    const network = owned.use(await HostNetwork.open());
    machine = owned.use(
      await HostMachine.boot({
        suite,
        network,
        name: "logs",
        address: "192.0.2.1",
        bind: { [agent.path]: "/opt/bin/agent" },
      }),
    );
    await machine.run("/opt/bin/agent", "certs", "init");
    await machine.run("/opt/bin/agent", "certs", "issue", "logs", "--role=server", "DNS:localhost");
    const certificates = {
      key: `${AUTHORITY}/logs.key`,
      certificate: `${AUTHORITY}/logs.pem`,
      authority: `${AUTHORITY}/ca.pem`,
      lists: `${AUTHORITY}/crl.pem`,
    };
    const options = { certificates, isLocalAuthority: true, enroll: true, renews: true };
    const facts = hostFacts(SYSTEMD_VERSIONS[suite], false);
    await setUp(machine, serverPlan(serverOptions(options), facts));
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  test(
    "the receiver passes a request on, and the signer's service answers with a certificate",
    async () => {
      const token = /[A-Za-z0-9_-]{80,}/.exec(
        await machine.run("/opt/bin/agent", "certs", "token", "web2"),
      )?.[0];
      await machine.run("/opt/bin/agent", "certs", "request", "web2", "--directory=/tmp");
      const request = await machine.run("cat", "/tmp/web2.csr");
      const proof = prove(parseToken(token ?? "").secret, request);
      const script = `
        const headers = { authorization: "Token ${proof}" };
        const body = await Bun.file("/tmp/web2.csr").text();
        const request = { method: "POST", headers, body, tls: { rejectUnauthorized: false } };
        const response = await fetch("https://localhost:19532/enroll", request);
        console.log(response.status, await response.text());`;
      machine.write("opt/enroll.ts", script);
      // The executable holds the runtime as well.
      const answer = await machine.run("env", "BUN_BE_BUN=1", "/opt/bin/agent", "/opt/enroll.ts");
      expect(answer).toMatch(/^200 -----BEGIN CERTIFICATE-----/);
      expect(await machine.run("stat", "--format=%U %a", `${AUTHORITY}/web2.pem`)).toBe(
        "root 644\n",
      );
    },
    LIMIT_MS,
  );

  test(
    "nobody but the receiver reaches the signer",
    async () => {
      const socket = "/run/journal-agent/enroll.sock";
      expect(await machine.run("stat", "--format=%U %a", socket)).toBe(
        "systemd-journal-remote 600\n",
      );
    },
    LIMIT_MS,
  );

  test(
    "the renewal's service may write certificates, and have a service restarted",
    async () => {
      machine.write("etc/systemd/system/journal-agent-renew.service.d/test.conf", RENEWAL);
      await machine.run("mkdir", "--parents", "/var/lib/journal-agent");
      await machine.run("systemctl", "daemon-reload");
      const before = await machine.property(RECEIVER, "MainPID");
      await machine.run("systemctl", "start", "journal-agent-renew.service");
      expect(await machine.property(RECEIVER, "MainPID")).not.toBe(before);
      expect(await machine.property("journal-agent-renew.timer", "ActiveState")).toBe("active");
    },
    LIMIT_MS,
  );

  test(
    "systemd has nothing to say about the units",
    async () => {
      const enroll = ["journal-agent-enroll.socket", "journal-agent-enroll@1.service"];
      const renew = ["journal-agent-renew.service", "journal-agent-renew.timer"];
      const verify = ["systemd-analyze", "verify", "--man=no", ...enroll, ...renew];
      const { stdout, stderr, exitCode } = await machine.tryRun(verify);
      expect([exitCode, `${stdout}${stderr}`]).toEqual([0, ""]);
    },
    LIMIT_MS,
  );
});
