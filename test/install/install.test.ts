/** Into a small system: what is installed, what a second run does, what is taken back. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync } from "node:fs";
import type { InstallRequest } from "../../src/install/install-request.ts";
import type { CertificatePlaces } from "../../src/install/plan.ts";
import { CertsAuthority, DAY_MS } from "../support/certs.ts";
import { DyingDisk } from "../support/dying-disk.ts";
import { InstallImage, SERVER_URL } from "../support/install-image.ts";

const OWN = "/etc/ssl/journal-agent/client";
const CONFIGURATION = "/etc/systemd/journal-upload.conf.d/50-agent.conf";
const SERVER_CONFIGURATION = "/etc/systemd/journal-remote.conf.d/50-agent.conf";
const UNIT = "systemd-journal-upload.service";
const NOTHING = { isChanged: false, lines: [] };

let ca: CertsAuthority;
const asRoot = describe.skipIf(process.getuid?.() !== 0);

let image: InstallImage;
beforeAll(async () => {
  ca = await CertsAuthority.create();
});
afterAll(() => ca[Symbol.dispose]());
beforeEach(() => {
  image = new InstallImage();
});
afterEach(() => image[Symbol.dispose]());

function client(changes: Partial<InstallRequest> = {}) {
  return image.install("client", changes);
}

/** Certificates of the operator's own, for a host that has them. */
async function ownFiles(name: string, directory = "/srv"): Promise<CertificatePlaces> {
  await ca.issue(name, { role: "client" });
  const place = (file: string, to: string): string => {
    image.rig.write(to, ca.text(file));
    return to;
  };
  return {
    key: place(`${name}.key`, `${directory}/host.key`),
    certificate: place(`${name}.pem`, `${directory}/host.pem`),
    authority: place("ca.pem", `${directory}/ca.pem`),
    lists: undefined,
  };
}

asRoot("with a bundle", () => {
  test("key, certificates, configuration and unit are there, and it is started", async () => {
    const { name, options, isChanged } = await client({ bundle: await image.bundle(ca, "web1") });
    expect({ name, isChanged }).toEqual({ name: "web1", isChanged: true });
    expect(options.servers).toEqual([SERVER_URL]);
    expect(image.rig.read(`${OWN}/key.pem`)).toContain("PRIVATE KEY");
    expect(statSync(image.rig.path(`${OWN}/key.pem`)).mode & 0o777).toBe(0o600);
    expect(image.rig.read(CONFIGURATION)).toContain(`URL=\nURL=${SERVER_URL}\n`);
    expect(image.rig.manager.active).toContain(UNIT);
    expect(statSync(image.rig.path("/var/lib/journal-agent/manifest.json")).mode & 0o777).toBe(
      0o600,
    );
  });

  test("a second run does nothing and leaves the manifest as it is; so does one without options", async () => {
    const bundle = await image.bundle(ca, "web1");
    await client({ bundle });
    image.rig.manager.takeLog();
    const before = image.rig.listing();
    expect(await client({ bundle })).toMatchObject(NOTHING);
    expect(await client()).toMatchObject(NOTHING);
    expect(image.rig.listing()).toEqual(before);
    expect(image.rig.manager.takeLog()).toEqual([]);
  });

  test("another bundle brings its own server, and restarts the service", async () => {
    await client({ bundle: await image.bundle(ca, "web1") });
    image.rig.manager.takeLog();
    const server = "https://new.example.net:19532";
    const bundle = await image.bundle(ca, "web2", { server });
    expect((await client({ bundle })).options.servers).toEqual([server]);
    expect(image.rig.manager.takeLog()).toEqual([`restart ${UNIT}`]);
  });

  test("the newer certificate of a key wins, whichever way it came", async () => {
    const former = await image.bundle(ca, "worn", { days: 10 });
    const text = readFileSync(former, "utf8");
    await client({ bundle: former });
    const renewed = await image.bundle(ca, "worn", { days: 800, replace: "same key" });
    expect(await client({ bundle: renewed })).toMatchObject({ isChanged: true });
    image.rig.write("/bundles/former.bundle", text);
    const again = { bundle: image.rig.path("/bundles/former.bundle") };
    expect(await client(again)).toMatchObject(NOTHING);
    image.nowMs += 11 * DAY_MS;
    expect(await client(again)).toMatchObject(NOTHING);
  });

  test("without lists none is named; where there was one it goes", async () => {
    const bundle = await image.bundle(ca, "logs", { role: "both" });
    await image.install("server", { bundle });
    expect(image.rig.read(SERVER_CONFIGURATION)).toContain("CRLFile=");
    await image.install("server", {
      bundle: await image.bundle(ca, "logs", { role: "both", lists: false }),
    });
    expect(image.rig.read(SERVER_CONFIGURATION)).not.toContain("CRLFile=");
    expect(image.rig.has("/etc/ssl/journal-agent/server/crl.pem")).toBe(false);
  });

  test("one for both roles serves both, and each keeps its own when the other goes", async () => {
    const bundle = await image.bundle(ca, "both", { role: "both" });
    await image.install("server", { bundle });
    await client({ bundle });
    await image.rig.restore({ roles: ["server"] });
    expect(image.rig.has(`${OWN}/key.pem`)).toBe(true);
    expect(image.rig.has("/etc/ssl/journal-agent/server")).toBe(false);
    expect(image.rig.has("/usr/local/bin/agent")).toBe(true);
    expect(await client()).toMatchObject(NOTHING);
  });

  test("one of another role, expired, or without key is refused and nothing is left", async () => {
    const before = image.listing();
    const server = await image.bundle(ca, "srv", { role: "server" });
    await expect(client({ bundle: server })).rejects.toThrow("it is for a server, need one");
    const nowMs = Date.now() - 20 * DAY_MS;
    const expired = await image.bundle(ca, "old", { nowMs, days: 30 });
    image.nowMs += 11 * DAY_MS;
    await expect(client({ bundle: expired })).rejects.toThrow("it expired on");
    const keyless = readFileSync(server, "utf8").replace(/-----BEGIN PRIVATE.*?-----END.*?\n/s, "");
    image.rig.write("/bundles/keyless.bundle", keyless.replace("Role: server", "Role: client"));
    const path = image.rig.path("/bundles/keyless.bundle");
    await expect(client({ bundle: path })).rejects.toThrow("it has no private key");
    await expect(client({ bundle: "/nowhere" })).rejects.toThrow("no such file");
    expect(image.listing()).toEqual(before);
  });
});

