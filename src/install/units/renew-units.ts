/** Renewal of the certificates of this machine: the same for both roles, as both may be here. */
import { programPath } from "../roles/options.ts";
import { quotePath, quoteWord, type Section } from "./unit-text.ts";

export const RENEW_SERVICE = "journal-agent-renew.service";
export const RENEW_TIMER = "journal-agent-renew.timer";

/** It asks the service manager to restart what uses them, and may write only where they are. */
export function renewService(prefix: string): Section[] {
  return [
    {
      name: "Unit",
      directives: [
        ["Description", "Renewal of journal certificates"],
        ["Wants", "network-online.target"],
        ["After", "network-online.target"],
      ],
    },
    {
      name: "Service",
      directives: [
        ["Type", "oneshot"],
        ["ExecStart", `${quoteWord(programPath(prefix))} install --renew`],
        ["CapabilityBoundingSet", "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER"],
        ["LockPersonality", "yes"],
        ["NoNewPrivileges", "yes"],
        ["PrivateDevices", "yes"],
        ["PrivateTmp", "yes"],
        ["ProtectClock", "yes"],
        ["ProtectControlGroups", "yes"],
        ["ProtectHome", "read-only"],
        ["ProtectHostname", "yes"],
        ["ProtectKernelLogs", "yes"],
        ["ProtectKernelModules", "yes"],
        ["ProtectKernelTunables", "yes"],
        ["ProtectSystem", "strict"],
        // The lock of installations is in /run.
        ["ReadWritePaths", "-/etc/ssl -/var/lib/journal-agent /run"],
        ["RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"],
        ["RestrictNamespaces", "yes"],
        ["RestrictRealtime", "yes"],
        ["RestrictSUIDSGID", "yes"],
        ["SystemCallArchitectures", "native"],
        ["UMask", "0077"],
        ["TimeoutStartSec", "5min"],
      ],
    },
  ];
}

/** A drop-in for {@link RENEW_SERVICE}, where the authority is kept elsewhere. */
export function renewPaths(authorityDirectory: string): Section[] {
  return [
    { name: "Service", directives: [["ReadWritePaths", `-${quotePath(authorityDirectory)}`]] },
  ];
}

export function renewTimer(): Section[] {
  return [
    {
      name: "Unit",
      directives: [["Description", "Daily look at the journal certificates of this machine"]],
    },
    {
      name: "Timer",
      directives: [
        ["OnCalendar", "daily"],
        ["RandomizedDelaySec", "6h"],
        ["Persistent", "yes"],
      ],
    },
    { name: "Install", directives: [["WantedBy", "timers.target"]] },
  ];
}
