import { describe, expect, test } from "bun:test";
import { AgentError, type ErrorCode } from "../../src/errors.ts";
import type { RequestHead } from "../../src/serve/http1.ts";
import {
  accepted,
  announcementFor,
  checkEncoding,
  checkRequest,
  formatReply,
  storageRefusal,
  untrustedCertificate,
} from "../../src/serve/upload-request.ts";

const TYPE: [string, string[]] = ["content-type", ["application/vnd.fdo.journal"]];

function head(change: Partial<RequestHead> & { fields?: [string, string[]][] } = {}): RequestHead {
  const { fields = [], ...rest } = change;
  return {
    method: "POST",
    target: "/upload",
    minorVersion: 1,
    headers: new Map([TYPE, ...fields]),
    ...rest,
  };
}

describe("checkRequest() reads", () => {
  const cases: [string, RequestHead, object][] = [
    ["no length as no body", head(), { framing: { kind: "length", length: 0 } }],
    [
      "a length",
      head({ fields: [["content-length", ["0017"]]] }),
      { framing: { kind: "length", length: 17 } },
    ],
    [
      "chunked in any case",
      head({ fields: [["transfer-encoding", ["Chunked"]]] }),
      { framing: { kind: "chunked" } },
    ],
    ["an encoding", head({ fields: [["content-encoding", ["ZSTD"]]] }), { encoding: "zstd" }],
    [
      "identity as none",
      head({ fields: [["content-encoding", ["identity"]]] }),
      { encoding: undefined },
    ],
    [
      "Expect",
      head({ fields: [["expect", ["100-Continue"]]] }),
      { expectsContinue: true, keepAlive: true },
    ],
    [
      "Connection: close in a list",
      head({ fields: [["connection", ["te, Close"]]] }),
      { keepAlive: false },
    ],
    [
      "HTTP/1.0 as not kept alive and never continued",
      head({
        minorVersion: 0,
        fields: [
          ["content-length", ["1"]],
          ["expect", ["100-continue"]],
        ],
      }),
      { keepAlive: false, expectsContinue: false },
    ],
  ];
  for (const [name, request, expected] of cases) {
    test(name, () => expect(checkRequest(request, 1000)).toMatchObject(expected));
  }
});

describe("checkEncoding()", () => {
  test("knows what this program decodes", () => {
    for (const encoding of [undefined, "zstd", "xz", "lz4", "gzip"]) {
      expect(checkEncoding(encoding)).toBeUndefined();
    }
  });
  test("answers 415 and what there is for others, and for lists", () => {
    for (const encoding of ["br", "zstd, gzip", "deflate", "bzip2"]) {
      const reply = checkEncoding(encoding)?.reply;
      expect(reply?.status).toBe(415);
      expect(reply?.text).toBe(`Unsupported Content-Encoding type: ${encoding}`);
      expect(reply?.headers).toEqual(["Accept-Encoding: zstd;q=1.0,xz;q=0.8,lz4;q=0.6,gzip;q=0.4"]);
    }
  });
  test("puts no other bytes of the peer into the answer than printable ones, and few", () => {
    const text = checkEncoding(`\xff\t${"x".repeat(500)}`)?.reply.text ?? "";
    expect(text).toMatch(/^Unsupported Content-Encoding type: \?\?x{78}$/);
  });
});

describe("The format of a request", () => {
  const cases: [string, string][] = [
    ["application/vnd.fdo.journal", "export"],
    ["application/vnd.agent.journal-batch", "batch"],
    ["Application/VND.agent.journal-batch ; v=1", "batch"],
  ];
  for (const [type, format] of cases) {
    test(`${type} is ${format}`, () => {
      const headers = new Map([["content-type", [type]]]);
      expect(checkRequest(head({ headers }), 1000)).toMatchObject({ format });
    });
  }

  test("is told to whoever was answered with success, and no one else", () => {
    const request = checkRequest(head(), 1000);
    if ("reply" in request) throw new Error("Refused");
    const line = "Accept-Post: application/vnd.fdo.journal, application/vnd.agent.journal-batch";
    const counts = { stored: 2, duplicates: 1 };
    const entries = "Journal-Entries: stored=2, duplicates=1";
    expect(accepted(request, counts, undefined).headers).toEqual([line, entries]);
    expect(storageRefusal(new AgentError("E_IO", "x")).reply.headers).toEqual([]);
  });
});

describe("announcementFor()", () => {
  const line = "Accept-Encoding: zstd;q=1.0,gzip;q=0.4";
  const cases: [string, string | undefined, string | undefined][] = [
    ["our own", "journal-agent/0.1.0", line],
    ["curl", "curl/8.0", line],
    ["nameless clients", undefined, line],
    ["stock 252", "systemd-journal-upload 252", undefined],
    ["stock 262", "systemd-journal-upload 262.1-1", undefined],
    ["stock in another form", "systemd-journal-upload/262", undefined],
  ];
  for (const [name, agent, expected] of cases) {
    test(`for ${name} is ${expected}`, () => {
      const fields: [string, string[]][] = agent === undefined ? [] : [["user-agent", [agent]]];
      expect(announcementFor(head({ fields }), ["zstd", "gzip"])).toBe(expected);
    });
  }
  test("without encodings is none", () => {
    expect(announcementFor(head(), [])).toBeUndefined();
  });
});

describe("storageRefusal()", () => {
  const cases: [ErrorCode, number, boolean][] = [
    ["E_NO_SPACE", 503, true],
    ["E_IO", 500, false],
    ["E_LIMIT", 413, false],
    ["E_BUSY", 503, true],
    ["E_EXPORT_SYNTAX", 400, false],
    ["E_JOURNAL_CORRUPT", 500, false],
  ];
  for (const [code, status, retries] of cases) {
    test(`answers ${code} with ${status}, without our paths`, () => {
      const { reply } = storageRefusal(new AgentError(code, 'Cannot write "/secret/path"'));
      expect(reply.status).toBe(status);
      expect(reply.headers?.includes("Retry-After: 30")).toBe(retries);
      expect(reply.text).not.toContain("secret");
    });
  }
  test("answers a bug with 500", () => {
    expect(storageRefusal(new TypeError("x"))).toMatchObject({
      reason: "internal-error",
      reply: { status: 500 },
    });
  });
});

test("untrustedCertificate() counts under the library's code", () => {
  expect(untrustedCertificate("CERT_HAS_EXPIRED").reason).toBe("peer-certificate-cert-has-expired");
});

describe("formatReply()", () => {
  const request = checkRequest(head(), 1000);
  if ("reply" in request) throw new Error("Refused");
  test("writes a 202 as stock's client wants it", () => {
    const reply = accepted(request, { stored: 3, duplicates: 0 }, "Accept-Encoding: zstd;q=1.0");
    expect(formatReply(reply, false, 0).toString()).toBe(
      "HTTP/1.1 202 Accepted\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
        "Content-Type: text/plain\r\nContent-Length: 4\r\n" +
        "Accept-Post: application/vnd.fdo.journal, application/vnd.agent.journal-batch\r\n" +
        "Journal-Entries: stored=3, duplicates=0\r\n" +
        "Accept-Encoding: zstd;q=1.0\r\n\r\nOK.\n",
    );
  });
  test("leaves the body out for HEAD and says so when it closes", () => {
    const text = formatReply({ status: 406, text: "No.", close: true }, true, 0).toString();
    expect(text).toEndWith("Content-Length: 4\r\nConnection: close\r\n\r\n");
  });
});