asRoot("with files of one's own", () => {
  test("they are used where they are, and no timer renews them", async () => {
    const files = await ownFiles("web1");
    await client({ files, servers: [SERVER_URL] });
    expect(image.rig.has("/etc/ssl/journal-agent")).toBe(false);
    expect(image.rig.read(`/etc/systemd/system/${UNIT}`)).toContain(files.key);
    expect(image.rig.has("/etc/systemd/system/journal-agent-renew.timer")).toBe(false);
    expect(await client({ files, servers: [SERVER_URL] })).toMatchObject(NOTHING);
  });

  test("when they vanished, the next run says so and changes nothing", async () => {
    const files = await ownFiles("web1");
    await client({ files, servers: [SERVER_URL] });
    rmSync(image.rig.path(files.certificate));
    const before = image.rig.listing();
    const failure = await client({ targets: "mirror" }).catch((error) => error);
    expect(failure.message).toMatch(/^Cannot read ".*\/srv\/host.pem": no such file$/);
    expect(failure.hint).toStartWith("It was good at the last installation: put it back");
    expect(image.rig.listing()).toEqual(before);
  });

  test("a key of another certificate, and what the service cannot see, are refused", async () => {
    const files = await ownFiles("web1");
    const hidden = await ownFiles("web2", "/root/certs");
    const servers = [SERVER_URL];
    await expect(client({ files: { ...files, key: hidden.key }, servers })).rejects.toThrow(
      "the private key is another one's",
    );
    await expect(client({ files: hidden, servers })).rejects.toThrow(
      'Cannot use "/root/certs/ca.pem": the service does not see "/root", need a file elsewhere',
    );
  });

  test("a bundle takes their place, and they the bundle's", async () => {
    const files = await ownFiles("web1");
    await client({ files, servers: [SERVER_URL] });
    await client({ bundle: await image.bundle(ca, "web1") });
    expect(image.rig.has(`${OWN}/key.pem`)).toBe(true);
    await client({ files });
    expect(image.rig.has(`${OWN}/key.pem`)).toBe(false);
    expect(image.saved("client").places).toEqual(files);
  });
});

