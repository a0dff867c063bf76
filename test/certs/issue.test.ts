import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { readCertificate } from "../../src/certs/certificate.ts";
import { formatAlternativeName } from "../../src/certs/names.ts";
import { renewCertificates } from "../../src/certs/renew.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";

const leafOf = (ca: CertsAuthority, name: string) => readCertificate(ca.text(`${name}.pem`), name);
const renew = async (
  ca: CertsAuthority,
  hosts: "all" | string[],
  options: { expiringMs?: number; days?: number; newKeys?: boolean; nowMs?: number } = {},
) => {
  const { nowMs, expiringMs, days, newKeys = false } = options;
  using authority = await ca.open(nowMs);
  return await renewCertificates(authority, { hosts, expiringMs, days, newKeys });
};

describe("issueCertificate()", () => {
  test("puts the name, its kinds of use and 825 days into a certificate that openssl takes", async () => {
    using ca = await CertsAuthority.create();
    const { outcome, facts, hasKey } = await ca.issue("web1", {
      names: ["logs.example.net", "192.0.2.7", "2001:db8::7"],
      role: "server",
    });
    expect([outcome, hasKey]).toEqual(["issued", true]);
    expect(facts).toMatchObject({
      name: "web1",
      role: "server",
      keyType: "p256",
      isAuthority: false,
    });
    expect(facts.names.map(formatAlternativeName)).toEqual([
      "DNS:web1",
      "DNS:logs.example.net",
      "IP:192.0.2.7",
      "IP:2001:db8::7",
    ]);
    expect((facts.notAfterMs - facts.notBeforeMs) / DAY_MS).toBe(825);
    expect(facts.serial).toMatch(/^[0-9A-F]{32}$/);
    const text = ca.openssl("x509", "-in", "web1.pem", "-noout", "-text");
    expect(text).toContain("Version: 3 ");
    expect(text).toContain("Subject: CN = web1\n");
    expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature\n/);
    expect(text).toMatch(/Extended Key Usage:\s+TLS Web Server Authentication\n/);
    expect(text).toContain(
      "DNS:web1, DNS:logs.example.net, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7",
    );
    expect(text).toContain("X509v3 Subject Key Identifier");
    expect(text).toContain("X509v3 Authority Key Identifier");
  });

  test.each([
    ["client", "TLS Web Client Authentication"],
    ["both", "TLS Web Server Authentication, TLS Web Client Authentication"],
  ] as const)("role %s", async (role, usages) => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1", { role });
    expect(ca.openssl("x509", "-in", "web1.pem", "-noout", "-ext", "extendedKeyUsage")).toContain(
      `${usages}\n`,
    );
  });

  test("the key is root's alone, whatever accounts exist", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const { mode, uid } = statSync(ca.path("web1.key"));
    expect([mode & 0o7777, uid]).toEqual([0o600, process.geteuid?.() ?? 0]);
    expect(statSync(ca.path("web1.pem")).mode & 0o7777).toBe(0o644);
  });

  test("again with the same data, in whatever order, changes nothing", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1", { names: ["a", "b"] });
    const before = listFiles(ca.directory);
    expect((await ca.issue("web1", { names: ["DNS:b", "web1", "A"] })).outcome).toBe("unchanged");
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
  });

  test.each([
    ["other names", { names: ["b"] }, "is for DNS:web1, DNS:a, not DNS:web1, DNS:b"],
    ["another role", { names: ["a"], role: "client" }, "is for role both, not client"],
    ["another key", { names: ["a"], keyType: "rsa2048" }, "has a key of type p256, not rsa2048"],
  ] as const)(
    "with %s it says why it does not, and changes nothing",
    async (_what, change, reason) => {
      using ca = await CertsAuthority.create();
      await ca.issue("web1", { names: ["a"] });
      const before = listFiles(ca.directory);
      await expect(ca.issue("web1", change)).rejects.toMatchObject({
        code: "E_USAGE",
        message: expect.stringContaining(reason),
        hint: expect.stringContaining("--renew"),
      });
      expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
    },
  );

  test("--renew keeps the key, --force makes one; the former one stays valid", async () => {
    using ca = await CertsAuthority.create();
    const first = await ca.issue("web1");
    const firstKey = ca.text("web1.key");
    const second = await ca.issue("web1", { names: ["b"], replace: "same key" });
    expect(second.former?.serial).toBe(first.facts.serial);
    expect(ca.text("web1.key")).toBe(firstKey);
    await ca.issue("web1", { names: ["b"], replace: "new key" });
    expect(ca.text("web1.key")).not.toBe(firstKey);
    expect(
      ca.openssl("verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "web1.pem"),
    ).toContain("OK");
    expect(
      ca
        .text("index")
        .split("\n")
        .filter((line) => line.startsWith("V")),
    ).toHaveLength(3);
  });

  test("after a revocation a new one has a new key, without being asked", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const key = ca.text("web1.key");
    await ca.revoke("web1", "keyCompromise");
    expect((await ca.issue("web1")).outcome).toBe("issued");
    expect(ca.text("web1.key")).not.toBe(key);
  });

  test("after its end a new one is made", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
    expect((await ca.issue("web1")).outcome).toBe("issued");
  });

  test("files that were removed, as Netdata's documentation says, are made again", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    for (const file of ["web1.pem", "web1.key"]) rmSync(ca.path(file));
    expect((await ca.issue("web1")).outcome).toBe("issued");
    // A key without a certificate may be that of a request.
    rmSync(ca.path("web1.pem"));
    const key = ca.text("web1.key");
    await ca.issue("web1");
    expect(ca.text("web1.key")).toBe(key);
  });

  test("files that do not belong together, or are broken, are left alone", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    await ca.issue("web2");
    const files: [string, string, string][] = [
      ["web1.key", ca.text("web2.key"), "is not that of"],
      ["web1.pem", ca.text("web2.pem"), 'belongs to "web2"'],
      [
        "web1.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "it is broken",
      ],
      ["web1.pem", "garbage", "no PEM certificate in it"],
      ["web1.key", "garbage", "no PEM private key in it"],
    ];
    for (const [file, text, problem] of files) {
      const former = ca.text(file);
      ca.dir.write(`ca/${file}`, text);
      const before = listFiles(ca.directory);
      await expect(ca.issue("web1", { replace: "new key" })).rejects.toMatchObject({
        code: "E_CERT",
        message: expect.stringContaining(problem),
      });
      expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
      ca.dir.write(`ca/${file}`, former);
    }
  });

  test("ends with its authority, and says so", async () => {
    using ca = await CertsAuthority.create({ days: 100 });
    const { facts } = await ca.issue("web1");
    expect(facts.notAfterMs).toBe(readCertificate(ca.text("ca.pem"), "ca").facts.notAfterMs);
    expect(ca.reports.join()).toContain('"web1" ends with its authority');
  });

  test("is refused before the authority begins, and in 1970", async () => {
    using ca = await CertsAuthority.create();
    const before = listFiles(ca.directory);
    await expect(ca.issue("web1", { nowMs: Date.now() - 90 * DAY_MS })).rejects.toThrow(
      "the authority is valid from",
    );
    await expect(ca.issue("web1", { nowMs: 0 })).rejects.toThrow("the clock says 1970");
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
  });

  test("a serial number is not used twice, whatever the file says", async () => {
    using ca = await CertsAuthority.create();
    const { facts } = await ca.issue("web1");
    ca.dir.write("ca/serial", `${facts.serial}\n`);
    await expect(ca.issue("web2")).rejects.toThrow(`serial number ${facts.serial}`);
  });

  test("a last line without its line feed is completed, not joined", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    ca.dir.write("ca/index", ca.text("index").trimEnd());
    await ca.issue("web2");
    expect(
      ca
        .text("index")
        .split("\n")
        .map((line) => line.split("/CN=")[1]),
    ).toEqual(["web1", "web2", undefined]);
  });

  test("several at once get a certificate each", async () => {
    using ca = await CertsAuthority.create();
    const names = Array.from({ length: 8 }, (_, i) => `web${i}`);
    await Promise.all(names.map((name) => ca.issue(name)));
    expect(ca.text("index").trimEnd().split("\n")).toHaveLength(8);
    expect(readdirSync(ca.directory).filter((file) => /^web\d\.pem$/.test(file))).toHaveLength(8);
  });
});

