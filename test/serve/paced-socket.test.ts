import { describe, expect, test } from "bun:test";
import { type ByteSocket, PacedSocket } from "../../src/serve/paced-socket.ts";

/** A socket that takes as many bytes as the test allows. */
class TestSocket implements ByteSocket {
  taken = "";
  room = 0;
  readonly calls: string[] = [];

  pause(): void {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }

  end(): void {
    this.calls.push("end");
  }

  terminate(): void {
    this.calls.push("terminate");
  }

  write(bytes: Uint8Array): number {
    if (this.room < 0) return -1;
    const part = bytes.subarray(0, this.room);
    this.room -= part.length;
    this.taken += Buffer.from(part).toString();
    return part.length;
  }
}

const TIMEOUT_MS = 1000;

function open() {
  const socket = new TestSocket();
  const clock = { nowMs: 0 };
  const paced = new PacedSocket(socket, () => clock.nowMs, TIMEOUT_MS);
  return { socket, clock, paced };
}

describe("PacedSocket", () => {
  test("keeps what the socket does not take, in order", () => {
    const { socket, paced } = open();
    socket.room = 3;
    paced.write(Buffer.from("hello "));
    paced.write(Buffer.from("world"));
    expect([socket.taken, paced.isBehind]).toEqual(["hel", true]);
    socket.room = 5;
    paced.drained();
    expect([socket.taken, paced.isBehind]).toEqual(["hello wo", true]);
    socket.room = 100;
    paced.drained();
    expect([socket.taken, paced.isBehind]).toEqual(["hello world", false]);
    paced.drained();
    expect(socket.taken).toBe("hello world");
  });

  test("has a deadline while it is behind, which moves with progress", () => {
    const { socket, clock, paced } = open();
    expect(paced.deadlineMs).toBe(Number.POSITIVE_INFINITY);
    clock.nowMs = 100;
    paced.write(Buffer.from("abc"));
    expect(paced.deadlineMs).toBe(100 + TIMEOUT_MS);
    clock.nowMs = 500;
    paced.write(Buffer.from("def"));
    expect(paced.deadlineMs).toBe(100 + TIMEOUT_MS);
    socket.room = 1;
    paced.drained();
    expect(paced.deadlineMs).toBe(500 + TIMEOUT_MS);
    socket.room = 10;
    paced.drained();
    expect(paced.deadlineMs).toBe(Number.POSITIVE_INFINITY);
  });

  test("keeps nothing for a socket that is closed", () => {
    const { socket, paced } = open();
    socket.room = -1;
    paced.write(Buffer.from("abc"));
    expect(paced.isBehind).toBe(false);
  });

  test("pauses and resumes once, and reads when it has ended", () => {
    const { socket, paced } = open();
    paced.resume();
    paced.pause();
    paced.pause();
    paced.resume();
    paced.resume();
    paced.pause();
    paced.end();
    expect(socket.calls).toEqual(["pause", "resume", "pause", "resume", "end"]);
  });
});
