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
import { type Identity, ThrowawayAuthority } from "./throwaway-certificates.ts";

const ROOT = join(import.meta.dir, "..");
const AGENT = join(ROOT, "dist/agent");
const EXPORT = join(ROOT, "test/fixtures/web1-boot.export");
const SENDER = "web1";

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

interface Certificates {
  authority: string;
  sender: Identity;
  stranger: Identity;
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
  const sent = readFileSync(EXPORT);
  const cursors = cursorsIn(sent);
  console.log("One sender, one receiver, mutual TLS; everything stays on this machine.");

  heading("1. Build the program");
  await build();

  heading("2. Make throw-away certificates");
  const certificates = await makeCertificates();

  heading("3. Start the receiver");
  const receiver = await startReceiver();

  heading(`4. Send it the journal of a boot of "${SENDER}": ${cursors.length} entries`);
  const { authority, sender, stranger } = certificates;
  await post(receiver, sent, { as: `"${SENDER}"`, identity: sender, authority, status: 202 });

  heading("5. Look at what it stored");
  showFiles();
  await showEntries();
  await checkCursors(cursors);

  heading("6. Send the same once more, as a sender does that was cut off before the answer");
  await post(receiver, sent, { as: `"${SENDER}"`, identity: sender, authority, status: 202 });
  await checkCursors(cursors);

  heading("7. Try without a certificate, and with one of another authority");
  await post(receiver, sent, { as: "somebody", identity: undefined, authority, status: 401 });
  await post(receiver, sent, {
    as: `other "${SENDER}"`,
    identity: stranger,
    authority,
    status: 401,
  });

  heading("8. Stop it, and check the files it leaves");
  await stopReceiver(receiver, cursors.length);
  checkFiles(cursors.length);

  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(
    `\nDone in ${seconds} s, every step was checked. The demo's files are removed again;`,
  );
  console.log("the program is dist/agent: try `dist/agent serve --help`.");
}

async function build(): Promise<void> {
  show("npm run build");
  const { stdout, stderr, status } = await run([process.execPath, "scripts/build.ts"], ROOT);
  check(status === 0, `it cannot be built\n${stdout}${stderr}`);
  const mebibytes = Math.round(statSync(AGENT).size / 1024 ** 2);
  const version = await run([AGENT, "--version"], directory);
  console.log(`   dist/agent, ${mebibytes} MiB: ${version.stdout.trim().split("\n")[0]}`);
}

async function makeCertificates(): Promise<Certificates> {
  const authority = await ThrowawayAuthority.create("Demo authority");
  const server = await authority.issue({
    commonName: "journal.example.net",
    usage: "server",
    alternativeNames: [{ type: "ip", value: "127.0.0.1" }],
  });
  const sender = await authority.issue({ commonName: SENDER, usage: "client" });
  const foreign = await ThrowawayAuthority.create("Somebody else's authority");
  const stranger = await foreign.issue({ commonName: SENDER, usage: "client" });
  const write = (name: string, content: string): void => {
    writeFileSync(join(directory, name), content, { mode: 0o600 });
  };
  write("ca.pem", authority.certificate);
  write("server.pem", server.certificate);
  write("server.key", server.key);
  console.log("   ca.pem      the authority whose certificates may send");
  console.log("   server.pem  the receiver, signed by it, for 127.0.0.1");
  console.log(`   (memory)    the sender "${SENDER}", signed by it`);
  return { authority: authority.certificate, sender, stranger };
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
    // Not this machine's configuration, should it have one.
    env: { SYSTEMD_JOURNAL_REMOTE_CONFIG_FILE: "/dev/null" },
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
  return { process: child, url: `https://${address}/upload`, log, logEnd };
}

/** The program takes real ports only; nobody else is likely to take this one in between. */
function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

interface PostOptions {
  /** For the reader. */
  as: string;
  /** The sender's certificate; undefined = none. */
  identity: Identity | undefined;
  /** The authority of the receiver's certificate, PEM. */
  authority: string;
  /** What the answer must be. */
  status: number;
}

async function post(receiver: Receiver, body: Buffer, options: PostOptions): Promise<void> {
  const { as, identity, authority, status } = options;
  const response = await inTime(
    fetch(receiver.url, {
      method: "POST",
      headers: { "Content-Type": "application/vnd.fdo.journal" },
      body,
      tls: {
        ca: authority,
        ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
      },
      keepalive: false,
      signal: interruption.signal,
    }),
  );
  const text = (await inTime(response.text())).trim();
  console.log(`   ${as}: POST ${receiver.url}: ${response.status} ${text}`);
  check(response.status === status, `the answer was ${response.status}, need ${status}`);
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
  return readdirSync(journal).map((name) => join(journal, name));
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
async function run(command: string[], cwd: string): Promise<RunResult> {
  const child = Bun.spawn(command, {
    cwd,
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
