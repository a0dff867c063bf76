/** A server, and a client beside it, with the authority on the same machine. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { Authority } from "../../src/certs/authority.ts";
import { makeBundles } from "../../src/certs/bundle-files.ts";
import { readCertificate } from "../../src/certs/certificate.ts";
import { initAuthority } from "../../src/certs/create.ts";
import { formatAlternativeNames, parseAlternativeName } from "../../src/certs/names.ts";
import { revokeCertificates } from "../../src/certs/revoke.ts";
import type { InstallRequest } from "../../src/install/install-request.ts";
import { DAY_MS } from "../support/certs.ts";
import { InstallImage } from "../support/install-image.ts";

const AUTHORITY = "/etc/ssl/systemd-journal";
const SERVICE = "systemd-journal-remote.service";
const NOTHING = { isChanged: false, lines: [] };
const SHORT_PATH: Partial<InstallRequest> = {
  initializesAuthority: true,
  name: "logs",
  names: namesOf("DNS:logs.example.net", "IP:192.0.2.10"),
};

const asRoot = describe.skipIf(process.getuid?.() !== 0);

let image: InstallImage;
beforeEach(() => {
  image = new InstallImage();
});
afterEach(() => image[Symbol.dispose]());

function namesOf(...texts: string[]) {
  return texts.map(parseAlternativeName);
}

function server(changes: Partial<InstallRequest> = SHORT_PATH) {
  return image.install("server", changes);
}

function certificate(name: string) {
  return readCertificate(image.rig.read(`${AUTHORITY}/${name}.pem`), name).facts;
}

function authorityOptions() {
  return { directory: image.rig.path(AUTHORITY), nowMs: image.nowMs, ...image.io.authority };
}

/** As it was made by agent certs before. */
async function makeAuthority(passphrase?: string): Promise<void> {
  mkdirSync(image.rig.path(AUTHORITY), { recursive: true });
  const request = { commonName: "theirs", keyType: "p256", days: 3650, passphrase } as const;
  await initAuthority(authorityOptions(), request);
}

asRoot("--init-ca", () => {
  test("makes the authority and the certificate, and starts the receiver", async () => {
    const { lines, name, options } = await server();
    const directory = image.rig.path(AUTHORITY);
    expect(lines.slice(0, 2)).toEqual([
      `created the authority in ${directory}`,
      `issued the certificate "logs" in ${directory}`,
    ]);
    expect(name).toBe("logs");
    expect(options.isLocalAuthority).toBe(true);
    expect(formatAlternativeNames(certificate("logs").names)).toBe(
      "DNS:logs, DNS:logs.example.net, IP:192.0.2.10",
    );
    expect(image.rig.manager.active).toContain(SERVICE);
    const configuration = image.rig.read("/etc/systemd/journal-remote.conf.d/50-agent.conf");
    expect(configuration).toContain(`CRLFile=${AUTHORITY}/crl.pem`);
  });

  test("a second run, also without options, does nothing at all", async () => {
    await server();
    image.rig.manager.takeLog();
    const before = image.rig.listing();
    const manifest = image.rig.path("/var/lib/journal-agent/manifest.json");
    const { ino } = statSync(manifest);
    expect(await server()).toMatchObject(NOTHING);
    expect(await server({})).toMatchObject(NOTHING);
    expect(image.rig.listing()).toEqual(before);
    expect(statSync(manifest).ino).toBe(ino);
    expect(image.rig.manager.takeLog()).toEqual([]);
  });

  test("other names bring another certificate with the same key, and a restart", async () => {
    await server();
    image.rig.manager.takeLog();
    const key = image.rig.read(`${AUTHORITY}/logs.key`);
    const { lines } = await server({ names: namesOf("DNS:other.example.net") });
    expect(lines).toEqual([
      `issued the certificate "logs" in ${image.rig.path(AUTHORITY)}`,
      `restart ${SERVICE}`,
    ]);
    expect(formatAlternativeNames(certificate("logs").names)).toBe(
      "DNS:logs, DNS:other.example.net",
    );
    expect(image.rig.read(`${AUTHORITY}/logs.key`)).toBe(key);
    expect(image.rig.manager.takeLog()).toEqual([`restart ${SERVICE}`]);
    expect(await server({})).toMatchObject(NOTHING);
  });

  test("the name is the machine's where none is given", async () => {
    expect((await server({ initializesAuthority: true })).name).toBe("web1");
    image.rig.write("/etc/hostname", "müll\n");
    await expect(server({ initializesAuthority: true, name: "ca" })).rejects.toThrow("own files");
  });

  test("a certificate that expired, was revoked or removed is issued again", async () => {
    await server();
    image.nowMs += 900 * DAY_MS;
    expect((await server({})).lines[0]).toStartWith("issued the certificate");
    {
      using authority = await Authority.open(authorityOptions());
      await revokeCertificates(authority, ["logs"], "unspecified");
    }
    expect((await server({})).lines[0]).toStartWith("issued the certificate");
    rmSync(image.rig.path(`${AUTHORITY}/logs.pem`));
    expect((await server({})).lines[0]).toStartWith("issued the certificate");
    expect(formatAlternativeNames(certificate("logs").names)).toContain("logs.example.net");
    expect(await server({})).toMatchObject(NOTHING);
  });

  test("--dry-run says what would be done, and makes nothing", async () => {
    const before = image.rig.listing();
    const { lines } = await server({ ...SHORT_PATH, isDryRun: true });
    const directory = image.rig.path(AUTHORITY);
    expect(lines.slice(0, 2)).toEqual([
      `make an authority in ${directory}`,
      `issue the certificate "logs" in ${directory}`,
    ]);
    expect(image.rig.listing()).toEqual(before);
    expect(image.rig.manager.takeLog()).toEqual([]);
  });

  test.each(["/etc/ssl is there", "/etc/ssl is not there", "the directory is there, empty"])(
    "when the receiver does not start, the new authority is gone: %s",
    async (how) => {
      if (how.includes("not")) rmSync(image.rig.path("/etc/ssl"), { recursive: true });
      if (how.includes("empty")) mkdirSync(image.rig.path(AUTHORITY), { mode: 0o755 });
      const before = image.rig.listing();
      image.rig.manager.broken.add(SERVICE);
      await expect(server()).rejects.toThrow("everything is as it was before");
      expect(image.rig.listing()).toEqual(before);
    },
  );

  test("uninstall keeps it unless everything is purged", async () => {
    const before = image.rig.listing();
    await server();
    await image.rig.restore({ purge: false });
    expect(image.rig.has(`${AUTHORITY}/ca.key`)).toBe(true);
    await server();
    await image.rig.restore();
    expect(image.rig.listing()).toEqual(before);
  });
});

