import { describe, expect, test } from "bun:test";
import { fstatSync, openSync } from "node:fs";
import { join } from "node:path";
import {
  feedWatchdog,
  inheritedSockets,
  isJournalStream,
  type Notifier,
  openNotifier,
} from "../../src/platform/service.ts";
import { LineReader } from "../support/line-reader.ts";
import { NotifyReceiver } from "../support/notify-receiver.ts";
import { TempDir } from "../support/temp-dir.ts";

const { PATH } = Bun.env;
const SERVICE = join(import.meta.dir, "../../src/platform/service.ts");

function failAtError(error: unknown): never {
  throw new Error("Nothing may fail here", { cause: error });
}

/** Runs a script that has `notify`, a Notifier, in a Bun of its own. */
async function runNotifying(env: Record<string, string>, body: string) {
  const script = `
    import { openNotifier } from ${JSON.stringify(SERVICE)};
    const onError = (error) => console.log("failed: " + error.message);
    const notify = await openNotifier(process.env, { onError });
    console.log(notify.constructor.name);
    ${body}
    await notify.close();
  `;
  const child = Bun.spawn([process.execPath, "-e", script], {
    env: { PATH, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = await new Response(child.stdout).text();
  return { output: output.trim().split("\n"), status: await child.exited };
}

describe("openNotifier()", () => {
  test.each(["path", "abstract"] as const)(
    "sends datagrams by itself to a socket with a %s name",
    async (kind) => {
      using receiver = await NotifyReceiver.open(kind, 3);
      const notify = await openNotifier(
        { NOTIFY_SOCKET: receiver.address },
        { onError: failAtError },
      );
      notify.send("READY=1", "STATUS=Processing requests…");
      notify.send("WATCHDOG=1");
      notify.send("STOPPING=1", "STATUS=two\nlines");
      await notify.close();
      expect(await receiver.messages()).toEqual([
        "READY=1\nSTATUS=Processing requests…",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=two lines",
      ]);
    },
  );

  test.each(["path", "abstract"] as const)(
    "sends by systemd-notify to a socket with a %s name",
    async (kind) => {
      using receiver = await NotifyReceiver.open(kind, 2);
      const environment = { NOTIFY_SOCKET: receiver.address, PATH };
      const notify = await openNotifier(environment, { onError: failAtError, direct: false });
      notify.send("READY=1", "STATUS=starting");
      notify.send("STATUS=one");
      notify.send("WATCHDOG=1");
      notify.send("STATUS=two");
      await notify.close();
      expect(await receiver.messages()).toEqual([
        "READY=1\nSTATUS=starting",
        "STATUS=two\nWATCHDOG=1",
      ]);
    },
    20_000,
  );

  test("chooses the socket where libc can be called", async () => {
    using receiver = await NotifyReceiver.open("path", 1);
    const env = { NOTIFY_SOCKET: receiver.address };
    expect(await runNotifying(env, 'notify.send("READY=1");')).toEqual({
      output: ["SocketNotifier"],
      status: 0,
    });
    expect(await receiver.messages()).toEqual(["READY=1"]);
  });

  // bun:ffi throws without the JIT, as under MemoryDenyWriteExecute=yes.
  test("chooses systemd-notify without the JIT", async () => {
    using receiver = await NotifyReceiver.open("path", 1);
    const env = { NOTIFY_SOCKET: receiver.address, BUN_JSC_useJIT: "0" };
    expect(await runNotifying(env, 'notify.send("READY=1");')).toEqual({
      output: ["CommandNotifier"],
      status: 0,
    });
    expect(await receiver.messages()).toEqual(["READY=1"]);
  }, 20_000);

  test("does nothing without NOTIFY_SOCKET", async () => {
    for (const environment of [{}, { NOTIFY_SOCKET: "" }]) {
      const notify = await openNotifier(environment, { onError: failAtError });
      notify.send("READY=1");
      await notify.close();
    }
  });

  test.each([true, false])(
    "tells of a receiver that is gone, and goes on (direct %p)",
    async (direct) => {
      using dir = new TempDir();
      const errors: string[] = [];
      const onError = (error: unknown) => errors.push(String(error));
      const environment = { NOTIFY_SOCKET: join(dir.path, "gone"), PATH };
      const notify = await openNotifier(environment, {
        onError: (error) => void onError(error),
        direct,
      });
      notify.send("READY=1");
      await notify.close();
      expect(errors).toHaveLength(1);
      expect(errors[0]).toContain(direct ? "nobody receives there" : "Cannot notify");
    },
  );

  test("tells that systemd-notify is missing", async () => {
    const errors: string[] = [];
    const notify = await openNotifier(
      { NOTIFY_SOCKET: "/nowhere", PATH: "/nowhere" },
      { onError: (error) => void errors.push(String(error)), direct: false },
    );
    notify.send("READY=1");
    await notify.close();
    expect(errors.join()).toContain("systemd-notify");
  });

  test("leaves addresses that are no AF_UNIX names to systemd-notify", async () => {
    for (const address of ["vsock:2:1234", `/${"x".repeat(108)}`]) {
      const notify = await openNotifier({ NOTIFY_SOCKET: address }, { onError: failAtError });
      expect(notify.constructor.name).toBe("CommandNotifier");
    }
  });
});

describe("feedWatchdog()", () => {
  function makeNotifier() {
    const sent: string[] = [];
    const notifier: Notifier = {
      send: (...assignments) => void sent.push(...assignments),
      close: () => Promise.resolve(),
    };
    return { sent, notifier };
  }

  test("feeds at once and at half the time-out, until stopped", async () => {
    const { sent, notifier } = makeNotifier();
    const stop = feedWatchdog(notifier, { WATCHDOG_USEC: "40000", WATCHDOG_PID: "17" }, 17);
    expect(sent).toEqual(["WATCHDOG=1"]);
    const end = Date.now() + 5000;
    while (sent.length < 4 && Date.now() < end) await Bun.sleep(5);
    expect(sent.length).toBeGreaterThanOrEqual(4);
    stop();
    const count = sent.length;
    await Bun.sleep(60);
    expect(sent).toHaveLength(count);
  });

  test("does not feed while the service is not healthy", async () => {
    const { sent, notifier } = makeNotifier();
    let isHealthy = false;
    const stop = feedWatchdog(notifier, { WATCHDOG_USEC: "20000" }, 17, () => isHealthy);
    await Bun.sleep(50);
    expect(sent).toEqual([]);
    isHealthy = true;
    const end = Date.now() + 5000;
    while (sent.length === 0 && Date.now() < end) await Bun.sleep(5);
    expect(sent[0]).toBe("WATCHDOG=1");
    stop();
  });

  test.each([
    [{}],
    [{ WATCHDOG_USEC: "0" }],
    [{ WATCHDOG_USEC: "nonsense" }],
    [{ WATCHDOG_USEC: "40000", WATCHDOG_PID: "18" }],
  ])("does nothing with %p", (environment) => {
    const { sent, notifier } = makeNotifier();
    feedWatchdog(notifier, environment, 17)();
    expect(sent).toEqual([]);
  });
});

describe("inheritedSockets()", () => {
  test("counts from descriptor 3 and takes the names", () => {
    const environment = { LISTEN_PID: "17", LISTEN_FDS: "3", LISTEN_FDNAMES: "web::raw" };
    expect(inheritedSockets(environment, 17)).toEqual([
      { fd: 3, name: "web" },
      { fd: 4, name: "unknown" },
      { fd: 5, name: "raw" },
    ]);
  });

  test.each([
    [{}],
    [{ LISTEN_FDS: "1" }],
    [{ LISTEN_FDS: "1", LISTEN_PID: "18" }],
    [{ LISTEN_FDS: "0", LISTEN_PID: "17" }],
  ])("finds none in %p", (environment) => {
    expect(inheritedSockets(environment, 17)).toEqual([]);
  });

  test.each(["", "-1", "x", "1e3", "1000001"])("refuses LISTEN_FDS=%p", (text) => {
    const environment = { LISTEN_PID: "17", LISTEN_FDS: text };
    expect(() => inheritedSockets(environment, 17)).toThrow(`Cannot use LISTEN_FDS="${text}"`);
  });
});

test("isJournalStream() compares device and inode", () => {
  using dir = new TempDir();
  const fd = openSync(dir.write("log", ""), "r");
  const { dev, ino } = fstatSync(fd);
  expect(isJournalStream(`${dev}:${ino}`, fd)).toBe(true);
  expect(isJournalStream(`${dev}:${ino + 1}`, fd)).toBe(false);
  expect(isJournalStream(`${dev + 1}:${ino}`, fd)).toBe(false);
  expect(isJournalStream(undefined, fd)).toBe(false);
  expect(isJournalStream(`${dev}:${ino}`, 99_999)).toBe(false);
});

describe("ServiceSignals", () => {
  /** Starts a process that names the signals it gets on stdout, and kills it in the end. */
  function startListener() {
    const script = `
      import { ServiceSignals } from ${JSON.stringify(SERVICE)};
      const signals = new ServiceSignals();
      signals.onReload(() => console.log("reload"));
      signals.signal.addEventListener("abort", () => console.log("stop"));
      setInterval(() => {}, 1000);
      console.log("ready");
    `;
    return Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  }

  test.each(["SIGTERM", "SIGINT"] as const)(
    "SIGHUP reloads; %s stops, and ends the process the second time",
    async (name) => {
      const child = startListener();
      const lines = new LineReader(child.stdout);
      expect(await lines.next()).toBe("ready");
      child.kill("SIGHUP");
      expect(await lines.next()).toBe("reload");
      child.kill(name);
      expect(await lines.next()).toBe("stop");
      child.kill(name);
      await child.exited;
      expect(child.signalCode).toBe(name);
    },
  );
});
