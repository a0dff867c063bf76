/** `agent upload` as a service of a booted systemd, with its configuration file, watchdog and namespaces. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "../support/agent-binary.ts";
import { type BootedMachine, describeMachines } from "../support/booted-machine.ts";
import { freePort } from "../support/ports.ts";
import { Receiver } from "../support/receiver.ts";
import { TempDir } from "../support/temp-dir.ts";
import { TestPki } from "../support/tls.ts";

const LIMIT_MS = 90_000;
const BACKLOG = 30_000;
const UNIT = `[Service]
Type=notify
ExecStart=/opt/agent upload --save-state
StateDirectory=systemd/journal-upload
WatchdogSec=2
Restart=on-failure
`;

const NAMESPACED = `[Service]
Type=oneshot
LogNamespace=extra
ExecStart=echo from a namespace
`;

const agent = useAgentBinary();
await describeMachines("agent upload as a service", (boot) => {
  const owned = new AsyncDisposableStack();
  let output: string;
  let pki: TestPki;
  let port: number;
  let machine: BootedMachine;

  beforeAll(async () => {
    output = join(owned.use(new TempDir()).path, "received");
    mkdirSync(output);
    pki = owned.use(new TestPki());
    pki.issue("web1");
    port = await freePort();
    const config = `[Upload]
URL=https://127.0.0.1:${port}
ServerKeyFile=/etc/web1.key
ServerCertificateFile=/etc/web1.pem
TrustedCertificateFile=/etc/ca.pem
Namespace=*
`;
    const certificates = ["web1.key", "web1.pem", "ca.pem"];
    machine = owned.use(
      await boot({
        bind: { [agent.path]: "/opt/agent" },
        files: {
          "etc/systemd/system/agent-upload.service": UNIT,
          "etc/systemd/system/namespaced.service": NAMESPACED,
          "etc/systemd/journal-upload.conf": config,
          ...Object.fromEntries(
            certificates.map((name) => [`etc/${name}`, readFileSync(pki.path(name), "utf8")]),
          ),
        },
      }),
    );
  }, LIMIT_MS);
  afterAll(() => owned.disposeAsync(), LIMIT_MS);

  function startReceiver(): Promise<Receiver> {
    return Receiver.start({ command: [agent.path, "serve"], output, pki, port });
  }

  async function property(name: string): Promise<string> {
    return (
      await machine.run("systemctl", "show", "--value", `--property=${name}`, "agent-upload")
    ).trim();
  }

  async function statusMatches(pattern: RegExp): Promise<string> {
    const deadlineMs = performance.now() + 20_000;
    for (;;) {
      const status = await property("StatusText");
      if (pattern.test(status)) return status;
      if (performance.now() > deadlineMs) throw new Error(`Status is "${status}", need ${pattern}`);
      await Bun.sleep(50);
    }
  }

  async function received(message: string): Promise<void> {
    const deadlineMs = performance.now() + 20_000;
    // Whatever its exit status: files may be renamed meanwhile.
    const search = ["journalctl", "--quiet", `--directory=${output}`, `MESSAGE=${message}`];
    const isThere = (): boolean => Bun.spawnSync(search).stdout.length > 0;
    while (!isThere()) {
      if (performance.now() > deadlineMs) throw new Error(`"${message}" has not come`);
      await Bun.sleep(50);
    }
  }

  test(
    "is ready at once, tells how it goes, and feeds the watchdog while it waits and while it catches up",
    async () => {
      const where = `https://127\\.0\\.0\\.1:${port}/upload: `;
      // Nobody is there yet.
      await machine.run("systemctl", "start", "agent-upload");
      expect(await property("ActiveState")).toBe("active");
      const waiting = await statusMatches(/RETRYING/);
      expect(waiting).toMatch(
        new RegExp(
          `^${where}RETRYING \\(Cannot upload .* refuses the connection\\), \\d+ entries behind, 0/s, 0 acknowledged$`,
        ),
      );
      await machine.run(
        "systemd-cat",
        "sh",
        "-c",
        `i=0; while [ $i -lt ${BACKLOG} ]; do echo "message $i"; i=$((i + 1)); done`,
      );
      await Bun.sleep(5000);
      const receiver = owned.use(await startReceiver());
      await received(`message ${BACKLOG - 1}`);
      const status = await statusMatches(/up to date/);
      expect(status).toMatch(new RegExp(`^${where}up to date, \\d+/s, \\d+ acknowledged$`));
      expect([await property("NRestarts"), await property("ActiveState")]).toEqual(["0", "active"]);

      await receiver.stop();
      await machine.run("systemd-cat", "echo", "while it is away");
      await statusMatches(/RETRYING .* 1 entries \(\d+\.\d s\) behind/);
      await startReceiver().then((again) => owned.use(again));
      await received("while it is away");
    },
    LIMIT_MS,
  );

  test(
    "finds the journal of a namespace that appears while it runs",
    async () => {
      await machine.run("systemctl", "start", "namespaced");
      await received("from a namespace");
    },
    LIMIT_MS,
  );

  test(
    "stops in time, goes on after a new boot where it was, and reads what was logged without it",
    async () => {
      const startMs = performance.now();
      await machine.run("systemctl", "stop", "agent-upload");
      expect(performance.now() - startMs).toBeLessThan(3000);
      expect([await property("Result"), await property("ExecMainStatus")]).toEqual([
        "success",
        "0",
      ]);
      await machine.run("systemd-cat", "echo", "without it");
      await machine.shutDown();
      await machine.boot();
      await machine.run("systemctl", "start", "agent-upload");
      await received("without it");
      await statusMatches(/up to date/);
      const status = await property("StatusText");
      // Not all of the backlog once more.
      expect(Number(/(\d+) acknowledged/.exec(status)?.[1])).toBeLessThan(BACKLOG / 10);
      await machine.run("systemctl", "stop", "agent-upload");
    },
    LIMIT_MS,
  );
});
