import { LineReader } from "./line-reader.ts";
import { TempDir } from "./temp-dir.ts";

/** Receives `count` datagrams on an AF_UNIX socket and prints them as JSON. */
const SCRIPT = `
import json, socket, sys
address, count = sys.argv[1], int(sys.argv[2])
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("\\0" + address[1:] if address.startswith("@") else address)
print("ready", flush=True)
received = []
while True:
    text = receiver.recv(65536).decode()
    # systemd-notify(1) ends with a barrier: its answer is that the descriptor sent along is closed.
    if text == "BARRIER=1":
        continue
    received.append(text)
    if len(received) == count:
        print(json.dumps(received), flush=True)
`;

/** What a service manager would read: python3 stands in, since Bun has no such sockets. */
export class NotifyReceiver {
  readonly address: string;
  readonly #dir: TempDir;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #lines: LineReader;

  private constructor(kind: "path" | "abstract", count: number) {
    this.#dir = new TempDir();
    const path = `${this.#dir.path}/notify`;
    this.address = kind === "abstract" ? `@${path}` : path;
    this.#child = Bun.spawn(["python3", "-c", SCRIPT, this.address, String(count)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#lines = new LineReader(this.#child.stdout);
  }

  /** Resolves when messages can be sent. */
  static async open(kind: "path" | "abstract", count: number): Promise<NotifyReceiver> {
    const receiver = new NotifyReceiver(kind, count);
    await receiver.#lines.next();
    return receiver;
  }

  /** Resolves when all `count` have come. */
  async messages(): Promise<string[]> {
    return JSON.parse(await this.#lines.next());
  }

  [Symbol.dispose](): void {
    this.#child.kill();
    this.#dir[Symbol.dispose]();
  }
}
