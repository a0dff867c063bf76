import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { auditAuthority } from "../../src/certs/audit.ts";
import type { Authority } from "../../src/certs/authority.ts";
import { readCertificates } from "../../src/certs/certificate.ts";
import { parseIndex } from "../../src/certs/index-file.ts";
import { renewCertificates } from "../../src/certs/renew.ts";
import {
  finishRotation,
  prepareRotation,
  rotationState,
  switchAuthority,
} from "../../src/certs/rotate.ts";
import { CertsAuthority } from "../support/certs.ts";

interface Identity {
  cert: string;
  key: string;
}

const PREPARE = { keyType: "p256", days: 3650, passphrase: undefined } as const;

describe("a change of the authority", () => {
  const owned = new DisposableStack();
  let ca: CertsAuthority;
  let oldClient: Identity;
  let oldServer: Identity;
  let oldTrust: string;

  beforeAll(async () => {
    ca = owned.use(await CertsAuthority.create({ passphrase: "correct horse" }));
    await ca.issue("server", { names: ["localhost"], role: "server" });
    await ca.issue("web1");
    await ca.issue("web2");
    await ca.issue("leaver");
    await ca.revoke("leaver");
    oldClient = identity("web1");
    oldServer = identity("server");
    oldTrust = ca.text("ca.pem");
  });
  afterAll(() => owned.dispose());

  const identity = (name: string): Identity => ({
    cert: ca.text(`${name}.pem`),
    key: ca.text(`${name}.key`),
  });
  const step = async (change: (authority: Authority) => Promise<unknown>): Promise<void> => {
    using authority = await ca.open();
    await change(authority);
  };
  const state = () => rotationState(ca.directory, Date.now());
  const expectGood = (): void => {
    const { faults } = auditAuthority({
      directory: ca.directory,
      nowMs: Date.now(),
      passphrase: ca.passphrase,
    });
    expect(faults).toEqual([]);
  };
  /** The TLS library takes one list a text. */
  const lists = (): string[] =>
    ca.text("crl.pem").match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
  /** As `agent serve` does it: all of ca.pem is trusted, all lists of crl.pem count. */
  const talk = (server: Identity, client: Identity, trust = ca.text("ca.pem")): Promise<string> =>
    handshake({ ...server, ca: ca.text("ca.pem"), crl: lists() }, { ...client, ca: trust });

  test("cannot be ended or switched before it has begun", async () => {
    await expect(step((authority) => switchAuthority(authority))).rejects.toMatchObject({
      code: "E_USAGE",
    });
    await expect(step((authority) => finishRotation(authority, true))).rejects.toMatchObject({
      code: "E_USAGE",
    });
    expect(state().stage).toBe("none");
  });

  test("1. a new one beside the old: both are trusted, the old one signs", async () => {
    await step((authority) => prepareRotation(authority, PREPARE));
    expect(state()).toMatchObject({ stage: "prepared", stillOld: ["server", "web1", "web2"] });
    expect(state().authorities.map(({ name }) => name)).toEqual([
      "systemd-journal-remote-ca",
      "systemd-journal-remote-ca 2",
    ]);
    expect(ca.text("ca-new.key")).toContain("ENCRYPTED");
    await ca.issue("web3");
    expect(readCertificates(ca.text("web3.pem"), "")[0]?.facts.issuer).toBe(
      "CN=systemd-journal-remote-ca",
    );
    expectGood();
    expect(await talk(oldServer, oldClient, oldTrust)).toBe("welcome");
    await expect(step((authority) => prepareRotation(authority, PREPARE))).rejects.toThrow(
      "a change is under way already",
    );
  });

  test("2. the new one signs: old and new hosts talk to each other in every direction", async () => {
    await step((authority) => switchAuthority(authority));
    expect(state()).toMatchObject({
      stage: "switched",
      stillOld: ["server", "web1", "web2", "web3"],
      renewed: [],
    });
    expectGood();
    using authority = await ca.open();
    const hosts = ["web1", "server"];
    await renewCertificates(authority, {
      hosts,
      expiringMs: undefined,
      days: undefined,
      newKeys: false,
    });
    authority[Symbol.dispose]();
    expect(state()).toMatchObject({ stillOld: ["web2", "web3"], renewed: ["server", "web1"] });
    expectGood();
    const [newServer, newClient] = [identity("server"), identity("web1")];
    for (const server of [oldServer, newServer]) {
      for (const client of [oldClient, newClient])
        expect(await talk(server, client)).toBe("welcome");
    }
    // Whoever has not heard of the new one refuses what it has signed: hence step 1.
    expect(await talk(newServer, oldClient, oldTrust)).not.toBe("welcome");
  });

  test("certificates of both are revoked, each on its own authority's list", async () => {
    await ca.revoke("web2", "keyCompromise");
    await ca.issue("web4");
    await ca.revoke("web4");
    expectGood();
    expect(await talk(identity("server"), identity("web2"))).toBe("refused");
    expect(await talk(identity("server"), identity("web4"))).toBe("refused");
    expect(await talk(identity("server"), identity("leaver"))).toBe("refused");
    expect(await talk(identity("server"), identity("web3"))).toBe("welcome");
  });

  test("3. it is not ended while hosts depend on the old one, unless that is wanted", async () => {
    await expect(step((authority) => finishRotation(authority, false))).rejects.toThrow(
      "1 hosts have certificates of the old one only: web3",
    );
    await step((authority) => finishRotation(authority, true));
    expect(state()).toMatchObject({ stage: "none", stillOld: [] });
    expect(state().authorities.map(({ name }) => name)).toEqual(["systemd-journal-remote-ca 2"]);
    expect(existsSync(ca.path("ca-old.key"))).toBe(false);
    expect(await talk(identity("server"), identity("web1"))).toBe("welcome");
    expect(await talk(identity("server"), oldClient)).toBe("refused");
    const record =
      readdirSync(ca.directory).find((file) => /^index-old-\d{4}-\d\d-\d\d$/.test(file)) ?? "";
    expect(parseIndex(ca.text(record), record).map(({ name }) => name)).toEqual([
      "server",
      "web1",
      "web2",
      "leaver",
      "web3",
    ]);
  });

  test("the next one has the next name", async () => {
    await step((authority) => prepareRotation(authority, PREPARE));
    expect(state().authorities.at(-1)?.name).toBe("systemd-journal-remote-ca 3");
  });

  test("ended on the same day it adds to that day's record of what was issued", async () => {
    await step((authority) => switchAuthority(authority));
    await step((authority) => finishRotation(authority, true));
    const records = readdirSync(ca.directory).filter((file) => file.startsWith("index-old-"));
    const issued = records.flatMap((file) => parseIndex(ca.text(file), file));
    for (const name of ["web3", "web4"]) expect(issued.map((each) => each.name)).toContain(name);
    expectGood();
  });
});

/** What comes of it: "welcome", or who refused. */
async function handshake(server: tls.TlsOptions, client: tls.ConnectionOptions): Promise<string> {
  const listener = tls.createServer(
    { ...server, requestCert: true, rejectUnauthorized: false },
    (socket) => {
      socket.on("error", () => undefined);
      socket.end(socket.authorized ? "welcome" : "refused");
    },
  );
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = tls.connect({ host: "127.0.0.1", port, servername: "localhost", ...client });
  socket.on("data", (chunk) => resolve(String(chunk)));
  socket.on("error", (error) => resolve(`${error}`));
  socket.on("close", () => resolve("closed"));
  const result = await promise;
  socket.destroy();
  listener.close();
  return result;
}
