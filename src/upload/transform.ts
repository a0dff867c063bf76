/**
 * What is changed in entries on their way: fields that are not sent, values or parts of them that nobody is to see,
 * fields that are added. Whatever is in doubt is replaced: a value that is not text, or is too long to be searched or
 * has too many places, has all of it replaced where an expression would have replaced a part.
 *
 * Numbers, times and cursor stay those of the journal.
 */
import { isUtf8 } from "node:buffer";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AgentError } from "../errors.ts";
import { isFieldName } from "../journal/field-name.ts";
import type { FieldHooks } from "../journal/reader/data-cache.ts";
import { ADDED_FIELDS_MAX, type JournalEntry } from "../journal/reader/journal-entry.ts";
import {
  type EntrySource,
  PASSED_MAX,
  type Position,
  type SourceLosses,
} from "./delivery-types.ts";
import { compileExpression } from "./expressions.ts";
import { compileGlob } from "./glob.ts";
import type { RedactSetting, TransformSettings } from "./settings.ts";

/** Longer values are not searched. */
const SEARCHED_SIZE_MAX = 64 * 1024;
/** Names of fields for which the rules are remembered. */
const NAMES_MAX = 4096;
/** Part of what every entry is: stands in its head as well, and is a field of the entry wherever it arrives. */
const BOOT_ID = Buffer.from("_BOOT_ID");

/** What is done with the fields of one name: "drop", or replacements one after the other. */
type Rule = "drop" | readonly ((value: Buffer) => Buffer)[];

/**
 * What changes fields; undefined when none is.
 * @throws AgentError E_CONFIG for an expression that cannot be used
 */
export function rewriteHook(transform: TransformSettings): FieldHooks["rewrite"] {
  const { dropFields, redactFields } = transform;
  if (dropFields.length === 0 && redactFields.length === 0) return undefined;
  const dropped = dropFields.map(compileGlob);
  const redactions = redactFields.map((redaction) => ({
    isFor: compileGlob(redaction.names),
    replace: replacementOf(redaction),
  }));
  const ruleOf = (name: string): Rule => {
    if (dropped.some((isFor) => isFor(name))) return "drop";
    if (name === BOOT_ID.toString()) return [];
    return redactions.filter(({ isFor }) => isFor(name)).map(({ replace }) => replace);
  };
  const rules = new Map<string, Rule>();
  return (bytes, start, end, nameLength) => {
    const name = bytes.toString("latin1", start, start + nameLength);
    let rule = rules.get(name);
    if (rule === undefined) {
      if (rules.size === NAMES_MAX) rules.clear();
      rule = ruleOf(name);
      rules.set(name, rule);
    }
    if (rule === "drop") return undefined;
    if (rule.length === 0) return "same";
    const valueStart = start + nameLength + 1;
    const value = bytes.subarray(valueStart, end);
    const changed = rule.reduce((before, replace) => replace(before), value);
    return changed === value ? "same" : Buffer.concat([bytes.subarray(start, valueStart), changed]);
  };
}

/**
 * The entries of `source` with the fields that are added, without those that nothing is left of: these are counted as
 * "empty".
 * @throws AgentError E_CONFIG for a field that cannot be added
 */
export function transformEntries(source: EntrySource, transform: TransformSettings): EntrySource {
  const { dropFields, addFields } = transform;
  if (dropFields.length === 0 && addFields.length === 0) return source;
  return new TransformedSource(source, ownFieldsOf(transform));
}

interface OwnField {
  payload: Buffer;
  nameLength: number;
}

function ownFieldsOf({ addFields }: TransformSettings): OwnField[] {
  if (addFields.length > ADDED_FIELDS_MAX) {
    throw new AgentError(
      "E_CONFIG",
      `Cannot add ${addFields.length} fields: at most ${ADDED_FIELDS_MAX} can be added`,
    );
  }
  return addFields.map(({ name, value }) => {
    const bytes = Buffer.from(name);
    const isReserved = name.startsWith("__") || bytes.equals(BOOT_ID);
    if (isReserved || !isFieldName(bytes, 0, bytes.length)) {
      const need = "need up to 64 of A-Z, 0-9 and _, not beginning with a digit or __";
      throw new AgentError("E_CONFIG", `Cannot add the field "${name}": not a name, ${need}`);
    }
    return { payload: Buffer.from(`${name}=${value}`), nameLength: bytes.length };
  });
}

class TransformedSource implements EntrySource {
  readonly #source: EntrySource;
  readonly #ownFields: readonly OwnField[];
  /** Records of the own fields in the cache, as long as it is of this generation. */
  readonly #records: Int32Array;
  #generation = -1;
  #empty = 0;
  /** All that were looked at last were empty. */
  #isPausing = false;

  constructor(source: EntrySource, ownFields: readonly OwnField[]) {
    this.#source = source;
    this.#ownFields = ownFields;
    this.#records = new Int32Array(ownFields.length);
  }

  get isEnded(): boolean {
    return this.#source.isEnded;
  }

  get isPausing(): boolean {
    return this.#isPausing || this.#source.isPausing;
  }

  get losses(): SourceLosses {
    const { vacuumed, damaged } = this.#source.losses;
    if (this.#empty === 0) return { vacuumed, damaged };
    return { vacuumed, damaged: new Map([...damaged, ["empty", this.#empty]]) };
  }

  get failure(): AgentError | undefined {
    return this.#source.failure;
  }

  next(): JournalEntry | undefined {
    this.#isPausing = false;
    for (let passed = 0; passed < PASSED_MAX; passed++) {
      const entry = this.#source.next();
      if (entry === undefined) return undefined;
      if (hasFields(entry)) {
        this.#addFields(entry);
        return entry;
      }
      this.#empty++;
    }
    this.#isPausing = true;
    return undefined;
  }

  wait(signal: AbortSignal): Promise<void> {
    return this.#isPausing ? nextTurn() : this.#source.wait(signal);
  }

  position(): Position | undefined {
    return this.#source.position();
  }

  backlog(): number {
    return this.#source.backlog();
  }

  close(): void {
    this.#source.close();
  }

  #addFields(entry: JournalEntry): void {
    const { cache } = entry;
    if (cache.generation !== this.#generation) {
      this.#generation = cache.generation;
      for (const [index, { payload, nameLength }] of this.#ownFields.entries()) {
        this.#records[index] = cache.addOwn(payload, nameLength);
      }
    }
    entry.records.set(this.#records, entry.recordCount);
    entry.recordCount += this.#records.length;
  }
}

/** The boot id alone says nothing. */
function hasFields({ cache, records, recordCount }: JournalEntry): boolean {
  if (recordCount !== 1) return recordCount > 1;
  const record = records[0] as number;
  const start = cache.start[record] as number;
  const nameLength = cache.nameLength[record] as number;
  return BOOT_ID.compare(cache.bytesOf(record), start, start + nameLength) !== 0;
}

function replacementOf({ expression, replacement }: RedactSetting): (value: Buffer) => Buffer {
  const whole = Buffer.from(replacement);
  if (expression === undefined) return () => whole;
  const search = compileExpression(expression);
  return (value) => {
    if (value.length > SEARCHED_SIZE_MAX || !isUtf8(value)) return whole;
    if (!search.isIn(value, 0, value.length)) return value;
    const changed = search.replaceAll(value.toString("utf8"), replacement);
    return changed === undefined ? whole : Buffer.from(changed);
  };
}
