/** One line on a terminal that says how far an import or an upload is; it is rewritten in place. */

export interface ProgressOptions {
  /** A terminal. */
  stream: { write(text: string): unknown };
  /** Milliseconds, from any origin; must not run backwards. */
  now(): number;
}

/** Between two lines written; the eye needs no more. */
const REDRAW_INTERVAL_MS = 200;
const CLEAR_LINE = "\r\x1b[K";

export class Progress {
  readonly #options: ProgressOptions;
  readonly #startMs: number;
  #drawnMs = Number.NEGATIVE_INFINITY;
  /** Nothing to do is all done. */
  #share = 1;
  #entries = 0;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#startMs = options.now();
  }

  /**
   * Cheap enough to call for every chunk.
   * @param entries so far
   * @param share of all there is to do, 0 to 1
   */
  update(entries: number, share: number): void {
    this.#share = share;
    this.#entries = entries;
    const now = this.#options.now();
    if (now - this.#drawnMs < REDRAW_INTERVAL_MS) return;
    this.#drawnMs = now;
    // The cursor goes back to the left, so that a log line overwrites this one.
    this.#options.stream.write(`${CLEAR_LINE}${this.#text(now)}\r`);
  }

  /** Leaves a last line with the totals. */
  done(): void {
    this.#options.stream.write(`${CLEAR_LINE}${this.#text(this.#options.now())}\n`);
  }

  #text(now: number): string {
    const seconds = (now - this.#startMs) / 1000;
    const share = Math.min(this.#share, 1);
    const rate = seconds > 0 ? Math.round(this.#entries / seconds) : 0;
    const end = share < 1 ? `, ${timeLeft(seconds, share)} left` : ` in ${formatSeconds(seconds)}`;
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    const noun = this.#entries === 1 ? "entry" : "entries";
    return `${percent}  ${grouped(this.#entries)} ${noun}, ${grouped(rate)}/s${end}`;
  }
}

/** Undefined where nobody looks. */
export function openProgressBar(stream: {
  isTTY?: boolean;
  write(text: string): unknown;
}): Progress | undefined {
  if (stream.isTTY !== true) return undefined;
  return new Progress({ stream, now: (): number => performance.now() });
}

function timeLeft(seconds: number, share: number): string {
  return share > 0 ? formatSeconds((seconds / share) * (1 - share)) : "unknown time";
}

/** 4.2 → "4s", 3720 → "1h02m" */
function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
}

/** 1234567 → "1,234,567" */
function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
