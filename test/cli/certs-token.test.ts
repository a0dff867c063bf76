import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { authorityFingerprint, parseToken } from "../../src/certs/token.ts";
import { readTokens } from "../../src/certs/token-store.ts";
import { CertsAuthority } from "../support/certs.ts";
import { type RunResult, runAgent } from "../support/run-agent.ts";

const SERVER = "https://logs.example.net:19532";

let ca: CertsAuthority;
beforeAll(async () => {
  ca = await CertsAuthority.create();
  await ca.issue("taken");
});
afterAll(() => ca[Symbol.dispose]());

const token = (...args: string[]): Promise<RunResult> =>
  runAgent(["certs", "token", ...args, `--directory=${ca.directory}`]);

describe("agent certs token", () => {
  test("prints the token and what to run on the host; the file holds its hash", async () => {
    const { status, stdout, stderr } = await token("web1", `--server=${SERVER}`);
    const [text = "", command] = stdout.split("\n");
    expect([status, command]).toEqual([
      0,
      `  on the host: agent install --role=client --server=${SERVER} --token=${text}`,
    ]);
    expect(stderr).toMatch(/Valid once, for "web1", until 20\d\d-/);
    const { fingerprint, name, secret } = parseToken(text);
    const { raw } = new X509Certificate(readFileSync(ca.path("ca.pem")));
    expect([fingerprint, name]).toEqual([authorityFingerprint(raw), "web1"]);
    expect(statSync(ca.path("tokens")).mode & 0o777).toBe(0o600);
    expect(ca.text("tokens")).not.toContain(secret.toString("hex"));
    const [stored] = readTokens(ca);
    expect(stored).toMatchObject({ name: "web1", role: "client", days: 825, replaces: false });
    expect(Math.abs((stored?.expiresMs ?? 0) - Date.now() - 3_600_000)).toBeLessThan(60_000);
  });

  test("with further names, role and times, as JSON", async () => {
    const args = ["logs", "DNS:logs.example.net", "192.0.2.7", "--role=server", "--days=30"];
    const { stdout } = await token(...args, "--valid=2d", "--json");
    const made = JSON.parse(stdout);
    expect(made).toMatchObject({
      name: "logs",
      names: ["DNS:logs.example.net", "IP:192.0.2.7"],
      role: "server",
    });
    expect(made.command).toBe(
      `agent install --role=server --server=https://SERVER:19532 --token=${made.token}`,
    );
    expect(Math.abs(Date.parse(made.expires) - Date.now() - 2 * 86_400_000)).toBeLessThan(60_000);
    expect(readTokens(ca).find(({ name }) => name === "logs")).toMatchObject({ days: 30 });
  });

  test("a name with a valid certificate needs --force", async () => {
    const refused = await token("taken");
    expect(refused.status).toBe(64);
    expect(refused.stdout).toBe("");
    expect(refused.stderr).toContain('Cannot make a token for "taken": it has a certificate until');
    expect(refused.stderr).toContain("--force lets the host that has the token replace it");
    expect((await token("taken", "--force")).status).toBe(0);
    expect(readTokens(ca).find(({ name }) => name === "taken")?.replaces).toBe(true);
  });

  test("under an authority whose key has a passphrase it warns", async () => {
    using locked = await CertsAuthority.create({ passphrase: "correct horse" });
    const args = ["certs", "token", "web1", `--directory=${locked.directory}`];
    const { status, stderr } = await runAgent(args);
    expect(status).toBe(0);
    expect(stderr).toContain("The authority's key has a passphrase: the host is refused unless");
  });

  test("--list shows them, --cancel makes one void", async () => {
    await token("gone");
    const listed = await token("--list");
    expect(listed.stdout).toMatch(/^NAME +ROLE +STATE +EXPIRES\n/);
    expect(listed.stdout).toMatch(/^gone +client +open +20/m);
    expect((await token("gone", "--cancel")).stdout).toBe('The token of "gone" is void\n');
    expect((await token("gone", "--cancel")).status).toBe(64);
    const { stdout } = await token("--list", "--json");
    expect(JSON.parse(stdout).map(({ name }: { name: string }) => name)).not.toContain("gone");
  });

  test.each([
    [[], "give the host's NAME"],
    [["web1", "--list"], "no NAME is expected with --list"],
    [["--list", "--cancel"], '"--list" is given, too'],
    [["../x"], 'Cannot use name "../x"'],
    [["web1", "DNS:*"], "Cannot use DNS name"],
    [["web1", "--valid=1s"], "--valid"],
    [["web1", "--valid=31d"], "--valid"],
    [["web1", "--days=826"], "--days"],
    [["web1", "--role=root"], "--role"],
    [["web1", "--server=logs.example.net"], "--server"],
  ])("refuses %j", async (args, problem) => {
    const { status, stdout, stderr } = await token(...args);
    expect([status, stdout]).toEqual([64, ""]);
    expect(stderr).toContain(problem);
  });
});
