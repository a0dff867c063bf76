import { expect, test } from "bun:test";
import { Turns } from "../../src/serve/turns.ts";

test("things are done in the order they began, whatever is ready first", () => {
  const turns = new Turns();
  const done: string[] = [];
  const [one, two, three] = [turns.begin(), turns.begin(), turns.begin()];
  three(() => done.push("three"));
  two(() => done.push("two"));
  expect([done, turns.count]).toEqual([[], 3]);
  one(() => done.push("one"));
  expect([done, turns.count]).toEqual([["one", "two", "three"], 0]);
});

test("what is being done is not counted, and may begin more", () => {
  const turns = new Turns();
  const counts: number[] = [];
  const [one, two] = [turns.begin(), turns.begin()];
  two(() => counts.push(turns.count));
  one(() => {
    counts.push(turns.count);
    turns.begin()(() => counts.push(turns.count));
  });
  expect(counts).toEqual([1, 1, 0]);
});

test("after cancel() nothing that had begun is done, and new things are", () => {
  const turns = new Turns();
  const done: string[] = [];
  const [one, two] = [turns.begin(), turns.begin()];
  two(() => done.push("two"));
  turns.cancel();
  expect(turns.count).toBe(0);
  one(() => done.push("one"));
  turns.begin()(() => done.push("three"));
  expect(done).toEqual(["three"]);
});

test("one that cancels what comes behind it is the last", () => {
  const turns = new Turns();
  const done: string[] = [];
  const [one, two] = [turns.begin(), turns.begin()];
  two(() => done.push("two"));
  one(() => {
    done.push("one");
    turns.cancel();
  });
  expect(done).toEqual(["one"]);
});
