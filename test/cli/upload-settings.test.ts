import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { CHECK_CONFIG_OPTION } from "../../src/cli/check-config.ts";
import { parseCommandLine } from "../../src/cli/options.ts";
import { formatProblem, settingOrigin } from "../../src/cli/setting.ts";
import { ALL_UPLOAD_SETTINGS } from "../../src/cli/upload-options.ts";
import {
  listViolations,
  resolveUploadSettings,
  type UploadEnvironment,
} from "../../src/cli/upload-settings.ts";
import { AgentError } from "../../src/errors.ts";
import { parseConfig } from "../../src/platform/config-files.ts";
import type { UploadSettings } from "../../src/upload/settings.ts";
import { NO_SELECTION, NO_START, NO_TRANSFORM, placesOf } from "../support/neutral-settings.ts";
import { TempDir } from "../support/temp-dir.ts";

const OPTIONS = [...ALL_UPLOAD_SETTINGS, CHECK_CONFIG_OPTION];
const INFINITY = Number.POSITIVE_INFINITY;

interface From {
  /** Lines of section [Upload]; of several files, one each. */
  config?: string | string[];
  environment?: UploadEnvironment;
  isStock?: boolean;
}

function resolveFrom(
  argv: string[],
  { config = "", environment = {}, isStock = false }: From = {},
) {
  const texts = typeof config === "string" ? [config] : config;
  const files = texts.map((_, index) => (index === 0 ? "f.conf" : `f${index}.conf`));
  const parsed = texts.map((text, i) => parseConfig(`[Upload]\n${text}`, files[i] ?? ""));
  const loaded = {
    files,
    assignments: parsed.flatMap(({ assignments }) => assignments),
    sections: parsed.flatMap(({ sections }) => sections),
    problems: parsed.flatMap(({ problems }) => problems),
  };
  const line = parseCommandLine(argv, OPTIONS, { lenient: isStock });
  const setup = resolveUploadSettings(loaded, line, { environment, isStock });
  return { ...setup, setup, problems: setup.problems.map(formatProblem) };
}

const DEFAULTS: UploadSettings = {
  urls: [],
  targets: "failover",
  keyFile: undefined,
  certificateFile: undefined,
  trust: "/etc/ssl/ca/trusted.pem",
  headers: [],
  bearerTokenFile: undefined,
  basicAuthFile: undefined,
  proxy: undefined,
  networkTimeoutUsec: 120_000_000,
  connectionAgeUsec: 3_600_000_000,
  compression: [
    { encoding: "zstd", level: undefined },
    { encoding: "xz", level: undefined },
    { encoding: "lz4", level: undefined },
    { encoding: "gzip", level: undefined },
  ],
  forceCompression: false,
  places: placesOf({}),
  start: NO_START,
  selection: NO_SELECTION,
  transform: NO_TRANSFORM,
  batch: { sizeMax: 4 * 1024 ** 2, delayMs: 1000, inFlightMax: 2 },
  retry: { attemptsMax: INFINITY, durationUsecMax: INFINITY },
  rateLimit: { bytesPerSec: 0, entriesPerSec: 0 },
  follow: true,
  stateFile: undefined,
  quarantineFile: undefined,
  quarantineSizeMax: 64 * 1024 ** 2,
  exitOnFailure: false,
};

