/** The executable that the end-to-end tests run. */
import { afterAll, beforeAll } from "bun:test";
import { join } from "node:path";
import { run } from "./run-agent.ts";
import { TempDir } from "./temp-dir.ts";

const ROOT = join(import.meta.dir, "../..");

/**
 * To be called at the top of a test file: its path is there before the first test. It is the file
 * that the environment names in AGENT_BINARY, or one built from the sources for this test file.
 */
export function useAgentBinary(): { readonly path: string } {
  const { AGENT_BINARY } = Bun.env;
  if (AGENT_BINARY !== undefined) return { path: AGENT_BINARY };
  const dist = new DisposableStack();
  let path = "";
  beforeAll(async () => {
    const dir = dist.use(new TempDir());
    path = join(dir.path, "agent");
    const build = [process.execPath, join(ROOT, "scripts/build.ts"), `--outdir=${dir.path}`];
    const { status, stderr } = await run(build);
    if (status !== 0) throw new Error(`The executable cannot be built: ${stderr}`);
  }, 120_000);
  afterAll(() => dist.dispose());
  return {
    get path(): string {
      return path;
    },
  };
}
