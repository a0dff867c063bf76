import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:tls";
import { parseRevocationList } from "../../src/bytes/revocation-list.ts";
import type { Front } from "../../src/serve/front.ts";
import { RevocationCheck } from "../../src/serve/revocation.ts";
import { sampleEntry } from "../support/export-stream.ts";
import { BodyRecorder, curl, JOURNAL_TYPE, portOf, startTestFront } from "../support/front.ts";
import { TestPki } from "../support/tls.ts";

const pki = new TestPki();
afterAll(() => pki[Symbol.dispose]());

// An authority below the root, with hosts of its own.
for (const name of ["below", "below-revoked"]) {
  pki.addAuthority(name);
  const extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign"];
  pki.openssl(
    "req",
    "-new",
    "-key",
    `${name}.key`,
    "-subj",
    `/CN=Below ${name}`,
    "-out",
    `${name}.csr`,
  );
  writeFileSync(pki.path("below.ext"), `${extensions.join("\n")}\n`);
  pki.openssl(
    "ca",
    "-config",
    "ca.cnf",
    "-batch",
    "-notext",
    "-in",
    `${name}.csr`,
    "-out",
    `${name}.pem`,
    "-days",
    "9",
    "-extfile",
    "below.ext",
  );
  for (const host of ["host", "leaver"]) pki.issue(`${name}-${host}`, { authority: name });
  pki.revoke(`${name}-leaver`, name);
  pki.writeCrl({ authority: name });
}
pki.issue("web1");
pki.issue("leaver");
pki.revoke("leaver");
pki.revoke("below-revoked");
pki.writeCrl();
// Another certificate for the key of the revoked authority, signed by itself.
pki.openssl(
  "req",
  "-x509",
  "-key",
  "below-revoked.key",
  "-subj",
  "/CN=Below below-revoked",
  "-out",
  "forged.pem",
);
// Of the root's name, but of another key.
pki.addAuthority("twin", "/CN=Test Authority ca");
pki.writeCrl({ authority: "twin" });

/** After the lists were made. */
const NOW = Date.now();

const signed = (name: string) => {
  const der = readFileSync(pki.path(`${name}.crl.der`));
  return { list: parseRevocationList(der), der };
};
const certificate = (name: string) => new X509Certificate(readFileSync(pki.path(`${name}.pem`)));
const check = (...lists: string[]) => new RevocationCheck(lists.map(signed), [certificate("ca")]);

const presented = (...names: string[]) => names.map((name) => certificate(name).raw);

describe("RevocationCheck", () => {
  test.each<[string, string[], string[], string | undefined]>([
    ["a host of the root", ["ca"], ["web1", "ca"], undefined],
    ["a revoked one", ["ca"], ["leaver", "ca"], "CERT_REVOKED"],
    ["one without any list", [], ["leaver", "ca"], undefined],
    ["one without a list of its issuer", ["below"], ["web1", "ca"], "UNABLE_TO_GET_CRL"],
    [
      "one with a list of its issuer's name, but another key",
      ["twin"],
      ["web1", "ca"],
      "UNABLE_TO_GET_CRL",
    ],
    ["a host below the root", ["ca", "below"], ["below-host", "below", "ca"], undefined],
    ["a revoked one there", ["ca", "below"], ["below-leaver", "below", "ca"], "CERT_REVOKED"],
    [
      "a host below, without a list of its authority",
      ["ca"],
      ["below-host", "below", "ca"],
      "UNABLE_TO_GET_CRL",
    ],
    [
      "a host below, without a list of the root",
      ["below"],
      ["below-host", "below", "ca"],
      "UNABLE_TO_GET_CRL",
    ],
    [
      "a host of a revoked authority",
      ["ca", "below-revoked"],
      ["below-revoked-host", "below-revoked", "ca"],
      "CERT_REVOKED",
    ],
    ["a trusted certificate that signs itself", ["ca"], ["ca"], "UNABLE_TO_GET_CRL"],
  ])("of %s", (_what, lists, names, problem) => {
    const revocations = check(...lists);
    // The second time from what was found out the first time.
    for (let i = 0; i < 2; i++)
      expect(revocations.findProblem(presented(...names), NOW)).toBe(problem);
  });

  // Whoever has the key of a revoked authority may send what he likes along with his certificate.
  test.each([
    [["below-revoked"]],
    [["below-revoked", "below-revoked"]],
    [["below-revoked", "ca", "forged"]],
    [["below-revoked", "forged"]],
    [["forged", "below-revoked"]],
    [["ca", "below-revoked"]],
    [["forged"]],
    [["below", "ca"]],
    [[]],
  ])("of a revoked authority's host that sends %j, too", (others) => {
    const problem = check("ca", "below", "below-revoked").findProblem(
      presented("below-revoked-host", ...others),
      NOW,
    );
    expect(problem).toBeOneOf(["CERT_REVOKED", "UNABLE_TO_GET_ISSUER_CERT"]);
  });

  test("whatever a good host sends along, and in whatever order", () => {
    const sent = presented("below-host", "ca", "leaver", "twin", "below", "below");
    expect(check("ca", "below").findProblem(sent, NOW)).toBeUndefined();
  });

  test("of hosts of two authorities of the same name", () => {
    const both = [certificate("twin"), certificate("ca")];
    const revocations = new RevocationCheck([signed("ca"), signed("twin")], both);
    expect(revocations.findProblem(presented("leaver", "twin"), NOW)).toBe("CERT_REVOKED");
    expect(revocations.findProblem(presented("web1", "twin"), NOW)).toBeUndefined();
  });

  test("of no certificate at all", () => {
    expect(check("ca").findProblem([], NOW)).toBe("UNABLE_TO_GET_ISSUER_CERT");
  });

  test("knows nothing before a list begins and after it ends, but what it has revoked", () => {
    const revocations = check("ca");
    const day = 86_400_000;
    expect(revocations.findProblem(presented("web1", "ca"), NOW - day)).toBe("CRL_NOT_YET_VALID");
    expect(revocations.findProblem(presented("web1", "ca"), NOW + 31 * day)).toBe(
      "CRL_HAS_EXPIRED",
    );
    expect(revocations.findProblem(presented("leaver", "ca"), NOW + 31 * day)).toBe("CERT_REVOKED");
  });
});

