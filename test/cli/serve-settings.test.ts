import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { CHECK_CONFIG_OPTION } from "../../src/cli/check-config.ts";
import { parseCommandLine } from "../../src/cli/options.ts";
import { ALL_SERVE_SETTINGS } from "../../src/cli/serve-options.ts";
import {
  type FormatEnvironment,
  listViolations,
  resolveServeSettings,
} from "../../src/cli/serve-settings.ts";
import { formatProblem, settingOrigin } from "../../src/cli/setting.ts";
import { type LoadedConfig, parseConfig } from "../../src/platform/config-files.ts";
import { DEFAULT_LIMITS, type IngestLimits } from "../../src/serve/settings.ts";
import { TempDir } from "../support/temp-dir.ts";

const OPTIONS = [...ALL_SERVE_SETTINGS, CHECK_CONFIG_OPTION];

function configOf(text: string): LoadedConfig {
  return { ...parseConfig(text, "f.conf"), files: ["f.conf"] };
}

/** @param config lines of section [Remote]. */
function resolveFrom(config: string, argv: string[], environment: FormatEnvironment = {}) {
  const line = parseCommandLine(argv, OPTIONS);
  const setup = resolveServeSettings(configOf(`[Remote]\n${config}`), line, environment);
  return { ...setup, line, problems: setup.problems.map(formatProblem) };
}

