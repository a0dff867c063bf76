import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import type {
  UploadAnswer,
  UploadClient,
  UploadFailure,
  UploadRequest,
} from "../../../src/upload/delivery-types.ts";
import { chooseEncoding } from "../../../src/upload/http/choose-encoding.ts";
import {
  encodeFrames,
  encodeFramesProbe,
  encodeProbe,
  encodeWhole,
} from "../../../src/upload/http/encode-body.ts";
import { UPLOAD_ENCODINGS, type UploadEncoding } from "../../../src/upload/settings.ts";
import { openClient, plainRequest } from "../../support/client-rig.ts";
import { openDebianTree } from "../../support/debian-tree.ts";
import { exportText } from "../../support/encoded-bodies.ts";
import { hasSystemd } from "../../support/journal-tools.ts";
import { freePort } from "../../support/ports.ts";
import { AGENT_SOURCES, ReceiverProcess } from "../../support/receiver-process.ts";
import { journalctlExport, parseExport } from "../../support/stored-journals.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { TestPki } from "../../support/tls.ts";
import { startTreeRemote } from "../../support/tree-programs.ts";

const pki = new TestPki();
const work = new TempDir();
beforeAll(() => pki.issue("sender"));
afterAll(() => {
  pki[Symbol.dispose]();
  work[Symbol.dispose]();
});

const START_LIMIT_MS = 30_000;
const REMOTE = ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];
const HOST_REMOTE = REMOTE.find((file) => existsSync(file)) ?? "";
const TREE_REMOTE = REMOTE[0] ?? "";

/** Entries of another year for each seed (1 to 9), so that no two bodies have one in common. */
function body(seed: number, size = 400_000): Uint8Array {
  const text = Buffer.from(exportText(size, seed)).toString("latin1");
  return Buffer.from(text.replaceAll("TIMESTAMP=17", `TIMESTAMP=1${seed}`), "latin1");
}

/** Messages of an export stream, in no order. */
function messages(stream: Uint8Array): string[] {
  const lines =
    Buffer.from(stream)
      .toString("utf8")
      .match(/^MESSAGE=.*$/gm) ?? [];
  return lines.sort();
}

function encodedRequest(
  encoding: UploadEncoding,
  encoded: Pick<UploadRequest, "pieces" | "isChunked"> | undefined,
): UploadRequest {
  if (encoded === undefined) throw new Error("It did not get smaller");
  return { ...plainRequest(""), ...encoded, contentEncoding: encoding };
}

async function accepted(answer: Promise<UploadAnswer | UploadFailure>): Promise<UploadAnswer> {
  const outcome = await answer;
  if (outcome.kind === "failure") throw outcome.error;
  expect(outcome.status).toBe(202);
  return outcome;
}

describe.skipIf(!hasSystemd())("systemd-journal-remote of this host", () => {
  test.each(["http", "https"])(
    "takes entries over %s",
    async (scheme) => {
      const port = await freePort();
      const output = `${work.path}/host-${scheme}.journal`;
      const tls =
        scheme === "http"
          ? []
          : [`--key=${pki.path("server.key")}`, `--cert=${pki.path("server.pem")}`];
      const listen = `--listen-${scheme}=127.0.0.1:${port}`;
      await using receiver = new ReceiverProcess([
        HOST_REMOTE,
        listen,
        "--split-mode=none",
        `--output=${output}`,
        ...tls,
      ]);
      await receiver.listening(port);
      using client = openClient(`${scheme}://localhost:${port}`, {
        trust: pki.path("ca.pem"),
        keyFile: pki.path("sender.key"),
        certificateFile: pki.path("sender.pem"),
      });
      // Both on their way at once, in both forms.
      const [first, second] = [body(2), body(3)];
      const chunked = {
        ...plainRequest(""),
        isChunked: true,
        pieces: [second.subarray(0, 70_001), second.subarray(70_001)],
      };
      const answers = [client.send(plainRequest(first)), client.send(chunked)];
      for (const answer of answers) expect((await accepted(answer)).text).toBe("OK.\n");
      await receiver.stop();
      expect(messages(journalctlExport(`--file=${output}`))).toEqual(
        messages(Buffer.concat([first, second])),
      );
    },
    START_LIMIT_MS,
  );
});

const tree = await openDebianTree("sid");

