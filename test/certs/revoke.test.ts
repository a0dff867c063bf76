import { describe, expect, test } from "bun:test";
import {
  isListSignedBy,
  isRevoked,
  parseRevocationList,
  readCertificateId,
} from "../../src/bytes/revocation-list.ts";
import { readCertificate } from "../../src/certs/certificate.ts";
import { listEntries } from "../../src/certs/listing.ts";
import { LIST_DAYS } from "../../src/certs/profiles.ts";
import { readListDates, readLists } from "../../src/certs/revocation-list.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";

const listOf = (ca: CertsAuthority) => {
  const [der] = readLists(ca.text("crl.pem"));
  if (der === undefined) throw new Error("There is no list");
  return der;
};

describe("revokeCertificates()", () => {
  test("of a name revokes all that are valid, and the list says so at once", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    const former = ca.text("web1.pem");
    await ca.issue("web1", { replace: "new key" });
    await ca.issue("web2");
    const { revoked } = await ca.revoke("web1", "keyCompromise");
    expect(revoked).toHaveLength(2);
    const list = parseRevocationList(listOf(ca));
    for (const pem of [former, ca.text("web1.pem")]) {
      expect(isRevoked([list], readCertificateId(readCertificate(pem, "").x509.raw))).toBe(true);
    }
    expect(
      isRevoked([list], readCertificateId(readCertificate(ca.text("web2.pem"), "").x509.raw)),
    ).toBe(false);
    const statuses = listEntries(ca.directory, Date.now()).map(
      ({ name, status, reason }) => `${name} ${status} ${reason}`,
    );
    expect(statuses).toEqual([
      "web1 revoked keyCompromise",
      "web1 revoked keyCompromise",
      "web2 valid undefined",
    ]);
  });

  test("of a serial number revokes that one, however it is written", async () => {
    using ca = await CertsAuthority.create();
    const { facts } = await ca.issue("web1");
    await ca.issue("web1", { replace: "same key" });
    const written = facts.serial.toLowerCase().replace(/..(?=.)/g, "$&:");
    expect((await ca.revoke(written)).revoked.map(({ serial }) => serial)).toEqual([facts.serial]);
    expect(listEntries(ca.directory, Date.now()).map(({ status }) => status)).toEqual([
      "revoked",
      "valid",
    ]);
  });

  test("a name that looks like a serial number is a name; serial: is for the other", async () => {
    using ca = await CertsAuthority.create();
    ca.dir.write("ca/serial", "AB\n");
    await ca.issue("web1");
    await ca.issue("ab");
    expect((await ca.revoke("ab")).revoked.map(({ name }) => name)).toEqual(["ab"]);
    expect((await ca.revoke("serial:ab")).revoked.map(({ name }) => name)).toEqual(["web1"]);
  });

  test("of several revokes all or none", async () => {
    using ca = await CertsAuthority.create();
    for (const name of ["web1", "web2", "web3"]) await ca.issue(name);
    const before = listFiles(ca.directory);
    await expect(ca.revoke(["web1", "nobody"])).rejects.toThrow('Cannot revoke "nobody"');
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
    const { revoked } = await ca.revoke(["web1", "web2", "web1"]);
    expect(revoked.map(({ name }) => name)).toEqual(["web1", "web2"]);
    expect(parseRevocationList(listOf(ca)).serials.size).toBe(2);
  });

  test("a second time changes nothing; what is unknown or over is an error", async () => {
    using ca = await CertsAuthority.create();
    await ca.issue("web1");
    await ca.issue("over", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
    await ca.revoke("web1");
    const before = listFiles(ca.directory);
    expect(await ca.revoke("web1")).toMatchObject({ revoked: [], already: [{ name: "web1" }] });
    await expect(ca.revoke("nobody")).rejects.toMatchObject({ code: "E_USAGE" });
    await expect(ca.revoke("over")).rejects.toThrow("its certificate has expired");
    expect(changedFiles(before, listFiles(ca.directory))).toEqual([]);
  });
});