/** For each key, a text that differs from the default; the option of it reads the same. */
const TEXTS: Record<string, string> = {
  URL: "https://a.example.net",
  Targets: "mirror",
  Proxy: "http://proxy.example.net:3128",
  Header: "X-Tenant: a",
  BearerTokenFile: "/token",
  BasicAuthFile: "/pair",
  ServerKeyFile: "/k",
  ServerCertificateFile: "/c",
  TrustedCertificateFile: "-",
  System: "yes",
  User: "yes",
  Merge: "yes",
  Machine: "box",
  Namespace: "+audit",
  Directory: "/d",
  File: "/d/*.journal",
  Since: "2026-11-22 10:00 UTC",
  Until: "2026-11-23 10:00 UTC",
  Boot: "-1",
  Lines: "10",
  MaxAgeSec: "7d",
  Follow: "no",
  SaveState: "/s",
  Unit: "ssh",
  Identifier: "sudo",
  Priority: "warning",
  Facility: "authpriv",
  Grep: "fail(ed|ure)",
  Match: '_COMM=a "MESSAGE=two words" + _UID=0',
  ExcludeUnit: "cron*",
  ExcludeIdentifier: "kernel",
  ExcludePriority: "debug",
  ExcludeFacility: "local7",
  ExcludeGrep: "ping",
  ExcludeMatch: "_TRANSPORT=audit",
  DropField: "COREDUMP_*",
  RedactField: 'MESSAGE /password=\\S+/ "password=***"',
  AddField: "SITE=Berlin",
  BatchSize: "1M",
  BatchDelaySec: "250ms",
  InFlight: "4",
  Compression: "gzip:9 zstd:3",
  ForceCompression: "yes",
  RateLimitBytes: "1M",
  RateLimitEntries: "500",
  ConnectionAgeSec: "5min",
  Retry: "30min",
  NetworkTimeoutSec: "30",
  QuarantineFile: "/q",
  QuarantineSize: "0",
};

