import { main } from "./cli/root.ts";

await main(process.argv0, process.argv.slice(2));
