/** Passphrases: from a file or from a terminal, never from the command line, where everybody can read them. */
import { readFileSync, statSync } from "node:fs";
import { AgentError, reasonOf } from "../errors.ts";
import { log } from "../log.ts";

const STDIN = "-";
const CTRL_C = 3;
/** Return, line feed, Ctrl-D. */
const LINE_ENDS = [13, 10, 4];
const BACKSPACES = [8, 127];

/** The first line of a file; "-" is stdin. @throws AgentError E_USAGE */
export function readPassphraseFile(file: string): string {
  let text: string;
  try {
    text = readFileSync(file === STDIN ? 0 : file, "utf8");
    if (file !== STDIN && (statSync(file).mode & 0o077) !== 0) {
      log.warn(`Others can read the passphrase file "${file}", need mode 0600`);
    }
  } catch (error) {
    const message = `Cannot read passphrase file "${file}": ${reasonOf(error)}`;
    throw new AgentError("E_USAGE", message, { cause: error });
  }
  const [line = ""] = text.split(/\r?\n/, 1);
  if (line === "")
    throw new AgentError("E_USAGE", `Cannot use passphrase file "${file}": it is empty`);
  return line;
}

/** Asks on the terminal, without showing what is typed. @returns undefined when there is no terminal */
export async function askPassphrase(question: string): Promise<string | undefined> {
  const { stdin } = process;
  if (stdin.isTTY !== true) return undefined;
  process.stderr.write(`${question}: `);
  stdin.setRawMode(true);
  try {
    return await readHidden(stdin);
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    process.stderr.write("\n");
  }
}

/** For a new key: twice, since a slip would cost the key. @throws AgentError E_USAGE when they differ */
export async function askNewPassphrase(): Promise<string> {
  const first = await askPassphrase("New passphrase for the authority's key");
  if (first === undefined) {
    const hint = "Give it in a file: --passphrase-file=FILE";
    throw new AgentError("E_USAGE", "Cannot ask for a passphrase: no terminal", { hint });
  }
  if ((await askPassphrase("Once more")) === first) return first;
  throw new AgentError("E_USAGE", "Cannot use the passphrase: the second one differs");
}

/** In UTF-8, where the further bytes of a character are 10xxxxxx. */
function beginsCharacter(byte: number): boolean {
  return (byte & 0xc0) !== 0x80;
}

/** Resolves with the line that is typed. The stream is left as it was, for the next question. */
async function readHidden(stdin: NodeJS.ReadStream): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const typed: number[] = [];
  const onData = (chunk: Buffer): void => {
    for (const byte of chunk) {
      if (BACKSPACES.includes(byte)) typed.splice(typed.findLastIndex(beginsCharacter));
      else if (byte === CTRL_C) reject(new AgentError("E_USAGE", "Cannot go on: interrupted"));
      // What comes after it changes nothing any more.
      else if (LINE_ENDS.includes(byte)) resolve(Buffer.from(typed).toString("utf8"));
      else typed.push(byte);
    }
  };
  stdin.on("data", onData);
  // A former question has stopped it.
  stdin.resume();
  try {
    return await promise;
  } finally {
    stdin.off("data", onData);
  }
}
