/** A directory of Netdata's script is taken over and lived with: issue 4, point 2. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { sampleEntry } from "../support/export-stream.ts";
import { changedFiles, listFiles } from "../support/file-listing.ts";
import { curl, JOURNAL_TYPE } from "../support/front.ts";
import { NetdataAuthority } from "../support/netdata-authority.ts";
import { Receiver } from "../support/receiver.ts";
import { run } from "../support/run-agent.ts";
import { journalFiles } from "../support/stored-journals.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TlsClient } from "../support/tls-client.ts";

const LIMIT_MS = 30_000;
const agent = useAgentBinary();

describe("a directory of Netdata's script", () => {
  const owned = new DisposableStack();
  let work: TempDir;
  let netdata: NetdataAuthority;
  let before: Map<string, string>;

  beforeAll(() => {
    work = owned.use(new TempDir());
    netdata = new NetdataAuthority(join(work.path, "ca"));
    netdata.issue("server1", "DNS:localhost", "IP:127.0.0.1");
    netdata.issue("client1");
    netdata.issue("client2", "DNS:hostname2", "IP:10.0.0.2");
    before = listFiles(netdata.directory);
  }, LIMIT_MS);
  afterAll(() => owned.dispose());

  async function certs(...args: string[]): Promise<unknown> {
    const command = [agent.path, "certs", ...args, "--json", `--directory=${netdata.directory}`];
    const { status, stdout, stderr } = await run(command);
    if (status !== 0) throw new Error(`certs ${args.join(" ")}: exit ${status}: ${stderr}`);
    return JSON.parse(stdout);
  }

  const text = (file: string): string => readFileSync(netdata.path(file), "latin1");

  test("is adopted: no file is changed, a list is added, the directory is root's", async () => {
    expect(await certs("init")).toMatchObject({
      outcome: "adopted",
      issued: 3,
      authority: { name: "systemd-journal-remote-ca", keyType: "rsa2048" },
    });
    const after = listFiles(netdata.directory);
    expect(changedFiles(before, after)).toEqual([".", "crl.pem"]);
    const { mode, uid } = statSync(netdata.directory);
    expect([(mode & 0o7777).toString(8), uid]).toEqual(["755", process.getuid?.() ?? 0]);
    expect(await certs("init")).toMatchObject({ outcome: "unchanged", issued: 3 });
    expect(changedFiles(after, listFiles(netdata.directory))).toEqual([]);
  });

  test("its certificates are listed, and its authority is good", async () => {
    const serials = ["01", "02", "03"];
    const names = ["server1", "client1", "client2"];
    expect(await certs("list")).toEqual({
      certificates: names.map((name, i) =>
        expect.objectContaining({
          name,
          serial: serials[i],
          status: "valid",
          authority: "current",
        }),
      ),
    });
    expect(await certs("verify", "--all")).toMatchObject({ good: true, issued: 3 });
  });

  test("a new host is issued: index and serial are kept up, the rest stays", async () => {
    const formerIndex = text("index");
    const present = listFiles(netdata.directory);
    expect(await certs("issue", "newhost", "DNS:newhost.example.net")).toMatchObject({
      outcome: "issued",
      serial: "04",
      keyType: "p256",
    });
    const changed = changedFiles(present, listFiles(netdata.directory));
    expect(changed).toEqual(["index", "newhost.key", "newhost.pem", "serial"]);
    expect(text("index")).toStartWith(formerIndex);
    expect(text("index").slice(formerIndex.length)).toMatch(
      /^V\t\d{12}Z\t\t04\tunknown\t\/CN=newhost\n$/,
    );
    expect(text("serial")).toBe("05\n");
    expect(netdata.openssl("verify", "-CAfile", "ca.pem", "newhost.pem")).toBe("newhost.pem: OK\n");
  });

  test("the script goes on working in it, and after a renewal, too", async () => {
    netdata.issue("client3");
    expect(text("serial")).toBe("06\n");
    expect(await certs("renew", "client3")).toMatchObject({
      renewed: [{ name: "client3", serial: "06", keyType: "rsa2048" }],
    });
    netdata.issue("client4", "DNS:hostname4");
    expect(text("serial")).toBe("08\n");
    // The script has given the directory to the daemon again.
    expect(await certs("init")).toMatchObject({ outcome: "unchanged", issued: 7 });
    expect(await certs("verify", "--all")).toMatchObject({ good: true, issued: 7 });
  });

  test(
    "old and new hosts send; a revoked one is cut off and refused",
    async () => {
      const output = join(work.path, "journals");
      mkdirSync(output);
      // The receiver's own is an old one, too.
      const pki = { path: (file: string) => netdata.path(file.replace(/^server\./, "server1.")) };
      const command = [agent.path, "serve"];
      const args = [`--crl=${netdata.path("crl.pem")}`];
      await using receiver = await Receiver.start({ command, output, pki, args });
      const body = work.write("entry", sampleEntry(0));
      const upload = async (name: string): Promise<number> => {
        const identity = [
          "--cert",
          netdata.path(`${name}.pem`),
          "--key",
          netdata.path(`${name}.key`),
        ];
        const data = ["-H", JOURNAL_TYPE, "--data-binary", `@${body}`];
        const trust = ["--cacert", netdata.path("ca.pem")];
        return (await curl(...trust, ...identity, ...data, receiver.url)).status;
      };
      const isVersion1 = netdata.openssl("x509", "-in", "client1.pem", "-noout", "-text");
      expect(isVersion1).toContain("Version: 1 ");
      for (const name of ["client1", "client2", "newhost"]) expect(await upload(name)).toBe(202);

      using leaver = await TlsClient.connect(pki, "client1", receiver.port);
      using stayer = await TlsClient.connect(pki, "newhost", receiver.port);
      expect((await leaver.post(sampleEntry(1))).status).toBe(202);
      expect((await stayer.post(sampleEntry(1))).status).toBe(202);
      expect(await certs("revoke", "client1", "--reason=keyCompromise")).toMatchObject({
        revoked: [{ name: "client1", serial: "02" }],
      });
      // No signal is sent: the receiver notices by itself.
      await leaver.closed(10_000);
      expect(await upload("client1")).toBe(401);
      expect((await stayer.post(sampleEntry(2))).status).toBe(202);
      expect(await upload("client2")).toBe(202);
      expect(await receiver.stop()).toBe(0);
      expect(receiver.log).toContain("reason=peer-certificate-cert-revoked");
      expect(journalFiles(output).map((file) => basename(file))).toEqual([
        "remote-client1.journal",
        "remote-client2.journal",
        "remote-newhost.journal",
      ]);
      expect(await certs("verify", "--all")).toMatchObject({ good: true, revoked: 1 });
    },
    LIMIT_MS,
  );
});
