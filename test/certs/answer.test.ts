import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answerQuestion, CERTIFICATES_PER_NAME_MAX } from "../../src/certs/answer.ts";
import { auditAuthority } from "../../src/certs/audit.ts";
import type { Authority } from "../../src/certs/authority.ts";
import { type Certificate, readCertificates } from "../../src/certs/certificate.ts";
import { parseIndex } from "../../src/certs/index-file.ts";
import { generateKey, readPrivateKey } from "../../src/certs/keys.ts";
import { cancelToken, makeToken, type TokenRequest } from "../../src/certs/make-token.ts";
import { parseAlternativeName } from "../../src/certs/names.ts";
import { readPem } from "../../src/certs/pem.ts";
import { renewCertificates } from "../../src/certs/renew.ts";
import { prepareRotation, switchAuthority } from "../../src/certs/rotate.ts";
import { authorityFingerprint, parseToken, prove } from "../../src/certs/token.ts";
import { readTokens } from "../../src/certs/token-store.ts";
import { vouchedAuthorities } from "../../src/certs/vouched.ts";
import { createLeaf, createRequest } from "../../src/certs/x509.ts";
import type { SignerAnswer, SignerQuestion } from "../../src/platform/signer-protocol.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { requestFor } from "../support/fake-signer.ts";

const HOUR_MS = 3_600_000;

let ca: CertsAuthority;
let key: KeyObject;
let request: string;
let told: string[];
beforeEach(async () => {
  ca = await CertsAuthority.create();
  key = await generateKey("p256");
  request = await createRequest({ commonName: "web1", names: [parseAlternativeName("evil")], key });
  told = [];
});
afterEach(() => ca[Symbol.dispose]());

/** @returns the secret */
async function token(name: string, more: Partial<TokenRequest> = {}): Promise<Buffer> {
  using authority = await ca.open();
  const wanted = { name, names: [], role: "client", days: 90, validMs: HOUR_MS, force: false };
  const { text } = makeToken(authority, { ...wanted, ...more } as TokenRequest);
  return parseToken(text).secret;
}

async function ask(question: object | string, nowMs = Date.now()): Promise<SignerAnswer> {
  const line = typeof question === "string" ? question : JSON.stringify(question);
  return await answerQuestion(line, { ...ca.options(nowMs), inform: (text) => told.push(text) });
}

function enroll(secret: Buffer, more: Partial<SignerQuestion> = {}, nowMs?: number) {
  const proof = prove(secret, more.request ?? request);
  return ask({ op: "enroll", proof, request, address: "192.0.2.7", ...more }, nowMs);
}

function renew(more: Partial<SignerQuestion> = {}, nowMs?: number) {
  return ask({ op: "renew", request, name: "web1", address: "192.0.2.7", ...more }, nowMs);
}

function leafOf({ status, text }: SignerAnswer): X509Certificate {
  if (status !== 200) throw new Error(`${status}: ${text}`);
  return new X509Certificate(text);
}

function expectGood(): void {
  const options = { directory: ca.directory, nowMs: Date.now(), passphrase: undefined };
  expect(auditAuthority(options).faults).toEqual([]);
}

const indexLines = (): string[] => ca.text("index").trim().split("\n").filter(Boolean);

describe("authority", () => {
  test("is what the token's fingerprint is of", async () => {
    using authority = await ca.open();
    const made = makeToken(authority, {
      ...{ name: "web1", names: [], role: "client", days: 90, validMs: HOUR_MS, force: false },
    });
    // While another command is at work: nothing is changed, so there is nothing to wait for.
    const answer = await ask({ op: "authority", address: "192.0.2.7" });
    expect(answer).toEqual({ status: 200, text: ca.text("ca.pem") });
    const [block] = readPem(answer.text);
    expect(authorityFingerprint(block?.der ?? Buffer.of())).toEqual(
      parseToken(made.text).fingerprint,
    );
  });
});

