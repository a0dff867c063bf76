/** Names of the syslog priorities, by number. syslog(3) */
export const PRIORITIES = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
