/** What the kernel knows about a TCP connection that the runtime does not tell: how much of what was written is on its way still. */
import { readFileSync } from "node:fs";

/**
 * Bytes that the peer has not acknowledged yet; undefined where the kernel does not tell.
 * Reads a table of all connections: not for every packet.
 */
export function unacknowledgedSize(localPort: number, remotePort: number): number | undefined {
  for (const table of ["tcp", "tcp6"]) {
    const size = findQueue(readTable(table), hexPort(localPort), hexPort(remotePort));
    if (size !== undefined) return size;
  }
  return undefined;
}

/** /proc/net/tcp: "sl local remote st tx:rx …"; addresses are "HEX:PORT", state 0A is a listener. */
function findQueue(table: string, local: string, remote: string): number | undefined {
  // A line is parsed only if both ports are somewhere in it: there may be 100,000 lines.
  const line = table
    .split("\n")
    .find(
      (row) => row.includes(`${local} `) && row.includes(`${remote} `) && isRow(row, local, remote),
    );
  const queues = line?.trim().split(/\s+/)[4];
  return queues === undefined ? undefined : Number.parseInt(queues, 16);
}

function isRow(row: string, local: string, remote: string): boolean {
  const columns = row.trim().split(/\s+/);
  return columns[1]?.endsWith(local) === true && columns[2]?.endsWith(remote) === true;
}

function hexPort(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}

function readTable(name: string): string {
  try {
    return readFileSync(`/proc/self/net/${name}`, "latin1");
  } catch {
    return ""; // another system, or a kernel without this protocol
  }
}
