/** CONNECT (RFC 9110 9.3.6): a way through a proxy to the receiver itself. */
import type { Socket } from "node:net";
import { formatBasic } from "./credentials.ts";
import type { ProxyUrl } from "./proxy.ts";
import { type ResponseEvent, ResponseParser } from "./response-parser.ts";
import { formatAuthority, type UploadUrl } from "./upload-url.ts";

/** The proxy answered, but not with a tunnel. */
export class ProxyRefusal extends Error {
  override readonly name = "ProxyRefusal";
  /** Undefined = it does not speak HTTP. */
  readonly status: number | undefined;

  constructor(status: number | undefined) {
    super(status === undefined ? "no HTTP" : `status ${status}`);
    this.status = status;
  }
}

/** After this the socket leads to the receiver. Rejects with `ProxyRefusal`, the socket's error or the signal's reason. */
export async function openTunnel(
  socket: Socket,
  url: UploadUrl,
  proxy: ProxyUrl,
  userAgent: string,
  signal: AbortSignal,
): Promise<void> {
  const authority = formatAuthority(url.host, url.port);
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`, `User-Agent: ${userAgent}`];
  if (proxy.userinfo !== undefined) {
    lines.push(`Proxy-Authorization: ${formatBasic(proxy.userinfo)}`);
  }
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  const status = await answerStatus(socket, signal);
  if (status === undefined || status >= 300) throw new ProxyRefusal(status);
}

function answerStatus(socket: Socket, signal: AbortSignal): Promise<number | undefined> {
  const parser = new ResponseParser();
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      socket.off("data", onData);
      socket.off("error", fail);
      socket.off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      socket.pause();
    };
    const fail = (cause: unknown): void => {
      stop();
      reject(cause);
    };
    const onData = (chunk: Buffer): void => {
      const [event] = parser.push(chunk);
      if (event === undefined) return;
      stop();
      resolve(statusOf(event));
    };
    const onClose = (): void => fail(new ProxyRefusal(undefined));
    const onAbort = (): void => fail(signal.reason);
    socket.on("data", onData);
    socket.on("error", fail);
    socket.on("close", onClose);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
}

function statusOf(event: ResponseEvent): number | undefined {
  switch (event.type) {
    case "head":
      return event.status;
    case "answer":
      return event.answer.status;
    case "malformed":
      return undefined;
  }
}
