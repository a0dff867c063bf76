import { expect, test } from "bun:test";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { unacknowledgedSize } from "../../src/platform/send-queue.ts";
import { until } from "../support/until.ts";

for (const host of ["127.0.0.1", "::1"]) {
  test(`unacknowledgedSize() counts what the peer has not taken, on ${host}`, async () => {
    const server = net.createServer((socket) => socket.pause()).listen(0, host);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const client = net.connect(port, host);
    await once(client, "connect");
    const queued = (): number | undefined => unacknowledgedSize(client.localPort ?? 0, port);
    expect(queued()).toBe(0);
    client.write(new Uint8Array(16 * 1024 * 1024));
    await until(() => (queued() ?? 0) > 0);
    client.destroy();
    server.close();
  });
}

test("unacknowledgedSize() does not know of connections there are none of", () => {
  expect(unacknowledgedSize(1, 1)).toBeUndefined();
});
