/** Keeps order among things that begin one after the other and become ready at any time. */

/** Has `act` done when everything that began before is done. */
export type Turn = (act: () => void) => void;

interface Place {
  act: (() => void) | undefined;
}

export class Turns {
  #waiting: Place[] = [];

  /** How many have begun and are not done. */
  get count(): number {
    return this.#waiting.length;
  }

  /** Takes the next place in the order. */
  begin(): Turn {
    const place: Place = { act: undefined };
    this.#waiting.push(place);
    return (act): void => {
      place.act = act;
      this.#run();
    };
  }

  /** Nothing that has begun will be done. */
  cancel(): void {
    this.#waiting = [];
  }

  #run(): void {
    for (let act = this.#waiting[0]?.act; act !== undefined; act = this.#waiting[0]?.act) {
      this.#waiting.shift();
      act();
    }
  }
}
