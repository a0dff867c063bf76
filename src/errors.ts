/** Exit statuses, after sysexits(3): the unit's Restart= policy keys off them. */
export const ExitStatus = {
  failure: 1,
  usage: 64,
  data: 65,
  unavailable: 69,
  io: 74,
  config: 78,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

const STATUS_BY_CODE = {
  E_USAGE: ExitStatus.usage,
  E_EXPORT_SYNTAX: ExitStatus.data,
  E_JOURNAL_CORRUPT: ExitStatus.data,
  E_JOURNAL_UNSUPPORTED: ExitStatus.data,
  E_LIMIT: ExitStatus.data,
  E_PEER: ExitStatus.unavailable,
  /** A limit of the moment: the same may be taken later. */
  E_BUSY: ExitStatus.unavailable,
  E_IO: ExitStatus.io,
  E_NO_SPACE: ExitStatus.io,
  E_CERT: ExitStatus.config,
  E_CONFIG: ExitStatus.config,
} as const satisfies Record<string, ExitStatus>;

export type ErrorCode = keyof typeof STATUS_BY_CODE;

export interface AgentErrorDetails {
  /** What the operator can do about it; shown under the message. */
  hint?: string;
  /** Offset of the bytes at fault, in the file or stream. */
  offset?: number;
  cause?: unknown;
}

/** The one error the agent throws on purpose. Anything else that escapes is a bug. */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly offset: number | undefined;

  constructor(code: ErrorCode, message: string, details: AgentErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.hint = details.hint;
    this.offset = details.offset;
  }

  get exitStatus(): ExitStatus {
    return STATUS_BY_CODE[this.code];
  }
}

/** The errno name of an error from the runtime ("ENOENT"), if it has one. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code: unknown = Reflect.get(error, "code");
  return typeof code === "string" ? code : undefined;
}

/** The text of anything thrown, for use inside a longer message. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
