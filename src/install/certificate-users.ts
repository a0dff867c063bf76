/** Services that have read a certificate when they were started, and need another start for a new one. */
import type { RoleRecord } from "./manifest.ts";
import type { CertificatePlaces } from "./plan.ts";
import type { ServiceManager } from "./service-manager.ts";

/**
 * Those that run. The receiver's socket keeps connections waiting meanwhile.
 * @returns their names
 * @throws AgentError E_CONFIG for one that does not start
 */
export async function restartUsers(
  { certificate }: CertificatePlaces,
  roles: readonly RoleRecord[],
  manager: ServiceManager | undefined,
): Promise<string[]> {
  const users = roles
    .flatMap(({ units }) => units)
    .filter(({ name, dependsOn }) => name.endsWith(".service") && dependsOn.includes(certificate));
  const restarted: string[] = [];
  for (const name of new Set(users.map((unit) => unit.name))) {
    if ((await manager?.state(name))?.active !== "active") continue;
    await manager?.restart(name);
    restarted.push(name);
  }
  return restarted;
}