asRoot("what is configured already", () => {
  test("servers and certificates of the client are taken over", async () => {
    const { key, certificate, authority } = await ownFiles("web1");
    image.rig.write(
      "/etc/systemd/journal-upload.conf",
      `[Upload]\nURL=${SERVER_URL}\nServerKeyFile=${key}\nServerCertificateFile=${certificate}\nTrustedCertificateFile=${authority}\n`,
    );
    await client();
    expect(image.saved("client").places).toMatchObject({ key, certificate, authority });
    expect(image.rig.read(CONFIGURATION)).not.toContain("URL=");
    expect(await client()).toMatchObject(NOTHING);
  });

  test("so are files where systemd's programs look for them", async () => {
    await ca.issue("web1", { role: "client" });
    image.rig.write("/etc/systemd/journal-upload.conf", `[Upload]\nURL=${SERVER_URL}\n`);
    image.rig.write("/etc/ssl/private/journal-upload.pem", ca.text("web1.key"));
    image.rig.write("/etc/ssl/certs/journal-upload.pem", ca.text("web1.pem"));
    image.rig.write("/etc/ssl/ca/trusted.pem", ca.text("ca.pem"));
    await client();
    expect(image.saved("client").places?.key).toBe("/etc/ssl/private/journal-upload.pem");
  });

  test.each(["all", "-"])(
    "trust in everybody (%s) stays a client's own affair, and no server's",
    async (trust) => {
      const text = (section: string) => `[${section}]\nTrustedCertificateFile=${trust}\n`;
      image.rig.write("/etc/systemd/journal-upload.conf", `${text("Upload")}URL=${SERVER_URL}\n`);
      await client();
      expect(image.saved("client").places).toBeUndefined();
      expect(image.rig.has(CONFIGURATION)).toBe(false);
      image.rig.write("/etc/systemd/journal-remote.conf", text("Remote"));
      await expect(image.install("server")).rejects.toThrow("take journals from whoever connects");
    },
  );

  test("plain http needs no certificate; several servers, kept when options are left out", async () => {
    const servers = ["http://a.example.net:19532", "http://b.example.net:19532"];
    const { options } = await client({ servers, targets: "mirror" });
    expect(options).not.toHaveProperty("places");
    expect(image.rig.read(CONFIGURATION)).toEndWith(
      `[Upload]\nURL=\nURL=${servers[0]}\nURL=${servers[1]}\nTargets=mirror\n`,
    );
    expect(await client()).toMatchObject(NOTHING);
  });

  test("without servers, or without certificates, it says what is needed", async () => {
    const before = image.listing();
    await expect(client()).rejects.toThrow("no certificate is given, and none is configured");
    await expect(image.install("server")).rejects.toMatchObject({
      hint: expect.stringContaining("--init-ca makes an authority"),
    });
    const files = await ownFiles("web1", "/bundles/own");
    await expect(client({ files })).rejects.toThrow("it is not said where journals are sent");
    expect(image.listing()).toEqual(before);
  });
});

asRoot("requests that contradict themselves", () => {
  test.each<[string, Partial<InstallRequest>, string]>([
    [
      "two sources",
      { bundle: "a", token: "b" },
      'Cannot use "--token=": "--bundle=" is given, too',
    ],
    ["a token alone", { token: "b" }, 'Cannot use "--token=": need --server=https://… beside it'],
    ["a token for http", { token: "b", servers: ["http://a"] }, "need --server=https://… beside"],
    ["what is no token", { token: "b!", servers: [SERVER_URL] }, "Cannot use the token"],
  ])("%s", async (_, changes, message) => {
    await expect(client(changes)).rejects.toThrow(message);
  });

  test("a name that the certificate has not, names for one that is not made here", async () => {
    const bundle = await image.bundle(ca, "web1");
    await expect(client({ bundle, name: "web2" })).rejects.toThrow(
      'Cannot use "--name=web2": the certificate is for "web1"',
    );
    const names = [{ type: "dns", value: "logs.example.net" }] as const;
    await expect(client({ bundle, names })).rejects.toThrow('Cannot use "--san="');
  });

  test("enrolment without an authority, another prefix for the second role", async () => {
    const bundle = await image.bundle(ca, "both", { role: "both" });
    await expect(image.install("server", { bundle, enroll: true })).rejects.toThrow(
      "Cannot enrol clients: the authority is not on this machine",
    );
    await image.install("server", { bundle, prefix: "/opt" });
    await expect(client({ bundle, prefix: "/usr" })).rejects.toThrow('runs the program in "/opt"');
    expect((await client({ bundle })).options.prefix).toBe("/opt");
  });
});

