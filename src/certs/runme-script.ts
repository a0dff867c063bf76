/** `runme-on-NAME.sh`: what a bundle holds, with a program in POSIX sh that puts it in place on a host without `agent`. */
import type { Bundle } from "./bundle.ts";
import program from "./runme.sh.txt" with { type: "text" };

/** Ends each text; PEM has no such line. */
const END = "END_OF_FILE";

/** @param bundle checked: its name and URL have no quotes, blanks or control characters */
export function formatScript(bundle: Bundle): string {
  const { name, role, server = "", certificate, key, authorities, lists } = bundle;
  const head = `#!/bin/sh
# Makes systemd-journal-remote and systemd-journal-upload of this machine use the certificate of
# "${name}". To be run by root, as often as you like; --uninstall takes everything back.${
    key === undefined ? "" : "\n# It holds a private key: remove it when it has done its work."
  }
set -eu

NAME='${name}'
ROLE='${role}'
SERVER='${server}'
HAS_KEY='${key === undefined ? "no" : "yes"}'
`;
  const texts = [
    formatText("certificate_text", certificate),
    formatText("key_text", key ?? ""),
    formatText("authority_text", authorities),
    formatText("lists_text", lists),
  ];
  return [head, ...texts, program].join("\n");
}

function formatText(name: string, text: string): string {
  return `${name}() {\n  cat <<'${END}'\n${text}${END}\n}\n`;
}
