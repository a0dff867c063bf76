/** Who may set a machine up. */
import { AgentError } from "../errors.ts";

/**
 * First of all: others may not even read what is installed.
 * @param verb for the message: "install". @throws AgentError E_CONFIG
 */
export function requireRoot(verb: string, uid: number = process.getuid?.() ?? 0): void {
  if (uid === 0) return;
  const message = `Cannot ${verb}: this is user ${uid}, need root`;
  throw new AgentError("E_CONFIG", message, { hint: "Run it with sudo" });
}
