/** Units and drop-ins as systemd-analyze of several releases sees them, with those of systemd's own package below. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { clientPlan } from "../../../src/install/roles/client.ts";
import { serverPlan } from "../../../src/install/roles/server.ts";
import { describeTrees, openDebianTree } from "../../support/debian-tree.ts";
import { clientOptions, hostFacts, serverOptions } from "../../support/planned-machine.ts";
import { TempDir } from "../../support/temp-dir.ts";

const LIMIT_MS = 60_000;
/** In tenths. */
const EXPOSURE_MAX = 15;
const UNITS = "usr/lib/systemd/system";
const SECCOMP = "libseccomp.so.2";
const SERVICES = ["systemd-journal-remote.service", "systemd-journal-upload.service"];

await describeTrees(["bookworm-host", "bookworm-backports", "trixie", "sid"], (tree) => {
  const owned = new DisposableStack();
  let packages: string;
  let env: Record<string, string>;

  beforeAll(async () => {
    const trixie = await openDebianTree("trixie");
    if (typeof trixie === "string") throw new Error(trixie);
    packages = trixie.path;
    // Newer releases load it when they need it, and do not depend on it.
    const library = join(
      trixie.path,
      "usr/lib",
      `${process.arch === "x64" ? "x86_64" : "aarch64"}-linux-gnu`,
      SECCOMP,
    );
    const dir = owned.use(new TempDir()).path;
    cpSync(realpathSync(library), join(dir, SECCOMP));
    env = { LD_LIBRARY_PATH: dir };
  });
  afterAll(() => owned.dispose());

  /** A system with all that is planned for both roles, and systemd's own units where it has the package. */
  function plannedRoot(hasPackage: boolean): string {
    const root = owned.use(new TempDir()).path;
    const facts = hostFacts(tree.systemdVersion, hasPackage);
    const plans = [serverPlan(serverOptions(), facts), clientPlan(clientOptions(), facts)];
    for (const item of plans.flatMap(({ items }) => items)) {
      const path = join(root, item.path);
      mkdirSync(dirname(path), { recursive: true });
      if (item.kind === "file" && typeof item.data === "string") writeFileSync(path, item.data);
    }
    if (!hasPackage) return root;
    for (const name of ["systemd-journal-remote.socket", ...SERVICES]) {
      cpSync(join(packages, UNITS, name), join(root, UNITS, name), { recursive: true });
    }
    return root;
  }

  for (const hasPackage of [false, true]) {
    const form = hasPackage ? "drop-ins" : "whole units";
    for (const unit of SERVICES) {
      test(
        `${form}: exposure of ${unit} is 1.5 at most`,
        () => {
          const where = [`--root=${plannedRoot(hasPackage)}`, "--no-pager", unit];
          const threshold = `--threshold=${EXPOSURE_MAX}`;
          const command = ["systemd-analyze", "security", "--offline=true", threshold, ...where];
          // It throws when the exposure is greater.
          const text = tree.run(command, { env }).toString();
          expect(text).toMatch(/exposure level for \S+: [01]\.\d/);
        },
        LIMIT_MS,
      );
    }
  }

  for (const unit of SERVICES) {
    test(
      `the drop-in of ${unit} ends with the settings of the whole unit`,
      () => {
        const [whole, dropIn] = [false, true].map((hasPackage) => {
          const command = ["systemd-analyze", "security", "--offline=true", "--json=short"];
          return tree
            .run([...command, `--root=${plannedRoot(hasPackage)}`, unit], { env })
            .toString();
        });
        expect(JSON.parse(dropIn ?? "")).toEqual(JSON.parse(whole ?? ""));
      },
      LIMIT_MS,
    );
  }
});