describe("resolveUploadSettings()", () => {
  test("has systemd-journal-upload's defaults", () => {
    const { settings, problems } = resolveFrom([]);
    expect(problems).toEqual([]);
    expect(settings).toEqual(DEFAULTS);
  });

  test("reads every key", () => {
    const config = Object.entries(TEXTS).map(([key, text]) => `${key}=${text}`);
    const { settings, problems } = resolveFrom([], { config: config.join("\n") });
    expect(problems).toEqual([]);
    expect(settings).toEqual({
      urls: ["https://a.example.net"],
      targets: "mirror",
      keyFile: "/k",
      certificateFile: "/c",
      trust: "all",
      headers: [{ name: "X-Tenant", value: "a" }],
      bearerTokenFile: "/token",
      basicAuthFile: "/pair",
      proxy: "http://proxy.example.net:3128",
      networkTimeoutUsec: 30_000_000,
      connectionAgeUsec: 300_000_000,
      compression: [
        { encoding: "gzip", level: 9 },
        { encoding: "zstd", level: 3 },
      ],
      forceCompression: true,
      places: {
        exportFiles: [],
        files: ["/d/*.journal"],
        directory: "/d",
        machine: "box",
        namespace: "+audit",
        system: true,
        user: true,
        merge: true,
      },
      start: {
        cursor: undefined,
        afterCursor: undefined,
        sinceUsec: Date.UTC(2026, 10, 22, 10) * 1000,
        untilUsec: Date.UTC(2026, 10, 23, 10) * 1000,
        boot: "-1",
        lines: 10,
        maxAgeUsec: 7 * 86_400_000_000,
      },
      selection: {
        units: ["ssh.service"],
        identifiers: ["sudo"],
        priorities: [0, 1, 2, 3, 4],
        facilities: [10],
        grep: ["fail(ed|ure)"],
        matches: [["_COMM=a", "MESSAGE=two words"], ["_UID=0"]],
        excludeUnits: ["cron*"],
        excludeIdentifiers: ["kernel"],
        excludeFacilities: [23],
        excludePriorities: [7],
        excludeGrep: ["ping"],
        excludeMatches: [["_TRANSPORT=audit"]],
      },
      transform: {
        dropFields: ["COREDUMP_*"],
        redactFields: [
          { names: "MESSAGE", expression: "password=\\S+", replacement: "password=***" },
        ],
        addFields: [{ name: "SITE", value: "Berlin" }],
      },
      batch: { sizeMax: 1024 ** 2, delayMs: 250, inFlightMax: 4 },
      retry: { attemptsMax: INFINITY, durationUsecMax: 1_800_000_000 },
      rateLimit: { bytesPerSec: 1024 ** 2, entriesPerSec: 500 },
      follow: false,
      stateFile: "/s",
      quarantineFile: "/q",
      quarantineSizeMax: 0,
      exitOnFailure: false,
    });
  });

  test("has an option for every key, which reads the same and shows what is read back", () => {
    const keyed = ALL_UPLOAD_SETTINGS.filter((setting) => setting.key !== undefined);
    expect(keyed.map((setting) => setting.key ?? "").sort()).toEqual(Object.keys(TEXTS).sort());
    for (const setting of keyed) {
      const text = TEXTS[setting.key ?? ""] ?? "";
      const option = `--${setting.name}${setting.takesValue === "never" ? "" : `=${text}`}`;
      const byKey = resolveFrom([], { config: `${setting.key}=${text}` });
      const byOption = resolveFrom([option]);
      expect(byOption.settings).toEqual(byKey.settings);
      const value = byKey.values.get(setting.name)?.value;
      expect(value).not.toEqual(setting.fallback);
      if (setting.name !== "trust" && setting.name !== "header") {
        const shown = resolveFrom([], { config: `${setting.key}=${setting.show(value)}` });
        expect(shown.values.get(setting.name)?.value).toEqual(value);
      }
      const origins = [byKey, byOption].map(({ values }) => settingOrigin(values, setting));
      expect(origins).toEqual(["f.conf:2", "command line"]);
    }
  });

  test("has the options that make no sense in a file", () => {
    expect(
      ALL_UPLOAD_SETTINGS.filter(({ key }) => key === undefined).map(({ name }) => name),
    ).toEqual(["cursor", "after-cursor"]);
    expect(resolveFrom(["--cursor=s=1;i=2"]).settings.start.cursor).toBe("s=1;i=2");
    expect(resolveFrom(["--after-cursor", "s=1"]).settings.start.afterCursor).toBe("s=1");
  });

  test("knows the short options", () => {
    const { settings } = resolveFrom(
      "-uh -m -M box -D/d -n5 -b -t sudo -p err -g x".split(" ").concat("-t", "cron"),
    );
    expect(settings.urls).toEqual(["h"]);
    expect(settings.places).toMatchObject({ merge: true, machine: "box", directory: "/d" });
    expect(settings.start).toMatchObject({ lines: 5, boot: "0" });
    expect(settings.selection).toMatchObject({
      identifiers: ["sudo", "cron"],
      priorities: [0, 1, 2, 3],
      grep: ["x"],
    });
  });

  test("adds up lists of files, resets them at an empty value, and replaces them by options", () => {
    const config = [
      "Unit=a\nUnit=b\nHeader=A: 1\nFacility=kern",
      "Unit=c\nHeader=A: 2\nFacility=3",
    ];
    const { selection, headers } = resolveFrom([], { config }).settings;
    expect(selection.units).toEqual(["a.service", "b.service", "c.service"]);
    expect(selection.facilities).toEqual([0, 3]);
    expect(headers).toEqual([{ name: "A", value: "1, 2" }]);
    const reset = resolveFrom([], { config: [...config, "Unit=\nUnit=d\nHeader="] }).settings;
    expect(reset.selection.units).toEqual(["d.service"]);
    expect(reset.headers).toEqual([]);
    const given = resolveFrom(["--unit=x", "--unit=y", "--header=B:1"], { config }).settings;
    expect(given.selection.units).toEqual(["x.service", "y.service"]);
    expect(given.headers).toEqual([{ name: "B", value: "1" }]);
  });

  test("takes several receivers of one file, those of the last file", () => {
    const several = "URL=https://a\nURL=https://b";
    expect(resolveFrom([], { config: several }).settings.urls).toEqual(["https://a", "https://b"]);
    expect(resolveFrom([], { config: [several, "URL=https://c"] }).settings.urls).toEqual([
      "https://c",
    ]);
    expect(resolveFrom([], { config: ["URL=https://c", several] }).settings.urls).toHaveLength(2);
    expect(resolveFrom(["-ud", "--url=https://e"], { config: several }).settings.urls).toEqual([
      "d",
      "https://e",
    ]);
  });

  test("shows a certificate to HTTPS receivers alone", () => {
    const own = ({ settings }: ReturnType<typeof resolveFrom>) => [
      settings.keyFile,
      settings.certificateFile,
    ];
    const defaults = ["/etc/ssl/private/journal-upload.pem", "/etc/ssl/certs/journal-upload.pem"];
    expect(own(resolveFrom(["--url=logs.example.net"]))).toEqual(defaults);
    expect(own(resolveFrom(["--url=http://a", "--url=https://b"]))).toEqual(defaults);
    expect(own(resolveFrom(["--url=http://a", "--key=/k", "--cert=/c"]))).toEqual([
      undefined,
      undefined,
    ]);
    expect(own(resolveFrom(["-ua", "--key=-", "--cert=-"]))).toEqual([undefined, undefined]);
    expect(own(resolveFrom(["-ua", "--key=k", "--cert=c"]))).toEqual([
      join(process.cwd(), "k"),
      join(process.cwd(), "c"),
    ]);
  });

  test("takes FIELD=value words for matches, others for files", () => {
    const chosen = resolveFrom(["_COMM=sudo", "PRIORITY=3", "+", "_EXE=/usr/bin/su"]).settings;
    expect(chosen.selection.matches).toEqual([["_COMM=sudo", "PRIORITY=3"], ["_EXE=/usr/bin/su"]]);
    expect(chosen).toMatchObject({ follow: true, places: { exportFiles: [] } });
    const both = resolveFrom(["-", "A=1", "./B=2", "x.export"]).settings;
    expect(both.places.exportFiles).toEqual(["-", "./B=2", "x.export"]);
    expect(both.selection.matches).toEqual([["A=1"]]);
    // A file has an end.
    expect(both.follow).toBe(false);
  });

  test("joins words and --match=, which replace Match=", () => {
    const config = "Match=F=1\nMatch=G=1 + H=1";
    expect(resolveFrom([], { config }).settings.selection.matches).toEqual([
      ["F=1"],
      ["G=1"],
      ["H=1"],
    ]);
    expect(resolveFrom(["A=1"], { config }).settings.selection.matches).toEqual([["A=1"]]);
    expect(
      resolveFrom(["A=1", "--match=B=1 C=1", "--match=D=1"], { config }).settings.selection.matches,
    ).toEqual([["B=1", "C=1"], ["D=1"], ["A=1"]]);
    expect(() => resolveFrom(["A=1", "+"])).toThrow('Cannot use "+"');
  });

  test("lets a place on the command line stand for those of files", () => {
    const config = "Directory=/d\nMerge=yes\nSystem=yes";
    expect(resolveFrom(["--machine=box"], { config }).settings.places).toMatchObject({
      directory: undefined,
      machine: "box",
      merge: true,
      system: true,
    });
    expect(resolveFrom(["x.export"], { config }).settings.places).toEqual({
      ...DEFAULTS.places,
      exportFiles: ["x.export"],
    });
  });

  test.each([
    ["--save-state", "/var/lib/systemd/journal-upload/state"],
    ["--save-state=yes", "/var/lib/systemd/journal-upload/state"],
    ["--save-state=no", undefined],
    ["--save-state=/s", "/s"],
    ["--save-state=s", join(process.cwd(), "s")],
  ])("%p keeps the position in %p", (option, file) => {
    expect(resolveFrom([option]).settings.stateFile).toBe(file);
    expect(resolveFrom([option], { config: "SaveState=/other" }).settings.stateFile).toBe(file);
  });

  test.each<[string, string | undefined]>([
    ["-b", "0"],
    ["-b-1", "-1"],
    ["--boot", "0"],
    ["--boot=all", undefined],
    ["--boot=-0", "0"],
    ["--boot=+3", "3"],
    ["--boot=6C7C6013A26343B29E964691FF25D04C", "6c7c6013a26343b29e964691ff25d04c"],
    ["--boot=6c7c6013-a263-43b2-9e96-4691ff25d04c", "6c7c6013a26343b29e964691ff25d04c"],
  ])("%p is boot %p", (option, boot) => {
    expect(resolveFrom([option], { config: "Boot=-7" }).settings.start.boot).toBe(boot);
  });

  test.each<[string, Partial<UploadSettings["retry"]>]>([
    ["5", { attemptsMax: 5 }],
    ["5s", { durationUsecMax: 5_000_000 }],
    ["infinity", {}],
  ])("--retry=%s limits %p", (text, limit) => {
    const { retry } = resolveFrom([`--retry=${text}`]).settings;
    expect(retry).toEqual({ attemptsMax: INFINITY, durationUsecMax: INFINITY, ...limit });
  });

  test("takes no for none, 0 for no limit", () => {
    const options = "--proxy=no --compression=no --network-timeout=0 --max-age=infinity --lines=0";
    const { settings } = resolveFrom(options.split(" "), { config: "MaxAgeSec=1\nProxy=p:1" });
    expect(settings).toMatchObject({ proxy: "", compression: [], networkTimeoutUsec: INFINITY });
    expect(settings.start).toMatchObject({ maxAgeUsec: undefined, lines: 0 });
  });

  test("counts relative times from now", () => {
    const { sinceUsec = 0 } = resolveFrom(["--since=-1h"]).settings.start;
    expect(Math.abs(Date.now() * 1000 - 3_600_000_000 - sinceUsec)).toBeLessThan(5_000_000);
  });

  test("adds up compressions, a later level for each", () => {
    const config = "Compression=zstd lz4\nCompression=zstd:5";
    expect(resolveFrom([], { config }).settings.compression).toEqual([
      { encoding: "zstd", level: 5 },
      { encoding: "lz4", level: undefined },
    ]);
    const { settings, problems } = resolveFrom([], { config: "Compression=zstd bzip2 gzip" });
    expect(settings.compression.map(({ encoding }) => encoding)).toEqual(["zstd", "gzip"]);
    expect(problems).toEqual([
      'f.conf:2: Cannot use compression "bzip2": need one of zstd, xz, lz4, gzip; ignoring the word',
    ]);
  });

  test("finds secrets among the credentials of the unit", () => {
    using dir = new TempDir();
    const token = dir.write("token", "x");
    const environment = { CREDENTIALS_DIRECTORY: dir.path };
    const config = "BearerTokenFile=token";
    expect(resolveFrom([], { config, environment }).settings.bearerTokenFile).toBe(token);
    expect(
      resolveFrom(["--bearer-token-file=token"], { environment }).settings.bearerTokenFile,
    ).toBe(token);
    expect(resolveFrom(["--basic-auth-file=pair"], { environment }).settings.basicAuthFile).toBe(
      join(process.cwd(), "pair"),
    );
    expect(resolveFrom(["--basic-auth-file=./pair"]).settings.basicAuthFile).toBe(
      join(process.cwd(), "pair"),
    );
  });

  test.each([
    ["Frobnicate=1", 'Unknown key "Frobnicate" in section [Upload], ignoring'],
    ["URL=ftp://h", 'URL=: Cannot upload to "ftp://h": '],
    [
      "ServerKeyFile=k",
      'ServerKeyFile=: Cannot use path "k": it is relative, need an absolute one',
    ],
    ["TrustedCertificateFile=all", 'Cannot use "all": in a file, "-" turns the check off'],
    ["Header=Host: x", "is set by the program itself, ignoring"],
    ["NetworkTimeoutSec=soon", 'NetworkTimeoutSec=: Cannot read time span "soon"'],
    ["Compression=zstd:99", 'Compression=: Cannot read value "99": at most 22 is possible'],
    ["Compression=lz4:1", 'Cannot use "lz4:1": lz4 has no levels'],
    ["Targets=both", 'Targets=: Cannot use "both": need "failover" or "mirror"'],
    ["Proxy=socks5://h", "Proxy=: Cannot use proxy"],
    ["Machine=a/b", 'Cannot use machine "a/b"'],
    ["Namespace=a/b", 'Cannot use namespace "a/b": need NAME, +NAME or *'],
    ["Namespace=+", "Cannot use namespace"],
    ["File=*.journal", "it is relative"],
    ["Since=soon", 'Since=: Cannot read time "soon"'],
    ["Boot=first", 'Cannot use boot "first"'],
    ["SaveState=s", "it is relative"],
    ["Priority=loud", 'Cannot use priority "loud"'],
    ["Match=sudo", 'Match=: Cannot use match "sudo"'],
    ['Match="A=1', "a quote"],
    ["Grep=(", "Cannot use the expression"],
    ["DropField=message", 'Cannot use field name "message"'],
    ["RedactField=MESSAGE /(/", "Cannot use the expression"],
    ["AddField=_HOSTNAME=x", 'Cannot add field "_HOSTNAME"'],
    ["BatchSize=1T", "at most 256M is possible"],
    ["BatchDelaySec=1h", "at most 10min is possible"],
    ["InFlight=0", "at least 1 is needed"],
    ["Retry=0", "at least 1 is needed"],
    ["Lines=-1", "a whole number is needed"],
  ])("reports %p in a file and keeps the default", (config, problem) => {
    const { settings, problems } = resolveFrom([], { config });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith("f.conf:2: ");
    expect(problems[0]).toContain(problem);
    expect(problems[0]).toEndWith(", ignoring");
    expect(settings).toEqual(DEFAULTS);
  });

  test.each([
    ["--url=ftp://h", '--url: Cannot upload to "ftp://h"'],
    ["--url=https://user:secret@h:99999", '--url: Cannot upload to "https://h:99999"'],
    ["--proxy=socks5://h", "--proxy: Cannot use proxy"],
    ["--header=Host: x", "--header: Cannot use header"],
    [
      "--header=Authorization: Bearer s3cret\x01",
      '--header: Cannot use header "Authorization: …": the value',
    ],
    ["--compression=bzip2", '--compression: Cannot use compression "bzip2"'],
    ["--since=soon", '--since: Cannot read time "soon"'],
    ["--match=sudo", '--match: Cannot use match "sudo"'],
    ["--grep=(", "--grep: "],
    ["--follow=maybe", '--follow: Cannot read boolean "maybe"'],
    ["--namespace=a/b", "--namespace: "],
    ["--add-field=_X=1", "--add-field: "],
  ])("refuses %p on the command line", (option, message) => {
    expect(() => resolveFrom([option])).toThrow(message);
    const error = caught(() => resolveFrom([option]));
    expect(error).toMatchObject({ code: "E_USAGE" });
  });

  test("shows no secrets", () => {
    const { values } = resolveFrom([
      "--url=https://user:secret@h.example.net/x",
      "--url=user:secret@h.example.net",
      "--header=Authorization: Bearer secret",
      "--header=X-Tenant: a",
    ]);
    const shown = ["url", "header"].map((name) =>
      ALL_UPLOAD_SETTINGS.find((setting) => setting.name === name)?.show(values.get(name)?.value),
    );
    expect(shown).toEqual([
      "https://user:***@h.example.net/x user:***@h.example.net",
      '"Authorization: ***" "X-Tenant: a"',
    ]);
  });

  test("as systemd-journal-upload: words are files, and the first failure is the end", () => {
    const { settings } = resolveFrom(["A=1", "+", "-"], { isStock: true });
    expect(settings.places.exportFiles).toEqual(["A=1", "+", "-"]);
    expect(settings.selection.matches).toEqual([]);
    expect(settings.exitOnFailure).toBe(true);
  });
});

