/**
 * What a receiver that is not ours takes compressed. What it announces does not tell in which form, and a body in the
 * wrong one would leave its entries in doubt: so requests without entries are sent first.
 */
import { EXPORT_CONTENT_TYPE } from "./batch.ts";
import type { EncodedForm } from "./compressor.ts";
import type { UploadClient } from "./delivery-types.ts";
import { type EncodedBody, encodeFramesProbe, encodeProbe } from "./http/encode-body.ts";
import type { EncodingSetting } from "./settings.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface TrialOptions {
  client: UploadClient;
  url: string;
  setting: EncodingSetting;
  /** It said that it takes this encoding. */
  isAnnounced: boolean;
  nowMs: number;
}

/**
 * The form; or why there is none: "ignored": it takes a body for plain whatever it is called, "cut": it takes it only
 * as long as the network leaves it in one piece. Undefined = it cannot be told now.
 */
export type TrialResult = EncodedForm | "ignored" | "cut" | undefined;

export async function findEncodedForm(options: TrialOptions): Promise<TrialResult> {
  if (!options.isAnnounced) {
    const mislabelled = await send(options, EMPTY_LINE);
    if (mislabelled.kind === "accepted") return "ignored";
    if (mislabelled.kind === "trouble") return undefined;
  }
  const streamed = await send(options, encodeProbe(options.setting));
  if (streamed.kind === "accepted") return "frame";
  if (streamed.kind === "trouble") return undefined;
  // Only TLS keeps together what belongs together.
  if (!options.url.startsWith("https:")) return "cut";
  const framed = await send(options, encodeFramesProbe(options.setting));
  if (framed.kind === "accepted") return "records";
  return framed.kind === "trouble" ? undefined : "cut";
}

/** Not compressed at all: who decodes bodies does not accept it. */
const EMPTY_LINE: EncodedBody = { pieces: [Buffer.from("\n")], isChunked: false };

async function send(
  { client, url, setting, nowMs }: TrialOptions,
  encoded: EncodedBody,
): Promise<Verdict> {
  const request = {
    contentType: EXPORT_CONTENT_TYPE,
    contentEncoding: setting.encoding,
    ...encoded,
  };
  return judge(await client.send(request), url, nowMs);
}
