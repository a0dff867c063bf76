/** `agent certs revoke` and `crl`. */
import { join } from "node:path";
import { Authority } from "../certs/authority.ts";
import { LISTS_FILE } from "../certs/directory.ts";
import type { IndexEntry } from "../certs/index-file.ts";
import { LIST_DAYS, LIST_DAYS_MAX } from "../certs/profiles.ts";
import { REVOCATION_REASONS, type RevocationReason } from "../certs/reasons.ts";
import { readListDates } from "../certs/revocation-list.ts";
import { revokeCertificates } from "../certs/revoke.ts";
import type { ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import {
  type CertsVerb,
  choiceOf,
  DAYS_OPTION,
  daysOf,
  formatTime,
  PASSPHRASE_OPTION,
  valueOption,
} from "./certs-verb.ts";

const REASONS = Object.keys(REVOCATION_REASONS) as RevocationReason[];

export const revokeVerb: CertsVerb = {
  words: "NAME|SERIAL...",
  wordCounts: [1],
  description:
    "Revoke every valid certificate of a host, or the one with a serial number, and say so in crl.pem.",
  options: [
    valueOption("reason", "REASON", `${REASONS.join(", ")} (default: unspecified)`),
    PASSPHRASE_OPTION,
  ],
  notes: [
    "agent serve reads crl.pem again by itself where CRLFile= names it, and closes the host's connections. On another machine the file has to be brought there.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    const reason = choiceOf(call, "reason", REASONS) ?? "unspecified";
    using authority = await Authority.open(call.authority);
    const { revoked, already } = await revokeCertificates(authority, call.words, reason);
    const lists = join(call.directory, LISTS_FILE);
    if (revoked.length === 0) log.info("All of it is revoked already: nothing is changed");
    return call.result(
      { revoked: revoked.map(describe), already: already.map(describe), crl: lists },
      revoked.map(({ name, serial }) => `Revoked "${name}", ${serial}\n`).join(""),
    );
  },
};

export const crlVerb: CertsVerb = {
  description: "Write crl.pem anew, the list of revoked certificates; revoke does so by itself.",
  options: [
    {
      ...DAYS_OPTION,
      description: "When the next list is due: after that, every host is refused",
      defaultText: String(LIST_DAYS),
    },
    PASSPHRASE_OPTION,
  ],
  async run(call): Promise<ExitStatus | 0> {
    const days = daysOf(call, LIST_DAYS_MAX) ?? LIST_DAYS;
    using authority = await Authority.open(call.authority);
    const file = await authority.listsFile({ days });
    authority.commit({ replace: [file] });
    const path = join(call.directory, LISTS_FILE);
    const next = formatTime(readListDates(file.data)?.nextUpdateMs ?? call.nowMs);
    return call.result({ crl: path, nextUpdate: next }, `${path}\n  next due on ${next}\n`);
  },
};

function describe({ name, serial, expiresMs }: IndexEntry): object {
  return { name, serial, notAfter: formatTime(expiresMs) };
}
