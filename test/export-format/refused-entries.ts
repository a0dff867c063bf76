/** One bad entry of each kind. */
import { ENTRY_FIELDS_MAX } from "../../src/journal/entry.ts";
import { BOOT_ID, binaryField, concat, entry, sizeOf } from "../support/export-stream.ts";

/** The lines an entry needs to be valid. */
export const HEAD = concat(
  "__REALTIME_TIMESTAMP=1700000000000000\n",
  "__MONOTONIC_TIMESTAMP=5000000\n",
  `_BOOT_ID=${BOOT_ID}\n`,
);
/** The field that HEAD leaves in the entry. */
export const BOOT_FIELD = `_BOOT_ID=${BOOT_ID}`;
export const GOOD = entry(HEAD, "MESSAGE=next");

/** What it is, the bytes of the whole entry, why it is refused. */
export const REFUSED: [string, Uint8Array, string][] = [
  [
    "CRLF",
    concat(Buffer.from(Buffer.from(entry(HEAD, "A=1")).toString().replaceAll("\n", "\r\n"))),
    "crlf",
  ],
  ["CRLF without times", concat("A=1\r\nB=2\r\n\r\n"), "crlf"],
  ["CRLF at the boot id", entry("__REALTIME_TIMESTAMP=5", `${BOOT_FIELD}\r`), "crlf"],
  [
    "CRLF at a binary field's name",
    entry(HEAD, concat("A\r\n", sizeOf(2), "\n\n\n"), "B=1"),
    "crlf",
  ],
  ["realtime 0", entry(HEAD, "__REALTIME_TIMESTAMP=0"), "bad-timestamp"],
  ["realtime 2^53", entry(HEAD, "__REALTIME_TIMESTAMP=9007199254740992"), "bad-timestamp"],
  ["realtime 2^80", entry(HEAD, "__REALTIME_TIMESTAMP=0x100000000000000000000"), "bad-timestamp"],
  ["realtime empty", entry(HEAD, "__REALTIME_TIMESTAMP="), "bad-timestamp"],
  ["realtime negative", entry(HEAD, "__REALTIME_TIMESTAMP=-5"), "bad-timestamp"],
  ["realtime with a tail", entry(HEAD, "__REALTIME_TIMESTAMP=5 "), "bad-timestamp"],
  ["realtime hex without digits", entry(HEAD, "__REALTIME_TIMESTAMP=0x"), "bad-timestamp"],
  ["monotonic not a number", entry(HEAD, "__MONOTONIC_TIMESTAMP=x"), "bad-timestamp"],
  ["monotonic 2^53", entry(HEAD, "__MONOTONIC_TIMESTAMP=9007199254740992"), "bad-timestamp"],
  ["boot id short", entry(HEAD, "_BOOT_ID=12"), "bad-boot-id"],
  ["boot id not hex", entry(HEAD, `_BOOT_ID=${"g".repeat(32)}`), "bad-boot-id"],
  [
    "boot id with dashes elsewhere",
    entry(HEAD, `_BOOT_ID=0123-456789ab-cdef-0123-456789abcdef`),
    "bad-boot-id",
  ],
  ["boot id null", entry(HEAD, `_BOOT_ID=${"0".repeat(32)}`), "no-boot-id"],
  ["name lower case", entry(HEAD, "a=1", "B=2"), "bad-name"],
  ["name empty", entry(HEAD, "=1", "B=2"), "bad-name"],
  ["name with a digit first", entry(HEAD, "1A=1"), "bad-name"],
  ["name with a dash", entry(HEAD, "A-B=1"), "bad-name"],
  ["name with a blank", entry(HEAD, "A =1"), "bad-name"],
  ["name with UTF-8", entry(HEAD, "ÄA=1"), "bad-name"],
  ["name of 65 bytes", entry(HEAD, `${"N".repeat(65)}=1`), "bad-name"],
  ["name of 5000 bytes", entry(HEAD, `${"N".repeat(5000)}=1`), "bad-name"],
  ["line of 5000 bytes without =", entry(HEAD, "N".repeat(5000), "B=1"), "bad-name"],
  ["binary with a bad name", entry(HEAD, binaryField("a b", "x\n\nMESSAGE=no\n\n")), "bad-name"],
  [
    "binary with a name of 65",
    entry(HEAD, binaryField("N".repeat(65), "x\n\nMESSAGE=no\n\n")),
    "bad-name",
  ],
  ["binary with a digit first", entry(HEAD, binaryField("1A", "x\n\nMESSAGE=no\n\n")), "bad-name"],
  ["stray line", entry(HEAD, "some words", "B=1"), "bad-name"],
  ["CR inside a name", entry(HEAD, "A\rB=1"), "bad-name"],
  [
    "binary data after a refused line",
    entry("a=1", binaryField("B", "x\n\nMESSAGE=no\n\n")),
    "bad-name",
  ],
  ["size 2^40", entry(HEAD, concat("A\n", sizeOf(2 ** 40), "\n"), "B=1"), "binary-size"],
  ["size 2^64-1", entry(HEAD, concat("A\n", sizeOf(2n ** 64n - 1n), "\n"), "B=1"), "binary-size"],
  ["text line that looks like a binary name", entry(HEAD, "DONE", "PRIORITY=6"), "binary-size"],
  ["data not followed by LF", entry(HEAD, concat("A\n", sizeOf(2), "xyz\n"), "B=1"), "binary-end"],
  ["only dunder lines", entry("__REALTIME_TIMESTAMP=5", "__X=1"), "no-fields"],
  ["only a binary dunder", entry(binaryField("__X", "1")), "no-fields"],
  [
    "1089 fields",
    entry(HEAD, ...Array.from({ length: ENTRY_FIELDS_MAX }, () => "A=1")),
    "too-many-fields",
  ],
  [
    "1089 fields, the last binary",
    entry(
      HEAD,
      ...Array.from({ length: ENTRY_FIELDS_MAX - 1 }, () => "A=1"),
      binaryField("B", "\n\n"),
    ),
    "too-many-fields",
  ],
];
