/** A network that tests can slow down and cut. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";

/** Passes TCP connections on to a port of loopback; counts, delays and cuts what goes there. */
export class TcpProxy {
  /** Bytes passed on to the target, of all connections. */
  bytesUp = 0;
  /** Bytes a second towards the target, of each connection. */
  rateBytes = Number.POSITIVE_INFINITY;
  connections = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #targetPort: number;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = net.createServer((client) => this.#accept(client));
  }

  static async open(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resets all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  [Symbol.dispose](): void {
    this.cut();
    this.#server.close();
  }

  #accept(client: net.Socket): void {
    this.connections++;
    const target = net.connect(this.#targetPort, "127.0.0.1");
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    target.pipe(client);
    client.on("end", () => target.end());
    client.on("data", (chunk) => {
      this.bytesUp += chunk.length;
      target.write(chunk);
      const delayMs = (chunk.length / this.rateBytes) * 1000;
      if (delayMs < 1) return;
      client.pause();
      setTimeout(() => client.resume(), delayMs);
    });
  }
}
