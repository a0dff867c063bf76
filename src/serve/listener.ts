/**
 * The only file that touches listening sockets. `Bun.listen` it is: of the runtime's servers the
 * only one that shows the client's certificate, stops reading when told to, and takes sockets from
 * the service manager. Bun refuses TLS 1.1 and older by itself (tested).
 */
import { readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { createServer } from "node:tls";
import { AgentError, errnoOf, reasonOf } from "../errors.ts";
import type { TlsContext } from "./certificates.ts";
import type { HandshakeFacts, PeerCertificate } from "./identity.ts";
import { formatListenAddress, type ListenAddress } from "./listen-address.ts";
import type { ByteSocket } from "./paced-socket.ts";

/** What takes the bytes of one connection. */
export interface ByteConnection {
  received(chunk: Uint8Array): void;
  drained(): void;
  receivedEnd(): void;
  socketClosed(): void;
}

export interface Accepted {
  connection: ByteConnection;
  /** TLS is set up; comes before any bytes. */
  handshakeDone?(facts: HandshakeFacts): void;
  /** There will be no TLS and no bytes. */
  handshakeFailed?(code: string): void;
  /** After `socketClosed()`. */
  gone?(): void;
}

export interface Acceptor {
  /** @param remoteAddress undefined on UNIX sockets. @returns undefined to close the connection. */
  accept(socket: ByteSocket, remoteAddress: string | undefined): Accepted | undefined;
  /** A connection threw, which is a bug; it is closed next. */
  reportBug(error: unknown): void;
}

export interface Listener {
  /** As configured, with the real port. */
  readonly address: string;
  /** Whether it is a connection that a service manager accepted for us (Accept=yes). */
  readonly isConnection: boolean;
  /** TLS only: what new connections are made with; the open ones go on. */
  useContext(context: TlsContext): void;
  /** Takes no further connections; the open ones go on. */
  stop(): void;
}

/**
 * After this much silence the kernel begins to ask whether the peer is still there (and closes
 * some ten seconds later if it is not); a quiet sender costs one packet a time.
 */
const KEEPALIVE_DELAY_MS = 120_000;

type BunSocket = Bun.Socket<Accepted | undefined>;

/**
 * @param context TLS, or undefined for plain connections.
 * @throws AgentError E_IO when the address cannot be listened on.
 */
export async function openListener(
  address: ListenAddress,
  context: TlsContext | undefined,
  acceptor: Acceptor,
): Promise<Listener> {
  const isConnection = address.kind === "inherited" && !isListening(address.fd);
  try {
    if (isConnection) return await adoptConnection(address, acceptor);
    const options = { tls: context && tlsOptions(context), socket: socketHandlers(acceptor) };
    const handle = await bind(address, { ...options, allowHalfOpen: true, data: undefined });
    return {
      address: realAddress(address, handle),
      isConnection,
      useContext: contextSwapper(handle, context?.ca !== undefined),
      stop: () => handle.stop(false),
    };
  } catch (error) {
    throw listenError(address, error);
  }
}

type BindOptions = Omit<Bun.SocketOptions<Accepted | undefined>, "data"> & {
  tls: Bun.TLSOptions | undefined;
  data: undefined;
};

type BunListener = Bun.SocketListener<Accepted | undefined>;

async function bind(address: ListenAddress, options: BindOptions): Promise<BunListener> {
  switch (address.kind) {
    case "tcp":
      return bindTcp(address.host, address.port, options);
    case "unix":
      return await bindUnix(address.path, options);
    case "inherited":
      return listen({ ...options, fd: address.fd });
  }
}

function bindTcp(host: string | undefined, port: number, options: BindOptions): BunListener {
  if (host !== undefined) return listen({ ...options, port, hostname: host });
  try {
    return listen({ ...options, port, hostname: "::" });
  } catch (error) {
    const isWithoutIpv6 = ["EAFNOSUPPORT", "EADDRNOTAVAIL"].includes(errnoOf(error) ?? "");
    if (!isWithoutIpv6) throw error;
    return listen({ ...options, port, hostname: "0.0.0.0" });
  }
}

async function bindUnix(path: string, options: BindOptions): Promise<BunListener> {
  try {
    return listen({ ...options, unix: path });
  } catch (error) {
    if (errnoOf(error) !== "EADDRINUSE" || path.startsWith("\0")) throw error;
    if (!(await isStale(path))) throw error;
    unlinkSync(path);
    return listen({ ...options, unix: path });
  }
}

/** A socket nobody listens on is what a killed daemon leaves behind. */
async function isStale(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => undefined } });
    socket.terminate();
    return false;
  } catch (error) {
    return errnoOf(error) === "ECONNREFUSED";
  }
}

/** The declared types of `Bun.listen` leave out `fd`, which it takes. */
function listen(options: object): BunListener {
  return Bun.listen(options as Bun.UnixSocketOptions<Accepted | undefined>);
}

/**
 * Certificates are always asked for but never insisted on by the library: a refused client gets a
 * status and a reason, and `identity.ts` decides by `authorized`.
 */
function tlsOptions(context: TlsContext): Bun.TLSOptions {
  return { ...context, requestCert: context.ca !== undefined, rejectUnauthorized: false };
}

/**
 * `Bun.listen` has no public way to replace certificates; node:tls has, and does it by a native
 * call on the same kind of handle. So a server object that never listens lends its
 * `setSecureContext()`. It works on inherited sockets too, and a test fails when it stops to.
 */