describe("enroll", () => {
  test("gives a certificate of the token's name, names and role for the request's key", async () => {
    const names = ["web1.example.net", "192.0.2.9"].map(parseAlternativeName);
    const answer = await enroll(await token("web1", { names, role: "both", days: 30 }));
    const leaf = leafOf(answer);
    expect(leaf.subject).toBe("CN=web1");
    expect(leaf.subjectAltName).toBe("DNS:web1, DNS:web1.example.net, IP Address:192.0.2.9");
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect(leaf.checkPrivateKey(key)).toBe(true);
    expect((Date.parse(leaf.validTo) - Date.parse(leaf.validFrom)) / DAY_MS).toBe(30);
    expect(readPem(answer.text).map(({ label }) => label)).toEqual([
      "CERTIFICATE",
      "CERTIFICATE",
      "X509 CRL",
    ]);
    expect(answer.text).toBe(ca.text("web1.pem") + ca.text("ca.pem") + ca.text("crl.pem"));
    expect(told).toEqual([`Enrolment: "192.0.2.7" has certificate ${leaf.serialNumber} of "web1"`]);
    expectGood();
  });

  test("is single-use: another key is refused, the same one gets the same certificate", async () => {
    const secret = await token("web1");
    const first = await enroll(secret);
    const index = ca.text("index");
    expect(await enroll(secret)).toEqual(first);
    expect(await enroll(secret, { request: await requestFor("web1") })).toMatchObject({
      status: 403,
      reason: "used",
    });
    expect(ca.text("index")).toBe(index);
    expect(leafOf(first).checkPrivateKey(key)).toBe(true);
  });

  test("a used token gives nothing once its certificate is replaced, or it has expired", async () => {
    const secret = await token("web1");
    await enroll(secret);
    const later = Date.now() + 2 * HOUR_MS;
    expect(await enroll(secret, {}, later)).toMatchObject({ status: 403, reason: "expired" });
    await ca.issue("web1", { role: "client", replace: "new key" });
    expect(await enroll(secret)).toMatchObject({ status: 403, reason: "used" });
  });

  test("expired: the host is told for a day", async () => {
    const secret = await token("web1");
    const refused = await enroll(secret, {}, Date.now() + HOUR_MS);
    expect(refused).toMatchObject({ status: 403, reason: "expired" });
    expect(refused.text).toContain("This token expired at 20");
    expect(indexLines()).toEqual([]);
  });

  const unknown = { status: 403, reason: "unknown", text: "This token is not valid here" };

  test("guessed and tampered ones are unknown, and say nothing of names", async () => {
    const secret = await token("web1");
    const tampered = Buffer.from(secret);
    tampered[0] = (tampered[0] ?? 0) ^ 0x80;
    expect(await enroll(tampered)).toEqual(unknown);
    const proof = prove(secret, request);
    const wrong = [
      "",
      "x",
      `${proof}AA`,
      "a".repeat(128),
      `B${proof.slice(1)}`,
      secret.toString("hex"),
    ];
    for (const each of wrong) expect(await enroll(secret, { proof: each })).toEqual(unknown);
    expect(indexLines()).toEqual([]);
    expect(leafOf(await enroll(secret)).subject).toBe("CN=web1");
  });

  test("a receiver that passes a proof on can use it for no other request", async () => {
    const secret = await token("web1");
    const proof = prove(secret, request);
    expect(await enroll(secret, { proof, request: await requestFor("web1") })).toEqual(unknown);
    expect(await enroll(secret, { proof, request: request.trimEnd() })).toEqual(unknown);
    expect(indexLines()).toEqual([]);
    const first = await enroll(secret, { proof });
    expect(leafOf(first).checkPrivateKey(key)).toBe(true);
    // Shown again it gives what it gave, which is of use to nobody else.
    expect(await enroll(secret, { proof })).toEqual(first);
  });

  test("of another name is refused, and the token is still good for its own", async () => {
    const secret = await token("web1");
    for (const name of ["web2", "WEB1", "web1.example.net"]) {
      const refused = await enroll(secret, { request: await requestFor(name) });
      expect(refused).toMatchObject({ status: 403, reason: "wrong-name" });
      expect(refused.text).toBe(`This token is for "web1", not for "${name}"`);
    }
    expect(leafOf(await enroll(secret)).subject).toBe("CN=web1");
  });

  test("weak, unsigned and broken requests are refused, and use nothing up", async () => {
    const secret = await token("web1");
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
    const [block] = readPem(request);
    const der = Buffer.from(block?.der ?? "");
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    const unsigned = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
    const bad = [
      await createRequest({ commonName: "web1", names: [], key: weak }),
      unsigned,
      "",
      "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
      "x".repeat(60_000),
      ca.text("ca.pem"),
      await requestFor("../../etc/passwd"),
      await requestFor("ca"),
    ];
    for (const each of bad) {
      expect(await enroll(secret, { request: each })).toMatchObject({
        status: 400,
        reason: "request",
      });
    }
    const long = await enroll(secret, { request: await requestFor(`web\n${"é".repeat(2000)}`) });
    expect(long.text).toMatch(/^[\x20-\x7e]{1,300}$/);
    expect(indexLines()).toEqual([]);
    expect(leafOf(await enroll(secret)).subject).toBe("CN=web1");
  });

  test("a name that has got a certificate since is taken; with force it is replaced", async () => {
    const secret = await token("web1");
    await ca.issue("web1");
    expect(await enroll(secret)).toMatchObject({ status: 403, reason: "taken" });
    const before = ca.text("web1.pem");
    const leaf = leafOf(await enroll(await token("web1", { force: true })));
    expect(leaf.checkPrivateKey(key)).toBe(true);
    expect(ca.text("web1.pem")).not.toBe(before);
    // The former key here is of no use, and would not be that of the certificate.
    expect(() => ca.text("web1.key")).toThrow("ENOENT");
    expectGood();
  });

  test("revoked: tokens of the name are void, and the key stays out", async () => {
    const first = await token("web1");
    await enroll(first);
    await ca.revoke("web1");
    expect(await enroll(first)).toMatchObject({ status: 403, reason: "unknown" });
    const second = await token("web1");
    expect(await enroll(second)).toMatchObject({ status: 403, reason: "revoked" });
    await ca.revoke("web1");
    expect(await enroll(second)).toMatchObject({ status: 403, reason: "unknown" });
    const third = await token("web1");
    const fresh = await requestFor("web1");
    expect(leafOf(await enroll(third, { request: fresh })).subject).toBe("CN=web1");
    expectGood();
  });

  test("a cancelled token, and one that another one followed, are unknown", async () => {
    const [first, second] = [await token("web1"), await token("web1")];
    expect(await enroll(first)).toMatchObject({ reason: "unknown" });
    using authority = await ca.open();
    cancelToken(authority, "web1");
    expect(() => cancelToken(authority, "web1")).toThrow("there is none");
    authority[Symbol.dispose]();
    expect(await enroll(second)).toMatchObject({ reason: "unknown" });
  });

  test("several at once: one token gives one certificate", async () => {
    const secret = await token("web1");
    const requests = await Promise.all(Array.from({ length: 8 }, () => requestFor("web1")));
    const answers = await Promise.all(requests.map((each) => enroll(secret, { request: each })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(403)].sort());
    expect(indexLines()).toHaveLength(1);
    expectGood();
  });

  test("secrets are neither in the file nor in what is told", async () => {
    const secret = await token("web1");
    await enroll(Buffer.alloc(32, 7));
    await enroll(secret);
    const everything = `${ca.text("tokens")}${told.join("")}${ca.reports.join("")}`;
    for (const form of ["base64url", "base64", "hex"] as const) {
      expect(everything).not.toContain(secret.toString(form));
      expect(everything).not.toContain(Buffer.alloc(32, 7).toString(form));
    }
  });
});

