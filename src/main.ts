import { main } from "./cli/root.ts";

await main(process.argv0, process.argv.slice(2));
for (const stream of [process.stdout, process.stderr]) {
  await new Promise((resolve) => stream.write("", resolve));
}
// All is done, but the process would not end while the system still looks up the name of a receiver: that cannot be
// called off, and takes as long as a resolver that does not answer is waited for.
process.exit();
