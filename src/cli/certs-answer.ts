/** `agent certs answer`: one question of the receiver on stdin, the answer on stdout; started by the service manager. */
import { answerQuestion } from "../certs/answer.ts";
import { AgentError, ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import {
  ANSWER_TIMEOUT_MS,
  QUESTION_SIZE_MAX,
  QUESTION_TIMEOUT_MS,
  type SignerAnswer,
} from "../platform/signer-protocol.ts";
import { type CertsCall, type CertsVerb, PASSPHRASE_OPTION } from "./certs-verb.ts";

const LF = 10;

export const answerVerb: CertsVerb = {
  description:
    "Answer one question of agent serve: a line of JSON from stdin, one to stdout. Started by journal-agent-enroll.socket for each enrolment and renewal.",
  options: [{ ...PASSPHRASE_OPTION, defaultText: "a key that has one cannot sign here" }],
  async run(call): Promise<ExitStatus | 0> {
    // Whoever asked is gone by then. Nothing is half done: the directory changes whole or not at all.
    const deadline = setTimeout(() => process.exit(ExitStatus.unavailable), ANSWER_TIMEOUT_MS);
    try {
      const line = await readLine(process.stdin);
      await writeAnswer(await answerTo(line, call));
      return 0;
    } finally {
      clearTimeout(deadline);
    }
  },
};

async function answerTo(line: string, call: CertsCall): Promise<SignerAnswer> {
  try {
    return await answerQuestion(line, {
      directory: call.directory,
      nowMs: call.nowMs,
      report: (message) => log.warn(message),
      inform: (message) => log.info(message),
      // Nobody is there to be asked.
      passphrase: async () => call.filedPassphrase(),
    });
  } catch (error) {
    log.error(error);
    return {
      status: 503,
      reason: "bug",
      text: "The authority cannot answer now, its log says why",
    };
  }
}

/** Up to the line feed. @throws AgentError E_PEER when it is too long, or does not come in time */
async function readLine(input: NodeJS.ReadStream): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (problem: string): void =>
    reject(new AgentError("E_PEER", `Cannot read the question: ${problem}`));
  const chunks: Buffer[] = [];
  let size = 0;
  const timer = setTimeout(() => fail("it does not come to its end"), QUESTION_TIMEOUT_MS);
  input.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > QUESTION_SIZE_MAX) fail(`more than ${QUESTION_SIZE_MAX} bytes`);
    else if (chunk.includes(LF))
      resolve(Buffer.concat(chunks).toString("utf8").split("\n", 1)[0] ?? "");
  });
  input.on("end", () => fail("it ended before its line feed"));
  input.on("error", (error) => fail(error.message));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    input.destroy();
  }
}

async function writeAnswer(answer: SignerAnswer): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => resolve());
  await promise;
}