describe("renew", () => {
  test("gives one with the same names, role, length and key; the former one stays valid", async () => {
    const names = [parseAlternativeName("web1.example.net")];
    const first = leafOf(await enroll(await token("web1", { names })));
    const other = await createRequest({
      commonName: "web1",
      names: [parseAlternativeName("logs.example.net")],
      key,
    });
    const answer = await renew({ request: other }, Date.now() + 60 * DAY_MS);
    const leaf = leafOf(answer);
    expect(leaf.serialNumber).not.toBe(first.serialNumber);
    expect(leaf.subjectAltName).toBe("DNS:web1, DNS:web1.example.net");
    expect(leaf.keyUsage).toEqual(first.keyUsage);
    expect(leaf.checkPrivateKey(key)).toBe(true);
    expect((Date.parse(leaf.validTo) - Date.parse(leaf.validFrom)) / DAY_MS).toBe(90);
    expect(answer.text).toBe(ca.text("web1.pem") + ca.text("ca.pem") + ca.text("crl.pem"));
    const entries = parseIndex(ca.text("index"), "index");
    expect(entries.map(({ status }) => status)).toEqual(["V", "V"]);
    expect(readTokens(ca)).toHaveLength(1);
    expectGood();
  });

  test("of one that was issued here, with its key", async () => {
    await ca.issue("web1", { role: "client" });
    ca.writeRequest("web1", "DNS:web1");
    expect(leafOf(await renew({ request: ca.text("web1.csr") })).subject).toBe("CN=web1");
    expectGood();
  });

  test.each([
    [
      "another key",
      { reason: "wrong-key" },
      async () => renew({ request: await requestFor("web1") }),
    ],
    ["another name than the connection's", { reason: "wrong-name" }, () => renew({ name: "web2" })],
    [
      "a name without a certificate",
      { reason: "unknown" },
      async () => renew({ name: "web2", request: await requestFor("web2") }),
    ],
    ["after its end", { reason: "expired" }, () => renew({}, Date.now() + 91 * DAY_MS)],
    ["a broken request", { status: 400, reason: "request" }, () => renew({ request: "x" })],
  ] as const)("%s is refused", async (_what, wanted, attempt) => {
    await enroll(await token("web1"));
    const index = ca.text("index");
    expect(await attempt()).toMatchObject({ status: 403, ...wanted });
    expect(ca.text("index")).toBe(index);
  });

  test("a revoked certificate is not renewed", async () => {
    await enroll(await token("web1"));
    await ca.revoke("web1");
    expect(await renew()).toMatchObject({ status: 403, reason: "revoked" });
  });

  test("a certificate that is not in the index is not renewed", async () => {
    await enroll(await token("web1"));
    writeFileSync(ca.path("index"), "");
    expect(await renew()).toMatchObject({ status: 403, reason: "unknown" });
  });

  test("a certificate that somebody else has made is not renewed, though its number is in the index", async () => {
    using foreign = await CertsAuthority.create();
    const { serialNumber } = leafOf(await enroll(await token("web1")));
    const now = Date.now();
    const forged = await createLeaf(
      {
        ...{ commonName: "web1", role: "both", serial: serialNumber },
        names: [parseAlternativeName("logs.example.net")],
        publicKey: createPublicKey(key),
        ...{ notBeforeMs: now - DAY_MS, notAfterMs: now + DAY_MS },
      },
      { certificate: foreign.text("ca.pem"), key: readPrivateKey(foreign.text("ca.key"), "key") },
    );
    writeFileSync(ca.path("web1.pem"), forged);
    expect(await renew()).toMatchObject({ status: 403, reason: "unknown" });
    using authority = await ca.open();
    await expect(
      renewCertificates(authority, {
        ...{ hosts: ["web1"], expiringMs: undefined, days: undefined, newKeys: false },
      }),
    ).rejects.toThrow("its certificate is not in the index of this authority");
  });

  test("no more than the maximum are valid at a time", async () => {
    await enroll(await token("web1"));
    for (let count = 1; count < CERTIFICATES_PER_NAME_MAX; count++) leafOf(await renew());
    expect(await renew()).toMatchObject({ status: 429, reason: "too-many" });
    expect(indexLines()).toHaveLength(CERTIFICATES_PER_NAME_MAX);
    // Of another name there is nothing yet.
    const other = await enroll(await token("web2"), { request: await requestFor("web2") });
    expect(leafOf(other).subject).toBe("CN=web2");
  });
});