function contextSwapper(handle: BunListener, requestCert: boolean): (context: TlsContext) => void {
  const server = createServer({ requestCert, rejectUnauthorized: false });
  Reflect.set(server, "_handle", handle);
  return (context) => server.setSecureContext(context);
}

/**
 * With the certificates that came with it. Bun's own socket takes whether the certificate is to come alone, which is not in
 * its types (nor as with node:tls, where `true` is for the chain); tests of clients with a revocation list fail when it does not.
 */
function peerCertificate(socket: BunSocket): PeerCertificate {
  const read: (isAlone: boolean) => PeerCertificate = socket.getPeerCertificate;
  return read.call(socket, false);
}

function socketHandlers(acceptor: Acceptor): Bun.SocketHandler<Accepted | undefined> {
  return {
    open(socket: BunSocket): void {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEPALIVE_DELAY_MS);
      socket.data = acceptor.accept(socket, socket.remoteAddress);
      if (socket.data === undefined) socket.terminate();
    },
    handshake(socket: BunSocket, isDone: boolean, error: Error | null): void {
      if (!isDone) {
        socket.data?.handshakeFailed?.(errnoOf(error) ?? "unknown");
        socket.terminate();
        return;
      }
      socket.data?.handshakeDone?.({
        authorized: socket.authorized === true,
        errorCode: errnoOf(error),
        certificate: peerCertificate(socket),
      });
    },
    data: (socket: BunSocket, chunk: Uint8Array) => socket.data?.connection.received(chunk),
    drain: (socket: BunSocket) => socket.data?.connection.drained(),
    end: (socket: BunSocket) => socket.data?.connection.receivedEnd(),
    close(socket: BunSocket): void {
      socket.data?.connection.socketClosed();
      socket.data?.gone?.();
    },
    error(socket: BunSocket, error: Error): void {
      // Errors with a code are the connection's own, such as a record that does not decrypt.
      if (errnoOf(error) === undefined) acceptor.reportBug(error);
      socket.terminate();
    },
  };
}

/** A connection from the service manager is like one we accepted ourselves. */
async function adoptConnection(
  address: ListenAddress & { kind: "inherited" },
  acceptor: Acceptor,
): Promise<Listener> {
  const options = { fd: address.fd, socket: socketHandlers(acceptor), allowHalfOpen: true };
  const handlers = options as unknown as Bun.UnixSocketOptions<Accepted | undefined>;
  await Bun.connect(handlers);
  return {
    address: formatListenAddress(address),
    isConnection: true,
    useContext: () => undefined,
    stop: () => undefined,
  };
}

/**
 * Asks the kernel's tables, as there is no getsockopt(SO_ACCEPTCONN) at hand. They are of this network namespace: a service
 * with PrivateNetwork= gets its listening socket from another one, and finds it in none.
 */
function isListening(fd: number): boolean {
  const inode = /^socket:\[(\d+)\]$/.exec(linkTarget(`/proc/self/fd/${fd}`))?.[1];
  if (inode === undefined) {
    const hint = "The service manager passes sockets from descriptor 3 on (LISTEN_FDS)";
    throw new AgentError("E_IO", `Cannot listen on "-${fd}": no socket was passed there`, { hint });
  }
  return isTcpListener(inode) ?? isUnixListener(inode) ?? true;
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // no such descriptor
  }
}

/** /proc/net/tcp: "sl local remote st tx:rx tr:tm retrnsmt uid timeout inode"; 0A is LISTEN. Undefined = it is not there. */
function isTcpListener(inode: string): boolean | undefined {
  const sockets = ["tcp", "tcp6"].flatMap(readTable);
  const socket = sockets.find((columns) => columns[9] === inode);
  return socket && socket[3] === "0A";
}

/** /proc/net/unix: "num refs protocol flags type st inode path"; flag 1<<16 is SO_ACCEPTCON. */
function isUnixListener(inode: string): boolean | undefined {
  const socket = readTable("unix").find((columns) => columns[6] === inode);
  return socket && socket[3] === "00010000";
}

function readTable(name: string): string[][] {
  try {
    const lines = readFileSync(`/proc/self/net/${name}`, "latin1").split("\n");
    return lines.map((line) => line.trim().split(/\s+/));
  } catch {
    return []; // a kernel without this protocol
  }
}

function realAddress(address: ListenAddress, handle: BunListener): string {
  const port: unknown = Reflect.get(handle, "port");
  if (address.kind !== "tcp" || typeof port !== "number") return formatListenAddress(address);
  return formatListenAddress({ ...address, port });
}

function listenError(address: ListenAddress, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  const code = errnoOf(error) ?? "";
  const [problem, hint] = LISTEN_PROBLEMS[code] ?? [reasonOf(error), undefined];
  const message = `Cannot listen on "${formatListenAddress(address)}": ${problem}`;
  return new AgentError(
    "E_IO",
    message,
    hint === undefined ? { cause: error } : { hint, cause: error },
  );
}

const LISTEN_PROBLEMS: Record<string, readonly [string, string | undefined]> = {
  EADDRINUSE: ["the address is in use", "See who has it: ss -lntxp"],
  EADDRNOTAVAIL: ["no interface has this address", "See which there are: ip address"],
  EACCES: ["permission denied", "Ports below 1024 need CAP_NET_BIND_SERVICE"],
  EPERM: ["permission denied", "Ports below 1024 need CAP_NET_BIND_SERVICE"],
  ENOENT: ["its folder does not exist", undefined],
};
