/** A signer's socket that answers as a test wants, and hosts' requests. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { generateKey } from "../../src/certs/keys.ts";
import { createRequest } from "../../src/certs/x509.ts";
import type { SignerAnswer, SignerQuestion } from "../../src/platform/signer-protocol.ts";
import { TempDir } from "./temp-dir.ts";

export class FakeSigner {
  readonly path: string;
  readonly questions: SignerQuestion[] = [];
  /** Most of them at a time. */
  peak = 0;
  #now = 0;
  readonly #dir = new TempDir();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(onLine: (question: SignerQuestion) => Promise<string>) {
    this.path = join(this.#dir.path, "enroll.sock");
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      let text = "";
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("utf8");
        if (!text.endsWith("\n")) return;
        const question = JSON.parse(text) as SignerQuestion;
        this.questions.push(question);
        this.peak = Math.max(this.peak, ++this.#now);
        void onLine(question).then((line) => {
          this.#now--;
          socket.end(line);
        });
      });
    });
  }

  static async start(
    answer: (question: SignerQuestion) => SignerAnswer | Promise<SignerAnswer>,
  ): Promise<FakeSigner> {
    return await FakeSigner.startRaw(
      async (question) => `${JSON.stringify(await answer(question))}\n`,
    );
  }

  /** @param onLine the bytes of the answer; the connection ends behind them */
  static async startRaw(
    onLine: (question: SignerQuestion) => Promise<string>,
  ): Promise<FakeSigner> {
    const signer = new FakeSigner(onLine);
    signer.#server.listen(signer.path);
    await once(signer.#server, "listening");
    return signer;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    this.#dir[Symbol.dispose]();
  }
}

/** PEM of a request with a key of its own. */
export async function requestFor(name: string, key = generateKey("p256")): Promise<string> {
  return await createRequest({ commonName: name, names: [], key: await key });
}
