import { expect, test } from "bun:test";
import { runCommand } from "../../src/platform/run.ts";

test("a command has its input, its output and its status", async () => {
  const result = await runCommand(["sh", "-c", "cat; echo trouble >&2; exit 3"], { input: "text" });
  expect(result).toEqual({ status: 3, stdout: "text", stderr: "trouble\n" });
});

test("a program that is not there, or may not be run, is a status as in shells", async () => {
  expect((await runCommand(["/nowhere/at-all"])).status).toBe(127);
  const refused = await runCommand(["/etc/passwd"]);
  expect(refused.status).toBe(126);
  expect(refused.stderr).not.toBe("");
});

test("a command that takes too long is ended", async () => {
  const startMs = performance.now();
  const result = await runCommand(["sleep", "60"], { timeoutMs: 200 });
  expect(result).toEqual({ status: 124, stdout: "", stderr: "not done within 0.2 s" });
  expect(performance.now() - startMs).toBeLessThan(10_000);
});

test("one that a signal ends has 128 and its number", async () => {
  expect((await runCommand(["sh", "-c", "kill -ILL $$"])).status).toBe(132);
});

test("what commands say is in English", async () => {
  const { stdout } = await runCommand(["sh", "-c", "echo $LC_ALL"]);
  expect(stdout).toBe("C.UTF-8\n");
});