describe("listViolations()", () => {
  const violationsOf = (argv: string[], from: From = {}): string[] =>
    listViolations(resolveFrom(["--url=h", ...argv], from).setup).map(({ message }) => message);

  test.each([
    [[]],
    [["x.export", "-"]],
    [["x.export", "A=1", "--since=today"]],
    [["-D/d", "--system", "--merge"]],
    [["--file=/a", "--file=/b"]],
    [["--namespace=*"]],
    [["--key=/k", "--cert=/c"]],
    [["--key=-", "--cert=-"]],
    [["--since=yesterday", "--until=yesterday"]],
    [["--bearer-token-file=t"]],
  ])("accepts %p", (argv) => {
    expect(violationsOf(argv)).toEqual([]);
  });

  test.each([
    [["--key=/k"], "Cannot use one of --key= and --cert= alone: they belong together"],
    [["--cert=/c"], "Cannot use one of --key= and --cert= alone: they belong together"],
    [["--key=/k", "--cert=-"], "Cannot use one of --key= and --cert= alone: they belong together"],
    [["x", "-D/d"], 'Cannot use "x" with --directory=: a file is read in place of journals'],
    [["x", "--file=/d"], 'Cannot use "x" with --file=: a file is read in place of journals'],
    [["x", "-Mbox"], 'Cannot use "x" with --machine=: a file is read in place of journals'],
    [["x", "--system"], 'Cannot use "x" with --system: a file is read in place of journals'],
    [["-", "--user"], 'Cannot use "-" with --user: a file is read in place of journals'],
    [["-", "-m"], 'Cannot use "-" with --merge: a file is read in place of journals'],
    [["-D/d", "-Mbox"], "Cannot use --directory= with --machine=: journals are read in one place"],
    [
      ["--cursor=a", "--after-cursor=b"],
      "Cannot use --cursor= with --after-cursor=: it starts in one place",
    ],
    [
      ["--since=today", "--until=yesterday"],
      "Cannot use --since= with --until=: it begins after it ends",
    ],
    [
      ["--bearer-token-file=/a", "--basic-auth-file=/b"],
      "Cannot use more than one of --bearer-token-file=, --basic-auth-file= and an Authorization header: a request has one",
    ],
    [
      ["--bearer-token-file=/a", "--header=authorization: x"],
      "Cannot use more than one of --bearer-token-file=, --basic-auth-file= and an Authorization header: a request has one",
    ],
  ])("refuses %p", (argv, message) => {
    expect(violationsOf(argv)).toEqual([message]);
  });

  test("needs a URL, from anywhere", () => {
    const { setup } = resolveFrom([]);
    expect(listViolations(setup)).toMatchObject([
      { message: "Cannot start: no URL to send to", code: "E_USAGE" },
    ]);
    expect(listViolations(resolveFrom([], { config: "URL=h" }).setup)).toEqual([]);
  });

  test("sees a key without its certificate across files and options", () => {
    const config = "ServerKeyFile=/k";
    expect(violationsOf([], { config })).toHaveLength(1);
    expect(violationsOf(["--cert=/c"], { config })).toEqual([]);
  });

  test("lets no two receivers read one stream", () => {
    using dir = new TempDir();
    const file = dir.write("x.export", "");
    const fifo = join(dir.path, "fifo");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    const mirror = ["--targets=mirror", "--url=other"];
    const need = "it can be read only once, and each receiver needs all of it";
    expect(violationsOf([...mirror, file, "-"])).toEqual([`Cannot mirror standard input: ${need}`]);
    expect(violationsOf([...mirror, fifo])).toEqual([`Cannot mirror "${fifo}": ${need}`]);
    const { setup } = resolveFrom(["--url=h", ...mirror, "-"]);
    expect(listViolations(setup)).toMatchObject([{ code: "E_USAGE" }]);
    expect(violationsOf([...mirror, file, dir.path, join(dir.path, "missing")])).toEqual([]);
    expect(violationsOf(["--url=other", "-"])).toEqual([]);
    expect(violationsOf(["--targets=mirror", "-"])).toEqual([]);
  });

  test("misses a credential that was not handed over", () => {
    using dir = new TempDir();
    const config = "BearerTokenFile=token";
    for (const environment of [{}, { CREDENTIALS_DIRECTORY: dir.path }]) {
      const { setup } = resolveFrom(["-uh"], { config, environment });
      const [error] = listViolations(setup);
      expect(error?.message).toStartWith('Cannot find credential "token": ');
      expect(error?.hint).toContain("LoadCredential=token:");
      expect(error?.code).toBe("E_CONFIG");
    }
  });
});

function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    if (error instanceof AgentError) return error;
  }
  return undefined;
}
