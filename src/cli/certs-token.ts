/** `agent certs token`: a one-time token, by which a new host gets its certificate over the network. */
import { Authority, readOptionalText } from "../certs/authority.ts";
import { parseServerUrl } from "../certs/bundle.ts";
import { AUTHORITY_FILES } from "../certs/directory.ts";
import { isEncrypted } from "../certs/keys.ts";
import { cancelToken, makeToken, tokenState } from "../certs/make-token.ts";
import { formatAlternativeName, parseHostName } from "../certs/names.ts";
import { LEAF_DAYS_MAX, ROLES } from "../certs/profiles.ts";
import { readTokens } from "../certs/token-store.ts";
import { AgentError, type ExitStatus } from "../errors.ts";
import { log } from "../log.ts";
import { parseTimeSpan } from "./args.ts";
import { formatTable } from "./certs-text.ts";
import {
  type CertsCall,
  type CertsVerb,
  choiceOf,
  DAYS_OPTION,
  daysOf,
  FURTHER_NAMES,
  flag,
  formatTime,
  hostNamesOf,
  ROLE_OPTION,
  valueOption,
} from "./certs-verb.ts";

const MINUTE_USEC = 60_000_000;
const DEFAULT_VALID_USEC = 60 * MINUTE_USEC;
/** Whoever finds a token later than this finds nothing. */
const VALID_USEC_MAX = 30 * 24 * 60 * MINUTE_USEC;

export const tokenVerb: CertsVerb = {
  words: `NAME ${FURTHER_NAMES}`,
  wordCounts: [0],
  description:
    "Make a one-time token, with which a new host gets its certificate from agent serve --enroll-socket=; its key is made there and stays there.",
  options: [
    { ...valueOption("valid", "TIME", "How long the token is, at most 30d"), defaultText: "1h" },
    { ...ROLE_OPTION, defaultText: "client" },
    DAYS_OPTION,
    valueOption("server", "URL", "Where the host enrols: https://logs.example.net:19532"),
    flag("force", "Although the name has a valid certificate, which the host may then replace"),
    flag("list", "Show the tokens of the last day"),
    flag("cancel", "Make the token of NAME void"),
  ],
  notes: [
    "A new token of a name makes the former one void, and so does agent certs revoke. The token is a secret until it is used: what is kept of it here is a hash.",
    "Example: agent certs token web1 --server=https://logs.example.net:19532",
  ],
  async run(call): Promise<ExitStatus | 0> {
    const uses = ["list", "cancel"].filter((name) => call.has(name));
    if (uses.length > 1) {
      throw new AgentError("E_USAGE", 'Cannot use "--cancel": "--list" is given, too');
    }
    if (call.has("list") === call.words.length > 0) {
      const problem = call.has("list") ? "no NAME is expected with --list" : "give the host's NAME";
      throw new AgentError("E_USAGE", `Cannot run "agent certs token": ${problem}`);
    }
    if (call.has("list")) return await listTokens(call);
    return call.has("cancel") ? await cancel(call) : await make(call);
  },
};

async function make(call: CertsCall): Promise<0> {
  const host = hostNamesOf(call);
  const validUsec =
    call.read("valid", (text) => parseTimeSpan(text, MINUTE_USEC, VALID_USEC_MAX)) ??
    DEFAULT_VALID_USEC;
  const request = {
    ...host,
    role: choiceOf(call, "role", ROLES) ?? "client",
    days: daysOf(call) ?? LEAF_DAYS_MAX,
    validMs: Math.floor(validUsec / 1000),
    force: call.has("force"),
  };
  const server = call.read("server", parseServerUrl);
  using authority = await Authority.open(call.authority);
  const { text, expiresMs } = makeToken(authority, request);
  if (isEncrypted(readOptionalText(authority.path(AUTHORITY_FILES.current.key)))) {
    log.warn(
      "The authority's key has a passphrase: the host is refused unless the signer gets it, by --passphrase-file= in a drop-in of journal-agent-enroll@.service",
    );
  }
  // With several roles a host is told of each by itself.
  const role = request.role === "both" ? "client" : request.role;
  const url = server ?? "https://SERVER:19532";
  const command = `agent install --role=${role} --server=${url} --token=${text}`;
  const expires = formatTime(expiresMs);
  log.info(`Valid once, for "${host.name}", until ${expires}`);
  const names = host.names.map(formatAlternativeName);
  return call.result(
    { name: host.name, names, role: request.role, token: text, expires, server, command },
    `${text}\n  on the host: ${command}\n`,
  );
}

async function cancel(call: CertsCall): Promise<0> {
  const [word = ""] = call.words;
  const name = parseHostName(word);
  using authority = await Authority.open(call.authority);
  cancelToken(authority, name);
  return call.result({ name, cancelled: true }, `The token of "${name}" is void\n`);
}

async function listTokens(call: CertsCall): Promise<0> {
  using authority = await Authority.open(call.authority);
  const tokens = readTokens(authority).map((token) => {
    const { name, role, expiresMs } = token;
    return { name, role, state: tokenState(token, call.nowMs), expires: formatTime(expiresMs) };
  });
  const rows = tokens.map(({ name, role, state, expires }) => [name, role, state, expires]);
  const table = formatTable([["NAME", "ROLE", "STATE", "EXPIRES"], ...rows]);
  return call.result(tokens, tokens.length === 0 ? "There are no tokens\n" : table);
}
