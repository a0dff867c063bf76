/** Which build this is. scripts/build.ts puts the values in with --define. */
import packageJson from "../package.json" with { type: "json" };

declare const AGENT_VERSION: string;
declare const AGENT_COMMIT: string;

export const VERSION = typeof AGENT_VERSION === "string" ? AGENT_VERSION : packageJson.version;

/** Abbreviated commit id; "development" when run from the sources. */
const COMMIT = typeof AGENT_COMMIT === "string" ? AGENT_COMMIT : "development";

/** One line for --version. @param program the name it was started under. */
export function versionText(program: string): string {
  return `${program} ${VERSION} (commit ${COMMIT}, Bun ${Bun.version})`;
}
