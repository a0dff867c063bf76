/** Patterns of names: `*`, `?` and `[a-z]`, as fnmatch(3) takes them with FNM_NOESCAPE, which is how journalctl does. */

/** Where a pattern has none of these it is a plain name. */
export function isGlob(text: string): boolean {
  return /[*?[]/.test(text);
}

/** A matcher of the whole text. Its work is bounded by the product of the two lengths. */
export function compileGlob(pattern: string): (text: string) => boolean {
  const steps = parse([...pattern]);
  return (text) => matches(steps, [...text]);
}

/** Takes one character, or is a star. */
type Step = "star" | ((character: string) => boolean);

/** Classes of characters by their POSIX names. */
const CLASSES: Record<string, RegExp> = {
  alnum: /^[0-9A-Za-z]$/,
  alpha: /^[A-Za-z]$/,
  blank: /^[ \t]$/,
  digit: /^[0-9]$/,
  lower: /^[a-z]$/,
  punct: /^[!-/:-@[-`{-~]$/,
  space: /^[\t-\r ]$/,
  upper: /^[A-Z]$/,
  xdigit: /^[0-9A-Fa-f]$/,
};

function parse(pattern: readonly string[]): Step[] {
  const steps: Step[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i];
    if (character === "*") {
      if (steps.at(-1) !== "star") steps.push("star");
    } else if (character === "?") {
      steps.push(() => true);
    } else {
      const set = character === "[" ? parseSet(pattern, i) : undefined;
      steps.push(set?.step ?? ((other): boolean => other === character));
      i = set?.last ?? i;
    }
  }
  return steps;
}

/** The set that begins at `start`; undefined when nothing closes it: then "[" is a character. */
function parseSet(
  pattern: readonly string[],
  start: number,
): { step: Step; last: number } | undefined {
  let i = start + 1;
  const isNegated = pattern[i] === "!" || pattern[i] === "^";
  if (isNegated) i++;
  const members: ((character: string) => boolean)[] = [];
  for (const first = i; i < pattern.length; i++) {
    const low = pattern[i] as string;
    if (low === "]" && i > first) {
      const step = (character: string): boolean =>
        members.some((member) => member(character)) !== isNegated;
      return { step, last: i };
    }
    const name = /^\[:([a-z]+):\]/.exec(pattern.slice(i, i + 12).join(""))?.[1];
    const named = name === undefined ? undefined : CLASSES[name];
    if (name !== undefined && named !== undefined) {
      members.push((character) => named.test(character));
      i += name.length + 3;
    } else if (pattern[i + 1] === "-" && i + 2 < pattern.length && pattern[i + 2] !== "]") {
      const high = pattern[i + 2] as string;
      members.push((character) => character >= low && character <= high);
      i += 2;
    } else {
      members.push((character) => character === low);
    }
  }
  return undefined;
}

/** Only the last star needs to be tried again: what it takes more, an earlier one need not. */
function matches(steps: readonly Step[], text: readonly string[]): boolean {
  let step = 0;
  let at = 0;
  let starStep = -1;
  let starAt = 0;
  while (at < text.length) {
    const current = steps[step];
    if (current === "star") {
      starStep = step++;
      starAt = at;
    } else if (current?.(text[at] as string)) {
      step++;
      at++;
    } else if (starStep >= 0) {
      step = starStep + 1;
      at = ++starAt;
    } else {
      return false;
    }
  }
  while (steps[step] === "star") step++;
  return step === steps.length;
}
