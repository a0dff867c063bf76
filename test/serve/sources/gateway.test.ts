import { describe, expect, test } from "bun:test";
import { AgentError } from "../../../src/errors.ts";
import {
  isSameEntry,
  LeadingCursor,
  parseGateway,
  parseGateways,
  rangeFrom,
} from "../../../src/serve/sources/gateway.ts";
import { cursorOf, exportEntry } from "../../support/recording-ingest.ts";

describe("parseGateway()", () => {
  const cases: [text: string, name: string, href: string][] = [
    ["http://web1:19531", "web1", "http://web1:19531/entries?follow"],
    ["http://web1:19531/", "web1", "http://web1:19531/entries?follow"],
    ["https://web1.example.net", "web1.example.net", "https://web1.example.net/entries?follow"],
    ["web1:19531", "web1", "http://web1:19531/entries?follow"],
    ["http://192.0.2.1:19531/a/b//", "192.0.2.1", "http://192.0.2.1:19531/a/b/entries?follow"],
    ["http://[::1]:19531", "::1", "http://[::1]:19531/entries?follow"],
    ["http://u:p@web1:19531", "web1", "http://web1:19531/entries?follow"],
    ["http://web1/entries", "web1", "http://web1/entries?follow"],
    ["http://web1/x/entries?boot", "web1", "http://web1/x/entries?boot&follow"],
    ["http://web1/entries?follow=no", "web1", "http://web1/entries?follow=no"],
    ["http://web1/entries?boot&follow", "web1", "http://web1/entries?boot&follow"],
    ["http://web1/entries?FOLLOW=x", "web1", "http://web1/entries?FOLLOW=x&follow"],
    ["http://web1/?_UID=0#top", "web1", "http://web1/entries?_UID=0&follow"],
    [
      "http://entries.example.net/",
      "entries.example.net",
      "http://entries.example.net/entries?follow",
    ],
  ];
  test.each(cases)("%s", (text, name, href) => {
    expect(parseGateway(text)).toMatchObject({ name, href });
  });

  test("turns user and password into basic authorization, decoded", () => {
    const authorization = (text: string) => parseGateway(text).authorization;
    const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;
    expect(authorization("http://web1")).toBeUndefined();
    expect(authorization("http://u:p@web1")).toBe(basic("u:p"));
    expect(authorization("http://u@web1")).toBe(basic("u:"));
    expect(authorization("http://u%40x:p%3Aq%C3%AB@web1")).toBe(basic("u@x:p:që"));
    expect(authorization("http://100%:p@web1")).toBe(basic("100%:p"));
  });

  test.each(["", "ftp://web1", "http://", "http://web1:99999", "unix:///run/x", "http://[::1"])(
    "refuses %p",
    (text) => {
      expect(() => parseGateway(text)).toThrow(AgentError);
    },
  );
});

describe("parseGateways()", () => {
  test("gives no two of them the same name, and asks none twice", () => {
    const gateways = parseGateways([
      "http://web1:19531",
      "http://web2:19531",
      "http://web1:19532",
      "http://u:p@web1:19531/",
      "http://web1:19532/entries?_UID=0",
    ]);
    expect(gateways.map(({ name }) => name)).toEqual([
      "web1",
      "web2",
      "web1:19532",
      "web1:19532/entries?_UID=0&follow",
    ]);
  });
});

describe("cursors", () => {
  test("rangeFrom() starts at the entry itself", () => {
    expect(rangeFrom("s=1;i=2")).toBe("entries=s=1;i=2");
  });

  test("isSameEntry() compares sequence and number only", () => {
    expect(isSameEntry(cursorOf(7), cursorOf(7).replace("x=1", "x=2"))).toBe(true);
    expect(isSameEntry(cursorOf(7), cursorOf(8))).toBe(false);
    expect(isSameEntry(cursorOf(7), cursorOf(7, "00".repeat(16)))).toBe(false);
  });

  test("LeadingCursor finds it once, however the bytes are cut", () => {
    const bytes = Buffer.from(exportEntry(7) + exportEntry(8));
    for (const size of [1, 2, 3, 50, 511, 512, 513, bytes.length]) {
      const leading = new LeadingCursor();
      const found: string[] = [];
      for (let offset = 0; offset < bytes.length; offset += size) {
        const cursor = leading.push(bytes.subarray(offset, offset + size));
        if (cursor !== undefined) found.push(cursor);
      }
      expect(found).toEqual([cursorOf(7)]);
    }
  });

  test("LeadingCursor gives up on a first line that is none", () => {
    for (const text of ["MESSAGE=x\n__CURSOR=s=1\n", "\n__CURSOR=s=1\n", "x".repeat(2000)]) {
      const leading = new LeadingCursor();
      expect(leading.push(Buffer.from(text))).toBeUndefined();
      expect(leading.push(Buffer.from("\n__CURSOR=s=1\n"))).toBeUndefined();
    }
  });
});
