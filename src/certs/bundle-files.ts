/** A host's bundle and script, made from the authority's directory and written where nobody can replace them. */
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { AgentError } from "../errors.ts";
import { replaceSynced } from "../platform/synced-file.ts";
import type { Authority } from "./authority.ts";
import { type Bundle, formatBundle } from "./bundle.ts";
import { bundleFile, findIntruder, scriptFile } from "./directory.ts";
import { readHost } from "./issue.ts";
import { formatPrivateKey } from "./keys.ts";
import { formatScript } from "./runme-script.ts";
import { asFileError } from "./transaction.ts";
import { readListsText, readTrustedText } from "./trust-files.ts";

export interface BundleOptions {
  server: string | undefined;
  /** One file; "-" is stdout. Undefined: both forms, in the authority's directory. */
  output: string | undefined;
}

export interface HostBundle {
  files: string[];
  /** For stdout. */
  text: string | undefined;
  hasKey: boolean;
}

const BUNDLE_MODE = 0o600;
const SCRIPT_MODE = 0o700;

/** @throws AgentError E_CERT without a valid certificate, or for a place where others could replace the file */
export async function makeBundles(
  authority: Authority,
  name: string,
  options: BundleOptions,
): Promise<HostBundle> {
  const bundle = await readBundle(authority, name, options.server);
  const hasKey = bundle.key !== undefined;
  if (options.output === "-") return { files: [], text: formatBundle(bundle), hasKey };
  const paths =
    options.output === undefined
      ? [bundleFile(name), scriptFile(name)].map((file) => authority.path(file))
      : [resolve(options.output)];
  for (const path of paths) write(path, bundle);
  return { files: paths, text: undefined, hasKey };
}

/** A line for each file, with what is to be done with it. */
export function describeFiles(files: readonly string[]): string {
  return files
    .map((file) => {
      const use = file.endsWith(".sh")
        ? `on the host: sh ${basename(file)}`
        : `on the host: agent install --bundle=${basename(file)}`;
      return `${file}\n  ${use}\n`;
    })
    .join("");
}

async function readBundle(
  authority: Authority,
  name: string,
  server: string | undefined,
): Promise<Bundle> {
  const { certificate, key, status } = readHost(authority, name);
  if (certificate === undefined || status !== "valid") {
    const problem = {
      absent: "it has no certificate of this authority",
      expired: "its certificate has expired",
      revoked: "its certificate is revoked",
      valid: "it has no certificate",
    }[status];
    const hint = `agent certs issue ${name} makes one`;
    throw new AgentError("E_CERT", `Cannot bundle "${name}": ${problem}`, { hint });
  }
  return {
    name,
    role: certificate.facts.role,
    server,
    certificate: certificate.pem,
    // Whatever form the file has.
    key: key === undefined ? undefined : await formatPrivateKey(key, undefined),
    authorities: readTrustedText(authority),
    lists: readListsText(authority),
  };
}

function write(path: string, bundle: Bundle): void {
  const directory = dirname(path);
  if (!existsSync(directory)) {
    throw new AgentError("E_USAGE", `Cannot write "${path}": no such directory`);
  }
  const intruder = findIntruder(directory);
  if (intruder !== undefined) {
    const message = `Cannot write "${path}": it could be replaced by ${intruder}`;
    const hint = `Choose a directory of root's own: --output=/root/${basename(path)}`;
    throw new AgentError("E_CERT", message, { hint });
  }
  const isScript = path.endsWith(".sh");
  try {
    replaceSynced(
      join(directory, basename(path)),
      isScript ? formatScript(bundle) : formatBundle(bundle),
      {
        mode: isScript ? SCRIPT_MODE : BUNDLE_MODE,
      },
    );
  } catch (error) {
    throw asFileError(error);
  }
}
