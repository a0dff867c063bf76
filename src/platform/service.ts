/**
 * What a service manager expects of a daemon, and what it hands over: sd_notify(3),
 * sd_watchdog_enabled(3), sd_listen_fds(3), the journal on stderr (systemd.exec(5)), signals.
 * Nothing here reads the environment: it comes in as an argument.
 */
import { fstatSync } from "node:fs";
import { AgentError } from "../errors.ts";
import { DatagramSender } from "./notify-socket.ts";

/** The variables a service manager sets; `process.env` fits. */
export interface ServiceEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
  readonly LISTEN_FDS?: string | undefined;
  readonly LISTEN_PID?: string | undefined;
  readonly LISTEN_FDNAMES?: string | undefined;
  /** Where systemd-notify is found. */
  readonly PATH?: string | undefined;
  readonly [name: string]: string | undefined;
}

/** Tells the service manager how the daemon is. Without one, every call does nothing. */
export interface Notifier {
  /**
   * Sends assignments: "READY=1", "STATUS=…", "WATCHDOG=1", "STOPPING=1", "MAINPID=…".
   * Line ends in them become blanks. Never throws.
   */
  send(...assignments: string[]): void;
  /** Resolves when what was sent is out. */
  close(): Promise<void>;
}

export interface NotifierOptions {
  /** Told of each failure to send. */
  onError(error: unknown): void;
  /**
   * false: use systemd-notify(1) even where a socket could be used directly. Its messages come
   * from a child process, which `NotifyAccess=all` in the unit permits (root needs no such line:
   * systemd-notify then speaks in its parent's name).
   */
  direct?: boolean;
}

/** Sends through libc where the runtime can call it (a JIT is needed), else by systemd-notify. */
export async function openNotifier(
  environment: ServiceEnvironment,
  options: NotifierOptions,
): Promise<Notifier> {
  const address = environment.NOTIFY_SOCKET;
  if (address === undefined || address === "") return SILENT_NOTIFIER;
  const sender = options.direct === false ? undefined : await DatagramSender.open(address);
  if (sender !== undefined) return new SocketNotifier(sender, options.onError);
  return new CommandNotifier({ NOTIFY_SOCKET: address, PATH: environment.PATH }, options.onError);
}

/**
 * Feeds the service manager's watchdog from the event loop, at half its time-out as
 * sd_watchdog_enabled(3) asks; returns how to stop. A loop that hangs does not feed it, nor one that
 * finds the service not healthy.
 */
export function feedWatchdog(
  notifier: Notifier,
  environment: ServiceEnvironment,
  pid: number,
  isHealthy: () => boolean = () => true,
): () => void {
  const timeoutUsec = Number(environment.WATCHDOG_USEC ?? 0);
  const forPid = environment.WATCHDOG_PID;
  const isForUs = forPid === undefined || forPid === String(pid);
  if (!isForUs || !(timeoutUsec > 0)) return () => undefined;
  const feed = (): void => {
    if (isHealthy()) notifier.send("WATCHDOG=1");
  };
  feed();
  const timer = setInterval(feed, timeoutUsec / 2000);
  timer.unref();
  return () => clearInterval(timer);
}

/** A socket opened by the service manager. */
export interface InheritedSocket {
  fd: number;
  /** FileDescriptorName= of the socket unit; "unknown" when it has none. */
  name: string;
}

const LISTEN_FDS_START = 3;

/** @throws AgentError E_CONFIG when LISTEN_FDS makes no sense. */
export function inheritedSockets(environment: ServiceEnvironment, pid: number): InheritedSocket[] {
  if (environment.LISTEN_PID !== String(pid)) return [];
  const text = environment.LISTEN_FDS ?? "";
  const count = Number(text);
  if (!/^\d{1,9}$/.test(text) || count > 1_000_000) {
    throw new AgentError("E_CONFIG", `Cannot use LISTEN_FDS="${text}": a count is needed`);
  }
  const names = (environment.LISTEN_FDNAMES ?? "").split(":");
  return Array.from({ length: count }, (_, index) => {
    return { fd: LISTEN_FDS_START + index, name: names[index] || "unknown" };
  });
}

/** Whether a descriptor leads to the journal: JOURNAL_STREAM names its device and inode. */
export function isJournalStream(journalStream: string | undefined, fd: number): boolean {
  if (journalStream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return journalStream === `${dev}:${ino}`;
  } catch {
    return false; // closed
  }
}

/** SIGTERM and SIGINT abort `signal`; a second one has the default effect: the process ends. */
export class ServiceSignals {
  readonly #stop = new AbortController();
  readonly #reloads: (() => void)[] = [];
  readonly #onStop = (): void => {
    this.#removeStop();
    this.#stop.abort();
  };
  readonly #onHangup = (): void => {
    for (const reload of this.#reloads) reload();
  };

  constructor() {
    process.on("SIGTERM", this.#onStop);
    process.on("SIGINT", this.#onStop);
    process.on("SIGHUP", this.#onHangup);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** SIGHUP calls `reload`; without any, it does nothing. */
  onReload(reload: () => void): void {
    this.#reloads.push(reload);
  }

  close(): void {
    this.#removeStop();
    process.off("SIGHUP", this.#onHangup);
  }

  #removeStop(): void {
    process.off("SIGTERM", this.#onStop);
    process.off("SIGINT", this.#onStop);
  }
}

const SILENT_NOTIFIER: Notifier = { send: () => undefined, close: async () => undefined };

class SocketNotifier implements Notifier {
  readonly #sender: DatagramSender;
  readonly #onError: (error: unknown) => void;

  constructor(sender: DatagramSender, onError: (error: unknown) => void) {
    this.#sender = sender;
    this.#onError = onError;
  }

  send(...assignments: string[]): void {
    try {
      this.#sender.send(assignments.map(oneLine).join("\n"));
    } catch (error) {
      this.#onError(error);
    }
  }

  async close(): Promise<void> {
    this.#sender.close();
  }
}

/** One systemd-notify(1) at a time; what is sent meanwhile is merged, the latest value winning. */
class CommandNotifier implements Notifier {
  readonly #environment: Record<string, string | undefined>;
  readonly #onError: (error: unknown) => void;
  readonly #pending = new Map<string, string>();
  #running: Promise<void> | undefined;

  constructor(environment: Record<string, string | undefined>, onError: (error: unknown) => void) {
    this.#environment = environment;
    this.#onError = onError;
  }

  send(...assignments: string[]): void {
    for (const assignment of assignments.map(oneLine)) {
      this.#pending.set(assignment.replace(/=.*/, ""), assignment);
    }
    this.#running ??= this.#drain();
  }

  async close(): Promise<void> {
    await this.#running;
  }

  async #drain(): Promise<void> {
    while (this.#pending.size > 0) {
      const assignments = [...this.#pending.values()];
      this.#pending.clear();
      try {
        await this.#run(assignments);
      } catch (error) {
        this.#onError(error);
      }
    }
    this.#running = undefined;
  }

  async #run(assignments: string[]): Promise<void> {
    const child = Bun.spawn(["systemd-notify", ...assignments], {
      env: this.#environment,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const complaint = await new Response(child.stderr).text();
    if ((await child.exited) !== 0) {
      throw new AgentError("E_IO", `Cannot notify the service manager: ${complaint.trim()}`);
    }
  }
}

function oneLine(assignment: string): string {
  return assignment.replaceAll("\n", " ");
}
