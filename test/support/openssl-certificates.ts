import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Files of a throw-away certificate and its key, PEM. */
export interface CertificateFiles {
  keyFile: string;
  certificateFile: string;
}

/** A throw-away CA in `directory`, made by the openssl command. */
export class TestAuthority {
  readonly files: CertificateFiles;
  readonly #directory: string;

  constructor(directory: string, name = "ca") {
    this.#directory = directory;
    this.files = {
      keyFile: join(directory, `${name}.key`),
      certificateFile: join(directory, `${name}.crt`),
    };
    openssl(
      ["req", "-x509", "-subj", `/CN=${name}`, "-days", "2", ...newKey(this.files.keyFile)],
      this.files.certificateFile,
    );
  }

  /** @param alternativeNames as openssl's subjectAltName takes them: "DNS:x,IP:127.0.0.1". */
  issue(name: string, alternativeNames: string): CertificateFiles {
    const at = (suffix: string): string => join(this.#directory, `${name}.${suffix}`);
    const files = { keyFile: at("key"), certificateFile: at("crt") };
    openssl(["req", "-subj", `/CN=${name}`, ...newKey(files.keyFile)], at("csr"));
    writeFileSync(at("ext"), `subjectAltName=${alternativeNames}\n`);
    const { keyFile, certificateFile } = this.files;
    openssl(
      [
        "x509",
        "-req",
        "-in",
        at("csr"),
        "-CA",
        certificateFile,
        "-CAkey",
        keyFile,
        "-CAcreateserial",
      ].concat(["-days", "2", "-extfile", at("ext")]),
      files.certificateFile,
    );
    return files;
  }
}

function newKey(file: string): string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file];
}

function openssl(args: readonly string[], outputFile: string): void {
  const { status, stderr } = spawnSync("openssl", [...args, "-out", outputFile], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`openssl ${args.join(" ")}: ${stderr}`);
}
