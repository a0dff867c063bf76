import { expect, test } from "bun:test";
import { Places } from "../../src/serve/places.ts";

function enter(places: Places, address: string) {
  const place = places.enter(address);
  if (place === undefined) throw new Error("No place");
  return place;
}

test("Places.enter() refuses above connectionsMax and closes above the refusals it can afford", () => {
  const places = new Places({ connectionsMax: 2, connectionsPerPeerMax: 10 });
  expect(enter(places, "192.0.2.1").isRefused).toBe(false);
  expect(enter(places, "192.0.2.2").isRefused).toBe(false);
  for (let i = 0; i < 64; i++) expect(enter(places, "192.0.2.3").isRefused).toBe(true);
  expect(places.enter("192.0.2.3")).toBeUndefined();
});

test("Places.enter() gives no unidentified address more than half of all places", () => {
  const places = new Places({ connectionsMax: 4, connectionsPerPeerMax: 10 });
  enter(places, "192.0.2.1");
  const second = enter(places, "192.0.2.1");
  expect(enter(places, "192.0.2.1").isRefused).toBe(true);
  expect(enter(places, "192.0.2.2").isRefused).toBe(false);
  expect(places.identify(second, "web1")).toBe(true);
  expect(enter(places, "192.0.2.1").isRefused).toBe(false);
});

test("Places.identify() counts by name, whatever the address", () => {
  const places = new Places({ connectionsMax: 100, connectionsPerPeerMax: 2 });
  const [a, b, c] = [enter(places, "a"), enter(places, "b"), enter(places, "c")];
  expect(places.identify(a, "web1")).toBe(true);
  expect(places.identify(b, "web1")).toBe(true);
  expect(places.identify(c, "web1")).toBe(false);
  places.leave(a);
  expect(places.identify(c, "web1")).toBe(true);
});

test("Places.leave() gives every kind of place back", () => {
  const places = new Places({ connectionsMax: 1, connectionsPerPeerMax: 1 });
  for (let round = 0; round < 3; round++) {
    const place = enter(places, "a");
    expect(place.isRefused).toBe(false);
    expect(places.identify(place, "web1")).toBe(true);
    const refused = Array.from({ length: 64 }, () => enter(places, "a"));
    expect(places.enter("a")).toBeUndefined();
    for (const each of [place, ...refused]) places.leave(each);
  }
});
