import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { DiskLimits } from "../../../src/serve/store/disk-limits.ts";
import type { JournalFileName } from "../../../src/serve/store/names.ts";
import {
  type DiskFile,
  planRetention,
  type RetentionPlan,
  type RetentionRules,
} from "../../../src/serve/store/retention-plan.ts";

const NO_LIMITS: DiskLimits = {
  maxUseBytes: 0,
  minUseBytes: 0,
  maxFileSizeBytes: 0,
  keepFreeBytes: 0,
  maxFiles: 0,
};

interface FileSpec {
  /** Archived files: head seqnum; the id is the letter in front ("a7"). Else "active", "unclean". */
  is: string;
  size?: number;
  /** Seconds. */
  time?: number;
  entries?: number | undefined;
  open?: boolean;
}

let inode = 0;

function file(sender: string, spec: FileSpec): DiskFile {
  const time = spec.time ?? 0;
  return {
    path: `${sender}/${spec.is}/${time}`,
    name: nameOf(sender, spec.is, time * 1e6),
    sizeBytes: spec.size ?? 1,
    entries: "entries" in spec ? spec.entries : 1,
    newestUsec: time * 1e6,
    isOpen: spec.open ?? false,
    inode: inode++,
    mtimeMs: 0,
  };
}

function nameOf(base: string, is: string, realtimeUsec: number): JournalFileName {
  if (is === "active") return { kind: "active", base };
  if (is === "unclean") return { kind: "unclean", base, realtimeUsec };
  const headSeqnum = Number(is.slice(1));
  return {
    kind: "archived",
    base,
    seqnumIdHex: is.charAt(0).repeat(32),
    headSeqnum,
    headRealtimeUsec: realtimeUsec,
  };
}

function plan(
  files: DiskFile[],
  limits: Partial<DiskLimits>,
  rules: Partial<RetentionRules> = {},
): RetentionPlan {
  return planRetention(files, {
    limits: { ...NO_LIMITS, ...limits },
    maxRetentionSec: 0,
    nowUsec: 1000e6,
    freeBytes: undefined,
    ...rules,
  });
}

/** ["reason sender/file/time", …] */
function told(result: RetentionPlan): string[] {
  return result.deletions.map((deletion) => `${deletion.reason} ${deletion.file.path}`);
}

describe("planRetention() without limits", () => {
  test("keeps everything but empty archived and unclean files", () => {
    const files = [
      file("x", { is: "active", entries: 0 }),
      file("x", { is: "a1", entries: 0 }),
      file("x", { is: "a2", entries: 0, open: true }),
      file("x", { is: "a3", entries: 3 }),
      file("x", { is: "unclean", entries: 0 }),
      file("y", { is: "unclean", entries: undefined }),
    ];
    const result = plan(files, {});
    expect(told(result)).toEqual(["empty x/a1/0", "empty x/unclean/0"]);
    expect(result).toMatchObject({ usedBytes: 4, fileCount: 4 });
    expect(result.exceeded).toEqual({ maxUse: false, keepFree: false, maxFiles: false });
  });
});

describe("planRetention() for MaxRetentionSec=", () => {
  test("deletes what has no entry younger, active or not, unless open", () => {
    const files = [
      file("x", { is: "active", time: 899 }),
      file("x", { is: "a1", time: 899 }),
      file("x", { is: "a2", time: 900 }),
      file("x", { is: "unclean", time: 1 }),
      file("y", { is: "active", time: 1, open: true }),
      file("y", { is: "a1", time: 1, open: true }),
    ];
    expect(told(plan(files, {}, { maxRetentionSec: 100 }))).toEqual([
      "expired x/a1/899",
      "expired x/active/899",
      "expired x/unclean/1",
    ]);
  });
});

