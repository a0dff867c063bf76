import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, rmSync } from "node:fs";
import { auditAuthority } from "../../src/certs/audit.ts";
import { readCertificate, readCertificates } from "../../src/certs/certificate.ts";
import { inspectText } from "../../src/certs/inspect.ts";
import type { Role } from "../../src/certs/profiles.ts";
import { findFaults } from "../../src/certs/verify.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";

describe("findFaults()", () => {
  const owned = new DisposableStack();
  let ca: CertsAuthority;
  let other: CertsAuthority;

  beforeAll(async () => {
    ca = owned.use(await CertsAuthority.create());
    other = owned.use(await CertsAuthority.create());
    const names = ["logs.example.net", "*.wild.example.net", "192.0.2.7"];
    await ca.issue("server", { role: "server", names });
    await ca.issue("client", { role: "client" });
    await ca.issue("revoked");
    await ca.issue("over", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
    await ca.revoke("revoked");
    await other.issue("foreign");
  });
  afterAll(() => owned.dispose());

  const faultsOf = (
    name: string,
    options: { host?: string; role?: Role; nowMs?: number; lists?: string } = {},
  ): string[] => {
    const { host, role, nowMs = Date.now(), lists = ca.text("crl.pem") } = options;
    const text = (name === "foreign" ? other : ca).text(`${name}.pem`);
    const authorities = readCertificates(ca.text("ca.pem"), "ca.pem");
    return findFaults(readCertificate(text, name), { authorities, lists }, { host, role, nowMs });
  };

  test.each(["server", "logs.example.net", "LOGS.example.net", "a.wild.example.net", "192.0.2.7"])(
    "good for %p",
    (host) => {
      expect(faultsOf("server", { host, role: "server" })).toEqual([]);
    },
  );

  test.each<[string, Parameters<typeof faultsOf>[1], RegExp]>([
    [
      "server",
      { host: "other.example.net" },
      /^it is not for "other.example.net", but for DNS:server/,
    ],
    ["server", { host: "192.0.2.8" }, /^it is not for "192.0.2.8"/],
    ["server", { host: "a.b.wild.example.net" }, /^it is not for/],
    ["server", { role: "client" }, /^its role is server, not client$/],
    ["client", { role: "server" }, /^its role is client, not server$/],
    ["client", { role: "both" }, /^its role is client, not both$/],
    ["revoked", {}, /^it is revoked$/],
    ["over", {}, /^it expired on /],
    ["foreign", {}, /^it is not signed by this authority, but by "CN=systemd-journal-remote-ca"$/],
    ["server", { nowMs: Date.now() - 31 * DAY_MS }, /^its authority is not valid before/],
    ["server", { nowMs: Date.now() + 826 * DAY_MS }, /^the list of revoked certificates ended/],
  ])("%s with %j is not", (name, options, fault) => {
    expect(faultsOf(name, options)[0]).toMatch(fault);
  });

  test("a list of somebody else is no excuse", () => {
    expect(faultsOf("server", { lists: other.text("crl.pem") })).toEqual([
      "a list of revoked certificates is not signed by its authority",
    ]);
  });
});

describe("auditAuthority()", () => {
  const audit = (ca: CertsAuthority, passphrase?: string): string[] =>
    auditAuthority({ directory: ca.directory, nowMs: Date.now(), passphrase }).faults;
  const prepare = async (): Promise<CertsAuthority> => {
    const ca = await CertsAuthority.create();
    await ca.issue("web1");
    await ca.issue("web2");
    await ca.revoke("web2");
    return ca;
  };

  test("counts, and finds nothing wrong with what this program makes", async () => {
    using ca = await prepare();
    expect(
      auditAuthority({ directory: ca.directory, nowMs: Date.now(), passphrase: undefined }),
    ).toEqual({ faults: [], certificates: 2, issued: 2, revoked: 1 });
  });

  test.each<[string, (ca: CertsAuthority, other: CertsAuthority) => void, string]>([
    [
      "another authority's key",
      (ca, other) => ca.dir.write("ca/ca.key", other.text("ca.key")),
      "it is not the key of",
    ],
    ["no key", (ca) => rmSync(ca.path("ca.key")), "no such file"],
    [
      "a readable key",
      (ca) => chmodSync(ca.path("ca.key"), 0o644),
      "others have access (mode 644), need 600",
    ],
    [
      "another authority",
      (ca, other) => ca.dir.write("ca/ca.pem", other.text("ca.pem")),
      "it is not signed by this authority",
    ],
    [
      "a host's certificate as authority",
      (ca) => ca.dir.write("ca/ca.pem", ca.text("web1.pem")),
      "its certificate is not an authority's",
    ],
    [
      "a list of before",
      (ca) =>
        ca.dir.write("ca/index", ca.text("index").replace(/^V\t(\d+Z)\t/, "R\t$1\t261101000000Z")),
      "1 revoked certificates are not on the list",
    ],
    [
      "an index of before",
      (ca) => ca.dir.write("ca/index", ca.text("index").replace(/^R\t(\d+Z)\t[^\t]+/m, "V\t$1\t")),
      "1 on the list are not revoked in the index",
    ],
    ["no list", (ca) => rmSync(ca.path("crl.pem")), 'there is no list of "ca.pem"'],
    [
      "a broken index",
      (ca) => ca.dir.write("ca/index", `${ca.text("index")}garbage\n`),
      "line 3 is not one of openssl's",
    ],
    [
      "a line twice",
      (ca) => ca.dir.write("ca/index", ca.text("index") + ca.text("index").split("\n")[0]),
      "is there twice",
    ],
    [
      "a lost line",
      (ca) => ca.dir.write("ca/index", ca.text("index").replace(/^V.*\n/, "")),
      "is not in the index",
    ],
    [
      "a number that is used",
      (ca) => ca.dir.write("ca/serial", ca.text("index").split("\t")[3] ?? ""),
      "is used already",
    ],
    [
      "mixed keys",
      (ca) => ca.dir.write("ca/web1.key", ca.text("web2.key")),
      "it is not the key of",
    ],
    [
      "mixed certificates",
      (ca) => ca.dir.write("ca/web3.pem", ca.text("web1.pem")),
      'it is the certificate of "web1"',
    ],
    ["garbage", (ca) => ca.dir.write("ca/web1.pem", "garbage"), "no PEM certificate in it"],
    ["a change that waits", (ca) => ca.dir.write("ca/.pending/a", ""), "An interrupted run waits"],
  ])("finds %s", async (_what, damage, fault) => {
    using ca = await prepare();
    using other = await CertsAuthority.create();
    damage(ca, other);
    expect(audit(ca).join("\n")).toContain(fault);
  });

  test.skipIf(process.getuid?.() !== 0)("finds a directory that is a daemon's", async () => {
    using ca = await prepare();
    chownSync(ca.directory, 995, 999);
    expect(audit(ca)).toEqual([
      `"${ca.directory}": files could be replaced by user 995, who owns "${ca.directory}"`,
    ]);
  });

  test("looks at an encrypted key only with its passphrase", async () => {
    using ca = await CertsAuthority.create({ passphrase: "correct horse" });
    expect(audit(ca)).toEqual([]);
    expect(audit(ca, "correct horse")).toEqual([]);
    expect(audit(ca, "wrong")).toEqual([
      `Cannot use private key "${ca.path("ca.key")}": the passphrase is wrong`,
    ]);
  });
});

test("inspectText() tells what there is of every kind of file", async () => {
  using ca = await CertsAuthority.create({ passphrase: "correct horse" });
  await ca.issue("web1");
  ca.writeRequest("web1", "DNS:x");
  const kinds = async (...files: string[]) => {
    const found = await inspectText(files.map((file) => ca.text(file)).join(""), "x");
    return found.map(({ kind, facts, rows }) => [kind, facts?.name ?? Object.fromEntries(rows)]);
  };
  expect(await kinds("web1.pem", "web1.key", "ca.pem", "crl.pem", "web1.csr", "ca.key")).toEqual([
    ["certificate", "web1"],
    ["private key", { key: "p256" }],
    ["certificate", "systemd-journal-remote-ca"],
    [
      "list of revoked certificates",
      { made: expect.any(String), nextUpdate: expect.any(String), revoked: "0" },
    ],
    ["request", { name: "web1", names: "DNS:x", key: "p256" }],
    ["private key", { key: "encrypted" }],
  ]);
  await expect(inspectText("garbage", "x")).rejects.toThrow(
    'Cannot inspect "x": nothing in PEM form in it',
  );
  const broken = (label: string) => `-----BEGIN ${label}-----\nAAAA\n-----END ${label}-----\n`;
  for (const label of ["CERTIFICATE", "CERTIFICATE REQUEST", "X509 CRL", "PRIVATE KEY"]) {
    await expect(inspectText(broken(label), "x")).rejects.toMatchObject({ code: "E_CERT" });
  }
});
