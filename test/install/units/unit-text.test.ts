import { describe, expect, test } from "bun:test";
import {
  formatUnit,
  quotePath,
  quoteWord,
  type Section,
} from "../../../src/install/units/unit-text.ts";

const SECTIONS: Section[] = [
  { name: "Unit", directives: [["StartLimitIntervalSec", "0"]] },
  {
    name: "Service",
    directives: [
      ["ExecStart", "/opt/program"],
      ["LogsDirectory", undefined],
      ["SystemCallFilter", "@system-service"],
      ["SystemCallFilter", "~@privileged"],
      ["CapabilityBoundingSet", ""],
      ["ProtectProc", "invisible"],
    ],
  },
];

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

describe("formatUnit", () => {
  test("a whole unit", () => {
    expect(linesOf(formatUnit(SECTIONS, { isDropIn: false, systemdVersion: 252 }))).toEqual([
      "[Unit]",
      "StartLimitIntervalSec=0",
      "[Service]",
      "ExecStart=/opt/program",
      "SystemCallFilter=@system-service",
      "SystemCallFilter=~@privileged",
      "CapabilityBoundingSet=",
      "ProtectProc=invisible",
    ]);
  });

  test("a drop-in takes lists back, once, before it makes its own", () => {
    expect(linesOf(formatUnit(SECTIONS, { isDropIn: true, systemdVersion: 252 }))).toEqual([
      "[Unit]",
      "StartLimitIntervalSec=0",
      "[Service]",
      "ExecStart=",
      "ExecStart=/opt/program",
      "LogsDirectory=",
      "SystemCallFilter=",
      "SystemCallFilter=@system-service",
      "SystemCallFilter=~@privileged",
      "CapabilityBoundingSet=",
      "ProtectProc=invisible",
    ]);
  });

  test("leaves out what the version does not know", () => {
    const text = formatUnit(SECTIONS, { isDropIn: false, systemdVersion: 246 });
    expect(text).not.toContain("ProtectProc");
    expect(text).toContain("CapabilityBoundingSet");
  });

  test("refuses what would become a line of its own", () => {
    const sections: Section[] = [
      { name: "Service", directives: [["ExecStart", "/opt/a\nUser=root"]] },
    ];
    expect(() => formatUnit(sections, { isDropIn: false, systemdVersion: 252 })).toThrow(
      'Cannot write "/opt/a\\nUser=root" into a configuration: it has control characters, need none',
    );
  });

  test("refuses what would take the next line in", () => {
    const sections: Section[] = [
      { name: "Service", directives: [["LoadCredential", "key.pem:/etc/key\\"]] },
    ];
    expect(() => formatUnit(sections, { isDropIn: false, systemdVersion: 252 })).toThrow(
      "it ends with a backslash, which would take the next line in",
    );
  });
});

test.each([
  ["/opt/bin/agent", "/opt/bin/agent"],
  ["/opt/my agent", '"/opt/my agent"'],
  ["/opt/100%", "/opt/100%%"],
  ["/opt/$HOME", "/opt/$$HOME"],
  ['/opt/"a\\b', '"/opt/\\"a\\\\b"'],
  ["", '""'],
])("word %p of a command line is %p", (text, expected) => {
  expect(quoteWord(text)).toBe(expected);
});

test("a path in a list is quoted, and has no variables to escape", () => {
  expect(quotePath("/srv/$a b%")).toBe('"/srv/$a b%%"');
});
