import { afterAll, describe, expect, test } from "bun:test";
import { credentialFileNames, readAuthorization } from "../../../src/upload/http/credentials.ts";
import { TempDir } from "../../support/temp-dir.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const NONE = {
  bearerTokenFile: undefined,
  basicAuthFile: undefined,
  credentialsDirectory: undefined,
};

function bearer(content: string): string | undefined {
  return readAuthorization({ ...NONE, bearerTokenFile: dir.write("token", content) }, undefined);
}

function basic(content: string): string | undefined {
  return readAuthorization({ ...NONE, basicAuthFile: dir.write("basic", content) }, undefined);
}

function encoded(text: string): string {
  return `Basic ${Buffer.from(text).toString("base64")}`;
}

describe("readAuthorization()", () => {
  test("reads a token without the end of its line", () => {
    expect(bearer("abc.DEF-_~+/==")).toBe("Bearer abc.DEF-_~+/==");
    expect(bearer("abc\r\n\n")).toBe("Bearer abc");
  });

  test("reads user and password, which may hold colons and any letters", () => {
    expect(basic("me:a:b ü\n")).toBe(encoded("me:a:b ü"));
  });

  test("takes what the URL says, unless there is a file", () => {
    expect(readAuthorization(NONE, undefined)).toBeUndefined();
    expect(readAuthorization(NONE, "me:pass")).toBe(encoded("me:pass"));
    expect(readAuthorization(NONE, "me")).toBe(encoded("me:"));
    const files = { ...NONE, bearerTokenFile: dir.write("token", "x") };
    expect(readAuthorization(files, "me:pass")).toBe("Bearer x");
  });

  test("finds bare names among the service's credentials, and paths where they are", () => {
    const path = dir.write("credentials/upload-token", "secret");
    const files = {
      ...NONE,
      bearerTokenFile: "upload-token",
      credentialsDirectory: `${dir.path}/credentials`,
    };
    expect(readAuthorization(files, undefined)).toBe("Bearer secret");
    expect(readAuthorization({ ...files, bearerTokenFile: path }, undefined)).toBe("Bearer secret");
    expect(credentialFileNames({ ...files, basicAuthFile: "/x" })).toEqual([path, "/x"]);
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      "no file",
      () => readAuthorization({ ...NONE, bearerTokenFile: "/none" }, undefined),
      /^Cannot use bearer token of "\/none": no such file$/,
    ],
    [
      "a directory",
      () => readAuthorization({ ...NONE, basicAuthFile: "/" }, undefined),
      /^Cannot use password of "\/": it is a directory, a file is needed$/,
    ],
    ["an empty token", () => bearer("\n"), /: it is empty$/],
    ["two lines", () => bearer("one\nsecret\n"), /: one line is needed$/],
    ["what would end the header", () => basic("me:x\r\nEvil: secret"), /: one line is needed$/],
    ["blanks in a token", () => bearer("se cret"), /: it holds more than one token's letters$/],
    ["no colon", () => basic("secret"), /: it holds no colon, "user:password" is needed$/],
  ])("refuses %s without telling what is in it", (_, read, message) => {
    expect(read).toThrow(message);
    expect(read).not.toThrow(/secret/);
  });
});
