import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  findEntry,
  formatIndexEntry,
  type IndexEntry,
  markRevoked,
  parseIndex,
} from "../../src/certs/index-file.ts";
import { TestPki } from "../support/tls.ts";

const ENTRY: IndexEntry = {
  status: "V",
  expiresMs: Date.UTC(2029, 1, 24, 4, 37, 30),
  serial: "0A",
  name: "web1",
};
const LINE = "V\t290224043730Z\t\t0A\tunknown\t/CN=web1\n";

describe("parseIndex() and formatIndexEntry()", () => {
  test.each<[string, IndexEntry]>([
    [LINE, ENTRY],
    [
      "V\t20500101000000Z\t\t0A\tunknown\t/CN=web1\n",
      { ...ENTRY, expiresMs: Date.UTC(2050, 0, 1) },
    ],
    [
      "R\t290224043730Z\t261122053731Z\t0A\tunknown\t/CN=web1\n",
      {
        ...ENTRY,
        status: "R",
        revokedMs: Date.UTC(2026, 10, 22, 5, 37, 31),
        reason: "unspecified",
      },
    ],
    [
      "R\t290224043730Z\t261122053731Z,keyCompromise\t0A\tunknown\t/CN=web1\n",
      {
        ...ENTRY,
        status: "R",
        revokedMs: Date.UTC(2026, 10, 22, 5, 37, 31),
        reason: "keyCompromise",
      },
    ],
    ["E\t290224043730Z\t\t0A\tunknown\t/CN=web1\n", { ...ENTRY, status: "E" }],
  ])("%p", (line, entry) => {
    expect(parseIndex(line, "index")).toEqual([entry]);
    expect(formatIndexEntry(entry)).toBe(line);
  });

  test("reads what openssl ca writes, and every byte of it is kept by markRevoked()", () => {
    using pki = new TestPki();
    pki.issue("a", { subject: "/O=Example, Inc./CN=web1" });
    pki.issue("b");
    pki.issue("c", { end: "20600101000000Z" });
    pki.revoke("b");
    const text = readFileSync(pki.path("ca.index"), "latin1");
    const entries = parseIndex(text, "index");
    expect(entries.map(({ name, status }) => `${name} ${status}`)).toEqual([
      "server V",
      "web1 V",
      "b R",
      "c V",
    ]);
    expect(entries[3]?.expiresMs).toBe(Date.UTC(2060, 0, 1));
    const serial = entries[1]?.serial ?? "";
    const marked = markRevoked(text, new Set([serial]), { revokedMs: 0, reason: "superseded" });
    const formerLines = text.split("\n");
    const different = marked.split("\n").filter((line, i) => line !== formerLines[i]);
    expect(different).toEqual([
      (formerLines[1] ?? "").replace(/^V\t(\d+Z)\t/, "R\t$1\t700101000000Z,superseded"),
    ]);
  });

  test("comments and empty lines are passed over, tabs in a subject are not lost", () => {
    const text = `# mine\n\n${LINE}V\t290224043730Z\t\t0B\tunknown\t/O=a\tb/CN=x\n`;
    expect(parseIndex(text, "index").map(({ name }) => name)).toEqual(["web1", "x"]);
  });

  test("reasons that openssl dates are told as what they mean", () => {
    const line = (reason: string) =>
      `R\t290224043730Z\t261122053731Z,${reason}\t0A\tunknown\t/CN=a\n`;
    const reasonOf = (reason: string) => parseIndex(line(reason), "index")[0]?.reason;
    expect(reasonOf("keyTime,20260101000000Z")).toBe("keyCompromise");
    expect(reasonOf("CAkeyTime,20260101000000Z")).toBe("CACompromise");
    expect(reasonOf("holdInstruction,1.2.3")).toBe("keyCompromise");
  });

  test.each([
    "nonsense",
    "V\t290224043730Z\t\t0A\tunknown",
    "X\t290224043730Z\t\t0A\tunknown\t/CN=a",
    "V\tnever\t\t0A\tunknown\t/CN=a",
    "V\t290224043730Z\t\tXY\tunknown\t/CN=a",
    "R\t290224043730Z\t\t0A\tunknown\t/CN=a",
    "V\t290224043730Z\t261122053731Z\t0A\tunknown\t/CN=a",
    `V\t290224043730Z\t\t${"A".repeat(41)}\tunknown\t/CN=a`,
  ])("a line like %p is an error with its number", (line) => {
    expect(() => parseIndex(`${LINE}${line}\n`, "/x/index")).toThrow(
      'Cannot read index "/x/index": line 2 ',
    );
  });
});

test("findEntry() finds the serial, and not what looks like it", () => {
  const index = Buffer.from(
    `${LINE}V\t290224043730Z\t\t0B0A\tunknown\t/CN=0C\nV\t290224043730Z\t\t0D\tunknown\t/CN=last`,
  );
  expect(findEntry(index, "0A")?.name).toBe("web1");
  expect(findEntry(index, "0B0A")?.name).toBe("0C");
  expect(findEntry(index, "0D")?.name).toBe("last");
  for (const serial of ["0B", "0C", "A", "unknown"])
    expect(findEntry(index, serial)).toBeUndefined();
});
