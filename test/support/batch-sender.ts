/** A sender as good ones are: bounded batches, each repeated until there is a 202. */
import { concat, sampleEntry } from "./export-stream.ts";
import { compareEntries, type Difference, type ExportedEntry } from "./stored-journals.ts";
import type { TestPki } from "./tls.ts";
import { type HttpReply, TlsClient } from "./tls-client.ts";

export interface BatchSenderOptions {
  pki: TestPki;
  /** Of the certificate. */
  name: string;
  port: number;
  /** Entries go round these. */
  seqnumIds: readonly string[];
  batchEntries: number;
  /** Share of the posts whose answer is lost on the way: they are repeated. Default 0. */
  lostShare?: number;
  random: () => number;
}

/** Which entry it is, and what it says: `s=…;i=…;MESSAGE=…`. */
type EntryKey = string;

const RETRY_MS = 20;

export class BatchSender implements Disposable {
  /** Every entry there was a 202 for. */
  readonly acknowledged = new Set<EntryKey>();
  /** Answers other than 202, in order. */
  readonly refusals: HttpReply[] = [];
  /** Posts that got no answer. */
  failures = 0;
  readonly #options: BatchSenderOptions;
  #client: TlsClient | undefined;
  #isDisposed = false;
  #index = 0;

  constructor(options: BatchSenderOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** Posts one batch after the other; `isEnough` is asked after each 202. */
  async run(isEnough: () => boolean): Promise<void> {
    do {
      const batch = this.#nextBatch();
      while (!(await this.#tryPost(batch.body))) {
        if (this.#isDisposed) return;
        await Bun.sleep(RETRY_MS);
      }
      for (const key of batch.keys) this.acknowledged.add(key);
    } while (!this.#isDisposed && !isEnough());
    this.close();
  }

  /** How what is stored differs from what was acknowledged. */
  compareWith(stored: readonly ExportedEntry[]): Difference {
    const bare = (key: EntryKey): ExportedEntry => ({ cursor: key, fields: [] });
    const storedKeys = stored.map((entry) => bare(keyOf(entry)));
    return compareEntries(storedKeys, Array.from(this.acknowledged, bare));
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  /** Ends it, whatever it is doing. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.close();
  }

  /** @returns whether it is acknowledged. */
  async #tryPost(body: Uint8Array): Promise<boolean> {
    const { pki, name, port, random, lostShare = 0 } = this.#options;
    try {
      this.#client ??= await TlsClient.connect(pki, name, port);
      if (random() < lostShare) {
        void this.#client.post(body).catch(() => undefined);
        await Bun.sleep(random() * 50);
        throw new Error("The answer is lost");
      }
      const reply = await this.#client.post(body);
      if (reply.status === 202) return true;
      this.refusals.push(reply);
    } catch {
      this.failures++;
    }
    this.close();
    return false;
  }

  #nextBatch(): { body: Uint8Array; keys: EntryKey[] } {
    const { seqnumIds, batchEntries, random } = this.#options;
    const keys: EntryKey[] = [];
    const parts = Array.from({ length: batchEntries }, () => {
      const index = this.#index++;
      const seqnumId = seqnumIds[index % seqnumIds.length] ?? "";
      keys.push(`s=${seqnumId};i=${(index + 1).toString(16)};MESSAGE=message ${index}`);
      const detail = Array.from({ length: 20 }, () => random().toString(36).slice(2)).join("");
      return sampleEntry(index, { seqnumId, fields: [`DETAIL=${detail}`] });
    });
    return { body: concat(...parts), keys };
  }
}

function keyOf(entry: ExportedEntry): EntryKey {
  const [id, number] = entry.cursor.split(";");
  return `${id};${number};${entry.fields.find((field) => field.startsWith("MESSAGE="))}`;
}
