/** What makes a machine one that sends its journal. */
import type { HostFacts } from "../host-facts.ts";
import type { Plan, PlanItem, PlannedUnit } from "../plan.ts";
import {
  CLIENT_SERVICE,
  clientService,
  NAMESPACE_TEMPLATE,
  namespaceService,
  namespaceTemplate,
} from "../units/client-units.ts";
import { certificatePaths, configurationItems, stateDirectories } from "./client-items.ts";
import { enableLink, programItem, unitItem } from "./items.ts";
import type { ClientOptions } from "./options.ts";
import { renewalPart } from "./renewal.ts";
import { stockClientPlan } from "./stock.ts";

/** @throws AgentError E_USAGE when a value cannot be written into a unit */
export function clientPlan(options: ClientOptions, facts: HostFacts): Plan {
  if (options.daemon === "systemd") return stockClientPlan(options, facts);
  const { namespaces } = options;
  const program = programItem(options);
  const configuration = configurationItems(options);
  const service = unitItem(CLIENT_SERVICE, (form) => clientService(options, form), facts);
  const templates =
    namespaces.length === 0
      ? []
      : [unitItem(NAMESPACE_TEMPLATE, (form) => namespaceTemplate(options, form), facts)];
  const common = [
    program.path,
    ...configuration.map(({ path }) => path),
    ...certificatePaths(options),
  ];
  const unit = (name: string, path: string): PlannedUnit => ({
    name,
    activation: "start",
    dependsOn: [...common, path],
  });
  const renewal = renewalPart(options, facts);
  const items: PlanItem[] = [
    program,
    ...configuration,
    service,
    ...templates,
    enableLink(CLIENT_SERVICE, "multi-user.target", facts),
    ...namespaces.map((namespace) => {
      const name = namespaceService(namespace);
      return enableLink(name, "multi-user.target", facts, NAMESPACE_TEMPLATE);
    }),
    ...renewal.items,
  ];
  return {
    role: "client",
    items,
    commands: [],
    units: [
      unit(CLIENT_SERVICE, service.path),
      ...templates.flatMap(({ path }) =>
        namespaces.map((namespace) => unit(namespaceService(namespace), path)),
      ),
      ...renewal.units,
    ],
    byproducts: [
      ...stateDirectories("journal-upload"),
      ...namespaces.flatMap((namespace) => stateDirectories(`journal-upload@${namespace}`)),
      ...renewal.byproducts,
    ],
    warnings: [],
  };
}