asRoot("an authority that was there before", () => {
  test("is used without --init-ca, and stays when all is purged", async () => {
    await makeAuthority();
    const before = image.rig.read(`${AUTHORITY}/ca.pem`);
    expect((await server({ name: "logs" })).options.isLocalAuthority).toBe(true);
    await image.rig.restore();
    expect(image.rig.read(`${AUTHORITY}/ca.pem`)).toBe(before);
    expect(image.rig.has(`${AUTHORITY}/logs.key`)).toBe(true);
  });

  test("without its passphrase nothing is changed; with it all is well, and it is not asked for again", async () => {
    await makeAuthority("correct horse");
    const before = image.rig.listing();
    const failure = await server().catch((error) => error);
    expect(failure.message).toStartWith("Cannot install the server: ");
    expect(failure.message).toContain("everything is as it was before");
    expect(image.rig.listing()).toEqual(before);
    image.passphrase = "correct horse";
    await server();
    image.passphrase = undefined;
    expect(await server()).toMatchObject(NOTHING);
  });

  test("a list of revoked certificates is made where there is none", async () => {
    await makeAuthority();
    rmSync(image.rig.path(`${AUTHORITY}/crl.pem`));
    expect((await server({ name: "logs" })).lines[0]).toStartWith("adopted the authority");
    expect(image.rig.has(`${AUTHORITY}/crl.pem`)).toBe(true);
  });

  test("when it vanished, the next run says so", async () => {
    await server();
    rmSync(image.rig.path(AUTHORITY), { recursive: true });
    const before = image.rig.listing();
    await expect(server({})).rejects.toThrow("there is no authority in");
    expect(image.rig.listing()).toEqual(before);
  });
});

asRoot("server and client on one machine", () => {
  const servers = ["https://localhost:19532"];

  test("a certificate that both have keeps the names of the server", async () => {
    await server();
    image.rig.manager.takeLog();
    await image.install("client", { servers, name: "logs" });
    expect(image.rig.manager.takeLog()).toContain(`restart ${SERVICE}`);
    expect(certificate("logs").role).toBe("both");
    expect(formatAlternativeNames(certificate("logs").names)).toBe(
      "DNS:logs, DNS:logs.example.net, IP:192.0.2.10",
    );
    expect(await server()).toMatchObject(NOTHING);
    expect(await image.install("client")).toMatchObject(NOTHING);
  });

  test("purging the server leaves the client what it uses; purging both leaves nothing", async () => {
    const before = image.rig.listing();
    await server();
    await image.install("client", { servers });
    await image.rig.restore({ roles: ["server"] });
    expect(image.rig.has(`${AUTHORITY}/web1.key`)).toBe(true);
    expect(image.rig.has("/usr/local/bin/agent")).toBe(true);
    expect(await image.install("client")).toMatchObject(NOTHING);
    await image.rig.restore({ roles: ["client"] });
    expect(image.rig.listing()).toEqual(before);
  });

  test("a bundle takes the place of the authority", async () => {
    await server();
    await image.install("client", { servers });
    using authority = await Authority.open(authorityOptions());

    const output = { server: undefined, output: image.rig.path("/bundle") };
    await makeBundles(authority, "web1", output);
    const { options } = await image.install("client", { bundle: image.rig.path("/bundle") });
    expect(options.isLocalAuthority).toBe(false);
    expect(options.places?.key).toBe("/etc/ssl/journal-agent/client/key.pem");
  });
});

asRoot("an image", () => {
  test("the root of a whole image is not left by links in it", async () => {
    image.rig.write("/data/keep", "");
    rmSync(image.rig.path("/etc/ssl"), { recursive: true });

    symlinkSync("/data/ssl", image.rig.path("/etc/ssl"));
    mkdirSync(image.rig.path("/data/ssl"));
    await server();
    expect(image.rig.has("/data/ssl/systemd-journal/ca.key")).toBe(true);
  });
});
