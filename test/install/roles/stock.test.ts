import { describe, expect, test } from "bun:test";
import { clientPlan } from "../../../src/install/roles/client.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import {
  clientOptions,
  hostFacts,
  plannedText,
  serverOptions,
} from "../../support/planned-machine.ts";

const DROP_IN = "/etc/systemd/system/systemd-journal-remote.service.d/50-agent.conf";
const FACTS = hostFacts(257, true);
const STOCK = { daemon: "systemd" } as const;

describe("plans for systemd's own programs", () => {
  test("a receiver that cannot check certificates is not asked to, and the operator is told", () => {
    const plan = serverPlan(serverOptions(STOCK), FACTS);
    const text = plannedText(plan, DROP_IN);
    expect(text).toMatch(
      /^ExecStart=\/usr\/lib\/systemd\/systemd-journal-remote --listen-https=-3/m,
    );
    expect(text).not.toContain("--trust");
    // Of the stock sandbox nothing is changed.
    expect(text).not.toMatch(/Protect|Private|User=/);
    expect(plan.warnings).toHaveLength(1);
    expect(plan.warnings[0]).toContain("does not check the certificates of senders");
  });

  test("one that can is asked to", () => {
    const path = "/usr/lib/systemd/systemd-journal-remote";
    const facts = { ...FACTS, stockRemote: { path, hasGnutls: true } };
    const plan = serverPlan(serverOptions(STOCK), facts);
    expect(plan.warnings).toEqual([]);
    expect(plannedText(plan, DROP_IN)).toContain(
      " --trust=/etc/ssl/journal-agent/server/authority.pem\n",
    );
  });

  test("a sender gets its URL and whom it trusts by the configuration", () => {
    const plan = clientPlan(clientOptions(STOCK), FACTS);
    expect(plannedText(plan, "/etc/systemd/journal-upload.conf.d/50-agent.conf")).toEndWith(
      `[Upload]
URL=
URL=https://localhost:19532
TrustedCertificateFile=/etc/ssl/journal-agent/client/authority.pem
`,
    );
  });

  test("without the package: what installs it", () => {
    const facts = hostFacts(257, false);
    for (const plan of [
      () => serverPlan(serverOptions(STOCK), facts),
      () => clientPlan(clientOptions(STOCK), facts),
    ]) {
      expect(plan).toThrow(
        expect.objectContaining({
          code: "E_USAGE",
          message: expect.stringContaining("is not installed, need the package"),
          hint: expect.stringContaining("apt install systemd-journal-remote"),
        }),
      );
    }
  });

  test.each([
    ["enroll clients", () => serverPlan(serverOptions({ ...STOCK, enroll: true }), FACTS)],
    [
      'receive into "/srv"',
      () => serverPlan(serverOptions({ ...STOCK, outputDirectory: "/srv" }), FACTS),
    ],
    [
      "send to several receivers",
      () => clientPlan(clientOptions({ ...STOCK, urls: ["a", "b"] }), FACTS),
    ],
    [
      "send namespaces besides the default one",
      () => clientPlan(clientOptions({ ...STOCK, namespaces: ["a"] }), FACTS),
    ],
  ])("refuses to %s", (what, plan) => {
    expect(plan).toThrow(`Cannot ${what} with systemd's own program`);
  });
});
