/** Items that the plans of all roles are made of. */
import type { HostFacts } from "../host-facts.ts";
import type { PlannedFile, PlannedLink } from "../plan.ts";
import { formatUnit, type Section, type UnitForm } from "../units/unit-text.ts";
import { programPath, type RoleOptions } from "./options.ts";

const UNITS = "/etc/systemd/system";
const DROP_IN = "50-agent.conf";

export function fileItem(path: string, data: PlannedFile["data"], purpose: string): PlannedFile {
  return { kind: "file", path, mode: 0o644, data, purpose };
}

export function programItem({ prefix, binary }: RoleOptions): PlannedFile {
  const item = fileItem(programPath(prefix), { copyOf: binary }, "the program");
  return { ...item, mode: 0o755 };
}

/** A drop-in where others have brought the unit, else the whole of it. */
export function unitItem(
  name: string,
  sections: (form: UnitForm) => readonly Section[],
  { foreignUnits, systemdVersion }: HostFacts,
): PlannedFile {
  const form = { isDropIn: foreignUnits.has(name), systemdVersion };
  const text = formatUnit(sections(form), form);
  if (form.isDropIn) return fileItem(dropInPath(name), text, `drop-in of ${name}`);
  return fileItem(`${UNITS}/${name}`, text, name);
}

export function dropInPath(unit: string): string {
  return `${UNITS}/${unit}.d/${DROP_IN}`;
}

/** As `systemctl enable` makes it. @param template where the unit is an instance */
export function enableLink(
  name: string,
  target: string,
  { foreignUnits }: HostFacts,
  template: string = name,
): PlannedLink {
  return {
    kind: "link",
    path: `${UNITS}/${target}.wants/${name}`,
    target: foreignUnits.get(template) ?? `${UNITS}/${template}`,
    purpose: `${name} is started with ${target}`,
  };
}
