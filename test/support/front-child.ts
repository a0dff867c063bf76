/**
 * A front in a process of its own, on descriptor 3, as the service manager starts one. Arguments:
 * "https" or "raw", and the folder of a TestPki. Prints each body it has stored; SIGHUP reads the
 * certificates again and prints "reloaded"; prints "over" and ends when nothing can come any more.
 */
import { BodyRecorder, startTestFront } from "./front.ts";

const [protocol = "raw", dir = ""] = process.argv.slice(2);
const ingest = new BodyRecorder();
ingest.onEnd = () => {
  console.log(JSON.stringify(ingest.bodies().at(-1)));
  return Promise.resolve(0);
};
const front = await startTestFront(ingest, {
  [protocol]: ["-3"],
  options: {
    certificates: {
      keyFile: `${dir}/server.key`,
      certificateFile: `${dir}/server.pem`,
      trust: { authority: `${dir}/ca.pem`, crlFiles: [], allowSubject: [] },
    },
  },
});
process.on("SIGHUP", () => {
  front.reloadCertificates();
  console.log("reloaded");
});
console.log("ready");
while (front.isActive) await Bun.sleep(10);
console.log("over");
process.exit(0);
