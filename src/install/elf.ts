/** Which machine an executable is for, from the head of the file: elf(5). */
import { closeSync, openSync, readSync } from "node:fs";
import { AgentError, reasonOf } from "../errors.ts";

const HEAD_SIZE = 20;
const MAGIC = 0x7f454c46; // "\x7fELF"
/** Offsets of the head. */
const DATA_ORDER = 5;
const MACHINE = 18;
const BIG_ENDIAN = 2;

/** e_machine → the name people know. */
const MACHINES: Record<number, string> = {
  3: "x86",
  8: "mips",
  20: "ppc",
  21: "ppc64",
  22: "s390x",
  40: "arm",
  62: "x86-64",
  183: "aarch64",
  243: "riscv64",
  258: "loongarch64",
};

/** process.arch → the same names. */
const ARCHITECTURES: Record<string, string> = { x64: "x86-64", arm64: "aarch64", ia32: "x86" };

/** "x86-64", "aarch64"… @param name for the messages. @throws AgentError E_CONFIG when the file cannot be read, or is no executable of Linux */
export function readMachine(path: string, name: string): string {
  const head = Buffer.alloc(HEAD_SIZE);
  let size: number;
  try {
    const fd = openSync(path, "r");
    try {
      size = readSync(fd, head, 0, HEAD_SIZE, 0);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new AgentError("E_CONFIG", `Cannot install "${name}": ${reasonOf(error)}`, {
      cause: error,
    });
  }
  if (size < HEAD_SIZE || head.readUInt32BE(0) !== MAGIC) {
    const message = `Cannot install "${name}": it is no program, need an executable in ELF form`;
    throw new AgentError("E_CONFIG", message, { hint: "Is the download complete, and unpacked?" });
  }
  const isBig = head[DATA_ORDER] === BIG_ENDIAN;
  const machine = isBig ? head.readUInt16BE(MACHINE) : head.readUInt16LE(MACHINE);
  return MACHINES[machine] ?? `machine ${machine}`;
}

/** That of this process. */
export function ownMachine(): string {
  return ARCHITECTURES[process.arch] ?? process.arch;
}
