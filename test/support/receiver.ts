/** The executable as a running `agent serve` on loopback, for end-to-end tests. */
import { LoggedProcess } from "./logged-process.ts";
import { freePort } from "./ports.ts";
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

export class Receiver extends LoggedProcess {
  readonly port: number;

  private constructor(port: number, options: ReceiverOptions) {
    const env = { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null", ...options.env };
    super([...options.command, ...serverArgs(port, options)], env);
    this.port = port;
  }

  /** Resolves when it is ready. */
  static async start(options: ReceiverOptions): Promise<Receiver> {
    const receiver = new Receiver(options.port ?? (await freePort()), options);
    try {
      await receiver.logged(options.readyText ?? "Listening protocol=https");
      return receiver;
    } catch (error) {
      await receiver.kill();
      throw error;
    }
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}/upload`;
  }
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
