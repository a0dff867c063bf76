/**
 * A datagram to an AF_UNIX address, which neither Bun nor node can send: by libc through
 * bun:ffi. That needs the JIT, so under `MemoryDenyWriteExecute=yes` there is none.
 */
import { AgentError } from "../errors.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** sizeof sockaddr_un.sun_path */
const PATH_SIZE_MAX = 108;

/** The functions of libc used here, as their manual pages have them. */
interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  sendto(
    fd: number,
    bytes: Buffer,
    size: number,
    flags: number,
    address: Buffer,
    addressSize: number,
  ): number | bigint;
  close(fd: number): number;
}

export class DatagramSender {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #address: Buffer;

  private constructor(libc: Libc, fd: number, address: Buffer) {
    this.#libc = libc;
    this.#fd = fd;
    this.#address = address;
  }

  /**
   * @param address a path, or `@name` for an abstract address.
   * @returns undefined when libc cannot be called, or the address is of another kind (vsock).
   */
  static async open(address: string): Promise<DatagramSender | undefined> {
    const target = encodeUnixAddress(address);
    const libc = target === undefined ? undefined : await loadLibc();
    if (target === undefined || libc === undefined) return undefined;
    const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    return fd < 0 ? undefined : new DatagramSender(libc, fd, target);
  }

  /** @throws AgentError E_IO when the receiver is gone. */
  send(text: string): void {
    const bytes = Buffer.from(text);
    const to = this.#address;
    const sent = this.#libc.sendto(this.#fd, bytes, bytes.length, MSG_NOSIGNAL, to, to.length);
    if (Number(sent) === bytes.length) return;
    const name = to.toString("utf8", 2).replace(/^\0/, "@").replace(/\0$/, "");
    throw new AgentError("E_IO", `Cannot send to "${name}": nobody receives there`);
  }

  close(): void {
    this.#libc.close(this.#fd);
  }
}

/** struct sockaddr_un, as long as it has to be. */
function encodeUnixAddress(address: string): Buffer | undefined {
  const isAbstract = address.startsWith("@");
  if (!isAbstract && !address.startsWith("/")) return undefined;
  // An abstract name begins with NUL and ends with its length; a path ends with NUL.
  const path = isAbstract ? `\0${address.slice(1)}` : `${address}\0`;
  const size = Buffer.byteLength(path);
  if (size > PATH_SIZE_MAX) return undefined;
  const encoded = Buffer.alloc(2 + size);
  encoded.writeUInt16LE(AF_UNIX, 0);
  encoded.write(path, 2);
  return encoded;
}

/** Loaded when first needed: most runs have no service manager to notify. */
async function loadLibc(): Promise<Libc | undefined> {
  try {
    const { dlopen } = await import("bun:ffi");
    return dlopen("libc.so.6", {
      socket: { args: ["i32", "i32", "i32"], returns: "i32" },
      sendto: { args: ["i32", "ptr", "usize", "i32", "ptr", "u32"], returns: "i64" },
      close: { args: ["i32"], returns: "i32" },
    }).symbols;
  } catch {
    return undefined;
  }
}
