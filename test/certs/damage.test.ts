/** Whatever a file holds, what comes out is an error that says so: no crash, no half-written authority. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { lchownSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { isListSignedBy, parseRevocationList } from "../../src/bytes/revocation-list.ts";
import { parseBundle } from "../../src/certs/bundle.ts";
import { readCertificates } from "../../src/certs/certificate.ts";
import { parseIndex } from "../../src/certs/index-file.ts";
import { inspectText } from "../../src/certs/inspect.ts";
import { readPrivateKey } from "../../src/certs/keys.ts";
import { readPem } from "../../src/certs/pem.ts";
import { readListDates } from "../../src/certs/revocation-list.ts";
import { readRequest } from "../../src/certs/x509.ts";
import { AgentError } from "../../src/errors.ts";
import { CertsAuthority } from "../support/certs.ts";
import { type Random, randomFrom } from "../support/damage.ts";

const MUTATIONS = 300;

/** Bytes changed, cut, doubled or put in between. */
function damage(bytes: Buffer, random: Random): Buffer {
  const at = random(bytes.length);
  const length = 1 + random(8);
  const noise = Buffer.from(Array.from({ length }, () => random(256)));
  switch (random(4)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at + length)]);
    case 1:
      return Buffer.from(bytes.subarray(0, at));
    case 2:
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
    default:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
  }
}

describe("damaged files", () => {
  const owned = new DisposableStack();
  let ca: CertsAuthority;

  beforeAll(async () => {
    ca = owned.use(await CertsAuthority.create());
    await ca.issue("web1", { names: ["a", "192.0.2.7"] });
    await ca.issue("web2");
    await ca.revoke("web2", "superseded");
    ca.writeRequest("web1", "DNS:x,IP:10.0.0.1");
  });
  afterAll(() => owned.dispose());

  test("a pipe in place of a file, which a daemon may have left, is not waited for", async () => {
    using other = await CertsAuthority.create();
    Bun.spawnSync(["mkfifo", other.path("web1.key")]);
    await expect(other.issue("web1")).rejects.toThrow(
      `Cannot read "${other.path("web1.key")}": it is not a regular file`,
    );
  });

  test.skipIf(process.getuid?.() !== 0)(
    "a link that a daemon has left is not followed, one of root's is",
    async () => {
      using other = await CertsAuthority.create();
      await other.issue("web1");
      other.dir.write("elsewhere.key", other.text("web1.key"));
      rmSync(other.path("web1.key"));
      symlinkSync(join(other.dir.path, "elsewhere.key"), other.path("web1.key"));
      expect((await other.issue("web1")).hasKey).toBe(true);
      lchownSync(other.path("web1.key"), 995, 999);
      await expect(other.issue("web1")).rejects.toThrow(
        `Cannot read "${other.path("web1.key")}": it is a link that user 995 has made`,
      );
    },
  );

  async function expectErrors(
    file: string,
    part: "text" | "der",
    read: (text: string) => unknown,
  ): Promise<void> {
    const random = randomFrom(file.length * 1000 + part.length);
    const text = ca.text(file);
    const [block] = readPem(text);
    let refused = 0;
    for (let i = 0; i < MUTATIONS; i++) {
      const bytes =
        part === "der"
          ? damage(block?.der ?? Buffer.alloc(0), random)
          : damage(Buffer.from(text), random);
      const damaged =
        part === "der"
          ? `-----BEGIN ${block?.label}-----\n${bytes.toString("base64")}\n-----END ${block?.label}-----\n`
          : bytes.toString("latin1");
      try {
        await read(damaged);
      } catch (error) {
        if (!(error instanceof AgentError))
          throw new Error(`Not told as an error:\n${damaged}`, { cause: error });
        expect(error.message).toStartWith("Cannot ");
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(0);
  }

  test.each<[string, "text" | "der", (text: string) => unknown]>([
    ["web1.pem", "text", (text) => inspectText(text, "x")],
    ["web1.pem", "der", (text) => readCertificates(text, "x")],
    ["web1.csr", "text", (text) => readRequest(text, "x")],
    ["web1.csr", "der", (text) => readRequest(text, "x")],
    ["web1.key", "text", (text) => readPrivateKey(text, "x")],
    ["web1.key", "der", (text) => readPrivateKey(text, "x")],
    ["index", "text", (text) => parseIndex(text, "x")],
    [
      "crl.pem",
      "der",
      (text) => {
        readListDates(text);
        const [{ der } = { der: Buffer.alloc(0) }] = readPem(text);
        isListSignedBy(der, readCertificates(ca.text("ca.pem"), "ca")[0]?.x509.publicKey ?? fail());
        parseRevocationList(der);
      },
    ],
    [
      "web1.pem",
      "text",
      (text) =>
        parseBundle(`Journal agent bundle, version 1\nName: web1\nRole: both\n\n${text}`, "x"),
    ],
  ])("%s, its %s", (file, part, read) => expectErrors(file, part, read), 30_000);
});

function fail(): never {
  throw new Error("There is no authority");
}
