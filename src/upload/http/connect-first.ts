/** Connects to whichever address of a host answers first (RFC 8305), and says why none did. */
import { connect, type Socket } from "node:net";
import { errnoOf } from "../../errors.ts";

/** No address could be connected to; `code` is an errno, or "ENOANSWER". */
export class ConnectError extends Error {
  override readonly name = "ConnectError";
  readonly code: string;
  /** The first one that was tried. */
  readonly address: string;
  readonly addressCount: number;

  constructor(code: string, address: string, addressCount: number, cause: unknown) {
    super(code, { cause });
    this.code = code;
    this.address = address;
    this.addressCount = addressCount;
  }
}

/** The next address is tried so long after the one before, which goes on. */
const STAGGER_MS = 300;
/** A host that is there refuses at once. */
const REFUSAL_MS_MAX = 900;

/**
 * Rejects with `ConnectError`, or the signal's reason.
 * @param addresses at least one, in the order of preference.
 */
export async function connectFirst(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const startMs = performance.now();
  const outcome = await race(addresses, port, signal);
  if ("socket" in outcome) return outcome.socket;
  if (signal.aborted) throw signal.reason;
  const [address = ""] = addresses;
  const elapsedMs = performance.now() - startMs;
  const code = await explainRefusal(errnoOf(outcome.error) ?? "", address, elapsedMs);
  throw new ConnectError(code, address, addresses.length, outcome.error);
}

type Outcome = { socket: Socket } | { error: unknown };

function race(addresses: readonly string[], port: number, signal: AbortSignal): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const attempts = new Set<Socket>();
  let started = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let firstError: unknown;
  const settle = (outcome: Outcome): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    for (const socket of attempts) socket.destroy();
    resolve(outcome);
  };
  const abort = (): void => settle({ error: signal.reason });
  const startNext = (): void => {
    clearTimeout(timer);
    const host = addresses[started];
    if (host === undefined) {
      if (attempts.size === 0) settle({ error: firstError });
      return;
    }
    started++;
    const socket = connect({ host, port });
    attempts.add(socket);
    socket.once("connect", () => {
      attempts.delete(socket);
      settle({ socket });
    });
    socket.on("error", (error) => {
      attempts.delete(socket);
      firstError ??= error;
      startNext();
    });
    timer = setTimeout(startNext, STAGGER_MS);
  };
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  else startNext();
  return promise;
}

/**
 * The runtime calls nearly every failure ECONNREFUSED (Bun 1.4.5). The kernel tells without a packet
 * whether there is a way to the address at all; and what took long was not refused by the host.
 */
async function explainRefusal(code: string, address: string, elapsedMs: number): Promise<string> {
  if (code !== "ECONNREFUSED") return code;
  try {
    const socket = await Bun.udpSocket({ connect: { hostname: address, port: 9 } });
    socket.close();
    return elapsedMs > REFUSAL_MS_MAX ? "ENOANSWER" : code;
  } catch (error) {
    return errnoOf(error) ?? code;
  }
}
