/** What an installation is done to: files below a root, the service manager, commands. */
import type { RunCommand } from "../platform/run.ts";
import type { ServiceManager } from "./service-manager.ts";

export interface InstallHost {
  /** "" = this machine; else the directory of an image, without a slash at its end. */
  root: string;
  /** Undefined: in an image, without systemd, or when units are not to be touched. */
  manager: ServiceManager | undefined;
  run: RunCommand;
}