asRoot("how", () => {
  test("--dry-run shows everything but the key, and touches nothing", async () => {
    const bundle = await image.bundle(ca, "web1");
    const before = image.rig.listing();
    const { lines, isChanged } = await client({ bundle, isDryRun: true });
    expect(isChanged).toBe(true);
    expect(lines).toContain(`create ${OWN}/key.pem 0600 root:root  private key`);
    expect(lines.join("\n")).not.toContain("PRIVATE KEY-----");
    expect(lines).toContain(`start ${UNIT}`);
    expect(image.rig.listing()).toEqual(before);
    expect(image.rig.manager.takeLog()).toEqual([]);
    await client({ bundle });
    const installed = image.rig.listing();
    expect(await client({ bundle, isDryRun: true })).toMatchObject(NOTHING);
    expect(image.rig.listing()).toEqual(installed);
  });

  test("--no-start starts nothing, and leaves what runs", async () => {
    const bundle = await image.bundle(ca, "web1");
    await client({ bundle, starts: false });
    expect(image.rig.manager.takeLog()).toEqual(["daemon-reload"]);
    await client({ bundle });
    image.rig.manager.takeLog();
    await client({ servers: ["https://new.example.net:19532"], starts: false });
    expect(image.rig.manager.takeLog()).toEqual([]);
    expect(image.rig.manager.active).toContain(UNIT);
  });

  test("a unit that does not start takes everything back", async () => {
    const bundle = await image.bundle(ca, "web1");
    const before = image.rig.listing();
    image.rig.manager.broken.add(UNIT);
    await expect(client({ bundle })).rejects.toThrow("everything is as it was before");
    expect(image.rig.listing()).toEqual(before);
  });

  /** Killed when it starts a unit: what it changed is there, and nothing is taken back. */
  async function interrupt(changes: Partial<InstallRequest>): Promise<void> {
    const { manager } = image.rig;
    using killed = new DisposableStack();
    manager.onStart = () => {
      killed.use(new DyingDisk({ kind: "killed", at: 0 }));
      throw new Error("killed");
    };
    await expect(client(changes)).rejects.toThrow();
    manager.onStart = undefined;
  }

  test("what an interrupted run left is no unit of the distribution's", async () => {
    const bundle = await image.bundle(ca, "web1");
    const before = image.rig.listing();
    await interrupt({ bundle });
    expect(image.manifest.run).not.toBeNull();
    const again = await client({ bundle, isDryRun: true });
    expect(again.lines.join("\n")).not.toContain(`${UNIT}.d`);
    await client({ bundle });
    expect(image.rig.has(`/etc/systemd/system/${UNIT}`)).toBe(true);
    expect(image.rig.has(`/etc/systemd/system/${UNIT}.d`)).toBe(false);
    expect(image.rig.manager.active).toContain(UNIT);
    await image.rig.restore();
    expect(image.rig.listing()).toEqual(before);
  });

  test("what an interrupted run left is not what is installed", async () => {
    await client({ bundle: await image.bundle(ca, "web1") });
    const certificate = image.rig.read(`${OWN}/certificate.pem`);
    const web2 = await image.bundle(ca, "web2");
    await interrupt({ bundle: web2 });
    expect(image.rig.read(`${OWN}/certificate.pem`)).not.toBe(certificate);
    expect((await client()).name).toBe("web1");
    expect(image.rig.read(`${OWN}/certificate.pem`)).toBe(certificate);
    expect(image.manifest.run).toBeNull();
  });
});
