/** Lines of a child's output, as they come. */
export class LineReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** Without its line end; rejects when the output ends first. */
  async next(): Promise<string> {
    let end = this.#text.indexOf("\n");
    while (end < 0) {
      const { value, done } = await this.#chunks.next();
      if (done) throw new Error(`The output ended in a line: "${this.#text}"`);
      this.#text += this.#decoder.decode(value, { stream: true });
      end = this.#text.indexOf("\n");
    }
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return line;
  }
}
