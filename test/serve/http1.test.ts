import { describe, expect, test } from "bun:test";
import { type BodyFraming, type RequestHead, RequestParser } from "../../src/serve/http1.ts";

const HEAD_SIZE_MAX = 1024;

/** What came out, with body pieces joined, so that it does not depend on the splits. */
type Outcome = string[];

function framingOf(head: RequestHead): BodyFraming {
  if (head.headers.has("transfer-encoding")) return { kind: "chunked" };
  const length = head.headers.get("content-length")?.[0] ?? "";
  return { kind: "length", length: /^\d{1,9}$/.test(length) ? Number(length) : 0 };
}

function parse(pieces: Uint8Array[]): Outcome {
  const parser = new RequestParser(HEAD_SIZE_MAX);
  const outcome: Outcome = [];
  let body = "";
  for (const piece of pieces) {
    parser.feed(piece);
    for (let event = parser.next(); event !== undefined; event = parser.next()) {
      if (event.type === "body") {
        body += Buffer.from(event.bytes).toString("latin1");
        continue;
      }
      if (event.type === "head") {
        const { method, target, minorVersion, headers } = event.head;
        outcome.push(`${method} ${target} 1.${minorVersion} ${JSON.stringify([...headers])}`);
        parser.startBody(framingOf(event.head));
      } else if (event.type === "end") {
        outcome.push(`body ${body.length}: ${body}`);
        body = "";
      } else {
        outcome.push(`${event.status} ${event.text}`);
      }
    }
  }
  outcome.push(`unfinished ${parser.unfinished} ${body}`);
  return outcome;
}

function parseText(text: string): Outcome {
  return parse([Buffer.from(text, "latin1")]);
}

const POST = "POST /upload HTTP/1.1\r\nHost: a\r\n";
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

const FIXTURES: Record<string, string> = {
  "a body with a length": `${POST}Content-Length: 5\r\n\r\nhello`,
  "no body": `${POST}\r\n`,
  "an empty line first": `\r\n${POST}Content-Length: 1\r\n\r\nx`,
  "chunks with extensions and a trailer": `${CHUNKED}3;a=b;c="d"\r\nabc\r\n00A \r\n0123456789\r\n0\r\nX: y\r\n\r\n`,
  "chunk data that looks like framing": `${CHUNKED}7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n`,
  "three pipelined requests": `${POST}Content-Length: 2\r\n\r\nhi${CHUNKED}1\r\nx\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n`,
  "repeated and blank-padded headers": `${POST}X:  a \t\r\nx:\r\nX: b\xe4\r\n\r\n`,
  "a bad request line": "POST  /upload HTTP/1.1\r\nHost: a\r\n\r\n",
  "a TLS hello": "\x16\x03\x01\x02\x00\x01\x00",
  "a bad chunk size after a good chunk": `${CHUNKED}1\r\nx\r\nzz\r\n`,
  "a chunk longer than announced": `${CHUNKED}1\r\nxy\r\n0\r\n\r\n`,
  "a head of the largest size": padded(HEAD_SIZE_MAX),
  "a head one byte larger": padded(HEAD_SIZE_MAX + 1),
  "a chunk line of the largest size": `${CHUNKED}1;${"e".repeat(4092)}\r\nx\r\n0\r\n\r\n`,
  "a chunk line one byte larger": `${CHUNKED}1;${"e".repeat(4093)}\r\nx\r\n0\r\n\r\n`,
};

function padded(size: number): string {
  const [before, after] = [`${POST}X: `, "\r\n\r\n"];
  return before + "p".repeat(size - before.length - after.length) + after;
}