describe("planRetention() for MaxUse=", () => {
  test("deletes oldest first, by seqnum among files of one id, by time otherwise", () => {
    const files = [
      file("x", { is: "a2", time: 5 }),
      file("x", { is: "a1", time: 60 }), // the clock was set back after it
      file("x", { is: "a3", time: 70 }),
      file("x", { is: "b9", time: 10 }),
      file("x", { is: "unclean", time: 65 }),
      file("x", { is: "active", time: 80, open: true }),
    ];
    expect(told(plan(files, { maxUseBytes: 1 }))).toEqual([
      "max-use x/b9/10",
      "max-use x/a1/60",
      "max-use x/a2/5",
      "max-use x/unclean/65",
      "max-use x/a3/70",
    ]);
  });

  test("stops as soon as the limit holds", () => {
    const files = [1, 2, 3, 4].map((n) => file("x", { is: `a${n}`, size: 10, time: n }));
    expect(told(plan(files, { maxUseBytes: 40 }))).toEqual([]);
    expect(told(plan(files, { maxUseBytes: 39 }))).toEqual(["max-use x/a1/1"]);
    expect(told(plan(files, { maxUseBytes: 20 }))).toHaveLength(2);
  });

  test("lets the sender that uses most give, whoever is older", () => {
    const files = [
      file("quiet", { is: "a1", size: 10, time: 1 }),
      file("quiet", { is: "active", size: 10, time: 2 }),
      ...[11, 12, 13, 14].map((n) => file("noisy", { is: `b${n}`, size: 20, time: n })),
      file("noisy", { is: "active", size: 20, time: 20, open: true }),
    ];
    const result = plan(files, { maxUseBytes: 60 });
    expect(told(result)).toEqual([
      "max-use noisy/b11/11",
      "max-use noisy/b12/12",
      "max-use noisy/b13/13",
    ]);
    expect(result.usedBytes).toBe(60);
  });

  test("goes on to the next sender when that uses more", () => {
    const files = ["x", "y"].flatMap((sender) =>
      [1, 2, 3].map((n) => file(sender, { is: `a${n}`, size: 10, time: n })),
    );
    expect(told(plan(files, { maxUseBytes: 20 }))).toEqual([
      "max-use x/a1/1",
      "max-use y/a1/1",
      "max-use x/a2/2",
      "max-use y/a2/2",
    ]);
  });

  test("counts what is open, and says when only that is left", () => {
    const files = [
      file("x", { is: "active", size: 50, open: true }),
      file("x", { is: "a1", size: 1, open: true }),
      file("y", { is: "a1", size: 1 }),
    ];
    const result = plan(files, { maxUseBytes: 10 });
    expect(told(result)).toEqual(["max-use y/a1/0"]);
    expect(result).toMatchObject({ usedBytes: 51, fileCount: 2, exceeded: { maxUse: true } });
  });

  test("deletes active files of idle senders last, oldest first, those of small ones after all", () => {
    const files = [
      file("gone1", { is: "active", size: 30, time: 2 }),
      file("gone2", { is: "active", size: 40, time: 1 }),
      file("live", { is: "a1", size: 30, time: 50 }),
      file("live", { is: "active", size: 20, time: 60, open: true }),
      file("small", { is: "a1", size: 2, time: 3 }),
      file("small", { is: "active", size: 1, time: 4 }),
    ];
    expect(told(plan(files, { maxUseBytes: 53 }))).toEqual([
      "max-use live/a1/50",
      "max-use gone2/active/1",
    ]);
    expect(told(plan(files, { maxUseBytes: 1 }))).toEqual([
      "max-use live/a1/50",
      "max-use small/a1/3",
      "max-use gone2/active/1",
      "max-use gone1/active/2",
      "max-use small/active/4",
    ]);
  });

  test("empties the directory of 10,000 vanished senders down to the limit", () => {
    const files = Array.from({ length: 10_000 }, (_, i) =>
      file(`gone${i}`, { is: "active", size: 8, time: i }),
    );
    const result = plan(files, { maxUseBytes: 4000 });
    expect(result.fileCount).toBe(500);
    expect(result.deletions.every(({ file }) => file.newestUsec < 9500e6)).toBe(true);
  });
});

describe("planRetention() for KeepFree=", () => {
  const files = [1, 2, 3, 4].map((n) => file("x", { is: `a${n}`, size: 10, time: n }));

  test("deletes as much as is missing", () => {
    const freed = (freeBytes: number) => told(plan(files, { keepFreeBytes: 100 }, { freeBytes }));
    expect(freed(100)).toEqual([]);
    expect(freed(99)).toEqual(["keep-free x/a1/1"]);
    expect(freed(75)).toHaveLength(3);
    expect(freed(60)).toHaveLength(4);
  });

  test("deletes nothing when all of it would not be enough", () => {
    const result = plan(files, { keepFreeBytes: 100 }, { freeBytes: 59 });
    expect(told(result)).toEqual([]);
    expect(result.exceeded.keepFree).toBe(true);
    const withOpen = [...files, file("x", { is: "active", size: 50, open: true })];
    expect(told(plan(withOpen, { keepFreeBytes: 100 }, { freeBytes: 59 }))).toEqual([]);
  });

  test("leaves the least use in place", () => {
    const limits = { keepFreeBytes: 100, minUseBytes: 20 };
    expect(told(plan(files, limits, { freeBytes: 80 }))).toHaveLength(2);
    expect(told(plan(files, limits, { freeBytes: 79 }))).toEqual([]);
  });

  test("counts what other rules free", () => {
    const result = plan(
      files,
      { keepFreeBytes: 100, maxUseBytes: 25 },
      { freeBytes: 70, maxRetentionSec: 998.5 },
    );
    expect(told(result)).toEqual(["expired x/a1/1", "max-use x/a2/2", "keep-free x/a3/3"]);
    expect(result.exceeded.keepFree).toBe(false);
  });

  test("does nothing when the free space is unknown", () => {
    const result = plan(files, { keepFreeBytes: 100 }, { freeBytes: undefined });
    expect(result.deletions).toEqual([]);
    expect(result.exceeded.keepFree).toBe(false);
  });

  test("shares fairly too", () => {
    const both = [...files, file("quiet", { is: "a1", size: 10, time: 0 })];
    expect(told(plan(both, { keepFreeBytes: 100 }, { freeBytes: 90 }))).toEqual([
      "keep-free x/a1/1",
    ]);
  });
});

