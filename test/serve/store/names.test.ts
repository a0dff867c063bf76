import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatId128 } from "../../../src/bytes/id128.ts";
import { AgentError } from "../../../src/errors.ts";
import {
  activeFileName,
  archivedFileName,
  escapeSenderName,
  isDoubtfulFileName,
  isSenderBase,
  outputFileBase,
  parseFileName,
  senderBase,
  uncleanFileName,
} from "../../../src/serve/store/names.ts";

const ID = Uint8Array.from({ length: 16 }, (_, i) => i * 16 + 1);
const ID_HEX = "01112131415161718191a1b1c1d1e1f1";
const ARCHIVE_TAIL = `@${ID_HEX}-0000000000000007-00058a3f9c2d1e00`;
const RANDOM = Uint8Array.of(0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff);

const bytes = (count: number) => fc.uint8Array({ minLength: count, maxLength: count });
const number53 = fc.maxSafeNat();
/** Names of every kind, and often the kinds that need care. */
const senderName = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.string({ unit: fc.constantFrom("a", "@", "~", "\\", "/", " ", "\ud800", "é") }),
  fc.string({ unit: "grapheme", minLength: 40, maxLength: 400 }),
  fc
    .tuple(fc.constantFrom("", "web1", "a@b"), bytes(16), number53, number53)
    .map(([base, id, seqnum, time]) => archivedFileName(base, id, seqnum, time).slice(0, -8)),
  fc.tuple(fc.string(), bytes(16)).map(([base, id]) => `${base}~${formatId128(id)}`),
  fc.tuple(fc.string(), bytes(8)).map(([base, r]) => uncleanFileName(base, 1, r)),
);

