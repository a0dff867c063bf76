import { describe, expect, test } from "bun:test";
import { clientPlan } from "../../../src/install/roles/client.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import {
  clientOptions,
  hostFacts,
  plannedText,
  serverOptions,
} from "../../support/planned-machine.ts";

const SYSTEM = "/etc/systemd/system";
const SERVICE = `${SYSTEM}/systemd-journal-upload.service`;
const CONFIGURATION = "/etc/systemd/journal-upload.conf.d/50-agent.conf";
const CREDENTIALS =
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the service manager replaces it
  "--key=${CREDENTIALS_DIRECTORY}/key.pem --cert=${CREDENTIALS_DIRECTORY}/certificate.pem";

describe("a client's plan", () => {
  test("without the distribution's package", () => {
    const plan = clientPlan(clientOptions(), hostFacts(257, false));
    expect(plan.items.map(({ path }) => path)).toEqual([
      "/opt/bin/agent",
      CONFIGURATION,
      SERVICE,
      `${SYSTEM}/multi-user.target.wants/systemd-journal-upload.service`,
    ]);
    expect(plan.commands).toEqual([]);
    const text = plannedText(plan, SERVICE);
    expect(text).toContain(`\nExecStart=/opt/bin/agent upload --save-state ${CREDENTIALS}\n`);
    for (const setting of ["DynamicUser=yes", "StateDirectory=systemd/journal-upload"]) {
      expect(text).toContain(`\n${setting}\n`);
    }
    expect(plan.byproducts).toEqual([
      "/var/lib/systemd/journal-upload",
      "/var/lib/private/systemd/journal-upload",
    ]);
  });

  test("with it: a drop-in, and a link to its unit", () => {
    const plan = clientPlan(clientOptions(), hostFacts(257, true));
    const text = plannedText(plan, `${SERVICE}.d/50-agent.conf`);
    expect(text).toContain("\nExecStart=\nExecStart=/opt/bin/agent upload ");
    expect(text).toContain("\nSupplementaryGroups=\nSupplementaryGroups=systemd-journal\n");
    expect(plan.items.at(-1)).toMatchObject({
      target: "/usr/lib/systemd/system/systemd-journal-upload.service",
    });
  });

  test("several receivers replace those of the configuration that is there", () => {
    const urls = ["https://logs1.example.net", "https://logs2.example.net"];
    const plan = clientPlan(clientOptions({ urls, targets: "mirror" }), hostFacts(252, false));
    expect(plannedText(plan, CONFIGURATION)).toEndWith(`[Upload]
URL=
URL=https://logs1.example.net
URL=https://logs2.example.net
Targets=mirror
TrustedCertificateFile=/etc/ssl/journal-agent/client/authority.pem
`);
  });

  test("no receiver and no certificate: what is configured stays", () => {
    const { certificates: _, ...options } = clientOptions({ urls: [] });
    const plan = clientPlan(options, hostFacts(252, false));
    expect(plan.items.map(({ path }) => path)).not.toContain(CONFIGURATION);
    const text = plannedText(plan, SERVICE);
    expect(text).toContain("\nExecStart=/opt/bin/agent upload --save-state\n");
    expect(text).not.toContain("LoadCredential");
  });

  test("further namespaces: instances of a template, each with a position of its own", () => {
    const plan = clientPlan(clientOptions({ namespaces: ["a", "b"] }), hostFacts(252, true));
    const text = plannedText(plan, `${SYSTEM}/systemd-journal-upload@.service`);
    expect(text).toContain(
      `upload --namespace=%i --save-state=/var/lib/systemd/journal-upload@%i/state ${CREDENTIALS}\n`,
    );
    expect(text).toContain("\nStateDirectory=systemd/journal-upload@%i\n");
    expect(plan.units.map(({ name }) => name)).toEqual([
      "systemd-journal-upload.service",
      "systemd-journal-upload@a.service",
      "systemd-journal-upload@b.service",
    ]);
    expect(plan.items).toContainEqual(
      expect.objectContaining({
        path: `${SYSTEM}/multi-user.target.wants/systemd-journal-upload@a.service`,
        target: `${SYSTEM}/systemd-journal-upload@.service`,
      }),
    );
    expect(plan.byproducts).toContain("/var/lib/private/systemd/journal-upload@b");
  });

  test("before systemd 247 each instance copies its key to a directory of its own", () => {
    const plan = clientPlan(clientOptions({ namespaces: ["a"] }), hostFacts(246, false));
    const text = plannedText(plan, `${SYSTEM}/systemd-journal-upload@.service`);
    expect(text).toContain("\nRuntimeDirectory=systemd-journal-upload@%i\n");
    expect(text).toContain("cd /run/systemd-journal-upload@%i && ");
  });

  test("what both roles plan is the same for both", () => {
    const facts = hostFacts(252, true);
    const authority = { isLocalAuthority: true, authorityDirectory: "/srv/ca" };
    const server = serverPlan(serverOptions({ renews: true, ...authority }), facts);
    const client = clientPlan(clientOptions({ renews: true }), facts);
    const paths = new Set(server.items.map(({ path }) => path));
    const common = client.items.filter(({ path }) => paths.has(path));
    expect(common.map(({ path }) => path)).toEqual([
      "/opt/bin/agent",
      `${SYSTEM}/journal-agent-renew.service`,
      `${SYSTEM}/journal-agent-renew.timer`,
      `${SYSTEM}/timers.target.wants/journal-agent-renew.timer`,
    ]);
    for (const item of common) expect(server.items).toContainEqual(item);
  });
});