describe("planRetention() for MaxFiles=", () => {
  test("counts every file and deletes archived ones, oldest first", () => {
    const files = [
      file("x", { is: "active", time: 9, open: true }),
      ...[3, 1, 2].map((n) => file("x", { is: `a${n}`, time: n })),
      file("x", { is: "unclean", time: 0 }),
    ];
    expect(told(plan(files, { maxFiles: 5 }))).toEqual([]);
    expect(told(plan(files, { maxFiles: 3 }))).toEqual([
      "max-files x/unclean/0",
      "max-files x/a1/1",
    ]);
  });

  test("lets the sender with most files give, not the one with most bytes", () => {
    const files = [
      ...[1, 2, 3].map((n) => file("big", { is: `a${n}`, size: 1000, time: n })),
      ...[1, 2, 3, 4, 5].map((n) => file("many", { is: `b${n}`, time: 10 + n })),
    ];
    expect(told(plan(files, { maxFiles: 6 }))).toEqual([
      "max-files many/b1/11",
      "max-files many/b2/12",
    ]);
  });

  test("leaves each of 1,000 senders its active file and the newest other one", () => {
    const files = Array.from({ length: 1000 }, (_, i) => [
      file(`s${i}`, { is: "active", time: 9, open: i % 2 === 0 }),
      file(`s${i}`, { is: "a1", time: 1 }),
      file(`s${i}`, { is: "a2", time: 2 }),
    ]).flat();
    const result = plan(files, { maxFiles: 100 });
    expect(result.fileCount).toBe(2000);
    expect(result.deletions.every(({ file }) => file.newestUsec === 1e6)).toBe(true);
    expect(result.exceeded).toEqual({ maxUse: false, keepFree: false, maxFiles: true });
  });
});

/** Directories of up to 8 senders; times and sizes collide often. */
const anyFiles = fc
  .uniqueArray(
    fc.record({
      sender: fc.constantFrom("p", "q", "r", "s", "t", "u", "v", "w"),
      is: fc.oneof(
        fc.constantFrom("active", "unclean"),
        fc.tuple(fc.constantFrom("a", "b"), fc.nat(9)).map(([id, seqnum]) => `${id}${seqnum}`),
      ),
      size: fc.nat(50),
      time: fc.nat(30),
      entries: fc.constantFrom(0, 1, 1, 1, undefined),
      open: fc.boolean(),
    }),
    {
      maxLength: 40,
      selector: ({ sender, is, time }) => `${sender} ${is} ${is === "active" ? "" : time}`,
    },
  )
  .map((specs) => specs.map((spec) => file(spec.sender, spec)));

const anyRules = fc.record({
  limits: fc.record({
    maxUseBytes: fc.nat(600),
    minUseBytes: fc.nat(100),
    maxFileSizeBytes: fc.constant(0),
    keepFreeBytes: fc.nat(400),
    maxFiles: fc.nat(30),
  }),
  maxRetentionSec: fc.nat(40),
  nowUsec: fc.constant(35e6),
  freeBytes: fc.option(fc.nat(400), { nil: undefined }),
});

function check(predicate: (files: DiskFile[], rules: RetentionRules) => void): void {
  fc.assert(fc.property(anyFiles, anyRules, predicate), { numRuns: 3000 });
}

function sum(files: readonly DiskFile[]): number {
  return files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
}

function leftBy(files: DiskFile[], result: RetentionPlan): DiskFile[] {
  const gone = new Set(result.deletions.map(({ file }) => file));
  return files.filter((file) => !gone.has(file));
}

