/** Which entries the executable sends, and what it changes in them: issue 3, section 2, beside journalctl. */
import { beforeAll, describe, expect, test } from "bun:test";
import { FakeReceiver } from "../support/fake-receiver.ts";
import { hasSystemd } from "../support/journal-tools.ts";
import { type ExportedEntry, journalctlExport, parseExport } from "../support/stored-journals.ts";
import { useUploadRig } from "../support/upload-rig.ts";
import { UploaderProcess } from "../support/uploader-process.ts";
import { expectSameStream } from "../support/uploads.ts";

const ENTRIES = 600;
/** The last entries are of today, the others a day apart before them. */
const RECENT = 50;
const NOW_SEC = Math.floor(Date.now() / 1000);
const DAY_SEC = 86_400;
const BOOT_IDS = ["6c7c6013a26343b29e964691ff25d04c", "0d2e5d3d2f5c4d3f9b4f7c1d7f1b9a10"];
const LIMIT_MS = 60_000;

interface Choice {
  options: string[];
  /** The same in a file. */
  keys: string[];
  /** The same for journalctl; where it has nothing of the kind, `changed` does it to what it shows. */
  journalctl?: string[];
  changed?: Change;
}

type Change = (entries: ExportedEntry[]) => ExportedEntry[];

function timeOf(index: number): number {
  const fromEnd = ENTRIES - index;
  return fromEnd <= RECENT ? NOW_SEC - 60 - fromEnd : NOW_SEC - DAY_SEC * (fromEnd - RECENT + 1);
}

/** Of a host with some units: every condition holds for some entries, and not for others. */
function hostStream(): string {
  return Array.from({ length: ENTRIES }, (_, i) => {
    const message =
      i % 7 === 0 ? `Failed to start job ${i}: token=s3cr3t${i}` : `session opened for user u${i}`;
    const fields = [
      `__REALTIME_TIMESTAMP=${timeOf(i) * 1_000_000 + i}`,
      `__MONOTONIC_TIMESTAMP=${(i + 1) * 1_000_000}`,
      `_BOOT_ID=${BOOT_IDS[i < ENTRIES / 2 ? 0 : 1]}`,
      "_MACHINE_ID=c1f0b6f0aa8d4e6e9d5b8f3f7a2c1d0e",
      "_HOSTNAME=host.example.net",
      `_UID=${i % 3 === 0 ? 0 : 1000}`,
      `_PID=${i % 11 === 0 ? 1 : 1000 + (i % 17)}`,
      `_SYSTEMD_UNIT=${["ssh.service", "cron.service", "web@1.service"][i % 3]}`,
      `SYSLOG_IDENTIFIER=${["sshd", "cron", "nginx", "systemd"][i % 4]}`,
      `SYSLOG_FACILITY=${[3, 4, 10][i % 3]}`,
      `PRIORITY=${i % 8}`,
      `_CMDLINE=/usr/sbin/program --number=${i}`,
      `MESSAGE=${message}`,
      ...(i % 11 === 0 ? ["UNIT=ssh.service"] : []),
    ];
    return `${fields.join("\n")}\n\n`;
  }).join("");
}

function without(pattern: RegExp): Change {
  return (entries) => entries.filter(({ fields }) => !fields.some((field) => pattern.test(field)));
}

function withFields(change: (fields: string[]) => string[]): Change {
  return (entries) =>
    entries.map(({ cursor, fields }) => ({ cursor, fields: change(fields).sort() }));
}

