/** The way to the signer: one connection to its socket for each question. */
import { connect } from "node:net";
import { AgentError, errnoOf, reasonOf } from "../../errors.ts";
import {
  ANSWER_SIZE_MAX,
  type SignerAnswer,
  type SignerQuestion,
} from "../../platform/signer-protocol.ts";

const LF = 10;
/** What an answer may say. */
const STATUSES = [200, 400, 403, 429, 503];
const REASON = /^[a-z-]{1,32}$/;

/**
 * @param path of the signer's socket
 * @throws AgentError E_PEER when there is no answer within the time, or one that is none
 */
export async function askSigner(
  path: string,
  question: SignerQuestion,
  timeoutMs: number,
): Promise<SignerAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (problem: string, cause?: unknown): void =>
    reject(new AgentError("E_PEER", `Cannot ask the signer at "${path}": ${problem}`, { cause }));
  const socket = connect({ path });
  const timer = setTimeout(() => fail("it does not answer in time"), timeoutMs);
  const chunks: Buffer[] = [];
  let size = 0;
  socket.on("connect", () => socket.write(`${JSON.stringify(question)}\n`));
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > ANSWER_SIZE_MAX) fail(`its answer has more than ${ANSWER_SIZE_MAX} bytes`);
    else if (chunk.includes(LF)) resolve(Buffer.concat(chunks).toString("utf8"));
  });
  socket.on("error", (error) => fail(problemOf(error), error));
  socket.on("close", () => fail("it ended without an answer"));
  try {
    return parseAnswer(await promise, path);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function problemOf(error: Error): string {
  switch (errnoOf(error)) {
    case "ENOENT":
      return "there is no such socket, need journal-agent-enroll.socket to be started";
    case "ECONNREFUSED":
      return "nobody listens there, need journal-agent-enroll.socket to be started";
    default:
      return reasonOf(error);
  }
}

function parseAnswer(line: string, path: string): SignerAnswer {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  if (typeof value === "object" && value !== null) {
    const { status, text, reason } = value as Partial<SignerAnswer>;
    const isKnown = STATUSES.some((each) => each === status);
    if (isKnown && typeof text === "string" && (reason === undefined || REASON.test(reason))) {
      return value as SignerAnswer;
    }
  }
  throw new AgentError("E_PEER", `Cannot ask the signer at "${path}": its answer is malformed`);
}
