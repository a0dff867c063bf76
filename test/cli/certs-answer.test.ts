import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { QUESTION_SIZE_MAX } from "../../src/platform/signer-protocol.ts";
import { CertsAuthority } from "../support/certs.ts";
import { AGENT_SOURCES } from "../support/receiver-process.ts";
import { runAgent } from "../support/run-agent.ts";

const QUESTION = '{"op":"authority","address":"192.0.2.7"}\n';

let ca: CertsAuthority;
beforeAll(async () => {
  ca = await CertsAuthority.create();
});
afterAll(() => ca[Symbol.dispose]());

const answer = (stdin: string) =>
  runAgent(["certs", "answer", `--directory=${ca.directory}`], { stdin });

describe("agent certs answer", () => {
  test("one line for one line; what comes behind it is not read", async () => {
    for (const rest of ["", QUESTION, "x"]) {
      const { status, stdout } = await answer(QUESTION + rest);
      expect([status, stdout]).toEqual([
        0,
        `${JSON.stringify({ status: 200, text: ca.text("ca.pem") })}\n`,
      ]);
    }
  });

  test("does not wait for the end of the connection", async () => {
    const child = Bun.spawn([...AGENT_SOURCES, "certs", "answer", `--directory=${ca.directory}`], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    child.stdin.write(QUESTION);
    await child.stdin.flush();
    expect(await child.exited).toBe(0);
    expect(await new Response(child.stdout).text()).toStartWith('{"status":200');
  });

  test("a malformed line is answered, a line without an end is not", async () => {
    expect((await answer("hello\n")).stdout).toStartWith('{"status":400,"reason":"malformed"');
    const cut = await answer(QUESTION.trim());
    expect([cut.status, cut.stdout]).toEqual([69, ""]);
    expect(cut.stderr).toContain("it ended before its line feed");
    const long = await answer("x".repeat(QUESTION_SIZE_MAX + 1));
    expect([long.status, long.stdout]).toEqual([69, ""]);
    expect(long.stderr).toContain(`more than ${QUESTION_SIZE_MAX} bytes`);
  });

  test("without an authority it is 503, and the log says why", async () => {
    rmSync(ca.directory, { recursive: true });
    const { status, stdout, stderr } = await answer(
      '{"op":"enroll","secret":"a","request":"","address":"a"}\n',
    );
    expect([status, JSON.parse(stdout).status]).toEqual([0, 503]);
    expect(stderr).toContain("Cannot find an authority");
  });
});
