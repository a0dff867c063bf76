/**
 * Builds the executable: `bun scripts/build.ts [--all] [--outdir=DIR]`.
 * Alone, for this machine as dist/agent; with --all, for every platform as dist/agent-PLATFORM
 * beside SHA256SUMS. Bun fetches the runtimes of other platforms through the npm registry.
 */
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../package.json" with { type: "json" };

const ROOT = join(import.meta.dir, "..");
const PLATFORMS = ["linux-x64", "linux-x64-baseline", "linux-arm64"];

const { values } = parseArgs({
  options: {
    all: { type: "boolean", default: false },
    outdir: { type: "string", default: join(ROOT, "dist") },
  },
});
const outdir = resolve(values.outdir);
mkdirSync(outdir, { recursive: true });
const built = values.all
  ? PLATFORMS.map((platform) => build(`agent-${platform}`, [`--target=bun-${platform}`]))
  : [build("agent", [])];
if (values.all) await writeChecksums(built);
for (const path of built) {
  console.log(`${path}  ${Math.round(statSync(path).size / 1024 ** 2)} MiB`);
}

/** @returns the path of the executable. */
function build(name: string, platform: readonly string[]): string {
  const path = join(outdir, name);
  runBun([
    "build",
    join(ROOT, "src/main.ts"),
    join(ROOT, "src/serve/store-thread/store-worker.ts"),
    "--compile",
    "--bytecode",
    "--format=esm",
    "--minify",
    "--sourcemap",
    // The default is to obey .env and bunfig.toml of whatever directory a root service starts in.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    `--define=AGENT_VERSION=${JSON.stringify(packageJson.version)}`,
    `--define=AGENT_COMMIT=${JSON.stringify(readCommit())}`,
    `--outfile=${path}`,
    ...platform,
  ]);
  // The executable has them inside.
  for (const map of [`${path}.map`, join(outdir, "store-worker.js.map")])
    rmSync(map, { force: true });
  return path;
}

function runBun(args: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, ...args], { cwd: ROOT });
  if (exitCode !== 0) throw new Error(`bun ${args.join(" ")}\n${stderr}`);
}

/** Abbreviated; "+" says that the tree differs from it. "unknown" outside a repository or without git. */
function readCommit(): string {
  if (Bun.which("git") === null) return "unknown";
  const git = (...args: string[]): string | undefined => {
    const { exitCode, stdout } = Bun.spawnSync(["git", ...args], { cwd: ROOT });
    return exitCode === 0 ? stdout.toString().trim() : undefined;
  };
  const commit = git("rev-parse", "--short=12", "HEAD");
  if (commit === undefined) return "unknown";
  return git("status", "--porcelain") === "" ? commit : `${commit}+`;
}

/** As sha256sum(1) checks it. */
async function writeChecksums(paths: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const path of paths) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    lines.push(`${hash.digest("hex")}  ${basename(path)}\n`);
  }
  writeFileSync(join(outdir, "SHA256SUMS"), lines.join(""));
}