test("a host that has used up the maximum is renewed once its certificate is due", async () => {
  await enroll(await token("web1"));
  for (let count = 1; count < CERTIFICATES_PER_NAME_MAX; count++) leafOf(await renew());
  const due = Date.now() + 61 * DAY_MS;
  expect(await renew({}, due - 2 * DAY_MS)).toMatchObject({ status: 429, reason: "too-many" });
  expect(leafOf(await renew({}, due)).subject).toBe("CN=web1");
  // And what was renewed is not due.
  expect(await renew({}, due)).toMatchObject({ status: 429, reason: "too-many" });
});

describe("while authorities change", () => {
  const offered = ({ text }: SignerAnswer): Certificate[] =>
    readCertificates(text, "answer").filter(({ facts }) => facts.isAuthority);
  const own = (): Certificate[] => readCertificates(ca.text("ca.pem"), "ca.pem");
  const change = async (step: (authority: Authority) => Promise<void>): Promise<void> => {
    using authority = await ca.open();
    await step(authority);
  };
  const PREPARE = { keyType: "p256", days: 3650, passphrase: undefined } as const;
  const pemOf = (certificates: readonly Certificate[]): string =>
    certificates.map(({ pem }) => pem).join("");

  test("each vouches for the other, for a day, and is alone good for no connection", async () => {
    const former = own();
    await enroll(await token("web1"));
    await change((authority) => prepareRotation(authority, PREPARE));
    const prepared = await renew();
    expect(offered(prepared)).toHaveLength(3);
    expect(pemOf(vouchedAuthorities(offered(prepared), former, Date.now()))).toBe(
      ca.text("ca.pem"),
    );
    expect(vouchedAuthorities(offered(prepared), former, Date.now() + 2 * DAY_MS)).toHaveLength(1);

    await change(switchAuthority);
    const [next, ...others] = own();
    if (next === undefined || others.length !== 1) throw new Error("There are two");
    const switched = await renew();
    expect(offered(switched)).toHaveLength(4);
    for (const trusted of [former, [next]]) {
      expect(pemOf(vouchedAuthorities(offered(switched), trusted, Date.now()))).toBe(
        ca.text("ca.pem"),
      );
    }
    expectGood();
    const vouchers = offered(switched).slice(2);
    writeFileSync(ca.path("chain.pem"), pemOf(vouchers));
    writeFileSync(ca.path("former.pem"), pemOf(former));
    const chain = ["-CAfile", "former.pem", "-untrusted", "chain.pem", "web1.pem"];
    expect(() => ca.openssl("verify", ...chain)).toThrow("path length constraint exceeded");
  });

  test("one that somebody has written into ca.pem is vouched for by none", async () => {
    using foreign = await CertsAuthority.create();
    await enroll(await token("web1"));
    const former = own();
    writeFileSync(ca.path("ca.pem"), ca.text("ca.pem") + foreign.text("ca.pem"));
    const vouched = vouchedAuthorities(offered(await renew()), former, Date.now());
    expect(pemOf(vouched)).toBe(pemOf(former));
  });

  test("one that is not of the directory is vouched for by none", async () => {
    using foreign = await CertsAuthority.create();
    const theirs = readCertificates(foreign.text("ca.pem"), "theirs");
    await enroll(await token("web1"));
    await change((authority) => prepareRotation(authority, PREPARE));
    const former = own().slice(0, 1);
    const vouched = vouchedAuthorities([...theirs, ...offered(await renew())], former, Date.now());
    expect(pemOf(vouched)).toBe(ca.text("ca.pem"));
    // Of the same name, as all are called the same.
    expect(theirs[0]?.x509.subject).toBe(former[0]?.x509.subject ?? "");
  });
});

