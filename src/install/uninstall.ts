/** `agent uninstall`: what was there before `agent install`. */
import { openHost } from "./install.ts";
import { lockInstallation } from "./recover.ts";
import { requireRoot } from "./require-root.ts";
import { type RestoreOptions, restore } from "./restore.ts";
import { describeStep } from "./steps.ts";

export interface UninstallRequest extends RestoreOptions {
  /** See HostFacts. */
  root: string;
}

export interface Uninstalled {
  /** What was done, or would be, a line each. */
  lines: string[];
  warnings: string[];
  /** What --purge would remove as well. */
  kept: string[];
}

/** @throws AgentError E_CONFIG for files that were edited by hand: then nothing was done */
export async function uninstall({ root, ...options }: UninstallRequest): Promise<Uninstalled> {
  requireRoot("uninstall");
  const lock = lockInstallation(root);
  try {
    const { steps, warnings, kept } = await restore(openHost(root), options);
    const lines = steps.flatMap((step) => describeStep(step, { root, withContent: false }));
    return { lines, warnings, kept };
  } finally {
    lock.release();
  }
}
