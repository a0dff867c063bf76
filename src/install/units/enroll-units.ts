/** The signer of enrolment: it alone has the authority's key, and runs for one request of the receiver at a time. */
import { ENROLL_SOCKET, programPath, type ServerOptions } from "../roles/options.ts";
import { SANDBOX } from "./sandbox.ts";
import { SERVER_USER } from "./server-units.ts";
import { quotePath, quoteWord, type Section } from "./unit-text.ts";

export const ENROLL_SOCKET_UNIT = "journal-agent-enroll.socket";
export const ENROLL_SERVICE_TEMPLATE = "journal-agent-enroll@.service";

/** Of those of root: the directory may be another user's, as Netdata's script makes it. */
const CAPABILITIES = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER";

export function enrollSocket(): Section[] {
  return [
    {
      name: "Unit",
      directives: [["Description", "Socket of the signer of journal certificates"]],
    },
    {
      name: "Socket",
      directives: [
        ["ListenStream", ENROLL_SOCKET],
        ["SocketUser", SERVER_USER],
        ["SocketMode", "0600"],
        ["Accept", "yes"],
        ["MaxConnections", "8"],
        ["TriggerLimitIntervalSec", "0"],
        ["RemoveOnStop", "yes"],
      ],
    },
    { name: "Install", directives: [["WantedBy", "sockets.target"]] },
  ];
}

export function enrollService({ prefix, authorityDirectory }: ServerOptions): Section[] {
  const command = [
    quoteWord(programPath(prefix)),
    "certs",
    "answer",
    quoteWord(`--directory=${authorityDirectory}`),
  ];
  return [
    {
      name: "Unit",
      directives: [
        ["Description", "Signer of journal certificates"],
        ["CollectMode", "inactive-or-failed"],
      ],
    },
    {
      name: "Service",
      directives: [
        ["ExecStart", command.join(" ")],
        ["StandardInput", "socket"],
        ["StandardOutput", "socket"],
        ["StandardError", "journal"],
        ["RuntimeMaxSec", "1min"],
        ...SANDBOX.filter(([name]) => name !== "CapabilityBoundingSet"),
        ["CapabilityBoundingSet", CAPABILITIES],
        // Among the privileged calls, which are filtered: it gives its files to the owner of the directory.
        ["SystemCallFilter", "@chown"],
        ["ReadWritePaths", quotePath(authorityDirectory)],
        ["UMask", "0077"],
        ["PrivateNetwork", "yes"],
        ["RestrictAddressFamilies", "AF_UNIX"],
      ],
    },
  ];
}
