import { describe, expect, test } from "bun:test";
import { AgentError } from "../../../src/errors.ts";
import { parseUploadUrl } from "../../../src/upload/http/upload-url.ts";

describe("parseUploadUrl() understands", () => {
  test.each<[given: string, expected: string]>([
    // As systemd-journal-upload does.
    ["h", "https://h:19532/upload"],
    ["h:1234", "https://h:1234/upload"],
    ["http://h", "http://h:19532/upload"],
    ["http://h/", "http://h:19532/upload"],
    ["https://h.example.net/", "https://h.example.net:19532/upload"],
    ["http://h:1/a/b", "http://h:1/a/b/upload"],
    ["http://h:1/upload?extra=1#", "http://h:1/upload?extra=1"],
    ["http://h:1/x?y=z#", "http://h:1/x?y=z"],
    // As it should.
    ["http://h:1234/", "http://h:1234/upload"],
    ["HTTPS://H", "https://h:19532/upload"],
    ["http://[::1]", "http://[::1]:19532/upload"],
    ["http://[2001:DB8::1]:80/", "http://[2001:DB8::1]:80/upload"],
    ["192.0.2.1", "https://192.0.2.1:19532/upload"],
    ["https://h/insert/journald", "https://h:443/insert/journald/upload"],
    ["https://h/insert/journald/", "https://h:443/insert/journald/upload"],
    ["http://h/insert/journald", "http://h:80/insert/journald/upload"],
    ["https://h/insert/journald/upload", "https://h:443/insert/journald/upload"],
    ["https://h:9428/insert/journald/upload/", "https://h:9428/insert/journald/upload"],
    ["http://h:1/x?y=z", "http://h:1/x/upload?y=z"],
    ["http://h?y=z", "http://h:19532/upload?y=z"],
    ["http://h#", "http://h:80/"],
    ["http://h:1/a b/ä", "http://h:1/a%20b/%C3%A4/upload"],
    ["http://h:1/a%20b", "http://h:1/a%20b/upload"],
    ["http://u:p@h", "http://h:19532/upload"],
    [" http://h:1\n", "http://h:1/upload"],
    ["https://bücher.example", "https://xn--bcher-kva.example:19532/upload"],
  ])("%s", (given, expected) => {
    expect(parseUploadUrl(given).text).toBe(expected);
  });

  test("its parts", () => {
    expect(parseUploadUrl("https://me:p%40ss@[::1]:8/a?b=c")).toEqual({
      text: "https://[::1]:8/a/upload?b=c",
      isSecure: true,
      host: "::1",
      port: 8,
      target: "/a/upload?b=c",
      userinfo: "me:p@ss",
    });
  });
});

test("a password that is not written as it has to be is in no message", () => {
  for (const password of ["s3c/ret", "s3c?ret", "s3c#ret", "s3c@ret:x", "s3c ret"]) {
    let message = "";
    try {
      parseUploadUrl(`https://user:${password}@h.example:0`);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain('Cannot upload to "https://h.example:0"');
    expect(message).not.toMatch(/s3c|ret/);
  }
});

describe("parseUploadUrl() refuses", () => {
  test.each<[given: string, message: string]>([
    ["", 'Cannot upload to "": there is no host in it'],
    ["http://", 'Cannot upload to "http://": there is no host in it'],
    ["http:///upload", 'Cannot upload to "http:///upload": there is no host in it'],
    ["ftp://h", 'Cannot upload to "ftp://h": it begins with "ftp:", "https:" or "http:" is needed'],
    ["http://h:0", 'Cannot upload to "http://h:0": its port is "0", 1 to 65535 is needed'],
    [
      "http://h:65536",
      'Cannot upload to "http://h:65536": its port is "65536", 1 to 65535 is needed',
    ],
    ["http://h:", 'Cannot upload to "http://h:": its port is "", 1 to 65535 is needed'],
    ["http://::1", 'Cannot upload to "http://::1": the address needs brackets, as in "[::1]"'],
    ["http://[::g]", 'Cannot upload to "http://[::g]": "[::g]" is no host name and no address'],
    ["http://a b", 'Cannot upload to "http://a b": "a b" is no host name and no address'],
    ["http://u:secret@h:x", 'Cannot upload to "http://h:x": its port is "x", 1 to 65535 is needed'],
  ])("%p", (given, message) => {
    expect(() => parseUploadUrl(given)).toThrow(new AgentError("E_CONFIG", message));
  });

  test("with a hint", () => {
    try {
      parseUploadUrl("http://");
      expect.unreachable();
    } catch (error) {
      expect((error as AgentError).code).toBe("E_CONFIG");
      expect((error as AgentError).hint).toContain("--url=");
    }
  });
});
