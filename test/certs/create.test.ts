import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { initAuthority } from "../../src/certs/create.ts";
import { CertsAuthority } from "../support/certs.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";

const REQUEST = { commonName: "Test", keyType: "p256", days: 3650, passphrase: undefined } as const;
const isRoot = process.getuid?.() === 0;

describe("initAuthority()", () => {
  test("makes all files, the key for root alone", async () => {
    using ca = await CertsAuthority.create();
    const modes = readdirSync(ca.directory).map((file) => {
      return `${file} ${(statSync(ca.path(file)).mode & 0o777).toString(8)}`;
    });
    expect(modes.sort()).toEqual([
      "ca.key 600",
      "ca.pem 644",
      "crl.pem 644",
      "index 644",
      "index.attr 644",
      "serial 600",
    ]);
    expect((statSync(ca.directory).mode & 0o777).toString(8)).toBe("755");
  });

  test("has what the issue asks for: P-256, ten years, path length 0, critical key usage", async () => {
    using ca = await CertsAuthority.create({}, Date.now());
    const text = ca.openssl("x509", "-in", "ca.pem", "-noout", "-text");
    expect(text).toContain("ASN1 OID: prime256v1");
    expect(text).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(text).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign/);
    expect(text).toMatch(
      /Subject Key Identifier:\s+([0-9A-F:]{59})\s[\s\S]*Authority Key Identifier:\s+(?:keyid:)?\1/,
    );
    expect(text).toMatch(/Serial Number:\s+([0-9a-f]{2}:){15}[0-9a-f]{2}\n/);
    const days = 3650 - 1;
    expect(
      ca.openssl("x509", "-in", "ca.pem", "-noout", "-checkend", String(days * 86_400)),
    ).toContain("will not expire");
    expect(() =>
      ca.openssl("x509", "-in", "ca.pem", "-noout", "-checkend", String((days + 2) * 86_400)),
    ).toThrow();
  });

  test("a second time changes nothing", async () => {
    using ca = await CertsAuthority.create();
    const before = listFiles(ca.directory);
    const state = await initAuthority(ca.options(), REQUEST);
    expect(state).toMatchObject({
      outcome: "unchanged",
      issued: 0,
      facts: { name: "systemd-journal-remote-ca" },
    });
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
  });

  test("two at once make one authority", async () => {
    using ca = await CertsAuthority.create();
    rmSync(ca.directory, { recursive: true });
    const states = await Promise.allSettled([1, 2].map(() => initAuthority(ca.options(), REQUEST)));
    const created = states.filter(
      (each) => each.status === "fulfilled" && each.value.outcome === "created",
    );
    expect(created).toHaveLength(1);
    await ca.issue("web1");
  });

  test("with leftovers of a former authority it refuses, and leaves them", async () => {
    for (const file of ["ca.key", "index"]) {
      using ca = await CertsAuthority.create();
      for (const other of readdirSync(ca.directory)) if (other !== file) rmSync(ca.path(other));
      await expect(initAuthority(ca.options(), REQUEST)).rejects.toThrow(
        `"${file}" is there and "ca.pem" is not`,
      );
      expect(readdirSync(ca.directory)).toEqual([file]);
    }
  });

  test("a key that is not the authority's is told", async () => {
    using ca = await CertsAuthority.create();
    using other = await CertsAuthority.create();
    Bun.spawnSync(["cp", other.path("ca.key"), ca.path("ca.key")]);
    await expect(initAuthority(ca.options(), REQUEST)).rejects.toThrow("is not that of");
    await expect(ca.issue("web1")).rejects.toThrow("is not that of");
    expect(existsSync(ca.path("web1.key"))).toBe(false);
  });

  test("in 1970 nothing is made", async () => {
    using ca = await CertsAuthority.create();
    rmSync(ca.directory, { recursive: true });
    await expect(initAuthority(ca.options(1000), REQUEST)).rejects.toThrow(
      "the clock says 1970-01-01T00:00:01.000Z",
    );
    expect(existsSync(ca.directory)).toBe(false);
  });

  test("tells of an authority that has expired", async () => {
    using ca = await CertsAuthority.create({ days: 20 });
    await initAuthority(ca.options(), REQUEST);
    expect(ca.reports.join()).toContain("expired on");
    await expect(ca.issue("web1")).rejects.toThrow("the authority is valid from");
  });
});

describe("the directory", () => {
  test.skipIf(!isRoot)("is made root's before anything is written there", async () => {
    using ca = await CertsAuthority.create();
    chownSync(ca.directory, 995, 999);
    chmodSync(ca.directory, 0o770);
    await ca.issue("web1");
    const { mode, uid, gid } = statSync(ca.directory);
    expect([mode & 0o7777, uid, gid]).toEqual([0o755, 0, 0]);
    expect(ca.reports.join()).toContain("was 995:999 770: its owner could replace the authority");
  });

  test.skipIf(!isRoot)("is refused below a directory of somebody else", async () => {
    using ca = await CertsAuthority.create();
    chownSync(ca.dir.path, 995, 999);
    await expect(ca.issue("web1")).rejects.toThrow(`user 995, who owns "${ca.dir.path}"`);
    chownSync(ca.dir.path, 0, 0);
    chmodSync(ca.dir.path, 0o777);
    await expect(ca.issue("web1")).rejects.toThrow(
      `others, who may write to "${ca.dir.path}" (mode 777)`,
    );
    expect(existsSync(ca.path("web1.pem"))).toBe(false);
    // Nor is anything done to it then.
    chownSync(ca.directory, 995, 999);
    await expect(ca.issue("web1")).rejects.toThrow("mode 777");
    expect(statSync(ca.directory).uid).toBe(995);
  });

  test("that an administrator has made private stays so", async () => {
    using ca = await CertsAuthority.create();
    chmodSync(ca.directory, 0o700);
    await ca.issue("web1");
    expect(statSync(ca.directory).mode & 0o777).toBe(0o700);
  });

  test("without an authority is told, with what to do", async () => {
    using ca = await CertsAuthority.create();
    mkdirSync(ca.path("empty"));
    const options = { ...ca.options(), directory: ca.path("empty") };
    const { Authority } = await import("../../src/certs/authority.ts");
    await expect(Authority.open(options)).rejects.toMatchObject({
      code: "E_CERT",
      hint: `Make one: agent certs init --directory=${ca.path("empty")}`,
    });
  });
});

test("a passphrase is asked for once a command, and only where it is needed", async () => {
  using ca = await CertsAuthority.create({ passphrase: "correct horse" });
  expect(ca.text("ca.key")).toContain("ENCRYPTED");
  expect(ca.asked).toBe(0);
  await ca.issue("web1");
  expect(ca.asked).toBe(1);
  await ca.issue("web1");
  expect(ca.asked).toBe(1);
  await ca.revoke("web1");
  expect(ca.asked).toBe(2);
  ca.passphrase = "wrong one";
  await expect(ca.issue("web2")).rejects.toThrow("the passphrase is wrong");
  ca.passphrase = undefined;
  await expect(ca.issue("web2")).rejects.toThrow("need its passphrase");
  expect(existsSync(ca.path("web2.key"))).toBe(false);
});
