/** `runme-on-NAME.sh` on a Debian system without an agent: issue 4, point 3. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { makeBundles } from "../../src/certs/bundle-files.ts";
import { CertsAuthority } from "../support/certs.ts";
import { DebianRoot } from "../support/debian-root.ts";
import { openDebianTree } from "../support/debian-tree.ts";
import { sampleEntry } from "../support/export-stream.ts";
import { changedFiles } from "../support/file-listing.ts";
import { freePort } from "../support/ports.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const SCRIPT = "/tmp/runme.sh";
const CERTS = "etc/ssl/systemd-journal";
const PROGRAMS = "/usr/lib/systemd";
const KEY_OWNER = { uid: 990, gid: 989 };

const tree = await openDebianTree("trixie-shell");
const port = await freePort();

describe.skipIf(typeof tree === "string")(
  `runme script (${typeof tree === "string" ? tree : "Debian"})`,
  () => {
    const owned = new DisposableStack();
    let ca: CertsAuthority;
    let root: DebianRoot;

    beforeAll(async () => {
      if (typeof tree === "string") return;
      ca = owned.use(await CertsAuthority.create());
      await ca.issue("host1", { names: ["127.0.0.1"] });
      await ca.issue("sender", { role: "client" });
      await ca.issue("receiver", { role: "server", names: ["logs.example.net"] });
    }, LIMIT_MS);
    afterAll(() => owned.dispose());

    async function scriptFor(name: string, server?: string): Promise<string> {
      using authority = await ca.open();
      const output = ca.dir.write(`${name}.sh`, "");
      await makeBundles(authority, name, { server, output });
      return readFileSync(output, "utf8");
    }

    /** A new system with the script in it. */
    async function prepare(name: string, server?: string): Promise<DebianRoot> {
      if (typeof tree === "string") throw new Error(tree);
      root = owned.use(new DebianRoot(tree));
      root.write(SCRIPT, await scriptFor(name, server));
      return root;
    }

    const accessOf = (file: string): string => {
      const { mode, uid, gid } = statSync(root.file(file));
      return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    };

    test("is clean for shellcheck, and POSIX for dash and bash", async () => {
      using dir = new TempDir();
      const file = dir.write(
        "runme-on-host1.sh",
        await scriptFor("host1", "https://logs.example.net:19532"),
      );
      for (const command of [
        [
          "shellcheck",
          "--shell=sh",
          "--enable=quote-safe-variables,require-variable-braces",
          "--exclude=SC2250",
          file,
        ],
        ["dash", "-n", file],
        ["bash", "--posix", "-n", file],
      ].filter(([program]) => Bun.which(program ?? "") !== null)) {
        const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
        expect(`${stdout}${stderr}`).toBe("");
        expect(exitCode).toBe(0);
      }
    });

    test(
      "configures both programs; a second run changes nothing; --uninstall restores the system",
      async () => {
        await prepare("host1", `https://127.0.0.1:${port}`);
        const before = root.list();
        const first = root.run(["sh", SCRIPT]);
        expect([first.status, first.output]).toEqual([0, expect.stringContaining("Installed")]);
        const installed = root.list();
        expect(
          changedFiles(before, installed).filter(
            (each) => !each.startsWith("var/lib/journal-agent-certs"),
          ),
        ).toEqual(
          [
            "etc/ssl",
            CERTS,
            ...["ca.pem", "crl.pem", "host1.key", "host1.pem"].map((file) => `${CERTS}/${file}`),
            "etc/systemd/journal-remote.conf.d",
            "etc/systemd/journal-remote.conf.d/90-journal-agent.conf",
            "etc/systemd/journal-upload.conf.d",
            "etc/systemd/journal-upload.conf.d/90-journal-agent.conf",
          ].sort(),
        );
        for (const file of ["ca.pem", "host1.pem", "host1.key", "crl.pem"]) {
          expect(accessOf(`${CERTS}/${file}`)).toBe("640 990:989");
        }
        expect(accessOf(CERTS)).toBe("755 0:0");
        for (const file of ["ca.pem", "host1.pem", "host1.key"]) {
          expect(readFileSync(root.file(`${CERTS}/${file}`), "latin1")).toBe(ca.text(file));
        }

        const second = root.run(["sh", SCRIPT]);
        expect(second.output).toContain('Nothing to change for "host1"');
        expect(second.output).not.toContain("Installed");
        expect(changedFiles(installed, root.list())).toEqual([]);

        await stockProgramsTalk(root);

        expect(root.run(["sh", SCRIPT, "--uninstall"])).toEqual({
          status: 0,
          output: "Everything is as it was before\n",
        });
        expect(changedFiles(before, root.list())).toEqual([]);
        expect(root.run(["sh", SCRIPT, "--uninstall"]).output).toBe("Nothing is installed\n");
        expect(changedFiles(before, root.list())).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "what Netdata's script left, and drop-ins of others, come back byte for byte",
      async () => {
        await prepare("host1", "https://logs.example.net:19532");
        for (const file of ["ca.pem", "host1.pem", "host1.key"]) {
          root.write(`${CERTS}/${file}`, `old ${file}\n`);
          chmodSync(root.file(`${CERTS}/${file}`), 0o640);
          chownSync(root.file(`${CERTS}/${file}`), KEY_OWNER.uid, KEY_OWNER.gid);
        }
        chmodSync(root.file(CERTS), 0o750);
        chownSync(root.file(CERTS), KEY_OWNER.uid, KEY_OWNER.gid);
        root.write(
          "etc/systemd/journal-upload.conf.d/10-own.conf",
          "[Upload]\nURL=http://other.example.net\n",
        );
        root.write("etc/systemd/journal-upload.conf.d/90-journal-agent.conf", "# mine\n");
        const before = root.list();
        expect(root.run(["sh", SCRIPT]).status).toBe(0);
        expect(accessOf(CERTS)).toBe("755 0:0");
        expect(readFileSync(root.file(`${CERTS}/host1.key`), "latin1")).toBe(ca.text("host1.key"));
        const config = readFileSync(
          root.file("etc/systemd/journal-upload.conf.d/90-journal-agent.conf"),
          "utf8",
        );
        expect(config).toBe(
          [
            "[Upload]",
            "URL=https://logs.example.net:19532",
            "ServerKeyFile=/etc/ssl/systemd-journal/host1.key",
            "ServerCertificateFile=/etc/ssl/systemd-journal/host1.pem",
            "TrustedCertificateFile=/etc/ssl/systemd-journal/ca.pem",
            "",
          ].join("\n"),
        );
        // A renewed certificate in between is no former state.
        root.write(SCRIPT, (await scriptFor("host1")).replace("ROLE='both'", "ROLE='client'"));
        expect(root.run(["sh", SCRIPT]).status).toBe(0);
        expect(root.run(["sh", SCRIPT, "--uninstall"]).status).toBe(0);
        expect(changedFiles(before, root.list())).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "a role brings the configuration of its program only",
      async () => {
        await prepare("sender", "https://logs.example.net:19532");
        expect(root.run(["sh", SCRIPT]).status).toBe(0);
        expect(readdirSync(root.file("etc/systemd"))).toContain("journal-upload.conf.d");
        expect(readdirSync(root.file("etc/systemd"))).not.toContain("journal-remote.conf.d");
        await prepare("receiver");
        expect(root.run(["sh", SCRIPT]).status).toBe(0);
        expect(readdirSync(root.file("etc/systemd"))).toContain("journal-remote.conf.d");
        expect(readdirSync(root.file("etc/systemd"))).not.toContain("journal-upload.conf.d");
      },
      LIMIT_MS,
    );

    test(
      "in the authority's own directory the files stay as they are, but the key is readable for both programs",
      async () => {
        await prepare("host1", "https://logs.example.net:19532");
        for (const file of ["ca.key", "ca.pem", "host1.pem", "host1.key"]) {
          root.write(`${CERTS}/${file}`, ca.text(file));
        }
        chmodSync(root.file(`${CERTS}/host1.key`), 0o600);
        const before = root.list();
        expect(root.run(["sh", SCRIPT]).status).toBe(0);
        const installed = root.list();
        const changed = changedFiles(before, installed);
        expect(changed.filter((file) => file.startsWith("etc/ssl"))).toEqual([
          `${CERTS}/host1.key`,
        ]);
        expect(accessOf(`${CERTS}/host1.key`)).toBe("640 990:989");
        expect(readFileSync(root.file(`${CERTS}/host1.key`), "latin1")).toBe(ca.text("host1.key"));
        expect(root.run(["sh", SCRIPT]).output).toContain('Nothing to change for "host1"');
        expect(changedFiles(installed, root.list())).toEqual([]);
        expect(changed).toContain("etc/systemd/journal-upload.conf.d/90-journal-agent.conf");
        expect(root.run(["sh", SCRIPT, "--uninstall"]).status).toBe(0);
        expect(changedFiles(before, root.list())).toEqual([]);
        root.write(`${CERTS}/host1.pem`, ca.text("sender.pem"));
        const other = root.list();
        const run = root.run(["sh", SCRIPT]);
        expect([run.status, run.output]).toEqual([
          1,
          expect.stringContaining("another certificate"),
        ]);
        expect(changedFiles(other, root.list())).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "restarts what runs, and only after a change",
      async () => {
        await prepare("host1");
        mkdirSync(root.file("run/systemd/system"), { recursive: true });
        root.write(
          "tmp/bin/systemctl",
          '#!/bin/sh\necho "$@" >>/tmp/systemctl.log\ncase $* in *is-active*upload*) exit 3 ;; esac\n',
        );
        chmodSync(root.file("tmp/bin/systemctl"), 0o755);
        const env = { PATH: "/tmp/bin:/usr/sbin:/usr/bin" };
        const log = (): string => readFileSync(root.file("tmp/systemctl.log"), "utf8");
        const asked = [
          "is-active --quiet systemd-journal-remote.service",
          "try-restart systemd-journal-remote.service",
          "is-active --quiet systemd-journal-upload.service",
          "",
        ].join("\n");
        expect(root.run(["sh", SCRIPT], env).output).toContain(
          "Restarted systemd-journal-remote.service",
        );
        expect(log()).toBe(asked);
        root.run(["sh", SCRIPT], env);
        expect(log()).toBe(asked);
        root.run(["sh", SCRIPT, "--uninstall"], env);
        expect(log()).toBe(asked + asked);
      },
      LIMIT_MS,
    );

    test(
      "killed at any moment, --uninstall restores the system",
      async () => {
        await prepare("host1", "https://logs.example.net:19532");
        const before = root.list();
        for (let delayMs = 5; delayMs < 120; delayMs += 15) {
          const child = root.spawn(["sh", SCRIPT]);
          await Bun.sleep(delayMs);
          child.kill("SIGKILL");
          await child.exited;
          expect(root.run(["sh", SCRIPT, "--uninstall"]).status).toBe(0);
          expect(changedFiles(before, root.list())).toEqual([]);
        }
      },
      LIMIT_MS,
    );

    test(
      "changes nothing where it cannot do its work",
      async () => {
        await prepare("host1");
        const script = readFileSync(root.file(SCRIPT), "utf8");
        root.write(SCRIPT, script.replaceAll("/lib/systemd", "/lib/nowhere"));
        const before = root.list();
        const run = root.run(["sh", SCRIPT]);
        expect([run.status, run.output]).toEqual([
          1,
          expect.stringContaining("install the package systemd-journal-remote first"),
        ]);
        const wrong = root.run(["sh", SCRIPT, "--remove"]);
        expect([wrong.status, wrong.output]).toEqual([1, expect.stringContaining("Usage:")]);
        expect(changedFiles(before, root.list())).toEqual([]);
      },
      LIMIT_MS,
    );
  },
);

/** systemd-journal-upload sends what it is given to systemd-journal-remote, both with the installed configuration. */
async function stockProgramsTalk(root: DebianRoot): Promise<void> {
  const entries = 10;
  root.write(
    "tmp/sample.export",
    Buffer.concat(Array.from({ length: entries }, (_, i) => sampleEntry(i))),
  );
  const made = root.run([
    `${PROGRAMS}/systemd-journal-remote`,
    "--output=/tmp/sample.journal",
    "/tmp/sample.export",
  ]);
  expect([made.status, made.output]).toEqual([0, expect.anything()]);
  mkdirSync(root.file("tmp/received"), { recursive: true });
  const receiver = root.spawn([
    `${PROGRAMS}/systemd-journal-remote`,
    `--listen-https=${port}`,
    "--output=/tmp/received",
  ]);
  await Bun.sleep(500);
  const sent = root.run([
    `${PROGRAMS}/systemd-journal-upload`,
    "--file=/tmp/sample.journal",
    "--follow=no",
  ]);
  expect([sent.status, sent.output]).toEqual([0, expect.anything()]);
  await until(() => readdirSync(root.file("tmp/received")).length > 0);
  receiver.kill();
  await receiver.exited;
  const files = readdirSync(root.file("tmp/received")).map(
    (file) => `--file=/tmp/received/${file}`,
  );
  const { output } = root.run(["journalctl", "--quiet", "--output=export", ...files]);
  expect(output.match(/^MESSAGE/gm)).toHaveLength(entries);
}
