/** How many connections there may be: of everybody, and of each peer. */
import type { IngestLimits } from "./settings.ts";

/** A connection's entry in the books; opaque to everybody else. */
export interface Place {
  /** Whose quota it counts against: an address until the peer is identified, then its name. */
  owner: string;
  /** Over the limit: is told so and counts against nobody's quota. */
  isRefused: boolean;
}

/**
 * Beyond the limit this many connections at a time still get a TLS handshake and a 503, so that
 * senders learn why; the rest are closed unanswered.
 */
const REFUSED_MAX = 64;

/**
 * With client certificates the quota of a peer goes by its name: a thousand machines may come from
 * one address. Before it is identified a connection counts against its address, of which none may
 * take more than half of all places: nobody without a certificate can lock everybody out.
 */
export class Places {
  readonly #totalMax: number;
  readonly #peerMax: number;
  readonly #byOwner = new Map<string, number>();
  #total = 0;
  #refused = 0;

  constructor(limits: Pick<IngestLimits, "connectionsMax" | "connectionsPerPeerMax">) {
    this.#totalMax = limits.connectionsMax;
    this.#peerMax = limits.connectionsPerPeerMax;
  }

  /** Undefined: not even a refusal can be afforded. */
  enter(address: string): Place | undefined {
    const owner = `address ${address}`;
    const addressMax = Math.max(1, this.#totalMax / 2);
    if (this.#total < this.#totalMax && this.#count(owner) < addressMax) {
      this.#total++;
      this.#add(owner, 1);
      return { owner, isRefused: false };
    }
    if (this.#refused >= REFUSED_MAX) return undefined;
    this.#refused++;
    return { owner, isRefused: true };
  }

  /** False: this peer has its share already. */
  identify(place: Place, name: string): boolean {
    const owner = `peer ${name}`;
    if (this.#count(owner) >= this.#peerMax) return false;
    this.#add(place.owner, -1);
    this.#add(owner, 1);
    place.owner = owner;
    return true;
  }

  leave(place: Place): void {
    if (place.isRefused) {
      this.#refused--;
      return;
    }
    this.#total--;
    this.#add(place.owner, -1);
  }

  #count(owner: string): number {
    return this.#byOwner.get(owner) ?? 0;
  }

  #add(owner: string, change: number): void {
    const count = this.#count(owner) + change;
    if (count > 0) this.#byOwner.set(owner, count);
    else this.#byOwner.delete(owner);
  }
}