describe("renewCertificates()", () => {
  test("keeps names, role, length and key; takes new dates and a new serial", async () => {
    using ca = await CertsAuthority.create();
    const { facts } = await ca.issue("web1", {
      names: ["a"],
      role: "client",
      days: 60,
      nowMs: Date.now() - 20 * DAY_MS,
    });
    const key = ca.text("web1.key");
    const { renewed } = await renew(ca, ["web1"]);
    expect(renewed).toHaveLength(1);
    const now = leafOf(ca, "web1").facts;
    expect(now).toMatchObject({ name: "web1", role: "client", names: facts.names });
    expect(now.serial).not.toBe(facts.serial);
    expect(now.notAfterMs - now.notBeforeMs).toBe(60 * DAY_MS);
    expect(now.notAfterMs).toBeGreaterThan(facts.notAfterMs + 19 * DAY_MS);
    expect(ca.text("web1.key")).toBe(key);
    await renew(ca, ["web1"], { newKeys: true, days: 30 });
    expect(ca.text("web1.key")).not.toBe(key);
    expect(ca.openssl("verify", "-CAfile", "ca.pem", "web1.pem")).toContain("OK");
  });

  test("of all: those that end in time; the revoked, the expired and the foreign stay", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("soon", { days: 20 });
    await ca.issue("later", { days: 60 });
    await ca.issue("gone", { days: 20 });
    await ca.revoke("gone");
    await ca.issue("over", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
    await ca.issue("lost", { days: 20 });
    rmSync(ca.path("lost.pem"));
    const { renewed, notDue, skipped } = await renew(ca, "all", { expiringMs: 30 * DAY_MS });
    expect(renewed.map(({ name }) => name)).toEqual(["soon"]);
    expect(notDue).toEqual(["later"]);
    expect(skipped).toEqual([{ name: "lost", reason: 'there is no "lost.pem" in the directory' }]);
    const all = await renew(ca, "all");
    expect(all.renewed.map(({ name }) => name)).toEqual(["later", "soon"]);
  });

  test("of more than one batch", async () => {
    using ca = await CertsAuthority.create();
    const names = Array.from({ length: 70 }, (_, i) => `web${i}`);
    for (const name of names) await ca.issue(name);
    const { renewed } = await renew(ca, "all");
    expect(renewed.map(({ name }) => name)).toEqual(names);
    expect(new Set(renewed.map(({ serial }) => serial)).size).toBe(70);
    expect(ca.text("index").trimEnd().split("\n")).toHaveLength(140);
  }, 30_000);

  test("of an expired one is possible by name, of a revoked or unknown one not", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("over", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
    expect((await renew(ca, ["over"])).renewed).toHaveLength(1);
    await ca.revoke("over");
    await expect(renew(ca, ["over"])).rejects.toMatchObject({
      code: "E_CERT",
      message: 'Cannot renew "over": its certificate is revoked',
    });
    await expect(renew(ca, ["nobody"])).rejects.toThrow('Cannot renew "nobody"');
    expect(existsSync(ca.path("nobody.pem"))).toBe(false);
  });
});
