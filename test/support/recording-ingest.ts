import type { AgentError } from "../../src/errors.ts";
import type { Ingest, IngestResult, IngestStream } from "../../src/serve/ingest-types.ts";

/**
 * An ingest that keeps text entries in memory and recognises by their cursor those it has, as the
 * store does. An entry without a timestamp is refused, as "no-timestamp".
 */
export class RecordingIngest implements Ingest {
  /** Text of every entry stored, in order of arrival. */
  readonly entries: string[] = [];
  readonly senders: string[] = [];
  /** Bytes of each push. */
  readonly pushes: number[] = [];
  duplicates = 0;
  aborts = 0;
  ends = 0;
  /** Each push asks its source to pause so long. */
  pauseMs = 0;
  /** What the next pushes throw. */
  readonly pushErrors: AgentError[] = [];
  /** What the next streams cannot be opened for. */
  readonly openErrors: AgentError[] = [];
  readonly #cursors = new Map<string, string[]>();

  /** As `Resume`. */
  cursor(sender: string): string | undefined {
    return this.#cursors.get(sender)?.at(-1);
  }

  open(sender: string): IngestStream {
    const openError = this.openErrors.shift();
    if (openError !== undefined) throw openError;
    this.senders.push(sender);
    const refused = new Map<string, number>();
    const before = { stored: this.entries.length, duplicates: this.duplicates };
    let text = "";
    return {
      push: (chunk) => {
        this.pushes.push(chunk.length);
        const pushError = this.pushErrors.shift();
        if (pushError !== undefined) throw pushError;
        const parts = (text + Buffer.from(chunk).toString("latin1")).split("\n\n");
        text = parts.pop() ?? "";
        for (const part of parts) this.#add(sender, part, refused);
        return this.pauseMs === 0 ? undefined : Bun.sleep(this.pauseMs);
      },
      end: async (): Promise<IngestResult> => {
        this.ends += 1;
        const stored = this.entries.length - before.stored;
        const duplicates = this.duplicates - before.duplicates;
        return { counts: { stored, duplicates, refused }, trailingBytes: text.length };
      },
      abort: () => {
        this.aborts += 1;
      },
    };
  }

  #add(sender: string, text: string, refused: Map<string, number>): void {
    if (!text.includes("__REALTIME_TIMESTAMP=")) {
      refused.set("no-timestamp", (refused.get("no-timestamp") ?? 0) + 1);
      return;
    }
    const cursor = /^__CURSOR=(.*)$/m.exec(text)?.[1];
    const known = this.#cursors.get(sender) ?? [];
    if (cursor !== undefined && known.includes(cursor)) {
      this.duplicates += 1;
      return;
    }
    if (cursor !== undefined) this.#cursors.set(sender, [...known, cursor]);
    this.entries.push(text);
  }
}

/** A cursor as systemd writes it. */
export function cursorOf(seqnum: number, seqnumId = "5e".repeat(16)): string {
  const time = (0x60a24181e4000 + seqnum).toString(16);
  return `s=${seqnumId};i=${seqnum.toString(16)};b=${"ab".repeat(16)};m=${seqnum.toString(16)};t=${time};x=1`;
}

/** One entry in the export format, its blank line included. */
export function exportEntry(seqnum: number, message = `entry ${seqnum}`): string {
  return [
    `__CURSOR=${cursorOf(seqnum)}`,
    `__REALTIME_TIMESTAMP=${0x60a24181e4000 + seqnum}`,
    `__MONOTONIC_TIMESTAMP=${seqnum}`,
    `_BOOT_ID=${"ab".repeat(16)}`,
    `MESSAGE=${message}`,
    "",
    "",
  ].join("\n");
}

/** Entries `from` … `to` inclusive. */
export function exportEntries(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, index) => exportEntry(from + index)).join("");
}

/** The MESSAGE of every entry stored. */
export function messagesOf(ingest: RecordingIngest): string[] {
  return ingest.entries.map((text) => /^MESSAGE=(.*)$/m.exec(text)?.[1] ?? "");
}

/** "entry from" … "entry to" */
export function messages(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `entry ${from + index}`);
}
