/** systemd-journal-upload.service as it runs our program, and the template for journal namespaces. */
import { type ClientOptions, programPath } from "../roles/options.ts";
import { loadCredentials } from "./credentials.ts";
import { KEPT_RUNNING, NEVER_GIVEN_UP, SANDBOX } from "./sandbox.ts";
import { type Directive, quoteWord, type Section, type UnitForm } from "./unit-text.ts";

export const CLIENT_SERVICE = "systemd-journal-upload.service";
export const NAMESPACE_TEMPLATE = "systemd-journal-upload@.service";
const NETWORK = "network-online.target";

export function namespaceService(namespace: string): string {
  return NAMESPACE_TEMPLATE.replace("@", `@${namespace}`);
}

export function clientService(options: ClientOptions, form: UnitForm): Section[] {
  return uploadService(options, form, {
    name: "journal-upload",
    description: "Sender of the journal",
    source: ["--save-state"],
  });
}

/** One instance is for one namespace, with a position of its own. */
export function namespaceTemplate(options: ClientOptions, form: UnitForm): Section[] {
  return uploadService(options, form, {
    name: "journal-upload@%i",
    description: "Sender of the journal of namespace %i",
    source: ["--namespace=%i", "--save-state=/var/lib/systemd/journal-upload@%i/state"],
  });
}

interface Upload {
  /** Of its directories below those named systemd. */
  name: string;
  description: string;
  /** Arguments. */
  source: readonly string[];
}

function uploadService(
  { prefix, certificates }: ClientOptions,
  form: UnitForm,
  { name, description, source }: Upload,
): Section[] {
  const credentials =
    certificates && loadCredentials(certificates, `systemd-${name}`, form.systemdVersion);
  const program = [quoteWord(programPath(prefix)), "upload"];
  const command = [...program, ...source, ...(credentials?.arguments ?? [])];
  const unit: Directive[] = form.isDropIn ? [] : [["Description", description]];
  return [
    {
      name: "Unit",
      directives: [...unit, ["Wants", NETWORK], ["After", NETWORK], NEVER_GIVEN_UP],
    },
    {
      name: "Service",
      directives: [
        ...(credentials?.directives ?? []),
        ["ExecStart", command.join(" ")],
        ["DynamicUser", "yes"],
        ["User", "systemd-journal-upload"],
        // Who is in it may read journals.
        ["SupplementaryGroups", "systemd-journal"],
        ["StateDirectory", `systemd/${name}`],
        ...KEPT_RUNNING,
        ...SANDBOX,
        ["UMask", "0077"],
        ["PrivateUsers", "yes"],
        ["RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"],
      ],
    },
    { name: "Install", directives: [["WantedBy", "multi-user.target"]] },
  ];
}