describe("RequestParser every split", () => {
  for (const [name, text] of Object.entries(FIXTURES)) {
    test(`gives the same events for ${name}`, () => {
      const bytes = Buffer.from(text, "latin1");
      const whole = parse([bytes]);
      expect(parse([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
      for (let cut = 1; cut < bytes.length; cut++) {
        expect(parse([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(whole);
      }
    });
  }
});

describe("RequestParser accepts", () => {
  const cases: [string, string, Outcome][] = [
    [
      "a length body",
      FIXTURES["a body with a length"] ?? "",
      [
        'POST /upload 1.1 [["host",["a"]],["content-length",["5"]]]',
        "body 5: hello",
        "unfinished nothing ",
      ],
    ],
    [
      "chunks with extensions and a trailer",
      FIXTURES["chunks with extensions and a trailer"] ?? "",
      [
        'POST /upload 1.1 [["host",["a"]],["transfer-encoding",["chunked"]]]',
        "body 13: abc0123456789",
        "unfinished nothing ",
      ],
    ],
    [
      "headers in any case, trimmed, repeated",
      FIXTURES["repeated and blank-padded headers"] ?? "",
      ['POST /upload 1.1 [["host",["a"]],["x",["a","","bä"]]]', "body 0: ", "unfinished nothing "],
    ],
    [
      "HTTP/1.0 without Host",
      "GET / HTTP/1.0\r\n\r\n",
      ["GET / 1.0 []", "body 0: ", "unfinished nothing "],
    ],
  ];
  for (const [name, text, outcome] of cases) {
    test(name, () => expect(parseText(text)).toEqual(outcome));
  }
  test("three pipelined requests", () => {
    const bodies = parseText(FIXTURES["three pipelined requests"] ?? "").filter((line) =>
      line.startsWith("body"),
    );
    expect(bodies).toEqual(["body 2: hi", "body 1: x", "body 0: "]);
  });
});

describe("RequestParser refuses", () => {
  const headCases: [string, string, string][] = [
    [
      "two Content-Length that agree",
      `${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`,
      "400 More than one Content-Length.",
    ],
    [
      "a list of Content-Length",
      `${POST}Content-Length: 1, 1\r\n\r\n`,
      "400 More than one Content-Length.",
    ],
    ["two Host", `${POST}Host: b\r\n\r\n`, "400 More than one Host."],
    ["no Host", "POST / HTTP/1.1\r\n\r\n", "400 Host is required."],
    ["a folded line", `${POST}X: a\r\n b\r\n\r\n`, "400 Folded header line."],
    ["a fold by tab", `${POST}X: a\r\n\tb\r\n\r\n`, "400 Folded header line."],
    ["a blank before the colon", `${POST}Content-Length : 1\r\n\r\n`, "400 Bad header line."],
    ["a line without colon", `${POST}X\r\n\r\n`, "400 Bad header line."],
    ["an empty name", `${POST}: x\r\n\r\n`, "400 Bad header line."],
    ["NUL in a value", `${POST}X: a\0b\r\n\r\n`, "400 Bad header line."],
    ["CR in a value", `${POST}X: a\rb\r\n\r\n`, "400 Bad header line."],
    ["NUL in the target", "POST /\0 HTTP/1.1\r\n\r\n", "400 Bad request line."],
    ["a bare LF", "POST /upload HTTP/1.1\nHost: a\n\n", "400 Line not ended by CR LF."],
    ["a bare LF at the end of the head", `${POST}\n`, "400 Line not ended by CR LF."],
    ["HTTP/0.9", "GET /\r\n", "400 Bad request line."],
    ["HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP version not supported."],
    ["lower-case http", "GET / http/1.1\r\n\r\n", "400 Bad request line."],
    [
      "an endless line",
      `GET /${"x".repeat(HEAD_SIZE_MAX)}`,
      `431 Request header larger than ${HEAD_SIZE_MAX} bytes.`,
    ],
    [
      "endless empty lines",
      "\r\n".repeat(HEAD_SIZE_MAX),
      `431 Request header larger than ${HEAD_SIZE_MAX} bytes.`,
    ],
    [
      "endless headers",
      POST + "a: b\r\n".repeat(HEAD_SIZE_MAX),
      `431 Request header larger than ${HEAD_SIZE_MAX} bytes.`,
    ],
  ];
  for (const [name, text, outcome] of headCases) {
    test(name, () => expect(parseText(text)).toEqual([outcome, "unfinished nothing "]));
  }

  const chunkCases: [string, string, string][] = [
    ["an empty chunk size", "\r\n", "400 Bad chunk size."],
    ["a sign", "+1\r\nx\r\n", "400 Bad chunk size."],
    ["0x", "0x1\r\nx\r\n", "400 Bad chunk size."],
    ["a leading blank", " 1\r\nx\r\n", "400 Bad chunk size."],
    ["a size of 2^56", "100000000000000\r\n", "400 Bad chunk size."],
    ["a word behind the size", "1 x\r\nx\r\n", "400 Bad chunk size."],
    ["CR in an extension", "1;a\rb\r\nx\r\n", "400 Bad chunk size."],
    ["NUL in an extension", "1;\0\r\nx\r\n", "400 Bad chunk size."],
    ["a bare LF behind the size", "1\nx\r\n", "400 Line not ended by CR LF."],
    ["a bare LF behind the data", "1\r\nx\n0\r\n\r\n", "400 Line not ended by CR LF."],
    ["a bad trailer", "0\r\nx\r\n\r\n", "400 Bad trailer."],
    [
      "an endless trailer",
      `0\r\n${"a: b\r\n".repeat(HEAD_SIZE_MAX)}`,
      `431 Request header larger than ${HEAD_SIZE_MAX} bytes.`,
    ],
  ];
  for (const [name, text, outcome] of chunkCases) {
    test(`${name} in a chunk header`, () => {
      expect(parseText(CHUNKED + text)).toContain(outcome);
    });
  }
});

test("RequestParser passes bodies on as parts of the chunk it was fed", () => {
  const parser = new RequestParser(HEAD_SIZE_MAX);
  const chunk = Buffer.from(`${POST}Content-Length: 5\r\n\r\nhello`);
  parser.feed(chunk);
  expect(parser.next()?.type).toBe("head");
  parser.startBody({ kind: "length", length: 5 });
  const event = parser.next();
  if (event?.type !== "body") throw new Error("No body");
  expect(event.bytes.buffer).toBe(chunk.buffer);
  expect(event.bytes.byteOffset).toBe(chunk.byteOffset + chunk.length - 5);
});

describe("RequestParser.unfinished", () => {
  const cases: [string, string][] = [
    ["", "nothing"],
    ["P", "head"],
    ["POST / HTTP/1.1\r\n", "head"],
    [CHUNKED, "nothing"],
    [`${CHUNKED}5`, "body"],
    [`${CHUNKED}5\r\nab`, "body"],
    [`${CHUNKED}2\r\nab`, "body"],
    [`${CHUNKED}2\r\nab\r\n`, "nothing"],
    [`${CHUNKED}0\r\n`, "body"],
    [`${POST}Content-Length: 2\r\n\r\n`, "body"],
    [`${POST}Content-Length: 0\r\n\r\n`, "nothing"],
  ];
  for (const [text, unfinished] of cases) {
    test(`is ${unfinished} after ${JSON.stringify(text.slice(-30))}`, () => {
      expect(parseText(text).at(-1)).toStartWith(`unfinished ${unfinished}`);
    });
  }
});

test("RequestParser survives 20,000 seeded mutations and never sees a body it was not told of", () => {
  const texts = Object.values(FIXTURES).filter((text) => text.length < 600);
  let seed = 42;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % below;
  };
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(texts[random(texts.length)] ?? "", "latin1");
    for (let i = 0; i <= random(4); i++) bytes[random(bytes.length)] = random(256);
    const whole = parse([bytes]);
    const cut = random(bytes.length);
    expect(parse([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(whole);
  }
});
