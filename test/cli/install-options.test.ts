import { describe, expect, test } from "bun:test";
import {
  INSTALL_OPTIONS,
  readAction,
  readInstallRequest,
  readRoot,
} from "../../src/cli/install-options.ts";
import { parseCommandLine } from "../../src/cli/options.ts";
import type { InstallRequest } from "../../src/install/install-request.ts";

function request(words: string, stdin = ""): InstallRequest {
  return readInstallRequest(parseCommandLine(words.split(" "), INSTALL_OPTIONS), () => stdin);
}

function action(words: string): string {
  return readAction(parseCommandLine(words.split(" "), INSTALL_OPTIONS));
}

describe("a request to install", () => {
  test("has nothing that was not said", () => {
    const { role, root, isForced, isDryRun, starts, checks, initializesAuthority, ...others } =
      request("--role=client");
    expect({ role, root, isForced, isDryRun, starts, checks, initializesAuthority }).toEqual({
      role: "client",
      root: "",
      isForced: false,
      isDryRun: false,
      starts: true,
      checks: true,
      initializesAuthority: false,
    });
    expect(Object.values(others).every((value) => value === undefined)).toBe(true);
  });

  test("of a server: the short path", () => {
    expect(
      request(
        "--role=server --init-ca --name=logs --san=DNS:logs.example.net,IP:192.0.2.10 --san a",
      ),
    ).toMatchObject({
      role: "server",
      initializesAuthority: true,
      name: "logs",
      names: [
        { type: "dns", value: "logs.example.net" },
        { type: "ip", value: "192.0.2.10" },
        { type: "dns", value: "a" },
      ],
    });
    expect(request("--role=server --enroll --port=443").port).toBe(443);
    expect(request("--role=server --no-enroll").enroll).toBe(false);
  });

  test("of a client: servers, namespaces, how", () => {
    expect(
      request(
        "--role=client --server=https://a --server https://b --namespace=x --namespace=y --targets=mirror --no-check --force --dry-run",
      ),
    ).toMatchObject({
      servers: ["https://a", "https://b"],
      namespaces: ["x", "y"],
      targets: "mirror",
      checks: false,
      isForced: true,
      isDryRun: true,
    });
    expect(request("--role=client --no-start")).toMatchObject({ starts: false, checks: false });
  });

  test("namespaces can be given up again", () => {
    expect(request("--role=client").namespaces).toBeUndefined();
    expect(request("--role=client --no-namespace").namespaces).toEqual([]);
  });

  test("paths are made absolute, and the token is read from stdin for -", () => {
    const { files, prefix } = request("--role=client --key=k --cert=c --trust=t --prefix=p");
    expect(files).toEqual({
      key: `${process.cwd()}/k`,
      certificate: `${process.cwd()}/c`,
      authority: `${process.cwd()}/t`,
      lists: undefined,
    });
    expect(prefix).toBe(`${process.cwd()}/p`);
    expect(request("--role=client --token=-", "secret\n").token).toBe("secret");
    expect(request("--role=client --token -", "secret\n").token).toBe("secret");
    expect(request("--role=client --token=abc", "secret\n").token).toBe("abc");
  });

  test.each([
    ["--no-check", "Cannot install: need --role="],
    ["--role=both", "need one of server, client"],
    ["--role=client --port=1", 'Cannot use "--port": it is for --role=server'],
    ["--role=client --san=a", 'Cannot use "--san": it is for --role=server'],
    ["--role=client --init-ca", 'Cannot use "--init-ca": it is for --role=server'],
    ["--role=server --token=a", 'Cannot use "--token": it is for --role=client'],
    ["--role=server --server=https://a", 'Cannot use "--server": it is for --role=client'],
    ["--role=server --enroll --no-enroll", '"--enroll" is given, too'],
    ["--role=server --port=0", "port"],
    ["--role=client --server=ftp://a", "need one like https://"],
    ["--role=client --namespace=a/b", "need the name of a journal namespace"],
    ["--role=client --namespace=..", "need the name of a journal namespace"],
    ["--role=client --namespace=a --no-namespace", '"--namespace" is given, too'],
    ["--role=server --no-namespace", 'Cannot use "--no-namespace": it is for --role=client'],
    ["--role=client --key=k --cert=c", '"--trust=" is missing'],
    ["--role=server --crl=l", '"--key=" is missing'],
    ["--role=server --name=ca", "own files"],
    ["--role=client --daemon=rsyslog", "need one of agent, systemd"],
  ])("%s is refused", (words, message) => {
    expect(() => request(words)).toThrow(message);
  });
});

describe("another action", () => {
  test("is told by its option", () => {
    expect(action("--role=client")).toBe("install");
    expect(action("--status --json --root=/x")).toBe("status");
    expect(action("--renew --force")).toBe("renew");
    expect(action("--upgrade=f --sha256=ab")).toBe("upgrade");
  });

  test.each([
    ["--renew --dry-run", 'Cannot use "--dry-run" together with "--renew"'],
    ["--upgrade=f --dry-run", 'Cannot use "--dry-run" together with "--upgrade"'],
    ["--renew --root=/x", 'Cannot use "--root" together with "--renew"'],
    ["--status --renew", 'Cannot use "--renew" together with "--status"'],
    ["--status --role=server", 'Cannot use "--role" together with "--status"'],
    ["--role=client --json", 'Cannot use "--json": it is for --status'],
    ["--role=client --sha256=ab", 'Cannot use "--sha256": it is for --upgrade='],
  ])("%s is refused rather than done in part", (words, message) => {
    expect(() => action(words)).toThrow(message);
  });
});

test("the root of this machine is no root", () => {
  const root = (word: string) => readRoot(parseCommandLine([word], INSTALL_OPTIONS));
  expect(root("--root=/")).toBe("");
  expect(root("--root=/srv/image/")).toBe("/srv/image");
});
