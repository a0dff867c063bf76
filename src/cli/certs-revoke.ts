/** `agent certs revoke` and `crl`. */
import { Authority } from "../certs/authority.ts";
import { LISTS_FILE, pathIn } from "../certs/directory.ts";
import type { IndexEntry } from "../certs/index-file.ts";
import { LIST_DAYS, LIST_DAYS_MAX } from "../certs/profiles.ts";
import { isRevocationReason, REVOCATION_REASONS } from "../certs/reasons.ts";
import { readListDates } from "../certs/revocation-list.ts";
import { revokeCertificates } from "../certs/revoke.ts";
import { AgentError, type ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { parseCount } from "./args.ts";
import {
  type CertsVerb,
  DAYS_OPTION,
  formatTime,
  PASSPHRASE_OPTION,
  valueOption,
} from "./certs-verb.ts";

export const revokeVerb: CertsVerb = {
  words: "NAME|SERIAL...",
  wordCounts: [1, Number.POSITIVE_INFINITY],
  description:
    "Revoke every valid certificate of a host, or the one with a serial number, and say so in crl.pem.",
  options: [
    valueOption(
      "reason",
      "REASON",
      `${Object.keys(REVOCATION_REASONS).join(", ")} (default: unspecified)`,
    ),
    PASSPHRASE_OPTION,
  ],
  notes: [
    "agent serve reads crl.pem again by itself where CRLFile= names it, and closes the host's connections. On another machine the file has to be brought there.",
  ],
  async run(call): Promise<ExitStatus | 0> {
    const reason = call.option("reason") ?? "unspecified";
    if (!isRevocationReason(reason)) {
      const need = `need one of ${Object.keys(REVOCATION_REASONS).join(", ")}`;
      throw new AgentError("E_USAGE", `--reason: Cannot use "${reason}": ${need}`);
    }
    using authority = await Authority.open(call.authority);
    const { revoked, already } = await revokeCertificates(authority, call.words, reason);
    const lists = pathIn(call.directory, LISTS_FILE);
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
    const text = call.option("days");
    const days = text === undefined ? LIST_DAYS : parseCount(text, 1, LIST_DAYS_MAX);
    using authority = await Authority.open(call.authority);
    const file = await authority.listsFile({ days });
    authority.commit({ replace: [file] });
    const path = pathIn(call.directory, LISTS_FILE);
    const next = formatTime(readListDates(file.data)?.nextUpdateMs ?? call.nowMs);
    return call.result({ crl: path, nextUpdate: next }, `${path}\n  next due on ${next}\n`);
  },
};

function describe({ name, serial, expiresMs }: IndexEntry): object {
  return { name, serial, notAfter: formatTime(expiresMs) };
}
