/**
 * Builds the executable: `bun scripts/build.ts [--all] [--outdir=DIR]`, for this machine as dist/agent.
 * With --all, for every platform, as what is to be published and install.sh fetches:
 *
 *     dist/release/install.sh              whose AGENT_BASE_URL is by default that of this build
 *     dist/release/latest                  VERSION
 *     dist/release/vVERSION/SHA256SUMS
 *     dist/release/vVERSION/agent-PLATFORM
 *
 * Bun fetches the runtimes of other platforms through the npm registry.
 */
import { createHash } from "node:crypto";
import {
  createReadStream,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
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
const built = values.all
  ? await buildRelease(join(outdir, "release"))
  : [build(join(outdir, "agent"), [])];
for (const path of built) {
  console.log(`${path}  ${Math.round(statSync(path).size / 1024 ** 2)} MiB`);
}

/** @returns the paths of the executables. */
async function buildRelease(dir: string): Promise<string[]> {
  const { AGENT_BASE_URL = "" } = Bun.env;
  const installer = readInstaller(AGENT_BASE_URL);
  rmSync(dir, { recursive: true, force: true });
  const paths = PLATFORMS.map((platform) =>
    build(join(dir, `v${packageJson.version}`, `agent-${platform}`), [`--target=bun-${platform}`]),
  );
  await writeChecksums(paths);
  writeFileSync(join(dir, "install.sh"), installer, { mode: 0o755 });
  writeFileSync(join(dir, "latest"), `${packageJson.version}\n`);
  return paths;
}

/** @param baseUrl where it fetches releases unless told otherwise, or "". */
function readInstaller(baseUrl: string): string {
  // It becomes a word of the shell.
  if (!/^(https?:\/\/[\w.:[\]/~%+-]+)?$/.test(baseUrl)) {
    throw new Error(`Cannot build: AGENT_BASE_URL is "${baseUrl}", need an http or https URL`);
  }
  const [before, after, ...more] = readFileSync(join(ROOT, "install.sh"), "utf8").split(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
    "${AGENT_BASE_URL:-}",
  );
  if (after === undefined || more.length > 0) {
    throw new Error("Cannot build: install.sh does not have its AGENT_BASE_URL");
  }
  return `${before}\${AGENT_BASE_URL:-${baseUrl}}${after}`;
}

/** @returns the path. */
function build(path: string, platform: readonly string[]): string {
  mkdirSync(dirname(path), { recursive: true });
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
  for (const map of [`${path}.map`, join(dirname(path), "store-worker.js.map")])
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

/** As sha256sum(1) checks it, beside them. */
async function writeChecksums(paths: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const path of paths) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    lines.push(`${hash.digest("hex")}  ${basename(path)}\n`);
  }
  writeFileSync(join(dirname(paths[0] ?? ""), "SHA256SUMS"), lines.join(""));
}
