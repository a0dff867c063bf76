/** What is the same on a sender whose program is ours, and on one with systemd's. */
import type { PlannedFile } from "../plan.ts";
import { CLIENT_CONFIGURATION, clientConfiguration } from "../units/configuration.ts";
import { fileItem } from "./items.ts";
import type { ClientOptions } from "./options.ts";

/** Those that it reads once. */
export function certificatePaths({ certificates }: ClientOptions): string[] {
  if (certificates === undefined) return [];
  const { key, certificate, authority } = certificates;
  return [key, certificate, authority];
}

export function configurationItems(options: ClientOptions): PlannedFile[] {
  const text = clientConfiguration(options);
  if (text === undefined) return [];
  return [fileItem(CLIENT_CONFIGURATION, text, "the sender's configuration")];
}

/** The state of a service with a dynamic user is in a directory that no other user sees, and a link to it. */
export function stateDirectories(name: string): string[] {
  return [`/var/lib/systemd/${name}`, `/var/lib/private/systemd/${name}`];
}
