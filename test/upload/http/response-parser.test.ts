import { describe, expect, test } from "bun:test";
import { type ResponseEvent, ResponseParser } from "../../../src/upload/http/response-parser.ts";
import { seededRandom } from "../../support/encoded-bodies.ts";

function parse(text: string, cuts: readonly number[] = []): ResponseEvent[] {
  const parser = new ResponseParser();
  const bytes = Buffer.from(text, "latin1");
  const edges = [0, ...cuts, bytes.length];
  return edges.slice(1).flatMap((end, index) => parser.push(bytes.subarray(edges[index], end)));
}

/** What answers there are, in short. */
function answers(events: readonly ResponseEvent[]): string[] {
  return events.flatMap((event) => {
    if (event.type === "head") return [];
    if (event.type === "malformed") return [`malformed: ${event.text}`];
    const { status, text } = event.answer;
    return [`${status} ${JSON.stringify(text)}${event.isLast ? " last" : ""}`];
  });
}

const OK = "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nOK.\n";
const SEQUENCE = [
  "HTTP/1.1 100 Continue\r\n\r\n",
  OK,
  "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nA: 1\r\na: 2\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: x\r\n\r\n",
  "HTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
  "HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
].join("");
const EXPECTED = ['202 "OK.\\n"', '200 "abcde"', '204 ""', '500 ""', '413 "big" last'];

describe("ResponseParser", () => {
  test("finds answers however the bytes are cut", () => {
    expect(answers(parse(SEQUENCE))).toEqual(EXPECTED);
    for (let at = 1; at < SEQUENCE.length; at++) {
      expect(answers(parse(SEQUENCE, [at]))).toEqual(EXPECTED);
    }
    const everywhere = Array.from({ length: SEQUENCE.length - 1 }, (_, index) => index + 1);
    expect(answers(parse(SEQUENCE, everywhere))).toEqual(EXPECTED);
  });

  test("joins repeated headers and makes names lower case", () => {
    const [event] = parse(
      "HTTP/1.1 204 X\r\nAccept-Encoding: zstd\r\nACCEPT-ENCODING:  gzip \r\n\r\n",
    );
    expect(event?.type === "answer" && [...event.answer.headers]).toEqual([
      ["accept-encoding", "zstd, gzip"],
    ]);
  });

  test("tells the status before the body is there", () => {
    expect(parse("HTTP/1.1 413 X\r\nContent-Length: 9\r\n\r\nToo")).toEqual([
      { type: "head", status: 413 },
    ]);
  });

  test.each<[string, string, string[]]>([
    ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", ['200 "x" last']],
    [
      "HTTP/1.0 that goes on",
      "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
      ['200 "x"'],
    ],
    ["a list with close", "HTTP/1.1 204 OK\r\nConnection: a, CLOSE\r\n\r\n", ['204 "" last']],
    ["lines that end with LF alone", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", ['200 "x"']],
    [
      "the same length twice",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
      ['200 "x"'],
    ],
    [
      "nothing behind the last answer",
      `HTTP/1.1 204 X\r\nConnection: close\r\n\r\n${OK}`,
      ['204 "" last'],
    ],
  ])("understands %s", (_, text, expected) => {
    expect(answers(parse(text))).toEqual(expected);
  });

  test.each<[string, string, string]>([
    ["another protocol", "220 mail ESMTP\r\n", "it does not begin with a status of HTTP/1"],
    ["HTTP/2", "HTTP/2 200\r\n", "it does not begin with a status of HTTP/1"],
    ["an impossible status", "HTTP/1.1 99 X\r\n", "it does not begin with a status of HTTP/1"],
    ["a broken header", "HTTP/1.1 200 OK\r\nfoo bar\r\n\r\n", "one of its header lines is broken"],
    [
      "a folded header",
      "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
      "one of its header lines is broken",
    ],
    [
      "a length that is none",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "its Content-Length is no number",
    ],
    [
      "two lengths",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "its Content-Length is no number",
    ],
    [
      "a chunk without size",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
      "a chunk of it has no size",
    ],
    [
      "a chunk that is too long",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
      "a chunk of it is longer than announced",
    ],
    ["another protocol, agreed upon", "HTTP/1.1 101 X\r\n\r\n", "it changes the protocol"],
    ["an endless line", `HTTP/1.1 200 ${"x".repeat(70_000)}`, "its header is too large"],
    [
      "endless headers",
      `HTTP/1.1 200 X\r\n${"A: b\r\n".repeat(12_000)}`,
      "its header is too large",
    ],
    [
      "an endless chunk line",
      `HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n${"0".repeat(5000)}`,
      "its header is too large",
    ],
  ])("gives up on %s, and stays so", (_, text, reason) => {
    expect(answers(parse(`${text}${OK}`))).toEqual([`malformed: ${reason}`]);
  });

  test("keeps the beginning of a long body only", () => {
    const [head, event] = parse(
      `HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n${"y".repeat(1_000_000)}`,
    );
    expect(head).toEqual({ type: "head", status: 500 });
    expect(event?.type === "answer" && event.answer.text).toBe("y".repeat(4096));
  });

  test("end() completes what ends with the connection, and what is cut behind its head", () => {
    const ended = (text: string): ResponseEvent | undefined => {
      const parser = new ResponseParser();
      parser.push(Buffer.from(text));
      return parser.end();
    };
    const shown = (text: string): string[] => {
      const event = ended(text);
      return event === undefined ? [] : answers([event]);
    };
    expect(shown("HTTP/1.1 200 OK\r\n\r\nall of it")).toEqual(['200 "all of it" last']);
    expect(shown("HTTP/1.1 401 No\r\nContent-Length: 10\r\n\r\nbegin")).toEqual([
      '401 "begin" last',
    ]);
    expect(shown("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbe")).toEqual([
      '401 "be" last',
    ]);
    for (const text of ["", OK, "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP"]) {
      expect(shown(text)).toEqual([]);
    }
  });

  test("waits for no end of what never ends", () => {
    const feed = (start: string, piece: string): string[] => {
      const parser = new ResponseParser();
      parser.push(Buffer.from(start));
      for (let i = 0; i < 10_000; i++) {
        const events = answers(parser.push(Buffer.from(piece)));
        if (events.length > 0) return events.map((event) => event.slice(0, 40));
      }
      return ["never"];
    };
    const x = "x".repeat(500);
    expect(feed("", "HTTP/1.1 100 Continue\r\n\r\n")).toEqual(["malformed: it never comes"]);
    const text = `200 "${"x".repeat(35)}`;
    expect(feed("HTTP/1.1 200 OK\r\n\r\n", x)).toEqual([text]);
    expect(feed("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", x)).toEqual([text]);
    const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    expect(feed(chunked, `1;${x}\r\nx\r\n`)).toEqual([text]);
  });

  test("survives 20,000 seeded mutations, and never holds more than it may", () => {
    const random = seededRandom(7);
    const bytes = Buffer.from(SEQUENCE, "latin1");
    for (let run = 0; run < 20_000; run++) {
      const mutated = Buffer.from(bytes);
      for (let i = 0; i < 3; i++) {
        mutated[Math.floor(random() * mutated.length)] = Math.floor(random() * 256);
      }
      const parser = new ResponseParser();
      const events = parser.push(mutated);
      const event = parser.end();
      for (const { type } of event === undefined ? events : [...events, event]) {
        expect(["head", "answer", "malformed"]).toContain(type);
      }
    }
  });
});
