import { describe, expect, test } from "bun:test";
import { serverPlan } from "../../../src/install/roles/server.ts";
import { hostFacts, plannedText, serverOptions } from "../../support/planned-machine.ts";

const SYSTEM = "/etc/systemd/system";
const SERVICE = `${SYSTEM}/systemd-journal-remote.service`;
const SERVICE_DROP_IN = `${SERVICE}.d/50-agent.conf`;
const COMMAND =
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the service manager replaces it
  "ExecStart=/opt/bin/agent serve --listen-https=-3 --output=/var/log/journal/remote --key=${CREDENTIALS_DIRECTORY}/key.pem --cert=${CREDENTIALS_DIRECTORY}/certificate.pem";

describe("a server's plan", () => {
  test("without the distribution's package", () => {
    const plan = serverPlan(serverOptions(), hostFacts(252, false));
    expect(plan.items.map(({ path }) => path)).toEqual([
      "/opt/bin/agent",
      "/etc/systemd/journal-remote.conf.d/50-agent.conf",
      "/etc/sysusers.d/journal-agent.conf",
      "/etc/tmpfiles.d/journal-agent.conf",
      `${SYSTEM}/systemd-journal-remote.socket`,
      SERVICE,
      `${SYSTEM}/sockets.target.wants/systemd-journal-remote.socket`,
      `${SYSTEM}/multi-user.target.wants/systemd-journal-remote.service`,
    ]);
    expect(plan.items[0]).toMatchObject({ mode: 0o755, data: { copyOf: "/usr/bin/true" } });
    expect(plan.items.at(-1)).toMatchObject({ target: SERVICE });
    expect(plan.commands.map(({ argv }) => argv.join(" "))).toEqual([
      "systemd-sysusers --root=%ROOT% journal-agent.conf",
      "systemd-tmpfiles --create --root=%ROOT% journal-agent.conf",
    ]);
    expect(plan.units.map(({ name, activation }) => [name, activation])).toEqual([
      ["systemd-journal-remote.socket", "start"],
      ["systemd-journal-remote.service", "start"],
    ]);
    expect(plannedText(plan, SERVICE)).toContain(`\n${COMMAND}\n`);
  });

  test("with it: drop-ins, and links to its units", () => {
    const plan = serverPlan(serverOptions({ port: 443 }), hostFacts(257, true));
    expect(plan.items.map(({ path }) => path)).toEqual([
      "/opt/bin/agent",
      "/etc/systemd/journal-remote.conf.d/50-agent.conf",
      "/etc/tmpfiles.d/journal-agent.conf",
      `${SYSTEM}/systemd-journal-remote.socket.d/50-agent.conf`,
      SERVICE_DROP_IN,
      `${SYSTEM}/sockets.target.wants/systemd-journal-remote.socket`,
      `${SYSTEM}/multi-user.target.wants/systemd-journal-remote.service`,
    ]);
    expect(plan.items.at(-1)).toMatchObject({
      target: "/usr/lib/systemd/system/systemd-journal-remote.service",
    });
    const socket = plannedText(plan, `${SYSTEM}/systemd-journal-remote.socket.d/50-agent.conf`);
    expect(socket).toContain("\nListenStream=\nListenStream=443\n");
    const service = plannedText(plan, SERVICE_DROP_IN);
    expect(service).toContain(`\nExecStart=\n${COMMAND}\n`);
    expect(service).toContain("\nLogsDirectory=\n");
  });

  test("a change of any of these restarts the service; of the lists, none does", () => {
    const certificates = { key: "/k", certificate: "/c", authority: "/a", lists: "/l" };
    const plan = serverPlan(serverOptions({ certificates }), hostFacts(252, false));
    const service = plan.units.find(({ name }) => name === "systemd-journal-remote.service");
    expect(service?.dependsOn).toEqual([
      "/opt/bin/agent",
      "/etc/systemd/journal-remote.conf.d/50-agent.conf",
      SERVICE,
      "/k",
      "/c",
    ]);
    const configuration = plannedText(plan, "/etc/systemd/journal-remote.conf.d/50-agent.conf");
    expect(configuration).toEndWith("[Remote]\nTrustedCertificateFile=/a\nCRLFile=/l\n");
  });

  test("before systemd 247 the key is copied, and nothing is written that is not known", () => {
    const plan = serverPlan(serverOptions(), hostFacts(239, false));
    const text = plannedText(plan, SERVICE);
    expect(text).not.toMatch(/LoadCredential|ProtectProc|ProtectClock|PrivateIPC|RestartSteps/);
    expect(text).toContain("\nRuntimeDirectoryMode=0700\n");
    expect(text).toContain("--key=/run/systemd-journal-remote/key.pem");
    expect(text).toContain(
      "sh /etc/ssl/journal-agent/server/key.pem /etc/ssl/journal-agent/server/certificate.pem\n",
    );
    expect(plannedText(plan, "/etc/sysusers.d/journal-agent.conf")).toContain(
      "\nu systemd-journal-remote ",
    );
  });

  test("enrolment: the signer is there before the receiver; where the authority is elsewhere, it is not", () => {
    const options = { enroll: true, isLocalAuthority: true, renews: true };
    const here = serverPlan(serverOptions(options), hostFacts(252, true));
    expect(here.units.map(({ name }) => name)).toEqual([
      "journal-agent-enroll.socket",
      "systemd-journal-remote.socket",
      "systemd-journal-remote.service",
      "journal-agent-renew.timer",
      "journal-agent-renew.service",
    ]);
    const configuration = plannedText(here, "/etc/systemd/journal-remote.conf.d/50-agent.conf");
    expect(configuration).toContain("\nEnrollSocket=/run/journal-agent/enroll.sock\n");
    const elsewhere = serverPlan(
      serverOptions({ ...options, isLocalAuthority: false }),
      hostFacts(252, true),
    );
    expect(elsewhere.units.map(({ name }) => name)).not.toContain("journal-agent-enroll.socket");
  });

  test("an authority in a directory of the operator's: signer and renewal may write there", () => {
    const authorityDirectory = "/srv/my ca";
    const options = { enroll: true, isLocalAuthority: true, renews: true, authorityDirectory };
    const plan = serverPlan(serverOptions(options), hostFacts(252, false));
    const signer = plannedText(plan, `${SYSTEM}/journal-agent-enroll@.service`);
    expect(signer).toContain('certs answer "--directory=/srv/my ca"\n');
    expect(signer).toContain('\nReadWritePaths="/srv/my ca"\n');
    const renewal = plannedText(plan, `${SYSTEM}/journal-agent-renew.service.d/50-agent.conf`);
    expect(renewal).toEndWith('[Service]\nReadWritePaths=-"/srv/my ca"\n');
  });

  test("another directory for what is received, with all that a path may have in it", () => {
    const plan = serverPlan(
      serverOptions({ outputDirectory: "/srv/all logs/50%" }),
      hostFacts(252, false),
    );
    const text = plannedText(plan, SERVICE);
    expect(text).toContain('"--output=/srv/all logs/50%%"');
    expect(text).toContain('\nReadWritePaths=-"/srv/all logs/50%%"\n');
    expect(plannedText(plan, "/etc/tmpfiles.d/journal-agent.conf")).toContain(
      '\nd "/srv/all logs/50%%" 2755 systemd-journal-remote systemd-journal -\n',
    );
    expect(plan.byproducts).toContain("/srv/all logs/50%");
  });

  test.each(["/home", "/root", "/tmp/x"])("refuses %s, which the sandbox hides", (path) => {
    expect(() =>
      serverPlan(serverOptions({ outputDirectory: path }), hostFacts(252, false)),
    ).toThrow(`Cannot receive into "${path}": the service does not see`);
  });

  test("a directory whose name merely begins like a hidden one is taken", () => {
    const options = serverOptions({ outputDirectory: "/home2/logs" });
    expect(serverPlan(options, hostFacts(252, false)).byproducts).toContain("/home2/logs");
  });
});
