import { log } from "../../src/log.ts";

/** Takes what is logged to the end of the scope, instead of stderr: "warn: text". */
export class CapturedLog implements Disposable {
  readonly lines: string[] = [];
  readonly #reporters = log.options.reporters;

  constructor() {
    log.setReporters([{ log: ({ type, args }) => this.lines.push(`${type}: ${args.join(" ")}`) }]);
  }

  [Symbol.dispose](): void {
    log.setReporters(this.#reporters);
  }
}