describe("planRetention(), whatever the directory,", () => {
  test("never deletes an open file, and none twice", () => {
    check((files, rules) => {
      const { deletions } = planRetention(files, rules);
      expect(new Set(deletions.map(({ file }) => file)).size).toBe(deletions.length);
      for (const deletion of deletions) expect(deletion.file.isOpen).toBe(false);
    });
  });

  test("says what remains, and whether it is within the limits", () => {
    check((files, rules) => {
      const result = planRetention(files, rules);
      const { limits, freeBytes } = rules;
      const left = leftBy(files, result);
      expect(result.usedBytes).toBe(sum(left));
      expect(result.fileCount).toBe(left.length);
      const freed = sum(files) - sum(left);
      expect(result.exceeded).toEqual({
        maxUse: limits.maxUseBytes > 0 && sum(left) > limits.maxUseBytes,
        keepFree: freeBytes !== undefined && freeBytes + freed < limits.keepFreeBytes,
        maxFiles: limits.maxFiles > 0 && left.length > limits.maxFiles,
      });
    });
  });

  test("keeps the limits or has nothing left that it may delete for them", () => {
    check((files, rules) => {
      const result = planRetention(files, rules);
      const { limits, freeBytes = 0 } = rules;
      const left = leftBy(files, result);
      const idle = left.filter((file) => !file.isOpen);
      if (result.exceeded.maxUse) expect(idle).toEqual([]);
      if (result.exceeded.maxFiles) {
        const archived = idle.filter((file) => file.name.kind !== "active");
        const senders = new Set(archived.map((file) => file.name.base));
        expect(archived.length).toBe(senders.size);
      }
      if (result.exceeded.keepFree) {
        // Not enough would come free, or the least use would be undercut.
        const missing = limits.keepFreeBytes - freeBytes - (sum(files) - sum(left));
        const possible = Math.min(sum(idle), sum(left) - limits.minUseBytes);
        expect(missing).toBeGreaterThan(Math.max(possible, 0));
      }
    });
  });

  test("asks for nothing more when carried out", () => {
    check((files, rules) => {
      const first = planRetention(files, rules);
      const left = leftBy(files, first);
      const { freeBytes } = rules;
      const after = freeBytes === undefined ? undefined : freeBytes + sum(files) - sum(left);
      expect(told(planRetention(left, { ...rules, freeBytes: after }))).toEqual([]);
    });
  });

  test("does not depend on the order of the files", () => {
    check((files, rules) => {
      const reversed = planRetention(files.toReversed(), rules);
      expect(told(reversed)).toEqual(told(planRetention(files, rules)));
    });
  });

  test("deletes a sender's archived files of one seqnum id from the lowest on", () => {
    check((files, rules) => {
      const result = planRetention(files, rules);
      const lowestKept = new Map<string, number>();
      for (const { name, isOpen } of leftBy(files, result)) {
        if (name.kind !== "archived" || isOpen) continue;
        const series = `${name.base} ${name.seqnumIdHex}`;
        const lowest = lowestKept.get(series) ?? Number.POSITIVE_INFINITY;
        lowestKept.set(series, Math.min(lowest, name.headSeqnum));
      }
      for (const { file, reason } of result.deletions) {
        const { name } = file;
        if (name.kind !== "archived" || reason === "empty" || reason === "expired") continue;
        const lowest = lowestKept.get(`${name.base} ${name.seqnumIdHex}`);
        expect(name.headSeqnum).toBeLessThanOrEqual(lowest ?? name.headSeqnum);
      }
    });
  });

  test("takes nothing for MaxUse= from a sender within its share while one above it can give", () => {
    check((files, rules) => {
      const { maxUseBytes } = rules.limits;
      fc.pre(maxUseBytes > 0);
      const limits = { ...NO_LIMITS, maxUseBytes };
      const kept = files.filter(({ entries }) => entries !== 0);
      const result = plan(kept, limits);
      const shareBytes = maxUseBytes / new Set(kept.map(({ name }) => name.base)).size;
      const usageOf = (base: string, among: DiskFile[]) =>
        sum(among.filter(({ name }) => name.base === base));
      const left = leftBy(kept, result);
      for (const { file } of result.deletions) {
        if (usageOf(file.name.base, kept) > shareBytes) continue;
        // It had to give: all that those above their share still have is open.
        for (const other of left) {
          if (usageOf(other.name.base, left) > shareBytes) expect(other.isOpen).toBe(true);
        }
      }
    });
  });
});

test("planRetention() plans 100,000 files in well under a second", () => {
  const files = Array.from({ length: 100_000 }, (_, i) =>
    file(`s${i % 1000}`, { is: `a${i}`, size: (i * 7919) % 1000, time: (i * 104_729) % 100_000 }),
  );
  const startMs = performance.now();
  const result = plan(files, { maxUseBytes: 10_000_000, maxFiles: 2000 });
  const tookMs = performance.now() - startMs;
  expect(result.fileCount).toBe(2000);
  expect(tookMs).toBeLessThan(2000);
});
