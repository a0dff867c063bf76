/**
 * The demo behind ./scripts/demo: one sender, one receiver, mutual TLS, all on this machine. Every
 * step is checked; the exit status is 0 only if all went as told. Leaves nothing behind but
 * dist/agent, also when it is interrupted or fails.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { verifyJournalFile } from "../src/journal/verify.ts";
import { ThrowawayAuthority } from "./throwaway-certificates.ts";

const ROOT = join(import.meta.dir, "..");
const AGENT = join(ROOT, "dist/agent");
const EXPORT = join(ROOT, "test/fixtures/web1-boot.export");
const SENDER = "web1";

/** Not this machine's configuration, should it have one. */
const ENVIRONMENT = {
  SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null",
  SYSTEMD_JOURNAL_UPLOAD_CONFIG_FILE: "/dev/null",
};

const STEP_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;
/** Readers before this cannot open files with keyed hashes; those before 252 were not tried. */
const JOURNALCTL_VERSION_MIN = 252;

interface Receiver {
  process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  url: string;
  /** Everything it logged so far. */
  log: string[];
  /** Resolves at the end of its log. */
  logEnd: Promise<void>;
}

const interruption = new AbortController();
for (const [signal, status] of [
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.once(signal, () => {
    process.exitCode = status;
    interruption.abort(new Error(`Interrupted by ${signal}`));
  });
}

const directory = mkdtempSync(join(tmpdir(), "agent-demo-"));
const running = new Set<Bun.Subprocess>();
/** Undefined: nobody looked yet. */
let journalctlIsUsable: boolean | undefined;
try {
  await runDemo();
} catch (error) {
  const reason = interruption.signal.aborted ? interruption.signal.reason : error;
  console.error(`\nThe demo failed: ${reason instanceof Error ? reason.message : reason}`);
  process.exitCode ??= 1;
} finally {
  await Promise.all([...running].map(endGroup));
  rmSync(directory, { recursive: true, force: true });
}

async function runDemo(): Promise<void> {
  const startMs = performance.now();
  const cursors = cursorsIn(readFileSync(EXPORT));
  console.log("One sender, one receiver, mutual TLS; everything stays on this machine.");

  heading("1. Build the program");
  await build();

  heading("2. Make throw-away certificates");
  await makeCertificates();

  heading(`3. Make the journal of a boot of "${SENDER}", as systemd-journald would have left it`);
  await makeJournal(cursors.length);

  heading("4. Start the receiver");
  const receiver = await startReceiver();

  heading(`5. Send it the journal of "${SENDER}"`);
  await upload(receiver, { as: SENDER, status: 0, says: `acknowledged=${cursors.length}` });

  heading("6. Look at what it stored");
  showFiles();
  await showEntries();
  await checkCursors(cursors);

  heading("7. Send again: what was acknowledged is not repeated");
  await upload(receiver, { as: SENDER, status: 0, says: "acknowledged=0" });

  heading("8. Lose the sender's state, and send everything once more");
  rmSync(join(directory, "state"));
  await upload(receiver, { as: SENDER, status: 0, says: `acknowledged=${cursors.length}` });
  await checkCursors(cursors);

  heading("9. Try without a certificate, and with one of another authority");
  await upload(receiver, { as: undefined, status: 69, says: "status 401" });
  await upload(receiver, { as: "stranger", status: 69, says: "status 401" });

  heading("10. Stop the receiver, and check the files it leaves");
  await stopReceiver(receiver, cursors.length);
  checkFiles(cursors.length);

  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(
    `\nDone in ${seconds} s, every step was checked. The demo's files are removed again;`,
  );
  console.log("the program is dist/agent: try `dist/agent upload --help`.");
}

async function build(): Promise<void> {
  show("npm run build");
  const { stdout, stderr, status } = await run([process.execPath, "scripts/build.ts"], ROOT);
  check(status === 0, `it cannot be built\n${stdout}${stderr}`);
  const mebibytes = Math.round(statSync(AGENT).size / 1024 ** 2);
  const version = await run([AGENT, "--version"], directory);
  console.log(`   dist/agent, ${mebibytes} MiB: ${version.stdout.trim().split("\n")[0]}`);
}

async function makeCertificates(): Promise<void> {
  const authority = await ThrowawayAuthority.create("Demo authority");
  const foreign = await ThrowawayAuthority.create("Somebody else's authority");
  const server = await authority.issue({
    commonName: "journal.example.net",
    usage: "server",
    alternativeNames: [{ type: "ip", value: "127.0.0.1" }],
  });
  const sender = await authority.issue({ commonName: SENDER, usage: "client" });
  const stranger = await foreign.issue({ commonName: SENDER, usage: "client" });
  writeFileSync(join(directory, "ca.pem"), authority.certificate);
  for (const [name, identity] of Object.entries({ server, [SENDER]: sender, stranger })) {
    writeFileSync(join(directory, `${name}.pem`), identity.certificate);
    writeFileSync(join(directory, `${name}.key`), identity.key, { mode: 0o600 });
  }
  console.log("   ca.pem        the authority that both sides trust");
  console.log("   server.pem    the receiver, signed by it, for 127.0.0.1");
  console.log(`   ${SENDER}.pem      the sender "${SENDER}", signed by it`);
  console.log(`   stranger.pem  "${SENDER}" too, but signed by somebody else's authority`);
}

/** By importing an export stream: there may be no journald here. */
async function makeJournal(entries: number): Promise<void> {
  mkdirSync(join(directory, SENDER));
  const file = `${SENDER}/system.journal`;
  show(`agent serve --output=${file} web1-boot.export`);
  const command = [AGENT, "serve", `--output=${file}`, "--keep-free=1M", EXPORT];
  const { stderr, status } = await run(command, directory, ENVIRONMENT);
  check(status === 0, `it ended with status ${status}\n${stderr}`);
  console.log(`   ${file}: ${entries} entries`);
}

/** Resolves when it listens. */
async function startReceiver(): Promise<Receiver> {
  mkdirSync(join(directory, "journal"));
  const args = [
    "serve",
    `--listen-https=127.0.0.1:${freePort()}`,
    "--trust=ca.pem",
    "--cert=server.pem",
    "--key=server.key",
    "--output=journal",
    "--keep-free=1M",
  ];
  show(`agent ${args.slice(0, 4).join(" ")} \\`);
  console.log(`       ${args.slice(4).join(" ")}`);
  const child = Bun.spawn([AGENT, ...args], {
    cwd: directory,
    env: ENVIRONMENT,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    detached: true,
  });
  running.add(child);
  const log: string[] = [];
  const listening = Promise.withResolvers<string>();
  const logEnd = followLog(child.stderr, (line) => {
    log.push(line);
    const address = / protocol=https address=(\S+)/.exec(line)?.[1];
    if (address !== undefined) listening.resolve(address);
  });
  logEnd.then(() => {
    listening.reject(new Error(`the receiver did not start\n${log.join("\n")}`));
  }, listening.reject);
  const address = await inTime(listening.promise);
  console.log(`   ${log.at(-1)}`);
  return { process: child, url: `https://${address}`, log, logEnd };
}

/** The program takes real ports only; nobody else is likely to take this one in between. */
function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

interface UploadOptions {
  /** Whose certificate is shown; undefined = none. */
  as: string | undefined;
  /** How it has to end, and what it has to say. */
  status: number;
  says: string;
}

async function upload(receiver: Receiver, { as, status, says }: UploadOptions): Promise<void> {
  const identity =
    as === undefined ? ["--key=-", "--cert=-"] : [`--key=${as}.key`, `--cert=${as}.pem`];
  const shown = [`--url=${receiver.url}`, "--trust=ca.pem", ...identity];
  const more = [`--directory=${SENDER}`, "--save-state=state", "--follow=no"];
  // Those who are refused would otherwise try for ever.
  const args = status === 0 ? more : ["--directory=web1", "--follow=no", "--retry=1"];
  show(`agent upload ${shown.join(" ")} \\`);
  console.log(`       ${args.join(" ")}`);
  const command = [AGENT, "upload", ...shown, ...args];
  const result = await run(command, directory, ENVIRONMENT);
  for (const line of result.stderr.trimEnd().split("\n")) console.log(`   ${line}`);
  check(result.status === status, `it ended with status ${result.status}, need ${status}`);
  check(result.stderr.includes(says), `it should say "${says}"`);
}

function showFiles(): void {
  for (const path of storedFiles()) {
    const kibibytes = Math.round(statSync(path).size / 1024);
    console.log(`   ${relative(directory, path)}, ${kibibytes} KiB`);
  }
}

/** With journalctl where there is one that can read the files. */
async function showEntries(): Promise<void> {
  if (!(await hasJournalctl())) {
    console.log("   (journalctl would show the entries; there is none here, or none new enough)");
    return;
  }
  const width = Math.max(process.stdout.columns ?? 100, 60) - "   ".length;
  for (const filter of [["-n", "6"], ["--priority=err"]]) {
    const args = ["-D", "journal", ...filter, "-o", "short-iso", "--utc"];
    show(`journalctl ${args.join(" ")}`);
    for (const line of (await journalctl(args)).toString().trimEnd().split("\n")) {
      console.log(`   ${line.length > width ? `${line.slice(0, width - 1)}…` : line}`);
    }
  }
}

/** What journalctl reads has the cursors that were sent, each once. */
async function checkCursors(sent: readonly string[]): Promise<void> {
  if (!(await hasJournalctl())) return;
  const stored = cursorsIn(await journalctl(["-D", "journal", "-o", "export"]));
  check(stored.length === sent.length, `${stored.length} entries are stored, need ${sent.length}`);
  const missing = sent.filter((cursor) => !stored.includes(cursor));
  check(missing.length === 0, `these are missing:\n${missing.join("\n")}`);
  console.log(`   ${stored.length} entries are stored, each with the cursor it had on ${SENDER}`);
}

/** Its last words count what came: all entries twice, once as duplicates. */
async function stopReceiver(receiver: Receiver, entries: number): Promise<void> {
  receiver.process.kill("SIGTERM");
  const status = await inTime(receiver.process.exited);
  await inTime(receiver.logEnd);
  running.delete(receiver.process);
  console.log(`   ${receiver.log.at(-1)}`);
  check(status === 0, `the receiver ended with status ${status}\n${receiver.log.join("\n")}`);
  const expected = `stored=${entries} duplicates=${entries} refused=0`;
  check(receiver.log.at(-1)?.endsWith(expected) === true, `the receiver should say "${expected}"`);
}

function checkFiles(entries: number): void {
  const paths = storedFiles();
  const [path = ""] = paths;
  const name = `remote-${SENDER}.journal`;
  check(paths.length === 1 && path.endsWith(`/${name}`), `"${name}" should be the only file`);
  const result = verifyJournalFile(path);
  const problems = result.problems.map(({ offset, what }) => `at ${offset}: ${what}`);
  check(result.problemCount === 0, `${name} is damaged\n${problems.join("\n")}`);
  check(result.entries === entries, `${name} has ${result.entries} entries, need ${entries}`);
  console.log(`   ${name}: ${result.entries} entries, ${result.objects} objects, no problems`);
}

function storedFiles(): string[] {
  const journal = join(directory, "journal");
  const names = readdirSync(journal).filter((name) => name.endsWith(".journal"));
  return names.map((name) => join(journal, name));
}

async function hasJournalctl(): Promise<boolean> {
  if (journalctlIsUsable === undefined && Bun.which("journalctl") !== null) {
    const { stdout } = await run(["journalctl", "--version"], directory);
    const version = Number(/^systemd (\d+)/.exec(stdout)?.[1]);
    journalctlIsUsable = version >= JOURNALCTL_VERSION_MIN;
  }
  return journalctlIsUsable ?? false;
}

async function journalctl(args: readonly string[]): Promise<Buffer> {
  const command = ["journalctl", "--no-pager", "--quiet", ...args];
  const { output, stderr, status } = await run(command, directory);
  check(status === 0, `"${command.join(" ")}" failed\n${stderr}`);
  return output;
}

interface RunResult {
  output: Buffer;
  stdout: string;
  stderr: string;
  status: number;
}

/** A command in a process group of its own, which ends with the demo. */
async function run(
  command: string[],
  cwd: string,
  env: Record<string, string | undefined> = Bun.env,
): Promise<RunResult> {
  const child = Bun.spawn(command, {
    cwd,
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  running.add(child);
  const [output, stderr, status] = await inTime(
    Promise.all([
      new Response(child.stdout).arrayBuffer(),
      new Response(child.stderr).text(),
      child.exited,
    ]),
  );
  running.delete(child);
  const bytes = Buffer.from(output);
  return { output: bytes, stdout: bytes.toString(), stderr, status };
}

async function endGroup(child: Bun.Subprocess): Promise<void> {
  signalGroup(child, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child, "SIGKILL"), STOP_LIMIT_MS);
  await child.exited;
  clearTimeout(timer);
}

function signalGroup(child: Bun.Subprocess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended by itself.
  }
}

async function followLog(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  }
}

/** Rejects when a step takes too long, or when the demo is interrupted. */
async function inTime<T>(work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const { signal } = interruption;
  const onAbort = (): void => reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  const timer = setTimeout(
    () => reject(new Error(`the step took more than ${STEP_LIMIT_MS / 1000} s`)),
    STEP_LIMIT_MS,
  );
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** The cursors of an export stream, in its order. */
function cursorsIn(stream: Buffer): string[] {
  return stream.toString("latin1").match(/^__CURSOR=.*$/gm) ?? [];
}

function check(isTrue: boolean, otherwise: string): asserts isTrue {
  if (!isTrue) throw new Error(otherwise);
}

function heading(text: string): void {
  console.log(`\n${text}`);
}

function show(command: string): void {
  console.log(`   $ ${command}`);
}
