/** Which encoding a receiver takes, by what it said in an answer's Accept-Encoding. */
import type { EncodingSetting } from "../settings.ts";

/** As RFC 9110 12.4.2: "0", "0.5", "1.000"; what is no number counts as 1, as it does for systemd. */
const WEIGHT = /^q=([01](?:\.\d{0,3})?)$/i;

/**
 * The configured encoding that the receiver prefers; among those it likes as much, the one
 * configured first. @returns undefined = send plain.
 */
export function chooseEncoding(
  acceptEncoding: string | undefined,
  configured: readonly EncodingSetting[],
): EncodingSetting | undefined {
  const weights = parseWeights(acceptEncoding ?? "");
  const others = weights.get("*") ?? 0;
  let chosen: EncodingSetting | undefined;
  let chosenWeight = 0;
  for (const setting of configured) {
    const weight = weights.get(setting.encoding) ?? others;
    if (weight <= chosenWeight) continue;
    chosen = setting;
    chosenWeight = weight;
  }
  return chosen;
}

function parseWeights(header: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const token of header.split(",")) {
    const [name = "", ...parameters] = token.split(";").map((part) => part.trim());
    const weight = parameters.map((parameter) => WEIGHT.exec(parameter)?.[1]).find(Boolean);
    if (name !== "") weights.set(name.toLowerCase(), Number(weight ?? 1));
  }
  return weights;
}
