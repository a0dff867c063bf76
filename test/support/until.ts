/** Waits for `condition`, looking every few milliseconds; throws after `limitMs`. */
export async function until(condition: () => boolean, limitMs = 5000): Promise<void> {
  const startMs = performance.now();
  while (!condition()) {
    if (performance.now() - startMs > limitMs) {
      throw new Error(`Cannot wait for ${condition.toString()}: not true within ${limitMs} ms`);
    }
    await Bun.sleep(5);
  }
}
