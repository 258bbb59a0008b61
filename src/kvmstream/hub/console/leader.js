/** The leader: Control twice, then a key that the console takes for itself, or that the browser would never give away. */

const DOUBLE_MS = 400; // between the two Controls
const WAIT_MS = 800; // after them

/** Keys after the leader → what goes to the source. @type {Record<string, string[]>} */
export const KEPT = {
  KeyW: ["ControlLeft", "KeyW"],
  KeyT: ["ControlLeft", "KeyT"],
  KeyN: ["ControlLeft", "KeyN"],
  KeyQ: ["ControlLeft", "KeyQ"],
  Tab: ["AltLeft", "Tab"],
  F4: ["AltLeft", "F4"],
  F5: ["F5"],
  F11: ["F11"],
  Space: ["MetaLeft"],
  KeyP: ["PrintScreen"],
  Delete: ["ControlLeft", "AltLeft", "Delete"],
};

/**
 * @typedef {object} Follower
 * @property {(place: number) => void} open the source at this place of the list
 * @property {(by: number) => void} step
 * @property {() => void} last
 * @property {() => void} back
 * @property {() => void} help
 * @property {(codes: string[]) => void} chord
 */

export class Leader {
  /** @param {Follower} follower */
  constructor(follower) {
    this._follower = follower;
    this._control = 0; // when Control went down last, with nothing after it
    this._leads = false;
  }

  /** What to do about a key; null when it is none of the leader's. @param {KeyboardEvent} event @returns {(() => void) | null} */
  follow(event) {
    const now = performance.now();
    if (event.code === "ControlLeft" || event.code === "ControlRight") {
      if (event.repeat) return null;
      this._leads = now - this._control < DOUBLE_MS;
      this._control = now;
      return null;
    }
    const leads = this._leads && now - this._control < WAIT_MS;
    this._leads = false;
    this._control = 0;
    return leads ? this._action(event.code) : null;
  }

  /** @param {string} code @returns {(() => void) | null} */
  _action(code) {
    const { open, step, last, back, help, chord } = this._follower;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(code)?.[1];
    if (digit !== undefined) return () => open((Number(digit) + 9) % 10);
    const codes = KEPT[code];
    if (codes !== undefined) return () => chord(codes);
    switch (code) {
      case "ArrowUp": return () => step(-1);
      case "ArrowDown": return () => step(1);
      case "Backspace": return last;
      case "Escape": return back;
      case "Slash": return help;
      default: return null;
    }
  }
}