describe("the list", () => {
  test("is there from the beginning, empty, signed by the authority and no other", async () => {
    using ca = await CertsAuthority.create();
    using other = await CertsAuthority.create();
    const der = listOf(ca);
    expect(parseRevocationList(der).serials.size).toBe(0);
    expect(isListSignedBy(der, readCertificate(ca.text("ca.pem"), "").x509.publicKey)).toBe(true);
    expect(isListSignedBy(der, readCertificate(other.text("ca.pem"), "").x509.publicKey)).toBe(
      false,
    );
    const changed = Buffer.from(der);
    // A digit of its date.
    changed[60] = (changed[60] ?? 0) ^ 1;
    expect(isListSignedBy(changed, readCertificate(ca.text("ca.pem"), "").x509.publicKey)).toBe(
      false,
    );
  });

  test("leaves out what has been over for a month", async () => {
    using ca = await CertsAuthority.create({}, Date.now() - 100 * DAY_MS);
    await ca.issue("web1", { days: 10, nowMs: Date.now() - 90 * DAY_MS });
    ca.dir.write("ca/index", ca.text("index").replace(/^V\t(\d+Z)\t/, "R\t$1\t260901000000Z"));
    await ca.issue("web2");
    await ca.revoke("web2");
    expect(parseRevocationList(listOf(ca)).serials.size).toBe(1);
  });

  test("is made anew by whatever command comes when half of its time is over", async () => {
    const startMs = Date.now() - LIST_DAYS * DAY_MS;
    using ca = await CertsAuthority.create({}, Math.max(startMs, Date.UTC(2025, 0, 2)));
    const first = ca.text("crl.pem");
    const { thisUpdateMs = 0, nextUpdateMs = 0 } = readListDates(first) ?? {};
    expect(nextUpdateMs - thisUpdateMs).toBe(LIST_DAYS * DAY_MS);
    const half = (thisUpdateMs + nextUpdateMs) / 2;
    await ca.issue("web1", { nowMs: half - DAY_MS });
    expect(ca.text("crl.pem")).toBe(first);
    await ca.issue("web2", { nowMs: half + DAY_MS });
    expect(readListDates(ca.text("crl.pem"))?.thisUpdateMs).toBeCloseTo(half + DAY_MS, -3);
  });

  test("of 10,000 is what openssl reads, too", async () => {
    using ca = await CertsAuthority.create();
    const { formatIndexEntry } = await import("../../src/certs/index-file.ts");
    const { randomSerial } = await import("../../src/certs/serial.ts");
    const expiresMs = Date.now() + 100 * DAY_MS;
    const reasons = ["unspecified", "keyCompromise", "superseded"] as const;
    const entries = Array.from({ length: 10_000 }, (_, i) => {
      const revokedMs = Date.UTC(2026, 0, 1) + i * 1000;
      const reason = reasons[i % 3] ?? "unspecified";
      return {
        status: "R",
        expiresMs,
        revokedMs,
        reason,
        serial: randomSerial(),
        name: `x${i}`,
      } as const;
    });
    ca.dir.write("ca/index", entries.map(formatIndexEntry).join(""));
    await ca.issue("web1");
    await ca.revoke("web1");
    const text = ca.openssl("crl", "-in", "crl.pem", "-noout", "-text", "-CAfile", "ca.pem");
    expect(text).toContain("verify OK");
    const serials = [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map(([, serial]) => serial);
    expect(serials.slice(0, 10_000)).toEqual(entries.map(({ serial }) => serial));
    expect(serials).toHaveLength(10_001);
    expect(text.match(/Superseded/g)).toHaveLength(3333);
  }, 30_000);
});

test("listEntries() tells the replaced from the valid and the expired", async () => {
  using ca = await CertsAuthority.create();
  await ca.issue("web1");
  await ca.issue("web1", { replace: "same key" });
  await ca.issue("over", { days: 1, nowMs: Date.now() - 5 * DAY_MS });
  const statuses = listEntries(ca.directory, Date.now()).map(
    ({ name, status }) => `${name} ${status}`,
  );
  expect(statuses).toEqual(["web1 replaced", "web1 valid", "over expired"]);
});
