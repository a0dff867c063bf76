/** The part of the plans that renews certificates. */
import type { HostFacts } from "../host-facts.ts";
import type { Plan } from "../plan.ts";
import { RENEW_SERVICE, RENEW_TIMER, renewService, renewTimer } from "../units/renew-units.ts";
import { enableLink, unitItem } from "./items.ts";
import type { RoleOptions } from "./options.ts";

export function renewalPart(
  { renews, prefix }: RoleOptions,
  facts: HostFacts,
): Pick<Plan, "items" | "units" | "byproducts"> {
  if (!renews) return { items: [], units: [], byproducts: [] };
  const service = unitItem(RENEW_SERVICE, () => renewService(prefix), facts);
  const timer = unitItem(RENEW_TIMER, () => renewTimer(), facts);
  return {
    items: [service, timer, enableLink(RENEW_TIMER, "timers.target", facts)],
    units: [
      { name: RENEW_TIMER, activation: "start", dependsOn: [timer.path] },
      { name: RENEW_SERVICE, activation: "none", dependsOn: [service.path] },
    ],
    byproducts: [`/var/lib/systemd/timers/stamp-${RENEW_TIMER}`],
  };
}
