/** The executable as a running `agent serve` on loopback, for end-to-end tests. */
import { createServer } from "node:net";
import type { TestPki } from "./tls.ts";

export interface ReceiverOptions {
  /** The command up to the options: executable and subcommand. */
  command: readonly string[];
  output: string;
  /** Certificates "server" and "ca" of it are used. */
  pki: Pick<TestPki, "path">;
  /** Default: one that was free just before. */
  port?: number;
  args?: readonly string[];
  /** What it logs when it is ready; default: that it listens. */
  readyText?: string;
  env?: Readonly<Record<string, string>>;
}

/** How long a receiver may take to listen, or to end after SIGTERM. */
const PATIENCE_MS = 15_000;

export class Receiver {
  readonly port: number;
  /** All of its stderr so far. */
  log = "";
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;

  private constructor(port: number, options: ReceiverOptions) {
    this.port = port;
    const { PATH } = Bun.env;
    this.#child = Bun.spawn([...options.command, ...serverArgs(port, options)], {
      env: { PATH, SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null", ...options.env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    void this.#readLog(this.#child.stderr);
  }

  /** Resolves when it is ready. */
  static async start(options: ReceiverOptions): Promise<Receiver> {
    const receiver = new Receiver(options.port ?? (await freePort()), options);
    await receiver.logged(options.readyText ?? "Listening protocol=https");
    return receiver;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}/upload`;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when stderr contains `text`; rejects when it does not come, or the process ends. */
  async logged(text: string): Promise<void> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (!this.log.includes(text)) {
      const why = this.isRunning ? "in time" : "before its end";
      if (!this.isRunning || performance.now() > deadlineMs) {
        await this.kill();
        throw new Error(`Receiver did not log "${text}" ${why}:\n${this.log}`);
      }
      await Bun.sleep(5);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves with the exit status, once it has ended after SIGTERM. */
  async stop(): Promise<number> {
    this.signal("SIGTERM");
    return await this.ended();
  }

  /** Resolves with the exit status; rejects when it does not end. */
  async ended(): Promise<number> {
    const timer = setTimeout(() => this.signal("SIGKILL"), PATIENCE_MS);
    const status = await this.#child.exited;
    clearTimeout(timer);
    if (this.#child.signalCode === "SIGKILL") throw new Error(`Receiver hung:\n${this.log}`);
    return status;
  }

  /** Ends it at once; resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #readLog(stderr: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stderr) this.log += decoder.decode(chunk, { stream: true });
  }
}

/** A TCP port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0));
  });
  return await promise;
}

function serverArgs(port: number, options: ReceiverOptions): string[] {
  const { pki, output, args = [] } = options;
  return [
    ...(args.some((arg) => arg.startsWith("--listen-https="))
      ? []
      : [`--listen-https=127.0.0.1:${port}`]),
    `--key=${pki.path("server.key")}`,
    `--cert=${pki.path("server.pem")}`,
    `--trust=${pki.path("ca.pem")}`,
    `--output=${output}`,
    ...args,
  ];
}