describe("trouble", () => {
  test.each([
    "",
    "x",
    "null",
    "[]",
    "{}",
    '{"op":"sign","address":"a"}',
    '{"op":"enroll","address":7}',
    '{"op":"enroll","proof":{},"address":"a"}',
    '{"op":"renew","request":["x"],"address":"a"}',
    `{"op":"enroll","proof":"${"a".repeat(200_000)}","address":"a"}`,
  ])("a malformed question %#", async (line) => {
    expect(await ask(line)).toMatchObject({ status: 400, reason: "malformed" });
  });

  test("a request that is made to keep whoever parses it busy", async () => {
    await ca.issue("web1", { role: "client" });
    const hostile = `-----BEGIN A-----\nA: b\n${" c: d\n".repeat(22)}\n!\n-----BEGIN X-----\nAAAA\n-----END X-----\n`;
    const startMs = performance.now();
    const answer = await renew({ request: hostile.repeat(290) });
    // The library needs a minute, in which nothing else gets a turn.
    expect(performance.now() - startMs).toBeLessThan(10_000);
    expect(answer).toMatchObject({ status: 400, reason: "request" });
  }, 90_000);

  test("an encrypted key: 503, the log says what to do, the token is not used", async () => {
    using locked = await CertsAuthority.create({ passphrase: "correct horse" });
    locked.passphrase = undefined;
    ca[Symbol.dispose]();
    ca = locked;
    const secret = await token("web1");
    expect(await enroll(secret)).toMatchObject({ status: 503, reason: "passphrase" });
    expect(ca.reports.join("\n")).toContain(
      "Enrolment needs an authority's key without a passphrase",
    );
    ca.passphrase = "correct horse";
    expect(leafOf(await enroll(secret)).subject).toBe("CN=web1");
  });

  test("no authority there, or broken files: 503, what they are is for the log", async () => {
    const secret = await token("web1");
    writeFileSync(ca.path("tokens"), `${readFileSync(ca.path("tokens"))}{}\n`);
    const answer = await enroll(secret);
    expect(answer).toEqual({
      status: 503,
      reason: "trouble",
      text: "The authority cannot answer now, its log says why",
    });
    const broken = `Cannot read tokens "${join(ca.directory, "tokens")}"`;
    expect(ca.reports.join("\n")).toContain(broken);
    const options = { directory: ca.directory, nowMs: Date.now(), passphrase: undefined };
    expect(auditAuthority(options).faults).toEqual([expect.stringContaining(broken)]);
  });
});
