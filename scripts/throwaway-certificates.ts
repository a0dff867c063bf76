/** Certificates that live for a day, made without any openssl: for the demo and for tests. */
import { createPublicKey } from "node:crypto";
import { formatPrivateKey, generateKey } from "../src/certs/keys.ts";
import { type AlternativeName, alternativeNames } from "../src/certs/names.ts";
import { DAY_MS, type Validity } from "../src/certs/profiles.ts";
import { randomSerial } from "../src/certs/serial.ts";
import { createAuthority, createLeaf, type SigningKey } from "../src/certs/x509.ts";

/** A certificate and its private key, PEM. */
export interface Identity {
  certificate: string;
  key: string;
}

export interface IdentityOptions {
  /** The subject is this common name and nothing else. */
  commonName: string;
  usage: "server" | "client";
  /** Besides the common name. */
  alternativeNames?: readonly AlternativeName[];
}

export class ThrowawayAuthority {
  readonly #signer: SigningKey;

  private constructor(signer: SigningKey) {
    this.#signer = signer;
  }

  static async create(commonName: string): Promise<ThrowawayAuthority> {
    const key = await generateKey("p256");
    const draft = { commonName, serial: randomSerial(), key, ...oneDay() };
    return new ThrowawayAuthority({ certificate: await createAuthority(draft), key });
  }

  /** Its own certificate, PEM. */
  get certificate(): string {
    return this.#signer.certificate;
  }

  async issue(options: IdentityOptions): Promise<Identity> {
    const { commonName, usage: role, alternativeNames: further = [] } = options;
    const key = await generateKey("p256");
    const names = alternativeNames(commonName, further);
    const publicKey = createPublicKey(key);
    const draft = { commonName, names, role, serial: randomSerial(), publicKey, ...oneDay() };
    const certificate = await createLeaf(draft, this.#signer);
    return { certificate, key: await formatPrivateKey(key, undefined) };
  }
}

/** From a minute ago, for clocks that differ a little. */
function oneDay(): Validity {
  const nowMs = Date.now();
  return { notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + DAY_MS };
}
