import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { AgentError } from "../../src/errors.ts";
import { certificateFileNames, loadTlsMaterial } from "../../src/serve/certificates.ts";
import { TestPki } from "../support/tls.ts";

const pki = new TestPki();
afterAll(() => pki[Symbol.dispose]());
beforeAll(() => {
  pki.issue("revoked");
  pki.revoke("revoked");
  pki.writeCrl();
  pki.addAuthority("other");
  pki.writeCrl({ authority: "other" });
  pki.issue("expired", { start: "20200101000000Z", end: "20200201000000Z" });
  pki.issue("early", { start: "20400101000000Z", end: "20410101000000Z" });
  pki.issue("brief", { end: isoToAsn1(Date.now() + 3 * 86_400_000) });
  pki.openssl("pkey", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "locked.key");
  writeFileSync(pki.path("empty"), "");
  writeFileSync(
    pki.path("garbage"),
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
  );
  writeFileSync(
    pki.path("bad.key"),
    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
  );
  writeFileSync(pki.path("bad.crl"), Buffer.from("300430020500", "hex"));
  const chain =
    readFileSync(pki.path("server.pem"), "utf8") + readFileSync(pki.path("ca.pem"), "utf8");
  writeFileSync(pki.path("chain.pem"), `Some text first\n${chain}`);
  const lists = ["ca", "other"].map((name) => readFileSync(pki.path(`${name}.crl.pem`), "utf8"));
  writeFileSync(pki.path("both.crl"), lists.join(""));
});

interface Names {
  key?: string;
  cert?: string;
  authority?: string;
  crl?: string[];
}

function load(names: Names = {}) {
  const { key = "server.key", cert = "server.pem", authority = "ca.pem", crl = [] } = names;
  const files = {
    keyFile: pki.path(key),
    certificateFile: pki.path(cert),
    trust: {
      authority: authority === "all" ? "all" : pki.path(authority),
      crlFiles: crl.map((name) => pki.path(name)),
      allowSubject: [],
    },
  };
  return loadTlsMaterial(files, Date.now());
}

function isoToAsn1(ms: number): string {
  return `${new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14)}Z`;
}

describe("loadTlsMaterial() takes", () => {
  test("a key, a certificate and an authority, without a warning", () => {
    const { context, warnings, revocationCheck } = load();
    expect(warnings).toEqual([]);
    expect(revocationCheck.lists).toEqual([]);
    expect(context.ca).toContain("BEGIN CERTIFICATE");
  });
  test("a chain with text around it", () => {
    expect(load({ cert: "chain.pem" }).context.cert.match(/BEGIN/g)).toHaveLength(2);
  });
  test("no authority and no lists when all are trusted", () => {
    const { context, warnings } = load({ authority: "all", crl: ["ca.crl.pem"] });
    expect(context).not.toHaveProperty("ca");
    expect(warnings).toEqual([
      "Revocation lists are not looked at: --trust=all takes every client",
    ]);
  });
  test("revocation lists in PEM, in DER, several, and several in a file", () => {
    for (const crl of [["ca.crl.pem"], ["ca.crl.der"]]) {
      const { revocationCheck, warnings } = load({ crl });
      expect(revocationCheck.lists.map(({ list }) => list.serials.size)).toEqual([1]);
      expect(warnings).toEqual([]);
    }
    expect(load({ crl: ["ca.crl.der", "other.crl.pem"] }).revocationCheck.lists).toHaveLength(2);
    expect(load({ crl: ["both.crl"] }).revocationCheck.lists).toHaveLength(2);
  });
});

describe("loadTlsMaterial() warns of", () => {
  test("a key everybody can read", () => {
    chmodSync(pki.path("server.key"), 0o644);
    const { warnings } = load();
    chmodSync(pki.path("server.key"), 0o600);
    expect(warnings).toEqual([
      `Private key "${pki.path("server.key")}" is accessible to everybody, need mode 0640 or stricter`,
    ]);
  });
  const cases: [string, RegExp][] = [
    ["expired", /^Certificate ".*expired\.pem" expired at 2020-02-01T00:00:00\.000Z$/],
    ["early", /^Certificate ".*early\.pem" is not valid before Jan {1,2}1 /],
    ["brief", /^Certificate ".*brief\.pem" expires at /],
  ];
  for (const [name, warning] of cases) {
    test(`the certificate "${name}"`, () => {
      const { warnings } = load({ key: `${name}.key`, cert: `${name}.pem` });
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(warning);
    });
  }
  test("a revocation list out of date", () => {
    pki.writeCrl({ start: "20200101000000Z", end: "20200201000000Z" });
    const { warnings } = load({ crl: ["ca.crl.pem"] });
    pki.writeCrl();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/expired at 2020-02-01T.*: every client is refused until/);
  });
});

describe("loadTlsMaterial() refuses", () => {
  const cases: [string, Names, RegExp][] = [
    ["a missing key", { key: "none" }, /^Cannot use private key ".*none": no such file$/],
    [
      "a folder as key",
      { key: "." },
      /^Cannot use private key ".*": it is a directory, a file is needed$/,
    ],
    ["a key without PEM", { key: "empty" }, /no PEM private key in it$/],
    ["a certificate as key", { key: "server.pem" }, /no PEM private key in it$/],
    ["an encrypted key", { key: "locked.key" }, /it is encrypted$/],
    ["a broken key", { key: "bad.key" }, /^Cannot use private key ".*bad\.key": /],
    [
      "another's key",
      { key: "revoked.key" },
      /does not belong to the private key ".*revoked\.key"$/,
    ],
    ["a missing certificate", { cert: "none" }, /^Cannot use certificate ".*none": no such file$/],
    ["a key as certificate", { cert: "server.key" }, /no PEM certificate in it$/],
    ["a broken certificate", { cert: "garbage" }, /^Cannot use certificate ".*garbage": /],
    ["a missing authority", { authority: "none" }, /^Cannot use trusted certificate ".*": no such/],
    ["an empty authority", { authority: "empty" }, /no PEM certificate in it$/],
    ["a missing list", { crl: ["none"] }, /^Cannot use revocation list ".*none": no such file$/],
    ["an empty list", { crl: ["empty"] }, /no list in it$/],
    ["a certificate as list", { crl: ["ca.pem"] }, /no list in it$/],
    [
      "a broken list",
      { crl: ["bad.crl"] },
      /^Cannot use revocation list ".*bad\.crl": Cannot read DER/,
    ],
  ];
  for (const [name, names, message] of cases) {
    test(name, () => {
      let failure: unknown;
      try {
        load(names);
      } catch (error) {
        failure = error;
      }
      expect(failure).toBeInstanceOf(AgentError);
      expect(failure).toMatchObject({ code: "E_CERT", message: expect.stringMatching(message) });
    });
  }
});

test("certificateFileNames() names every file that is read", () => {
  const trust = { authority: "/ca", crlFiles: ["/crl1", "/crl2"], allowSubject: [] };
  const files = { keyFile: "/key", certificateFile: "/cert", trust };
  expect(certificateFileNames(files)).toEqual(["/key", "/cert", "/ca", "/crl1", "/crl2"]);
  expect(certificateFileNames({ ...files, trust: { ...trust, authority: "all" } })).not.toContain(
    "all",
  );
});
