/** What end-to-end tests of `agent upload` are made of: directories, certificates, receivers and uploaders. */
import { afterAll, afterEach } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { useAgentBinary } from "./agent-binary.ts";
import { makeJournal } from "./journal-tools.ts";
import type { LoggedProcess } from "./logged-process.ts";
import { Receiver, type ReceiverOptions } from "./receiver.ts";
import { TempDir } from "./temp-dir.ts";
import { TestPki } from "./tls.ts";
import { UploaderProcess } from "./uploader-process.ts";

/** Directories may have become large, and the disk may be busy. */
const REMOVAL_LIMIT_MS = 60_000;

export interface RigUpload {
  /** Several for several receivers. */
  url: string | readonly string[];
  directory: string;
  /** The state file; default: a new one. */
  state?: string;
  args?: readonly string[];
  /** Default: the certificate "web1", and trust in its authority. */
  identity?: readonly string[];
  /** The command that runs a command somewhere else. */
  within?: (...command: string[]) => string[];
}

export class UploadRig implements Disposable {
  readonly #agent: { readonly path: string };
  readonly #owned = new DisposableStack();
  readonly #started: LoggedProcess[] = [];
  #dir: TempDir | undefined;
  #pki: TestPki | undefined;

  constructor(agent: { readonly path: string }) {
    this.#agent = agent;
  }

  /** The executable. */
  get agent(): string {
    return this.#agent.path;
  }

  get dir(): TempDir {
    this.#dir ??= this.#owned.use(new TempDir());
    return this.#dir;
  }

  /** With a certificate "web1". */
  get pki(): TestPki {
    if (this.#pki === undefined) {
      this.#pki = this.#owned.use(new TestPki());
      this.#pki.issue("web1");
    }
    return this.#pki;
  }

  newDirectory(): string {
    const path = join(this.dir.path, crypto.randomUUID());
    mkdirSync(path);
    return path;
  }

  /** The path of a state file in a directory of its own. */
  newState(): string {
    return join(this.newDirectory(), "state");
  }

  /** A new directory with a journal "system.journal". */
  newJournal(exportStream: string | Uint8Array): string {
    const directory = this.newDirectory();
    makeJournal(join(directory, "system.journal"), exportStream);
    return directory;
  }

  /** `agent serve` at a free port, unless told otherwise. Ends with the test at the latest. */
  async startReceiver(
    output: string,
    options: Partial<Omit<ReceiverOptions, "output">> = {},
  ): Promise<Receiver> {
    const { agent, pki } = this;
    const receiver = await Receiver.start({ command: [agent, "serve"], pki, output, ...options });
    this.#started.push(receiver);
    return receiver;
  }

  /** Ends with the test at the latest. */
  startUpload(upload: RigUpload): UploaderProcess {
    const { url, directory, state = this.newState(), args = [] } = upload;
    const { identity = this.pki.uploadArgs("web1"), within = (...words) => words } = upload;
    const urls = [url].flat().map((one) => `--url=${one}`);
    const places = [`--directory=${directory}`, `--save-state=${state}`];
    const sender = new UploaderProcess(
      within(this.agent, "upload", ...urls, ...places, ...identity, ...args),
    );
    this.#started.push(sender);
    return sender;
  }

  async killStarted(): Promise<void> {
    await Promise.all(this.#started.splice(0).map((child) => child.kill()));
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** To be called where tests are described; what they start ends with each of them, the files with the last. */
export function useUploadRig(): UploadRig {
  const rig = new UploadRig(useAgentBinary());
  afterEach(() => rig.killStarted());
  afterAll(() => rig[Symbol.dispose](), REMOVAL_LIMIT_MS);
  return rig;
}