const CHOICES: Record<string, Choice> = {
  "a unit": { options: ["--unit=ssh"], keys: ["Unit=ssh"], journalctl: ["-u", "ssh"] },
  "units by pattern": {
    options: ["--unit=web@*", "--unit=cron.service"],
    keys: ["Unit=web@*", "Unit=cron.service"],
    journalctl: ["-u", "web@*", "-u", "cron.service"],
  },
  identifiers: {
    options: ["--identifier=sshd", "-t", "nginx"],
    keys: ["Identifier=sshd", "Identifier=nginx"],
    journalctl: ["-t", "sshd", "-t", "nginx"],
  },
  "a priority": { options: ["-p", "err"], keys: ["Priority=err"], journalctl: ["-p", "err"] },
  "a range of priorities": {
    options: ["--priority=err..notice"],
    keys: ["Priority=3..5"],
    journalctl: ["-p", "err..notice"],
  },
  facilities: {
    options: ["--facility=auth,authpriv"],
    keys: ["Facility=auth authpriv"],
    journalctl: ["--facility=auth,authpriv"],
  },
  "words, in any case": {
    options: ["--grep=failed"],
    keys: ["Grep=failed"],
    journalctl: ["-g", "failed"],
  },
  "an expression, in its case": {
    options: ["-g", "^Failed .*[05]:"],
    keys: ["Grep=^Failed .*[05]:"],
    journalctl: ["-g", "^Failed .*[05]:"],
  },
  "matches with +": {
    options: ["PRIORITY=3", "_UID=0", "+", "_PID=1004", "_PID=1005"],
    keys: ["Match=PRIORITY=3 _UID=0 + _PID=1004 _PID=1005"],
    journalctl: ["PRIORITY=3", "_UID=0", "+", "_PID=1004", "_PID=1005"],
  },
  "several conditions": {
    options: ["--unit=ssh", "-p", "warning", "-g", "session", "SYSLOG_IDENTIFIER=sshd"],
    keys: ["Unit=ssh", "Priority=warning", "Grep=session", "Match=SYSLOG_IDENTIFIER=sshd"],
    journalctl: ["-u", "ssh", "-p", "warning", "-g", "session", "SYSLOG_IDENTIFIER=sshd"],
  },
  "a time to start from": {
    options: [`--since=@${timeOf(200)}`],
    keys: [`Since=@${timeOf(200)}`],
    journalctl: [`--since=@${timeOf(200)}`],
  },
  "a time to end at": {
    options: [`--since=@${timeOf(100)}`, `--until=@${timeOf(300)}`],
    keys: [`Since=@${timeOf(100)}`, `Until=@${timeOf(300)}`],
    journalctl: [`--since=@${timeOf(100)}`, `--until=@${timeOf(300)}`],
  },
  "a boot by its id": {
    options: [`--boot=${BOOT_IDS[0]}`],
    keys: [`Boot=${BOOT_IDS[0]}`],
    journalctl: [`--boot=${BOOT_IDS[0]}`],
  },
  "the boot before": { options: ["--boot=-1"], keys: ["Boot=-1"], journalctl: ["--boot=-1"] },
  "the last lines": { options: ["--lines=17"], keys: ["Lines=17"], journalctl: ["-n", "17"] },
  "the last lines that match": {
    options: ["-n", "9", "-t", "cron"],
    keys: ["Lines=9", "Identifier=cron"],
    journalctl: ["-n", "9", "-t", "cron"],
  },
  "a maximum age": {
    options: ["--max-age=1h"],
    keys: ["MaxAgeSec=1h"],
    journalctl: ["--since=-1h"],
  },
  "all but a unit": {
    options: ["--exclude-unit=cron"],
    keys: ["ExcludeUnit=cron"],
    changed: without(/^_SYSTEMD_UNIT=cron\.service$/),
  },
  "all but identifiers, priorities, facilities": {
    options: ["--exclude-identifier=nginx", "--exclude-priority=info,7", "--exclude-facility=4"],
    keys: ["ExcludeIdentifier=nginx", "ExcludePriority=info 7", "ExcludeFacility=4"],
    changed: without(/^(SYSLOG_IDENTIFIER=nginx|PRIORITY=[67]|SYSLOG_FACILITY=4)$/),
  },
  "all but an expression and a match": {
    options: ["--exclude-grep=user u\\d*[1-5]$", "--exclude-match=_PID=1"],
    keys: ["ExcludeGrep=user u\\d*[1-5]$", "ExcludeMatch=_PID=1"],
    changed: without(/^(MESSAGE=.*user u\d*[1-5]|_PID=1)$/),
  },
  "fields dropped": {
    options: ["--drop-field=_CMD*", "--drop-field=SYSLOG_FACILIT?"],
    keys: ["DropField=_CMD*", "DropField=SYSLOG_FACILIT?"],
    changed: withFields((fields) =>
      fields.filter((field) => !/^(_CMDLINE|SYSLOG_FACILITY)=/.test(field)),
    ),
  },
  "fields redacted": {
    options: ["--redact-field=MESSAGE /(token)=\\S+/ $1=***", "--redact-field=_CMDLINE"],
    keys: ["RedactField=MESSAGE /(token)=\\S+/ $1=***", "RedactField=_CMDLINE"],
    changed: withFields((fields) =>
      fields.map((field) =>
        field.replace(/^(MESSAGE=.*token)=.*/, "$1=***").replace(/^(_CMDLINE)=.*/, "$1=***"),
      ),
    ),
  },
  "fields added": {
    options: ["--add-field=SITE=north", "--add-field=RACK=4 b"],
    keys: ["AddField=SITE=north", "AddField=RACK=4 b"],
    changed: withFields((fields) => [...fields, "SITE=north", "RACK=4 b"]),
  },
};