describe("escapeSenderName()", () => {
  // What systemd-journal-remote 252 writes, and its rule for every byte.
  test.each([
    ["web1", "web1"],
    ["192.0.2.7", "192.0.2.7"],
    ["::1", "::1"],
    ["CN=Test Client", "CN=Test\\x20Client"],
    ["Të", "T\\xc3\\xab"],
    ["O=Foo/Bar\\, Inc", "O=Foo\\x2fBar\\x5c,\\x20Inc"],
    ["%,=*.~:@", "%,=*.~:@"],
    ["\u0000\u0001\t\n\u001f\u007f", "\\x00\\x01\\x09\\x0a\\x1f\\x7f"],
    ["€😀", "\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80"],
    ["../../etc", "..\\x2f..\\x2fetc"],
    [".", "."],
    ["", ""],
    ["Web1", "Web1"],
    ["root@web1.example.net", "root@web1.example.net"],
    ["web1.journal", "web1.journal"],
  ])("is stock's for %j", (name, escaped) => {
    expect(escapeSenderName(name)).toBe(escaped);
  });

  test("keeps the longest name that fits and shortens the next", () => {
    const longest = "n".repeat(173);
    expect(escapeSenderName(longest)).toBe(longest);
    expect(Buffer.byteLength(archivedFileName(senderBase(longest), ID, 1, 1))).toBe(255);
    expect(escapeSenderName(`${longest}n`)).toMatch(/^n{140}~[0-9a-f]{32}$/);
  });

  test("shortens before an escape, not inside it", () => {
    for (let plain = 0; plain < 8; plain++) {
      const shortened = escapeSenderName("n".repeat(plain) + "é".repeat(100));
      expect(shortened).toMatch(/^n*(\\xc3\\xa9)*(\\xc3)?~[0-9a-f]{32}$/);
    }
  });

  test("gives names that read as archives a file of their own, not filed under another", () => {
    for (const tail of [
      ARCHIVE_TAIL,
      ARCHIVE_TAIL.toUpperCase(),
      `${ARCHIVE_TAIL.slice(0, -1)}+`,
    ]) {
      expect(escapeSenderName(`web1${tail}`)).toMatch(/^web1~[0-9a-f]{32}$/);
    }
    expect(escapeSenderName(`web1${ARCHIVE_TAIL}x`)).toBe(`web1${ARCHIVE_TAIL}x`);
  });

  test("gives nobody the name that another one's was shortened to", () => {
    const shortened = escapeSenderName("n".repeat(500));
    expect(escapeSenderName(shortened)).not.toBe(shortened);
    expect(escapeSenderName(shortened)).toMatch(/~[0-9a-f]{32}$/);
  });

  test("tells names apart that have the same bytes", () => {
    const names = ["\ud800", "\ud801", "\ufffd", "\ud800x", "x\udfff"];
    expect(new Set(names.map(escapeSenderName)).size).toBe(names.length);
  });

  test("tells names apart that differ anywhere", () => {
    const long = "n".repeat(300);
    const names = [`${long}a`, `${long}b`, `${long}B`, `a${long}`, `A${long}`, long];
    expect(new Set(names.map(escapeSenderName)).size).toBe(names.length);
  });

  test("ends with the SHA-256 of the name in UTF-16", () => {
    // printf 'é%.0s' {1..100} | iconv -t UTF-16LE | sha256sum
    expect(escapeSenderName("é".repeat(100)).slice(-33)).toBe("~c99cbbfa4b20e6c6b63a58a1af235780");
  });

  test("gives different names different files, all of which fit", () => {
    fc.assert(
      fc.property(senderName, senderName, bytes(16), number53, (a, b, id, seqnum) => {
        fc.pre(a !== b);
        const filesOf = (name: string) => [
          activeFileName(senderBase(name)),
          archivedFileName(senderBase(name), id, seqnum, seqnum),
          uncleanFileName(senderBase(name), seqnum, id.subarray(8)),
        ];
        const all = [...filesOf(a), ...filesOf(b)];
        expect(new Set(all).size).toBe(6);
        for (const fileName of all) {
          expect(fileName).toMatch(/^[\x21-\x2e\x30-\x7e]{1,255}$/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("parseFileName()", () => {
  test("reads back what is written, for any sender", () => {
    fc.assert(
      fc.property(
        senderName,
        bytes(16),
        bytes(8),
        number53,
        number53,
        (sender, id, random, seqnum, usec) => {
          const base = senderBase(sender);
          expect(parseFileName(activeFileName(base))).toEqual({ kind: "active", base });
          expect(parseFileName(archivedFileName(base, id, seqnum, usec))).toEqual({
            kind: "archived",
            base,
            seqnumIdHex: formatId128(id),
            headSeqnum: seqnum,
            headRealtimeUsec: usec,
          });
          expect(parseFileName(uncleanFileName(base, usec, random))).toEqual({
            kind: "unclean",
            base,
            realtimeUsec: usec,
          });
        },
      ),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["remote-web1.journal", "active", "remote-web1"],
    [`remote-web1${ARCHIVE_TAIL}.journal`, "archived", "remote-web1"],
    [`remote-root@web1${ARCHIVE_TAIL}.journal`, "archived", "remote-root@web1"],
    ["remote-web1@00058a3f9c2d1e00-0123456789abcdef.journal~", "unclean", "remote-web1"],
    ["remote-web1@00058a3f9c2d1e00-0123456789abcdef.journal", "active", undefined],
    ["system.journal", "active", "system"],
    ["foo.journal", "active", "foo"],
    ["remote-a.journal.journal", "active", "remote-a.journal"],
    ["remote-.journal", "active", "remote-"],
  ] as const)("takes %s as %s", (fileName, kind, base) => {
    const parsed = parseFileName(fileName);
    expect(parsed?.kind).toBe(kind);
    expect(parsed?.base).toBe(base ?? fileName.slice(0, -".journal".length));
  });

  test.each([
    "remote-web1",
    "remote-web1.journal~",
    "remote-web1.journal.tmp",
    "remote-web1@00058a3f9c2d1e00.journal~",
    "remote-web1@00058a3f9c2d1e00-0123456789abcdeg.journal~",
    "lost+found",
    "",
  ])("leaves %j alone", (fileName) => {
    expect(parseFileName(fileName)).toBeUndefined();
  });

  test("writes systemd's forms", () => {
    expect(archivedFileName("remote-web1", ID, 7, 0x58a3f9c2d1e00)).toBe(
      `remote-web1${ARCHIVE_TAIL}.journal`,
    );
    expect(uncleanFileName("foo", 0x58a3f9c2d1e00, RANDOM)).toBe(
      "foo@00058a3f9c2d1e00-00010203fcfdfeff.journal~",
    );
  });

  test("marks files in doubt, in systemd's form too", () => {
    const name = uncleanFileName("foo", 0x58a3f9c2d1e00, RANDOM, true);
    expect(name).toBe("foo@00058a3f9c2d1e00-fffffffffcfdfeff.journal~");
    expect(isDoubtfulFileName(name)).toBe(true);
    expect(parseFileName(name)).toEqual({
      kind: "unclean",
      base: "foo",
      realtimeUsec: 0x58a3f9c2d1e00,
    });
    for (const other of [
      uncleanFileName("foo", 0x58a3f9c2d1e00, RANDOM),
      uncleanFileName("foo-ffffffff01234567", 1, RANDOM),
      `foo@${"f".repeat(32)}-ffffffff01234567-ffffffff01234567.journal`,
    ]) {
      expect(isDoubtfulFileName(other)).toBe(false);
    }
  });
});

describe("outputFileBase()", () => {
  test("is the file's name without the suffix", () => {
    expect(outputFileBase("/var/log/journal/remote/foo.journal")).toBe("foo");
    expect(outputFileBase("a@b.journal")).toBe("a@b");
    expect(outputFileBase(`${"n".repeat(180)}.journal`)).toBe("n".repeat(180));
  });

  test.each([
    "/srv/logs/foo",
    "/srv/logs/foo.journal~",
    `/srv/logs/foo${ARCHIVE_TAIL}.journal`,
    `${"n".repeat(181)}.journal`,
    `${"é".repeat(91)}.journal`,
  ])("refuses %s", (path) => {
    expect(() => outputFileBase(path)).toThrow(AgentError);
  });
});

test("isSenderBase() tells the files of senders from those of others", () => {
  expect(isSenderBase(senderBase("web1"))).toBe(true);
  for (const base of ["system", "user-1000", "remote", "foo"])
    expect(isSenderBase(base)).toBe(false);
});
