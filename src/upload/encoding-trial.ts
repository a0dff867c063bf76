/**
 * What a receiver that is not ours takes compressed. What it announces does not tell in which form, and a body in the
 * wrong one would leave its entries in doubt: so requests without entries are sent first.
 */
import type { EncodedForm } from "./compressor.ts";
import type { UploadClient } from "./delivery-types.ts";
import { type EncodedBody, encodeFramesProbe, encodeProbe } from "./http/encode-body.ts";
import type { EncodingSetting } from "./settings.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface TrialOptions {
  client: UploadClient;
  url: string;
  setting: EncodingSetting;
  nowMs: number;
}

/** @returns undefined = it cannot be told now */
export async function findEncodedForm(
  options: TrialOptions,
): Promise<EncodedForm | "plain" | undefined> {
  const streamed = await send(options, encodeProbe(options.setting));
  if (streamed.kind === "accepted") return "frame";
  if (streamed.kind === "trouble") return undefined;
  // Only TLS keeps together what belongs together.
  if (!options.url.startsWith("https:")) return "plain";
  const framed = await send(options, encodeFramesProbe(options.setting));
  if (framed.kind === "accepted") return "records";
  return framed.kind === "trouble" ? undefined : "plain";
}

async function send(
  { client, url, setting, nowMs }: TrialOptions,
  encoded: EncodedBody,
): Promise<Verdict> {
  const contentType = "application/vnd.fdo.journal";
  const request = { contentType, contentEncoding: setting.encoding, ...encoded };
  return judge(await client.send(request), url, nowMs);
}
