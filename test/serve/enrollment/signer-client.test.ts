import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { SignerQuestion } from "../../../src/platform/signer-protocol.ts";
import { askSigner } from "../../../src/serve/enrollment/signer-client.ts";
import { FakeSigner } from "../../support/fake-signer.ts";
import { TempDir } from "../../support/temp-dir.ts";

const QUESTION: SignerQuestion = {
  op: "enroll",
  proof: "p",
  request: "é\nx",
  address: "192.0.2.7",
};

describe("askSigner()", () => {
  test("takes the question there and the answer back, however long", async () => {
    const text = "é".repeat(1_000_000);
    using signer = await FakeSigner.start(() => ({ status: 200, text }));
    expect(await askSigner(signer.path, QUESTION, 5000)).toEqual({ status: 200, text });
    expect(signer.questions).toEqual([QUESTION]);
  });

  test.each([
    ["", "it ended without an answer"],
    ["x\n", "its answer is malformed"],
    ["null\n", "its answer is malformed"],
    ['{"status":302,"text":""}\n', "its answer is malformed"],
    ['{"status":200,"text":7}\n', "its answer is malformed"],
    ['{"status":403,"text":"","reason":"a b"}\n', "its answer is malformed"],
    ['{"status":200,"text":"half', "it ended without an answer"],
  ])("an answer of %j is none", async (line, problem) => {
    using signer = await FakeSigner.startRaw(async () => line);
    expect(askSigner(signer.path, QUESTION, 5000)).rejects.toThrow(problem);
  });

  test("does not wait for ever", async () => {
    using signer = await FakeSigner.startRaw(() => new Promise<string>(() => undefined));
    const startMs = performance.now();
    await expect(askSigner(signer.path, QUESTION, 100)).rejects.toThrow("does not answer in time");
    expect(performance.now() - startMs).toBeLessThan(2000);
  });

  test("without a signer it says what is to be started", async () => {
    using dir = new TempDir();
    await expect(askSigner(join(dir.path, "none"), QUESTION, 1000)).rejects.toThrow(
      "there is no such socket, need journal-agent-enroll.socket to be started",
    );
    const file = dir.write("file", "");
    await expect(askSigner(file, QUESTION, 1000)).rejects.toThrow("nobody listens there");
  });
});