describe("resolveServeSettings()", () => {
  test("has systemd-journal-remote's defaults", () => {
    const { settings, problems } = resolveFrom("", []);
    expect(problems).toEqual([]);
    expect(settings).toEqual({
      listenHttps: [],
      listenHttp: [],
      listenRaw: [],
      urls: [],
      getter: undefined,
      files: [],
      output: "/var/log/journal/remote",
      splitMode: "host",
      keyFile: "/etc/ssl/private/journal-remote.pem",
      certificateFile: "/etc/ssl/certs/journal-remote.pem",
      trust: { authority: "/etc/ssl/ca/trusted.pem", crlFiles: [], allowSubject: [] },
      announcedEncodings: ["zstd", "xz", "lz4", "gzip"],
      enrollSocket: undefined,
      retention: {
        maxUseBytes: undefined,
        keepFreeBytes: undefined,
        maxFileSizeBytes: undefined,
        maxFiles: undefined,
        maxRetentionSec: 0,
        maxFileSec: 0,
      },
      limits: DEFAULT_LIMITS,
      format: { compressThresholdBytes: 512, compact: true, keyedHash: true },
    });
  });

  test("reads every key", () => {
    const config = [
      "Seal=no",
      "SplitMode=none",
      "ServerKeyFile=/k",
      "ServerCertificateFile=/c",
      "TrustedCertificateFile=-",
      "MaxUse=1G",
      "KeepFree=2M",
      "MaxFileSize=3K",
      "MaxFiles=4",
      "Compression=gzip",
      "Compression=zstd lz4",
      "MaxRetentionSec=1month",
      "MaxFileSec=1d",
      "CRLFile=/crl one.pem",
      "CRLFile=/crl2",
      "AllowSubject=web *",
      "AllowSubject=db?",
      "MaxConnections=5",
      "MaxConnectionsPerPeer=6",
      "MaxEntryFields=7",
      "MaxFieldSize=8M",
      "MaxEntrySize=9M",
      "MaxInFlight=10M",
      "MaxHeaderSize=11K",
      "HandshakeTimeoutSec=12",
      "StallTimeoutSec=13min",
    ];
    const { settings, problems } = resolveFrom(config.join("\n"), []);
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      splitMode: "none",
      output: "/var/log/journal/remote/remote.journal",
      keyFile: "/k",
      certificateFile: "/c",
      trust: {
        authority: "all",
        crlFiles: ["/crl one.pem", "/crl2"],
        allowSubject: ["web *", "db?"],
      },
      announcedEncodings: ["gzip", "zstd", "lz4"],
      retention: {
        maxUseBytes: 1024 ** 3,
        keepFreeBytes: 2 * 1024 ** 2,
        maxFileSizeBytes: 3072,
        maxFiles: 4,
        maxRetentionSec: 30.4375 * 86400,
        maxFileSec: 86400,
      },
    });
    const limits: IngestLimits = {
      connectionsMax: 5,
      connectionsPerPeerMax: 6,
      entryFieldsMax: 7,
      fieldSizeMax: 8 * 1024 ** 2,
      entrySizeMax: 9 * 1024 ** 2,
      inFlightBytesMax: 10 * 1024 ** 2,
      headSizeMax: 11 * 1024,
      handshakeTimeoutMs: 12_000,
      stalledTimeoutMs: 780_000,
    };
    expect(settings.limits).toEqual(limits);
    expect(settings.limits).not.toEqual(DEFAULT_LIMITS);
  });

  test("has an option for every key, which reads the same", () => {
    const texts: Record<string, string> = {
      "max-use": "1G",
      "keep-free": "0",
      "max-file-size": "3M",
      "max-files": "4",
      "max-retention": "2d",
      "max-file-age": "1w",
      "max-connections": "5",
      "max-connections-per-peer": "6",
      "max-entry-fields": "7",
      "max-field-size": "8M",
      "max-entry-size": "9M",
      "max-in-flight": "10M",
      "max-header-size": "11K",
      "handshake-timeout": "12",
      "stall-timeout": "13min",
      "split-mode": "none",
      key: "/k",
      cert: "/c",
      trust: "/t",
      crl: "/crl",
      "allow-subject": "web*",
      "accept-encoding": "lz4",
      seal: "no",
      "enroll-socket": "/run/s",
    };
    const keyed = ALL_SERVE_SETTINGS.filter((setting) => setting.key !== undefined);
    expect(Object.keys(texts).sort()).toEqual(keyed.map((setting) => setting.name).sort());
    for (const setting of keyed) {
      const text = texts[setting.name] ?? "";
      const byKey = resolveFrom(`${setting.key}=${text}`, []);
      const byOption = resolveFrom("", [`--${setting.name}=${text}`]);
      expect(byOption.settings).toEqual(byKey.settings);
      expect([
        settingOrigin(byKey.values, setting),
        settingOrigin(byOption.values, setting),
      ]).toEqual(["f.conf:2", "command line"]);
    }
  });

  test("lets a later assignment win and an empty one reset", () => {
    const config = "MaxFiles=1\nMaxFiles=2\nMaxUse=1G\nMaxUse=\nCRLFile=/a\nCRLFile=\nCRLFile=/b";
    const { settings, problems } = resolveFrom(config, []);
    expect(problems).toEqual([]);
    expect(settings.retention).toMatchObject({ maxFiles: 2, maxUseBytes: undefined });
    expect(settings.trust.crlFiles).toEqual(["/b"]);
  });

  test("lets the command line win, a list as a whole", () => {
    const config = "MaxFiles=1\nCRLFile=/a\nServerKeyFile=/k\nSplitMode=none\nCompression=no";
    const { settings } = resolveFrom(config, [
      "--max-files=9",
      "--crl=/b",
      "--crl=/c",
      "--key=/own",
      "--split-mode=host",
      "--accept-encoding=xz,zstd",
    ]);
    expect(settings).toMatchObject({
      retention: { maxFiles: 9 },
      trust: { crlFiles: ["/b", "/c"] },
      keyFile: "/own",
      splitMode: "host",
      announcedEncodings: ["xz", "zstd"],
    });
  });

  test("collects repeated sources", () => {
    const { settings } = resolveFrom("", [
      "--url=http://a",
      "--listen-raw=/run/raw",
      "--url=http://b",
      "--listen-raw=[::1]:1234",
      "--listen-https=-3",
      "--listen-https",
      "-4",
    ]);
    expect(settings.urls).toEqual(["http://a", "http://b"]);
    expect(settings.listenRaw).toEqual(["/run/raw", "[::1]:1234"]);
    expect(settings.listenHttps).toEqual(["-3", "-4"]);
  });

  test("makes paths of the command line absolute", () => {
    const { settings } = resolveFrom("", ["-o", "out", "--key=k.pem", "--crl=c"]);
    expect(settings.output).toBe(join(process.cwd(), "out"));
    expect(settings.keyFile).toBe(join(process.cwd(), "k.pem"));
    expect(settings.trust.crlFiles).toEqual([join(process.cwd(), "c")]);
  });

  test.each([
    ["Frobnicate=1", 'f.conf:2: Unknown key "Frobnicate" in section [Remote], ignoring'],
    ["maxuse=1G", 'f.conf:2: Unknown key "maxuse" in section [Remote], ignoring'],
    ["[Other]\nMaxUse=1G", "f.conf:2: Unknown section [Other], ignoring"],
    [
      "MaxUse=10%",
      'f.conf:2: MaxUse=: Cannot read size "10%": a number and a unit like "512M" or "1.5G" are needed, ignoring',
    ],
    [
      "SplitMode=both",
      'f.conf:2: SplitMode=: Cannot use split mode "both": need "host" or "none", ignoring',
    ],
    [
      "ServerKeyFile=k.pem",
      'f.conf:2: ServerKeyFile=: Cannot use path "k.pem": it is relative, need an absolute one, ignoring',
    ],
    [
      "TrustedCertificateFile=all",
      'f.conf:2: TrustedCertificateFile=: Cannot use "all": in a file, "-" turns the check off, ignoring',
    ],
    [
      "MaxFieldSize=769M",
      'f.conf:2: MaxFieldSize=: Cannot read value "769M": at most 768M is possible, ignoring',
    ],
    [
      "MaxEntrySize=771M",
      'f.conf:2: MaxEntrySize=: Cannot read value "771M": at most 770M is possible, ignoring',
    ],
    [
      "MaxEntryFields=1089",
      'f.conf:2: MaxEntryFields=: Cannot read value "1089": at most 1088 is possible, ignoring',
    ],
    [
      "MaxConnections=0",
      'f.conf:2: MaxConnections=: Cannot read value "0": at least 1 is needed, ignoring',
    ],
    [
      "MaxConnections=0x7",
      'f.conf:2: MaxConnections=: Cannot read count "0x7": a whole number is needed, ignoring',
    ],
    [
      "StallTimeoutSec=infinity",
      'f.conf:2: StallTimeoutSec=: Cannot read value "infinity": at most 1d is possible, ignoring',
    ],
    ["broken", 'f.conf:2: Missing "=", ignoring the line'],
  ])("reports %p in a file and keeps the default", (config, problem) => {
    const { settings, problems } = resolveFrom(config, []);
    expect(problems).toEqual([problem]);
    expect(settings).toEqual(resolveFrom("", []).settings);
  });

  test("ignores X- keys and sections in silence", () => {
    expect(resolveFrom("X-Own=1\n[X-Tool]\nA=1", []).problems).toEqual([]);
  });

  test("warns of sealing, and of encodings it does not know, keeping the others", () => {
    const { settings, problems } = resolveFrom("Seal=yes\nCompression=zstd bzip2 gzip", []);
    expect(settings.announcedEncodings).toEqual(["zstd", "gzip"]);
    expect(problems).toEqual([
      "f.conf:2: Sealing is not supported, the files written are not sealed",
      'f.conf:3: Cannot use compression "bzip2": need one of zstd, xz, lz4, gzip; ignoring the word',
    ]);
    expect(resolveFrom("", ["--seal"]).problems).toEqual([
      "--seal: Sealing is not supported, the files written are not sealed",
    ]);
  });

  test.each(["no", "false", "0"])("announces no encodings with Compression=%s", (text) => {
    expect(resolveFrom(`Compression=${text}`, []).settings.announcedEncodings).toEqual([]);
    expect(
      resolveFrom(`Compression=${text}\nCompression=xz`, []).settings.announcedEncodings,
    ).toEqual(["xz"]);
  });

  test.each([
    ["--max-use=10%", '--max-use: Cannot read size "10%"'],
    ["--compress=maybe", '--compress: Cannot read boolean "maybe"'],
    ["--accept-encoding=bzip2", '--accept-encoding: Cannot use compression "bzip2"'],
    ["--listen-https=host:1", "--listen-https: "],
    ["--listen-raw=0", "--listen-raw: "],
    ["--max-entry-size=1T", "--max-entry-size: "],
  ])("refuses %p on the command line", (arg, message) => {
    expect(() => resolveFrom("", [arg])).toThrow(message);
  });

  test("keeps field within entry within memory in flight", () => {
    const { limits } = resolveFrom("", ["--max-in-flight=1M"]).settings;
    expect(limits).toMatchObject({ entrySizeMax: 1024 ** 2, fieldSizeMax: 1024 ** 2 });
  });

  test.each([
    [{}, [], 512, true, true],
    [{ SYSTEMD_JOURNAL_COMPRESS: "0" }, [], undefined, true, true],
    [{ SYSTEMD_JOURNAL_COMPRESS: "NONE" }, [], undefined, true, true],
    [{ SYSTEMD_JOURNAL_COMPRESS: "ZSTD" }, [], 512, true, true],
    [{ SYSTEMD_JOURNAL_COMPRESS: "1" }, ["--compress=no"], undefined, true, true],
    [{ SYSTEMD_JOURNAL_COMPRESS: "0" }, ["--compress"], undefined, true, true],
    [{ SYSTEMD_JOURNAL_COMPACT: "no" }, [], 512, false, true],
    [{ SYSTEMD_JOURNAL_KEYED_HASH: "off" }, [], 512, true, false],
  ])("takes the format from %p and %p", (environment, argv, threshold, compact, keyedHash) => {
    const { settings, problems } = resolveFrom("", argv, environment);
    expect(settings.format).toEqual({ compressThresholdBytes: threshold, compact, keyedHash });
    expect(problems).toEqual([]);
  });

  test("reports what it cannot use in the environment", () => {
    const { settings, problems } = resolveFrom("", [], {
      SYSTEMD_JOURNAL_COMPRESS: "XZ",
      SYSTEMD_JOURNAL_COMPACT: "perhaps",
    });
    expect(settings.format).toEqual(resolveFrom("", []).settings.format);
    expect(problems).toEqual([
      'SYSTEMD_JOURNAL_COMPRESS: Cannot use "XZ": a boolean, ZSTD or NONE is needed, ignoring',
      'SYSTEMD_JOURNAL_COMPACT: Cannot use "perhaps": a boolean is needed, ignoring',
    ]);
  });
});

