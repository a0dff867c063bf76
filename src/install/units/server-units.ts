/** systemd-journal-remote.socket and .service, as they run our program. */
import { programPath, RECEIVED_DIRECTORY, type ServerOptions } from "../roles/options.ts";
import { loadCredentials } from "./credentials.ts";
import { KEPT_RUNNING, NEVER_GIVEN_UP, SANDBOX } from "./sandbox.ts";
import { quotePath, quoteWord, type Section, type UnitForm } from "./unit-text.ts";

export const SERVER_SOCKET = "systemd-journal-remote.socket";
export const SERVER_SERVICE = "systemd-journal-remote.service";
export const SERVER_USER = "systemd-journal-remote";

export function serverSocket(port: number, { isDropIn }: UnitForm): Section[] {
  const description: Section = {
    name: "Unit",
    directives: [["Description", "Socket for journals of other machines"]],
  };
  return [
    ...(isDropIn ? [] : [description]),
    {
      name: "Socket",
      directives: [
        ["ListenStream", String(port)],
        // However often the service fails: else the socket would be closed for good.
        ["TriggerLimitIntervalSec", "0"],
      ],
    },
    { name: "Install", directives: [["WantedBy", "sockets.target"]] },
  ];
}

export function serverService(options: ServerOptions, form: UnitForm): Section[] {
  const { prefix, certificates, outputDirectory = RECEIVED_DIRECTORY } = options;
  const credentials = loadCredentials(certificates, "systemd-journal-remote", form.systemdVersion);
  const command = [
    quoteWord(programPath(prefix)),
    "serve",
    "--listen-https=-3",
    quoteWord(`--output=${outputDirectory}`),
    ...credentials.arguments,
  ];
  return [
    {
      name: "Unit",
      directives: [
        ...(form.isDropIn ? [] : ([["Description", "Receiver of journals"]] as const)),
        ["Requires", SERVER_SOCKET],
        NEVER_GIVEN_UP,
      ],
    },
    {
      name: "Service",
      directives: [
        ...credentials.directives,
        ["ExecStart", command.join(" ")],
        ["User", SERVER_USER],
        ...KEPT_RUNNING,
        ...SANDBOX,
        // It would give the directory to the user's group, at each start; systemd-tmpfiles makes it instead. Where it is
        // missing, the program says so better than the service manager.
        ["LogsDirectory", undefined],
        ["ReadWritePaths", `-${quotePath(outputDirectory)}`],
        // Received files are for the group that the directory gives them.
        ["UMask", "0027"],
        // It opens no connection: its socket is handed to it, and others come from there.
        ["PrivateNetwork", "yes"],
        ["RestrictAddressFamilies", "AF_UNIX"],
        ["PrivateUsers", "yes"],
        ["ProcSubset", "pid"],
      ],
    },
    // Not with the first sender alone: so it is seen to run.
    {
      name: "Install",
      directives: [
        ["WantedBy", "multi-user.target"],
        ["Also", SERVER_SOCKET],
      ],
    },
  ];
}
