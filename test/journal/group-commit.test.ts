import { describe, expect, test } from "bun:test";
import { GroupCommit } from "../../src/journal/group-commit.ts";

/** A group whose commits are ended by hand. */
class Rig {
  readonly commits: PromiseWithResolvers<void>[] = [];
  readonly log: string[] = [];
  readonly group = new GroupCommit(() => {
    const commit = Promise.withResolvers<void>();
    this.commits.push(commit);
    return commit.promise;
  });

  request(name: string): Promise<void> {
    return this.group.request().then(
      () => void this.log.push(name),
      (error: Error) => void this.log.push(`${name}: ${error.message}`),
    );
  }

  /** Ends the commit with this index and lets everybody react. */
  async end(index: number, error?: Error): Promise<void> {
    if (error === undefined) this.commits[index]?.resolve();
    else this.commits[index]?.reject(error);
    await settle();
  }
}

async function settle(): Promise<void> {
  await Bun.sleep(0);
}

describe("GroupCommit", () => {
  test("runs one commit for all callers of a turn", async () => {
    const rig = new Rig();
    expect(rig.group.isRunning).toBe(false);
    for (const name of ["a", "b", "c"]) void rig.request(name);
    expect(rig.commits).toHaveLength(0);
    await settle();
    expect([rig.commits.length, rig.group.isRunning, rig.log]).toEqual([1, true, []]);
    await rig.end(0);
    expect([rig.commits.length, rig.group.isRunning, rig.log]).toEqual([1, false, ["a", "b", "c"]]);
  });

  test("gives callers during a commit the next one, which they share", async () => {
    const rig = new Rig();
    void rig.request("a");
    await settle();
    void rig.request("b");
    await settle();
    void rig.request("c");
    await settle();
    expect(rig.commits).toHaveLength(1);
    await rig.end(0);
    expect([rig.commits.length, rig.log]).toEqual([2, ["a"]]);
    void rig.request("d");
    await rig.end(1);
    expect([rig.commits.length, rig.log]).toEqual([3, ["a", "b", "c"]]);
    await rig.end(2);
    expect(rig.log).toEqual(["a", "b", "c", "d"]);
    expect(rig.group.isRunning).toBe(false);
  });

  test("rejects only those whose commit failed, and goes on", async () => {
    const rig = new Rig();
    void rig.request("a");
    void rig.request("b");
    await settle();
    void rig.request("c");
    await rig.end(0, new Error("full"));
    expect(rig.log).toEqual(["a: full", "b: full"]);
    await rig.end(1, new Error("still full"));
    void rig.request("d");
    await settle();
    await rig.end(2);
    expect(rig.log.slice(2)).toEqual(["c: still full", "d"]);
  });

  test("starts again when it was idle", async () => {
    const rig = new Rig();
    for (let i = 0; i < 3; i++) {
      void rig.request(`${i}`);
      await settle();
      await rig.end(i);
    }
    expect([rig.commits.length, rig.log]).toEqual([3, ["0", "1", "2"]]);
  });

  test("tells when the running commit is done, however it ends", async () => {
    const rig = new Rig();
    await rig.group.settled();
    void rig.request("a");
    await settle();
    let isSettled = false;
    void rig.group.settled().then(() => {
      isSettled = true;
    });
    await settle();
    expect(isSettled).toBe(false);
    await rig.end(0, new Error("no"));
    expect(isSettled).toBe(true);
  });

  test("never lets a request resolve by a commit that began before it", async () => {
    let changes = 0;
    let committed = 0;
    const group = new GroupCommit(async () => {
      const seen = changes;
      await Bun.sleep(Math.random() * 3);
      committed = seen;
    });
    const waits = Array.from({ length: 200 }, async () => {
      await Bun.sleep(Math.random() * 30);
      const own = ++changes;
      await group.request();
      expect(committed).toBeGreaterThanOrEqual(own);
    });
    await Promise.all(waits);
  });
});