describe("listViolations()", () => {
  function violationsOf(argv: string[], count: number | "unknown" = 0): string[] {
    const inheritedCount = count === "unknown" ? undefined : count;
    const { settings, line } = resolveFrom("", argv);
    return listViolations(settings, { line, inheritedCount }).map((error) => error.message);
  }

  test("accepts a good start of each kind", () => {
    using dir = new TempDir();
    const file = join(dir.path, "x.journal");
    expect(violationsOf(["--listen-https=19532", "-o", dir.path])).toEqual([]);
    expect(violationsOf(["--listen-https=-3", "-o", dir.path], 1)).toEqual([]);
    expect(violationsOf(["-o", dir.path], 1)).toEqual([]);
    expect(violationsOf(["--url=http://x", "--listen-http=-3", "-o", dir.path], 1)).toEqual([]);
    expect(violationsOf(["-", "-o", file])).toEqual([]);
    expect(violationsOf(["--getter=cat x", "-o", file, "--split-mode=none"])).toEqual([]);
    expect(
      violationsOf(["--listen-raw=1234", "--listen-https=1", "--trust=all", "-o", dir.path]),
    ).toEqual([]);
    expect(violationsOf(["-o", dir.path], "unknown")).toEqual([]);
  });

  test("goes in systemd-journal-remote's order", () => {
    using dir = new TempDir();
    const inDir = ["-o", dir.path];
    const inFile = ["-o", join(dir.path, "x.journal")];
    const first = (argv: string[], count = 0): string | undefined => violationsOf(argv, count)[0];
    expect(first(["file", "--listen-raw=1"])).toStartWith(
      "Cannot use file input or --getter= with --listen-...=",
    );
    expect(first(["file", "--url=http://x"])).toStartWith(
      "Cannot use file input or --getter= with",
    );
    expect(first(["--getter=x"], 1)).toStartWith("Cannot use file input or --getter= with");
    expect(first(["file"])).toStartWith("Cannot use file input or --getter= without --output=");
    expect(first(["file", ...inDir, "--split-mode=host"])).toStartWith("Cannot split file input");
    expect(first(["file", ...inDir])).toEndWith(
      'it is a directory, "--split-mode=none" needs a file',
    );
    expect(first(["file", "-o", `${dir.path}/x`])).toEndWith('has to end in ".journal"');
    expect(first(["file", "-o", `${dir.path}/y/x.journal`])).toContain("no such directory");
    expect(first(["--listen-raw=1", ...inFile])).toContain(
      "no such directory, need one to split by host",
    );
    expect(first(["--listen-https=-4", "--listen-raw=1", ...inDir], 1)).toStartWith(
      "Cannot use descriptor 4: 1 sockets are inherited",
    );
    expect(first(inDir)).toStartWith("Cannot start: zero sources specified");
    expect(first(["--listen-https=1", "--listen-raw=2", ...inDir])).toContain(
      "--trust= makes all non-HTTPS connections untrusted",
    );
    expect(first(["--listen-https=-3", "--listen-http=-4", ...inDir], 2)).toBeUndefined();
  });

  test("lets an import override SplitMode=host of a file", () => {
    using dir = new TempDir();
    const { settings, line } = resolveFrom("SplitMode=host", [
      "file",
      "-o",
      `${dir.path}/x.journal`,
    ]);
    expect(settings.splitMode).toBe("none");
    expect(listViolations(settings, { line, inheritedCount: 0 })).toEqual([]);
  });
});
