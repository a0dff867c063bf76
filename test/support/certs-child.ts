/**
 * `bun certs-child.ts DIRECTORY`: changes an authority without end, until it is killed. On stdout "ready", then a line for each
 * change that is done: "issued NAME SERIAL", "renewed NAME SERIAL", "revoked NAME SERIAL".
 */
import { writeSync } from "node:fs";
import { Authority } from "../../src/certs/authority.ts";
import { issueCertificate } from "../../src/certs/issue.ts";
import { renewCertificates } from "../../src/certs/renew.ts";
import { revokeCertificates } from "../../src/certs/revoke.ts";

const [directory = ""] = process.argv.slice(2);
writeSync(1, "ready\n");

for (;;) {
  const name = `host${crypto.randomUUID().slice(0, 8)}`;
  using authority = await Authority.open({
    directory,
    nowMs: Date.now(),
    passphrase: async () => undefined,
    report: (message) => writeSync(1, `${message}\n`),
  });
  const { facts } = await issueCertificate(authority, {
    name,
    names: [],
    role: "both",
    days: 30,
    keyType: undefined,
    replace: "no",
  });
  writeSync(1, `issued ${name} ${facts.serial}\n`);
  const { renewed } = await renewCertificates(authority, {
    hosts: [name],
    expiringMs: undefined,
    days: undefined,
    newKeys: true,
  });
  writeSync(1, `renewed ${name} ${renewed[0]?.serial}\n`);
  const { revoked } = await revokeCertificates(authority, [name], "superseded");
  for (const { serial } of revoked) writeSync(1, `revoked ${name} ${serial}\n`);
}