describe.skipIf(!hasSystemd())("agent upload (needs systemd)", () => {
  const rig = useUploadRig();
  let journals: string;

  beforeAll(() => {
    journals = rig.newJournal(hostStream());
  }, LIMIT_MS);

  /** All that it sends until it ends. */
  async function sent(args: string[], keys: string[] = []): Promise<ExportedEntry[]> {
    using receiver = await FakeReceiver.open();
    const config = rig.dir.write("upload.conf", ["[Upload]", ...keys, ""].join("\n"));
    const command = [rig.agent, "upload", `--url=${receiver.url}`, "--follow=no", ...args];
    await using uploader = new UploaderProcess(command, {
      SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: config,
    });
    expect([await uploader.ended(), uploader.log]).toEqual([
      0,
      expect.stringContaining("Finished"),
    ]);
    expect(uploader.log).not.toContain("ignoring");
    return parseExport(Buffer.concat(receiver.requests.map(({ body }) => body)));
  }

  for (const [name, { options, keys, journalctl = [], changed }] of Object.entries(CHOICES)) {
    test(`sends ${name}, chosen by options and by keys`, async () => {
      const shown = parseExport(journalctlExport(`--directory=${journals}`, ...journalctl));
      const expected = changed === undefined ? shown : changed(shown);
      if (changed === undefined) expect(expected.length).toBeWithin(1, ENTRIES);
      expectSameStream(await sent([`--directory=${journals}`, ...options]), expected);
      expectSameStream(await sent([`--directory=${journals}`], keys), expected);
    });
  }

  test("chooses and changes entries of export files in the same way", async () => {
    const options = ["-p", "err", "--exclude-grep=session", "--max-age=10y"];
    const changes = ["--drop-field=_CMDLINE", "--redact-field=MESSAGE /\\d+/ N", "--add-field=A=1"];
    const file = rig.dir.write("stream.export", journalctlExport(`--directory=${journals}`));
    const fromFile = await sent([file, ...options.slice(0, 3), ...changes]);
    const fromJournal = await sent([`--directory=${journals}`, ...options, ...changes]);
    expect(fromFile.length).toBeGreaterThan(10);
    expectSameStream(fromFile, fromJournal);
    expect(fromFile[0]?.fields).toContain("A=1");
    expect(fromFile[0]?.fields).toContain("MESSAGE=Failed to start job N: token=sNcrNtN");
  });

  test("counts entries of which nothing is left", async () => {
    using receiver = await FakeReceiver.open();
    await using uploader = new UploaderProcess([
      ...[rig.agent, "upload", `--url=${receiver.url}`, "--follow=no"],
      ...[`--directory=${journals}`, "--drop-field=*", "--add-field=SITE=north"],
    ]);
    expect(await uploader.ended()).toBe(0);
    await uploader.logged(`damaged-empty=${ENTRIES}`);
    expect(receiver.requests).toBeEmpty();
  });
});
