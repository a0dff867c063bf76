import { afterAll, beforeAll, expect, test } from "bun:test";
import { type HttpsRequest, requestOnce } from "../../src/install/https-request.ts";
import { CertsAuthority } from "../support/certs.ts";
import { httpAnswer, ScriptedHttps } from "../support/scripted-https.ts";

let ca: CertsAuthority;
let server: ScriptedHttps;
let answer = "";
beforeAll(async () => {
  ca = await CertsAuthority.create();
  await ca.issue("server", { names: ["localhost"], role: "server" });
  const identity = { key: ca.text("server.key"), cert: ca.text("server.pem") };
  server = await ScriptedHttps.start(identity, () => answer);
});
afterAll(() => {
  server[Symbol.dispose]();
  ca[Symbol.dispose]();
});

function request(changes: Partial<HttpsRequest> = {}) {
  return requestOnce({
    server: `${server.url}/some/path`,
    verb: "ask",
    method: "POST",
    path: "/question",
    headers: { Authorization: "Bearer x" },
    body: "ü",
    identity: { ca: ca.text("ca.pem") },
    environment: {},
    files: { keyFile: undefined, certificateFile: undefined, trust: "ca.pem" },
    checksServer: true,
    ...changes,
  });
}

test("sends one request, and reads one answer of the size that it says", async () => {
  answer = httpAnswer(200, "body", "X-Test:  a b \r\n");
  const { status, headers, body } = await request();
  expect({ status, body, header: headers.get("x-test") }).toEqual({
    status: 200,
    body: "body",
    header: "a b",
  });
  const { host } = new URL(server.url);
  const sent = server.requests.at(-1) ?? "";
  expect(sent).toStartWith(`POST /question HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: agent/`);
  expect(sent).toContain("Content-Length: 2\r\nConnection: close\r\nAuthorization: Bearer x\r\n");
});

test("gives up on a receiver that says nothing", async () => {
  answer = "nothing";
  const started = performance.now();
  await expect(request({ timeoutMs: 300 })).rejects.toMatchObject({ code: "E_PEER" });
  expect(performance.now() - started).toBeLessThan(3_000);
});

test("goes through the proxy that the environment names", async () => {
  answer = httpAnswer(200, "through");
  const before = server.requests.length;
  const environment = { https_proxy: "http://127.0.0.1:1" };
  await expect(request({ environment })).rejects.toThrow("127.0.0.1:1");
  expect(server.requests.length).toBe(before);
  const excepted = { ...environment, no_proxy: "localhost" };
  expect((await request({ environment: excepted })).body).toBe("through");
});

test("shows of a stranger's certificate what can be shown", async () => {
  const names = [
    "-subj",
    "/CN=evil\x1b[2J\nerror: forged",
    "-addext",
    "subjectAltName=DNS:a\x1b[2J",
  ];
  const key = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    "e.key",
  ];
  ca.openssl("req", "-x509", ...key, "-out", "e.pem", ...names);
  using stranger = await ScriptedHttps.start(
    { key: ca.text("e.key"), cert: ca.text("e.pem") },
    () => answer,
  );
  const isShown = (trusted: string): Promise<string> =>
    request({ server: stranger.url, identity: { ca: ca.text(trusted) } }).then(
      () => "It was trusted",
      ({ message }: Error) => message,
    );
  expect(await isShown("ca.pem")).toEndWith('but by "evil?[2J?error: forged"');
  expect(await isShown("e.pem")).toMatch(/it has DNS:[ -~]*, "localhost" is needed$/);
});
