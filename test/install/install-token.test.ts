/** A client that gets its certificate with a token, and renews it: with a real receiver and a real signer. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseToken } from "../../src/certs/token.ts";
import type { InstallRequest } from "../../src/install/install-request.ts";
import { type RenewOutcome, renewInstalled } from "../../src/install/renew.ts";
import { DAY_MS } from "../support/certs.ts";
import { EnrollingReceiver } from "../support/enrolling-receiver.ts";
import { InstallImage } from "../support/install-image.ts";

const OWN = "/etc/ssl/journal-agent/client";
const UNIT = "systemd-journal-upload.service";
const NOTHING = { isChanged: false, lines: [] };

const asRoot = describe.skipIf(process.getuid?.() !== 0);

let receiver: EnrollingReceiver;
let image: InstallImage;
beforeEach(async () => {
  receiver = await EnrollingReceiver.start();
  image = new InstallImage();
});
afterEach(async () => {
  image[Symbol.dispose]();
  await receiver[Symbol.asyncDispose]();
});

function client(token?: string, changes: Partial<InstallRequest> = {}) {
  return image.install("client", { token, servers: [receiver.url], ...changes });
}

function certificate(): X509Certificate {
  return new X509Certificate(image.rig.read(`${OWN}/certificate.pem`));
}

function renew(isForced = false): Promise<RenewOutcome[]> {
  return renewInstalled({ isForced, io: image.io, host: image.rig.host });
}

asRoot("--token", () => {
  test("brings a certificate, which is used; the token is nowhere afterwards", async () => {
    const token = await receiver.token("web7");
    const { name, lines } = await client(token);
    expect(name).toBe("web7");
    expect(lines[0]).toBe(`got a certificate for "web7" from ${receiver.url}`);
    expect(certificate().subject).toBe("CN=web7");
    expect(image.rig.manager.active).toContain(UNIT);
    const secret = parseToken(token).secret.toString("base64url");
    for (const text of allTexts(image.root)) {
      expect(text.includes(token) || text.includes(secret)).toBe(false);
    }
    expect(lines.join("\n")).not.toContain(token);
  });

  test("a second run asks nobody, with the same token, which is used up, or without", async () => {
    const token = await receiver.token("web7");
    await client(token);
    const asked = receiver.asked.length;
    const before = image.rig.listing();
    expect(await client(token)).toMatchObject(NOTHING);
    expect(await client()).toMatchObject(NOTHING);
    expect(await client(token, { isDryRun: true })).toMatchObject(NOTHING);
    expect(receiver.asked.length).toBe(asked);
    expect(image.rig.listing()).toEqual(before);
  });

  test("another token brings another certificate, and so does one after a bundle", async () => {
    const bundle = await image.bundle(receiver.ca, "web7", { server: receiver.url });
    await image.install("client", { bundle });
    const first = certificate().serialNumber;
    await client(await receiver.token("web7", true));
    const second = certificate().serialNumber;
    expect(second).not.toBe(first);
    image.rig.manager.takeLog();
    await client(await receiver.token("web7", true));
    expect(certificate().serialNumber).not.toBe(second);
    expect(image.rig.manager.takeLog()).toEqual([`restart ${UNIT}`]);
    await image.install("client", { bundle });
    expect(certificate().serialNumber).toBe(first);
    expect(image.saved("client").tokenHash).toBeUndefined();
  });

  test("--dry-run asks nobody, and says what it would do", async () => {
    const token = await receiver.token("web7");
    const before = image.rig.listing();
    const { lines } = await client(token, { isDryRun: true });
    expect(lines[0]).toBe(`get a certificate for "web7" from ${receiver.url}`);
    expect(lines).toContain(`create ${OWN}/key.pem 0600 root:root  private key`);
    expect(receiver.asked).toEqual([]);
    expect(image.rig.listing()).toEqual(before);
  });

  test.each<[string, () => void, Partial<InstallRequest>, string]>([
    [
      "a file is not ours",
      () => image.rig.write("/etc/systemd/journal-upload.conf.d/50-agent.conf", "[Upload]\n"),
      {},
      "not made by this program",
    ],
    ["a package is missing", () => undefined, { daemon: "systemd" }, "is not installed"],
    [
      "the system is too old",
      () => {
        rmSync(image.rig.path("/usr/lib/systemd/libsystemd-shared-257.so"));
        image.rig.write("/usr/lib/systemd/libsystemd-shared-237.so", "");
      },
      {},
      "has systemd 237",
    ],
    ["the name is another", () => undefined, { name: "web8" }, 'Cannot use "--name=web8"'],
    [
      "a directory is in the way",
      () => image.rig.write(`${OWN}/key.pem/x`, ""),
      {},
      "a directory is there",
    ],
  ])("is not spent when something stands in the way: %s", async (_, block, changes, message) => {
    block();
    const token = await receiver.token("web7");
    const before = image.rig.listing();
    await expect(client(token, changes)).rejects.toThrow(message);
    expect(receiver.asked).toEqual([]);
    expect(image.rig.listing()).toEqual(before);
  });

  test("when it is refused, or nobody answers, nothing is left behind", async () => {
    const before = image.rig.listing();
    const token = await receiver.token("web7");
    await receiver.token("web7");
    await expect(client(token)).rejects.toThrow("it answers 403: ");
    const servers = ["https://127.0.0.1:1"];
    await expect(client(token, { servers })).rejects.toThrow(
      'Cannot enrol at "https://127.0.0.1:1"',
    );
    expect(image.rig.listing()).toEqual(before);
  });

  test("when the service does not start, the key is not left behind", async () => {
    const before = image.rig.listing();
    image.rig.manager.broken.add(UNIT);
    await expect(client(await receiver.token("web7"))).rejects.toThrow(
      "everything is as it was before, but the token is used up, need a new one",
    );
    expect(image.rig.listing()).toEqual(before);
  });
});

asRoot("--renew", () => {
  const enrolled = async (): Promise<string> => {
    await client(await receiver.token("web7"));
    image.rig.manager.takeLog();
    return certificate().serialNumber;
  };

  test("does nothing before two thirds are over; then there is a new certificate in use", async () => {
    const serial = await enrolled();
    image.nowMs += 59 * DAY_MS;
    expect(await renew()).toMatchObject([{ what: "not due", name: "web7" }]);
    image.nowMs += 2 * DAY_MS;
    const key = image.rig.read(`${OWN}/key.pem`);
    expect(await renew()).toMatchObject([{ what: "renewed", role: "client" }]);
    expect(certificate().serialNumber).not.toBe(serial);
    expect(image.rig.read(`${OWN}/key.pem`)).toBe(key);
    expect(statSync(image.rig.path(`${OWN}/certificate.pem`)).mode & 0o777).toBe(0o644);
    expect(image.rig.manager.takeLog()).toEqual([`restart ${UNIT}`]);
  });

  test("it is ours afterwards: a run changes nothing, uninstall takes it away", async () => {
    const before = image.rig.listing();
    await enrolled();
    await renew(true);
    const text = image.rig.read(`${OWN}/certificate.pem`);
    expect(image.manifest.items[`${OWN}/certificate.pem`]?.written).toMatchObject({
      sha256: createHash("sha256").update(text).digest("hex"),
    });
    expect(await client()).toMatchObject(NOTHING);
    await image.rig.restore({ force: false });
    expect(image.rig.listing()).toEqual(before);
  });

  test("writes only where the timer's sandbox lets it, whatever else is other than planned", async () => {
    await enrolled();
    const unit = `/etc/systemd/system/${UNIT}`;
    image.rig.write(unit, "edited\n");
    const before = image.rig.listing();
    expect(await renew(true)).toMatchObject([{ what: "renewed" }]);
    const after = image.rig.listing();
    const changed = Object.keys(after).filter((path) => after[path] !== before[path]);
    expect(changed.sort()).toEqual([
      "etc/ssl/journal-agent/client/certificate.pem",
      "var/lib/journal-agent/manifest.json",
    ]);
  });

  test("a service that does not run is not started", async () => {
    await enrolled();
    image.rig.manager.active.clear();
    await renew(true);
    expect(image.rig.manager.takeLog()).toEqual([]);
  });

  test("what a receiver refuses is a failure that changes nothing", async () => {
    await enrolled();
    await receiver.ca.revoke("web7");
    const before = image.rig.listing();
    const [outcome] = await renew(true);
    if (outcome?.what !== "failed") throw new Error("It did not fail");
    expect(outcome.error.message).toStartWith(`Cannot renew the certificate at "${receiver.url}"`);
    expect(image.rig.listing()).toEqual(before);
  });

  test("where nobody renews, that is said", async () => {
    await using off = await EnrollingReceiver.start({ enrolls: false });
    const bundle = await image.bundle(off.ca, "web7", { server: off.url });
    await image.install("client", { bundle });
    expect(await renew(true)).toMatchObject([{ what: "due, but nobody renews it", name: "web7" }]);
  });

  test("certificates of the operator's own are left alone", async () => {
    await receiver.ca.issue("web7", { role: "client" });
    const files = {
      key: "/srv/key",
      certificate: "/srv/cert",
      authority: "/srv/ca",
      lists: undefined,
    };
    image.rig.write(files.key, receiver.ca.text("web7.key"));
    image.rig.write(files.certificate, receiver.ca.text("web7.pem"));
    image.rig.write(files.authority, receiver.ca.text("ca.pem"));
    await client(undefined, { files });
    expect(await renew(true)).toMatchObject([{ what: "not ours" }]);
  });

  test("at the authority's own machine both roles get theirs, and one that fails keeps no other", async () => {
    await image.install("server", { initializesAuthority: true, name: "logs" });
    await image.install("client", { servers: ["https://localhost:19532"] });
    image.rig.manager.takeLog();
    expect(await renew(true)).toMatchObject([
      { what: "renewed", role: "server", name: "logs" },
      { what: "renewed", role: "client", name: "web1" },
    ]);
    expect(image.rig.manager.takeLog()).toEqual([
      "restart systemd-journal-remote.service",
      `restart ${UNIT}`,
    ]);
    rmSync(image.rig.path("/etc/ssl/systemd-journal/logs.pem"));
    expect(await renew(true)).toMatchObject([
      { what: "failed", role: "server" },
      { what: "renewed", role: "client" },
    ]);
  });

  test("a certificate that both roles have is renewed once, and both use it", async () => {
    await image.install("server", { initializesAuthority: true, name: "logs" });
    await image.install("client", { servers: ["https://localhost:19532"], name: "logs" });
    image.rig.manager.takeLog();
    image.nowMs += 600 * DAY_MS;
    expect(await renew()).toMatchObject([{ what: "renewed" }, { what: "not due" }]);
    expect(image.rig.manager.takeLog()).toEqual([
      "restart systemd-journal-remote.service",
      `restart ${UNIT}`,
    ]);
  });

  test("where nothing is installed it says so", async () => {
    await expect(renew()).rejects.toThrow("Cannot renew certificates: nothing is installed here");
  });
});

function allTexts(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
}