describe.skipIf(typeof tree === "string")("systemd-journal-remote of Debian sid", () => {
  const output = `${work.path}/sid.journal`;
  const sent: Uint8Array[] = [];
  let client: UploadClient;
  let child: Bun.Subprocess;

  beforeAll(async () => {
    if (typeof tree === "string") return;
    const port = await freePort();
    child = tree.spawn([
      TREE_REMOTE,
      `--listen-http=127.0.0.1:${port}`,
      "--split-mode=none",
      `--output=${output}`,
    ]);
    client = openClient(`http://127.0.0.1:${port}`);
    const isUp = async (): Promise<boolean> =>
      (await client.send(plainRequest(""))).kind === "answer";
    while (!(await isUp())) await Bun.sleep(20);
  }, START_LIMIT_MS);
  afterAll(async () => {
    client?.close();
    child?.kill("SIGKILL");
    await child?.exited;
  });

  test("announces encodings, of which we choose as it prefers", async () => {
    const { headers } = await accepted(client.send(plainRequest("")));
    const settings = (["gzip", "xz", "lz4"] as const).map((encoding) => ({ encoding, level: 1 }));
    expect(chooseEncoding(headers.get("accept-encoding"), settings)?.encoding).toBe("xz");
  });

  test.each(UPLOAD_ENCODINGS.map((encoding, index) => [encoding, index] as const))(
    "decodes our frames of %s, one in each request",
    async (encoding, index) => {
      const raw = body(4 + index);
      const encoded = encodeFrames(raw, { encoding, level: undefined });
      for (const piece of encoded?.pieces ?? []) {
        // A frame of entries that are cut somewhere: what is behind the last whole one is not stored.
        const answer = await client.send(
          encodedRequest(encoding, { pieces: [piece], isChunked: true }),
        );
        expect(answer).toMatchObject({ kind: "answer" });
      }
      const whole = body(4 + index, 60_000);
      sent.push(whole);
      await accepted(
        client.send(encodedRequest(encoding, encodeFrames(whole, { encoding, level: 9 }))),
      );
    },
  );

  test("stored what was in them", async () => {
    child.kill("SIGTERM");
    await child.exited;
    if (typeof tree === "string") return;
    const stored = new Set(
      messages(tree.run(["journalctl", "--quiet", "--output=export", `--file=${output}`])),
    );
    for (const message of messages(Buffer.concat(sent))) expect(stored).toContain(message);
  });
});

describe.skipIf(typeof tree === "string")("systemd-journal-remote of Debian sid, probed", () => {
  test.each([...UPLOAD_ENCODINGS])(
    "shows that it takes %s in one piece only, and that TLS keeps pieces whole",
    async (encoding) => {
      if (typeof tree === "string") return;
      const setting = { encoding, level: undefined };
      const [port, output] = [await freePort(), `${work.path}/probed-${encoding}.journal`];
      const child = await startTreeRemote(tree, { scheme: "https", port, output, pki });
      try {
        using client = openClient(`https://127.0.0.1:${port}`);
        const probe = encodedRequest(encoding, encodeProbe(setting));
        expect(await client.send(probe)).toMatchObject({ kind: "failure" });
        const uncut = { pieces: [Buffer.concat(probe.pieces)], isChunked: true };
        await accepted(client.send(encodedRequest(encoding, uncut)));
        await accepted(client.send(encodedRequest(encoding, encodeFramesProbe(setting))));
        const raw = body(1 + UPLOAD_ENCODINGS.indexOf(encoding), 2_000_000);
        const frames = encodeFrames(raw, setting);
        expect(frames?.pieces.length).toBeGreaterThan(10);
        await accepted(client.send(encodedRequest(encoding, frames)));
        child.kill("SIGTERM");
        await child.exited;
        const stored = tree.run(["journalctl", "--quiet", "--output=export", `--file=${output}`]);
        expect(messages(stored)).toEqual(messages(raw));
      } finally {
        child.kill("SIGKILL");
        await child.exited;
      }
    },
    START_LIMIT_MS,
  );
});

describe("agent serve", () => {
  test(
    "takes all forms over mutual TLS, and the probe",
    async () => {
      const port = await freePort();
      const output = `${work.path}/agent`;
      mkdirSync(output);
      await using receiver = new ReceiverProcess([
        ...AGENT_SOURCES,
        "serve",
        `--listen-https=127.0.0.1:${port}`,
        `--output=${output}`,
        `--key=${pki.path("server.key")}`,
        `--cert=${pki.path("server.pem")}`,
        `--trust=${pki.path("ca.pem")}`,
      ]);
      await receiver.listening(port);
      using client = openClient(`https://localhost:${port}`, {
        trust: pki.path("ca.pem"),
        keyFile: pki.path("sender.key"),
        certificateFile: pki.path("sender.pem"),
      });
      const sent = [body(9)];
      const answers = [client.send(plainRequest(body(9)))];
      for (const [index, encoding] of UPLOAD_ENCODINGS.entries()) {
        const setting = { encoding, level: undefined };
        answers.push(client.send(encodedRequest(encoding, encodeProbe(setting))));
        for (const [offset, encode] of [
          [1, encodeFrames],
          [2, encodeWhole],
        ] as const) {
          const raw = body(2 * index + offset);
          sent.push(raw);
          answers.push(client.send(encodedRequest(encoding, encode(raw, setting))));
        }
      }
      for (const answer of answers) await accepted(answer);
      await receiver.stop();
      const stored = parseExport(journalctlExport(`--directory=${output}`));
      expect(stored.length).toBe(messages(Buffer.concat(sent)).length);
    },
    START_LIMIT_MS,
  );

  test(
    "refuses a sender without certificate with a status that arrives",
    async () => {
      const port = await freePort();
      await using receiver = new ReceiverProcess([
        ...AGENT_SOURCES,
        "serve",
        `--listen-https=127.0.0.1:${port}`,
        "--split-mode=none",
        `--output=${work.path}/refusing.journal`,
        `--key=${pki.path("server.key")}`,
        `--cert=${pki.path("server.pem")}`,
        `--trust=${pki.path("ca.pem")}`,
      ]);
      await receiver.listening(port);
      using client = openClient(`https://localhost:${port}`, { trust: pki.path("ca.pem") });
      const answer = await client.send(plainRequest(new Uint8Array(8_000_000)));
      expect(answer).toMatchObject({ kind: "answer", status: 401 });
    },
    START_LIMIT_MS,
  );
});
