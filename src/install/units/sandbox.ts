/**
 * What the services of both roles have in common: how they are kept running, and what they cannot do. `systemd-analyze
 * security` says 1.5 at most.
 *
 * Left out, as the program needs what it takes away:
 * - MemoryDenyWriteExecute=yes: JavaScript is compiled while it runs. It says no, as the stock units say yes.
 * - ProcSubset=pid on senders: they find the running boot in /proc/sys/kernel/random/boot_id.
 * - RootDirectory=, RootImage=: the program is a single file, but names are resolved by the libraries of the host.
 * - IPAddressDeny=: who may send is said by certificates, and where to is said by the URL.
 * - DevicePolicy=: PrivateDevices= brings it.
 */
import type { Directive } from "./unit-text.ts";

/** systemd's own units have a watchdog and a limit like these. */
export const KEPT_RUNNING: readonly Directive[] = [
  ["Type", "notify"],
  ["WatchdogSec", "3min"],
  ["Restart", "always"],
  ["RestartSec", "1s"],
  ["RestartSteps", "5"],
  ["RestartMaxDelaySec", "15s"],
  // Open requests have five seconds to end, what was received is synced behind them.
  ["TimeoutStopSec", "30s"],
  ["LimitNOFILE", "524288"],
];

/** Of [Unit]: however often it ends, it is started again. */
export const NEVER_GIVEN_UP: Directive = ["StartLimitIntervalSec", "0"];

/** With nothing said about users, files and the network yet. */
export const SANDBOX: readonly Directive[] = [
  ["AmbientCapabilities", ""],
  ["CapabilityBoundingSet", ""],
  ["KeyringMode", "private"],
  ["LockPersonality", "yes"],
  ["MemoryDenyWriteExecute", "no"],
  ["NoNewPrivileges", "yes"],
  ["PrivateDevices", "yes"],
  ["PrivateIPC", "yes"],
  ["PrivateMounts", "yes"],
  ["PrivateTmp", "yes"],
  ["ProtectClock", "yes"],
  ["ProtectControlGroups", "yes"],
  ["ProtectHome", "yes"],
  ["ProtectHostname", "yes"],
  ["ProtectKernelLogs", "yes"],
  ["ProtectKernelModules", "yes"],
  ["ProtectKernelTunables", "yes"],
  ["ProtectProc", "invisible"],
  ["ProtectSystem", "strict"],
  ["RemoveIPC", "yes"],
  ["RestrictNamespaces", "yes"],
  ["RestrictRealtime", "yes"],
  ["RestrictSUIDSGID", "yes"],
  ["SystemCallArchitectures", "native"],
  ["SystemCallErrorNumber", "EPERM"],
  ["SystemCallFilter", "@system-service"],
  ["SystemCallFilter", "~@privileged @resources"],
];
