/**
 * In which order units stop and start. Clients connect at any time: a service that is stopped while its socket listens is
 * started again by the next of them, and holds the port, so that the socket cannot be started anew. So the socket is stopped
 * first, then its service, and then nobody has the port.
 */

/** "a.socket" → "a.service", which it starts, and which listens in its place from then on; undefined for other units. */
export function serviceOf(unit: string): string | undefined {
  return unit.endsWith(".socket") ? unit.replace(/\.socket$/, ".service") : undefined;
}

/** Those that were started last go first, but sockets before all others. */
export function inStopOrder<Unit extends { name: string }>(units: readonly Unit[]): Unit[] {
  const lastFirst = units.toReversed();
  const isSocket = ({ name }: Unit): boolean => serviceOf(name) !== undefined;
  return [...lastFirst.filter(isSocket), ...lastFirst.filter((unit) => !isSocket(unit))];
}