test("a list for some certificates only is refused: it would be taken for the whole", () => {
  const config = readFileSync(pki.path("ca.cnf"), "utf8");
  writeFileSync(
    pki.path("part.cnf"),
    `${config}\n[part]\nissuingDistributionPoint=critical,onlyuser:TRUE\n`,
  );
  pki.openssl("ca", "-config", "part.cnf", "-gencrl", "-crlexts", "part", "-out", "part.crl.pem");
  pki.openssl("crl", "-in", "part.crl.pem", "-outform", "DER", "-out", "part.crl.der");
  expect(() => signed("part")).toThrow("Cannot use revocation list: it has a critical extension");
});

describe("agent serve, with clients of an authority below the trusted one", () => {
  let front: Front | undefined;
  afterEach(() => front?.stop(0));

  test.each([
    ["below-host", ["ca", "below"], 202],
    ["below-leaver", ["ca", "below"], 401],
    ["below-host", ["ca"], 401],
    ["below-revoked-host", ["ca", "below-revoked"], 401, "below-revoked"],
    // The library gives the certificates in the order in which they come, as if each were the next one's.
    ["below-revoked-host", ["ca", "below-revoked"], 401, "below-revoked", "below-revoked"],
  ] as const)("%s with lists of %j: %d", async (name, lists, status, ...others) => {
    const crlFiles = lists.map((list) => pki.path(`${list}.crl.pem`));
    const certificates = {
      keyFile: pki.path("server.key"),
      certificateFile: pki.path("server.pem"),
      trust: { authority: pki.path("ca.pem"), crlFiles, allowSubject: [] },
    };
    const setup = { https: ["127.0.0.1:0"], options: { certificates } };
    front = await startTestFront(new BodyRecorder(), setup);
    const sent = [name, ...(others.length > 0 ? others : ["below"])].map((each) => `${each}.pem`);
    const files = sent.map((file) => readFileSync(pki.path(file), "utf8"));
    writeFileSync(pki.path("chain.pem"), files.join(""));
    writeFileSync(pki.path("chain.key"), readFileSync(pki.path(`${name}.key`)));
    writeFileSync(pki.path("entry"), sampleEntry(0));
    const url = `https://127.0.0.1:${portOf(front.addresses.https[0])}/upload`;
    const data = ["-H", JOURNAL_TYPE, "--data-binary", `@${pki.path("entry")}`];
    expect((await curl(...pki.curlArgs("chain"), ...data, url)).status).toBe(status);
  });

  test("closes the connections of an authority's hosts when that is revoked", async () => {
    writeFileSync(pki.path("live.crl"), readFileSync(pki.path("ca.crl.pem")));
    const certificates = {
      keyFile: pki.path("server.key"),
      certificateFile: pki.path("server.pem"),
      trust: {
        authority: pki.path("ca.pem"),
        crlFiles: [pki.path("live.crl"), pki.path("below.crl.pem")],
        allowSubject: [],
      },
    };
    const setup = { https: ["127.0.0.1:0"], options: { certificates } };
    front = await startTestFront(new BodyRecorder(), setup);
    const files = ["below-host.pem", "below.pem"].map((file) => readFileSync(pki.path(file)));
    const socket = connect({
      port: portOf(front.addresses.https[0]),
      host: "127.0.0.1",
      ca: readFileSync(pki.path("ca.pem")),
      cert: Buffer.concat(files),
      key: readFileSync(pki.path("below-host.key")),
    });
    socket.resume();
    await once(socket, "secureConnect");
    // The server has let it in.
    socket.write(
      `POST /upload HTTP/1.1\r\nHost: x\r\n${JOURNAL_TYPE}\r\nContent-Length: 0\r\n\r\n`,
    );
    const [answer] = await once(socket, "data");
    expect(String(answer)).toStartWith("HTTP/1.1 202");
    const end = once(socket, "end");
    pki.revoke("below");
    pki.writeCrl();
    writeFileSync(pki.path("live.crl"), readFileSync(pki.path("ca.crl.pem")));
    expect(front.reloadCertificates()).toBe(true);
    await end;
    socket.destroy();
  });
});
