import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { formatBundle, parseBundle, parseServerUrl } from "../../src/certs/bundle.ts";
import { type BundleOptions, makeBundles } from "../../src/certs/bundle-files.ts";
import { CertsAuthority } from "../support/certs.ts";

const bundle = async (ca: CertsAuthority, name: string, options: Partial<BundleOptions> = {}) => {
  using authority = await ca.open();
  return await makeBundles(authority, name, { server: undefined, output: undefined, ...options });
};
const SERVER = "https://logs.example.net:19532";

describe("makeBundles()", () => {
  test("writes both forms, for root alone, with all that the host needs", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1", { role: "client" });
    const { files, hasKey } = await bundle(ca, "web1", { server: SERVER });
    expect(files).toEqual([ca.path("web1.bundle"), ca.path("runme-on-web1.sh")]);
    expect(hasKey).toBe(true);
    expect(files.map((file) => (statSync(file).mode & 0o777).toString(8))).toEqual(["600", "700"]);
    expect(parseBundle(ca.text("web1.bundle"), "web1.bundle")).toEqual({
      name: "web1",
      role: "client",
      server: SERVER,
      certificate: ca.text("web1.pem"),
      key: ca.text("web1.key"),
      authorities: ca.text("ca.pem"),
      lists: ca.text("crl.pem"),
    });
    expect(ca.text("runme-on-web1.sh")).toContain(ca.text("web1.key"));
  });

  test("without the key where that never left its host", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    rmSync(ca.path("web1.key"));
    const { text = "", hasKey } = await bundle(ca, "web1", { output: "-" });
    expect(hasKey).toBe(false);
    expect(text).not.toContain("PRIVATE KEY");
    expect(parseBundle(text, "-").key).toBeUndefined();
    await bundle(ca, "web1");
    expect(ca.text("runme-on-web1.sh")).toContain("HAS_KEY='no'");
    expect(ca.text("runme-on-web1.sh")).not.toContain("BEGIN PRIVATE KEY");
  });

  test("one file, of the kind that its name says", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const [script, other] = [join(ca.dir.path, "x.sh"), join(ca.dir.path, "x.txt")];
    expect((await bundle(ca, "web1", { output: script })).files).toEqual([script]);
    expect(readFileSync(script, "utf8")).toStartWith("#!/bin/sh\n");
    await bundle(ca, "web1", { output: other });
    expect(parseBundle(readFileSync(other, "utf8"), other).name).toBe("web1");
  });

  test("a key in an older form is written in the present one", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1", { keyType: "rsa2048" });
    ca.openssl("rsa", "-in", "web1.key", "-traditional", "-out", "web1.old");
    const pem = ca.text("web1.key");
    ca.dir.write("ca/web1.key", ca.text("web1.old"));
    const { text = "" } = await bundle(ca, "web1", { output: "-" });
    expect(parseBundle(text, "-").key).toBe(pem);
  });

  test("of a list that a daemon has left, the list alone: root runs the script", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const list = ca.text("crl.pem");
    const command = "END_OF_FILE\n}\ntouch /tmp/owned\nx() {\n";
    const inside = list.replace("-----END", `\n${command}-----END`);
    for (const text of [`${command}${list}`, `${list}${command}`, inside]) {
      ca.dir.write("ca/crl.pem", text);
      await bundle(ca, "web1");
      // Inside of the armour it is Base64 like the rest, which may hold the letters.
      expect(ca.text("runme-on-web1.sh")).not.toContain("touch /tmp");
      expect(ca.text("web1.bundle")).not.toContain("touch /tmp");
    }
  });

  test("not of what is missing or revoked, nor to where there is nothing", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    await ca.revoke("web1");
    await expect(bundle(ca, "web1")).rejects.toThrow(
      'Cannot bundle "web1": its certificate is revoked',
    );
    await expect(bundle(ca, "nobody")).rejects.toThrow("it has no certificate of this authority");
    await ca.issue("web2");
    await expect(bundle(ca, "web2", { output: join(ca.dir.path, "no/x.sh") })).rejects.toThrow(
      "no such directory",
    );
  });

  test.skipIf(process.getuid?.() !== 0)("not to where a daemon could replace it", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const daemons = join(ca.dir.path, "daemon");
    mkdirSync(daemons);
    chownSync(daemons, 995, 999);
    const output = join(daemons, "runme.sh");
    await expect(bundle(ca, "web1", { output })).rejects.toThrow(
      `it could be replaced by user 995, who owns "${daemons}"`,
    );
    chownSync(daemons, 0, 0);
    chmodSync(daemons, 0o775);
    await expect(bundle(ca, "web1", { output })).rejects.toThrow("others, who may write");
    // As /tmp is: others cannot replace what is root's.
    chmodSync(daemons, 0o1777);
    expect((await bundle(ca, "web1", { output })).files).toEqual([output]);
  });
});

describe("parseBundle()", () => {
  test("refuses what is none, or not whole", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const whole = formatBundle({
      name: "web1",
      role: "both",
      server: undefined,
      certificate: ca.text("web1.pem"),
      key: undefined,
      authorities: ca.text("ca.pem"),
      lists: "",
    });
    expect(parseBundle(whole, "x").server).toBeUndefined();
    const certificatesEnd = whole.lastIndexOf("-----BEGIN CERT");
    for (const broken of [
      "",
      "x",
      whole.slice(1),
      whole.slice(0, certificatesEnd),
      whole.replace("Name: ", "Nam: "),
      whole.replace("both", "king"),
    ]) {
      expect(() => parseBundle(broken, "x")).toThrow('Cannot use bundle "x"');
    }
  });
});

describe("parseServerUrl()", () => {
  test.each([
    "https://logs.example.net:19532",
    "https://[2001:db8::7]:19532/a/b",
    "http://logs",
    "https://a.b/x?y=z",
  ])("takes %p", (url) => {
    expect(parseServerUrl(url)).toBe(url);
  });

  test.each([
    "",
    "logs.example.net",
    "ftp://x",
    "https://",
    "https:///x",
    "https://a b",
    "https://a'b",
    'https://a"b',
    "https://a\nURL=b",
    "https://a<b",
    "https://a/\\nServerKeyFile=/x",
    `https://${"a".repeat(3000)}`,
  ])("refuses %p", (url) => {
    expect(() => parseServerUrl(url)).toThrow("Cannot use server");
  });
});
