/** `openssl s_server`, which says with alerts what it thinks of a client's certificate; ours does not. */
import type { TestPki } from "./tls.ts";

export class OpensslServer {
  readonly port: number;
  readonly #child: Bun.Subprocess;

  private constructor(port: number, child: Bun.Subprocess) {
    this.port = port;
    this.#child = child;
  }

  /** Has the certificate "server" and wants one of the authority "ca". */
  static async open(pki: TestPki, ...options: string[]): Promise<OpensslServer> {
    const own = ["-cert", pki.path("server.pem"), "-key", pki.path("server.key")];
    const clients = ["-CAfile", pki.path("ca.pem"), "-Verify", "1", "-verify_return_error"];
    const child = Bun.spawn(
      ["openssl", "s_server", "-accept", "127.0.0.1:0", ...own, ...clients, ...options],
      { stdin: "pipe", stdout: "pipe", stderr: "ignore" },
    );
    const decoder = new TextDecoder();
    let said = "";
    for await (const chunk of child.stdout) {
      said += decoder.decode(chunk);
      const port = /^ACCEPT .*:(\d+)$/m.exec(said)?.[1];
      if (port !== undefined) return new OpensslServer(Number(port), child);
    }
    throw new Error(`Cannot start openssl s_server: ${said}`);
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
