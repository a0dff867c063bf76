import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { makeBundles } from "../../src/certs/bundle-files.ts";
import { formatAlternativeName, parseAlternativeName } from "../../src/certs/names.ts";
import {
  acceptCertificate,
  makeRequest,
  type SignOptions,
  signRequest,
} from "../../src/certs/request.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";
import { TempDir } from "../support/temp-dir.ts";
import { NEW_KEY } from "../support/tls.ts";

describe("a key that stays on its host", () => {
  let owned: DisposableStack;
  let ca: CertsAuthority;
  let host: string;

  beforeEach(async () => {
    owned = new DisposableStack();
    ca = owned.use(await CertsAuthority.create());
    host = join(owned.use(new TempDir()).path, "certs");
  });
  afterEach(() => owned.dispose());

  const text = (file: string): string => readFileSync(join(host, file), "latin1");
  const request = (newKey = false, names = ["logs.example.net", "192.0.2.7"]) =>
    makeRequest({
      directory: host,
      name: "web1",
      names: names.map(parseAlternativeName),
      keyType: undefined,
      newKey,
    });
  /** One of openssl's, with a new key. @returns PEM */
  const foreignRequest = (subject: string, wishes: string[] = [], newKey = NEW_KEY): string => {
    mkdirSync(host, { recursive: true });
    const extensions = wishes.flatMap((wish) => ["-addext", wish]);
    const files = ["-keyout", "foreign.key", "-out", "foreign.csr"];
    const command = ["openssl", "req", "-new", ...newKey, "-subj", subject, ...extensions];
    expect(Bun.spawnSync([...command, ...files], { cwd: host }).exitCode).toBe(0);
    return text("foreign.csr");
  };
  const sign = async (csr: string, options: Partial<SignOptions> = {}) => {
    using authority = await ca.open();
    return await signRequest(authority, csr, "web1.csr", {
      names: undefined,
      role: "both",
      days: 100,
      force: false,
      ...options,
    });
  };
  const accept = (pem: string, nowMs = Date.now()) =>
    acceptCertificate({ directory: host, text: pem, file: "web1.pem", nowMs });

  test("is made there, requested, signed and accepted; the authority never has it", async () => {
    const made = await request();
    expect(made).toEqual({
      request: join(host, "web1.csr"),
      key: join(host, "web1.key"),
      isNewKey: true,
    });
    expect(statSync(made.key).mode & 0o777).toBe(0o600);
    const { facts, hasKey } = await sign(text("web1.csr"));
    expect(facts.names.map(formatAlternativeName)).toEqual([
      "DNS:web1",
      "DNS:logs.example.net",
      "IP:192.0.2.7",
    ]);
    expect(hasKey).toBe(false);
    expect(existsSync(ca.path("web1.key"))).toBe(false);
    const answer = ca.text("web1.pem") + ca.text("ca.pem");
    expect(await accept(answer)).toMatchObject({
      outcome: "accepted",
      facts: { serial: facts.serial },
      authority: { name: "systemd-journal-remote-ca" },
      files: ["ca.pem", "web1.pem"].map((file) => join(host, file)),
    });
    expect(readdirSync(host).sort()).toEqual(["ca.pem", "web1.csr", "web1.key", "web1.pem"]);
    const before = listFiles(host);
    expect((await accept(answer)).outcome).toBe("unchanged");
    expect(changedFiles(before, listFiles(host))).toEqual([]);
  });

  test("openssl finds the request good, and the authority signs openssl's", async () => {
    await request();
    const check = Bun.spawnSync(
      ["openssl", "req", "-in", "web1.csr", "-noout", "-verify", "-text"],
      { cwd: host, stderr: "pipe" },
    );
    expect(`${check.stdout}${check.stderr}`).toContain("self-signature verify OK");
    expect(`${check.stdout}`).toContain("DNS:web1, DNS:logs.example.net, IP Address:192.0.2.7");
    const rsa = ["-newkey", "rsa:2048", "-nodes"];
    const foreign = foreignRequest("/CN=foreign", ["subjectAltName=DNS:x"], rsa);
    const { facts } = await sign(foreign, { role: "client" });
    expect(facts).toMatchObject({ name: "foreign", role: "client", keyType: "rsa2048" });
    expect(ca.openssl("verify", "-x509_strict", "-CAfile", "ca.pem", "foreign.pem")).toContain(
      "OK",
    );
  });

  test("what a request asks for besides names is not granted; names can be others", async () => {
    const wishes = [
      "basicConstraints=critical,CA:TRUE",
      "keyUsage=keyCertSign",
      "subjectAltName=DNS:google.example",
    ];
    const { facts } = await sign(foreignRequest("/CN=web1", wishes), {
      names: [parseAlternativeName("web1.example.net")],
    });
    expect(facts.isAuthority).toBe(false);
    expect(facts.names.map(formatAlternativeName)).toEqual(["DNS:web1", "DNS:web1.example.net"]);
  });

  test("signed again it is the same certificate, unless it says something else", async () => {
    await request();
    const first = await sign(text("web1.csr"));
    expect(await sign(text("web1.csr"))).toMatchObject({
      outcome: "unchanged",
      facts: { serial: first.facts.serial },
    });
    await request(false, ["other"]);
    await expect(sign(text("web1.csr"))).rejects.toMatchObject({ code: "E_USAGE" });
    expect(await sign(text("web1.csr"), { force: true })).toMatchObject({
      outcome: "issued",
      former: { serial: first.facts.serial },
    });
  });

  test("a new key waits until its certificate is accepted", async () => {
    await request();
    await sign(text("web1.csr"));
    await accept(ca.text("web1.pem") + ca.text("ca.pem"));
    const formerKey = text("web1.key");
    const made = await request(true);
    expect(made.key).toBe(join(host, "web1.key.new"));
    expect(text("web1.key")).toBe(formerKey);
    await sign(text("web1.csr"), { force: true });
    const newKey = text("web1.key.new");
    expect((await accept(ca.text("web1.pem"))).outcome).toBe("accepted");
    expect(text("web1.key")).toBe(newKey);
    expect(existsSync(join(host, "web1.key.new"))).toBe(false);
  });

  test("a bundle is accepted, too, with its list", async () => {
    await request();
    await sign(text("web1.csr"));
    using authority = await ca.open();
    const bundle = await makeBundles(authority, "web1", { server: undefined, output: "-" });
    await accept(bundle.text ?? "");
    expect(text("crl.pem")).toBe(ca.text("crl.pem"));
  });

  test("broken requests are refused", async () => {
    await request();
    const good = text("web1.csr");
    const der = Buffer.from(good.replace(/-----.*-----|\n/g, ""), "base64");
    // A letter of the name: well formed, but not what was signed.
    const forged = Buffer.from(der);
    forged[der.indexOf("web1")] = "x".charCodeAt(0);
    const pem = (bytes: Buffer) =>
      `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
    await expect(sign(pem(forged))).rejects.toMatchObject({
      code: "E_CERT",
      message: 'Cannot use request "web1.csr": its signature is not that of its key',
    });
    for (const broken of [
      "",
      "garbage",
      pem(der.subarray(0, 60)),
      pem(Buffer.alloc(0)),
      ca.text("ca.pem"),
      text("web1.key"),
    ]) {
      await expect(sign(broken)).rejects.toMatchObject({ code: "E_CERT" });
    }
    expect(
      readdirSync(ca.directory).filter(
        (file) => file.startsWith("web1") || file.startsWith("xeb1"),
      ),
    ).toEqual([]);
  });

  test("requests for odd names are refused", async () => {
    for (const [subject, wish] of [
      ["/CN=..", "DNS:x"],
      ["/CN=a b", "DNS:x"],
      ["/CN=ca", "DNS:x"],
      ["/O=x", "DNS:x"],
      ["/CN=web1", "email:a@b.example"],
      ["/CN=web1", "URI:http://x"],
      ["/CN=web1", "DNS:a b"],
      ["/CN=web1", "DNS:a/b"],
      ["/CN=web1", "DNS:*"],
      ["/CN=web1", "DNS:192.0.2.7"],
    ] as const) {
      const odd = foreignRequest(subject, [`subjectAltName=${wish}`]);
      await expect(sign(odd)).rejects.toThrow(/^Cannot use (request|name)/);
    }
    expect(ca.text("index")).toBe("");
  });

  test("names that a request asks for are told to whoever signs it, those given are not", async () => {
    await request();
    await sign(text("web1.csr"), { names: ["logs.example.net"].map(parseAlternativeName) });
    expect(ca.reports).toEqual([]);
    await request(true);
    await sign(text("web1.csr"), { force: true });
    expect(ca.reports).toEqual([
      'The request of "web1" asked for further names, which it has now: DNS:logs.example.net, IP:192.0.2.7',
    ]);
  });

  test("requests of weak keys are refused", async () => {
    const weak = [
      ["rsa", "-pkeyopt", "rsa_keygen_bits:1024"],
      ["ec", "-pkeyopt", "ec_paramgen_curve:P-224"],
    ];
    for (const kind of weak) {
      const request = foreignRequest("/CN=web1", [], ["-newkey", ...kind, "-nodes"]);
      await expect(sign(request)).rejects.toMatchObject({ code: "E_CERT" });
    }
    expect(ca.text("index")).toBe("");
  });

  test("a certificate is not accepted for another key, from a stranger, or when it is over", async () => {
    using stranger = await CertsAuthority.create();
    await request();
    await sign(text("web1.csr"));
    const answer = ca.text("web1.pem");
    await ca.issue("web2");
    const before = listFiles(host);
    await expect(accept(answer)).rejects.toThrow("no certificate of the authority");
    await expect(accept(answer + stranger.text("ca.pem"))).rejects.toThrow(
      "no certificate of the authority",
    );
    await expect(accept(ca.text("web2.pem") + ca.text("ca.pem"))).rejects.toThrow(
      'need "web2.key"',
    );
    await expect(accept(answer + ca.text("ca.pem"), Date.now() + 200 * DAY_MS)).rejects.toThrow(
      "it expired on",
    );
    await expect(accept(ca.text("ca.pem"))).rejects.toThrow("no host's certificate in it");
    await expect(accept("garbage")).rejects.toMatchObject({ code: "E_CERT" });
    expect(changedFiles(before, listFiles(host))).toEqual([]);
  });

  test("where the authority has another key for the host, that is said, and --force removes it", async () => {
    await ca.issue("web1");
    await request();
    await expect(sign(text("web1.csr"))).rejects.toThrow(
      "its key is in the directory here, and it is another one",
    );
    await sign(text("web1.csr"), { force: true });
    expect(existsSync(ca.path("web1.key"))).toBe(false);
    expect((await ca.issue("web1", { names: ["logs.example.net", "192.0.2.7"] })).outcome).toBe(
      "unchanged",
    );
  });
});
