/** A receiver where hosts enrol: a real front, a real signer behind a socket, and the authority's directory. */
import { answerQuestion } from "../../src/certs/answer.ts";
import { makeToken } from "../../src/certs/make-token.ts";
import type { SignerAnswer, SignerQuestion } from "../../src/platform/signer-protocol.ts";
import type { Front } from "../../src/serve/front.ts";
import { CertsAuthority } from "./certs.ts";
import { FakeSigner } from "./fake-signer.ts";
import { BodyRecorder, portOf, startTestFront } from "./front.ts";

const HOUR_MS = 3_600_000;

export class EnrollingReceiver implements AsyncDisposable {
  readonly ca: CertsAuthority;
  readonly port: number;
  readonly url: string;
  readonly signer: FakeSigner;
  readonly #front: Front;

  private constructor(ca: CertsAuthority, signer: FakeSigner, front: Front) {
    this.ca = ca;
    this.signer = signer;
    this.#front = front;
    this.port = portOf(front.addresses.https[0]);
    this.url = `https://localhost:${this.port}`;
  }

  /** @param change what becomes of the signer's answers; @param names of the receiver's certificate */
  static async start(
    options: {
      enrolls?: boolean;
      names?: string[];
      change?: (answer: SignerAnswer, question: SignerQuestion) => SignerAnswer;
    } = {},
  ): Promise<EnrollingReceiver> {
    const { enrolls = true, names = ["localhost", "127.0.0.1"], change } = options;
    const ca = await CertsAuthority.create();
    await ca.issue("receiver", { names, role: "server" });
    const signer = await FakeSigner.start(async (question) => {
      const signing = { ...ca.options(), inform: () => undefined };
      const answer = await answerQuestion(JSON.stringify(question), signing);
      return change === undefined ? answer : change(answer, question);
    });
    const front = await startTestFront(new BodyRecorder(), {
      https: ["127.0.0.1:0"],
      options: {
        certificates: {
          keyFile: ca.path("receiver.key"),
          certificateFile: ca.path("receiver.pem"),
          trust: {
            authority: ca.path("ca.pem"),
            crlFiles: [ca.path("crl.pem")],
            allowSubject: [],
          },
        },
        plaintext: "refuse",
        enrollSocket: enrolls ? signer.path : undefined,
      },
    });
    return new EnrollingReceiver(ca, signer, front);
  }

  /** @param force although the name has a certificate */
  async token(name: string, force = false): Promise<string> {
    using authority = await this.ca.open();
    const wanted = { name, names: [], role: "client", days: 90, validMs: HOUR_MS, force } as const;
    return makeToken(authority, wanted).text;
  }

  /** What hosts have asked the signer. */
  get asked(): string[] {
    return this.signer.questions.map(({ op }) => op);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#front.stop(0);
    this.signer[Symbol.dispose]();
    this.ca[Symbol.dispose]();
  }
}
