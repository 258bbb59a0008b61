/** Who drives a source, and input on its way to it. */
import { nowNs } from "./header.js";
import { S } from "./strings.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./state.js").State} State */
/** @typedef {{t: string, [field: string]: any}} InputEvent */

const ANSWER_NS = 1e9;
const SERIALS = 0xffff_ffff;

export class Driver {
  /**
   * @param {Link} link @param {State} state
   * @param {{changed: () => void, lost: () => void, say: (text: string) => void}} hear `lost`: nothing is held any more
   */
  constructor(link, state, hear) {
    this._link = link;
    this._state = state;
    this._hear = hear;
    this.name = "";
    this.driving = false;
    this._asked = false;
    this._serial = 0;
    /** @type {Map<number, (failures: string[]) => void>} */
    this._answers = new Map();
    this._pressedNs = 0; // the key or button whose picture is still to come
    this._ends = [
      link.on("Control", (message) => message.source === this.name && this._onControl(message)),
      link.on("InputDone", (message) => this._onDone(message)),
      link.on("down", () => this._onControl({ granted: false, reason: "" })),
    ];
  }

  close() {
    this._ends.forEach((end) => end());
  }

  /** Whether this user may ever drive this source. */
  get allowed() {
    const source = this._state.sources.get(this.name);
    return source !== undefined && !source.view_only && this._state.role !== "view";
  }

  /** Another source: the control of this one goes back. @param {string} name */
  change(name) {
    if (this.driving) this.giveBack();
    this._onControl({ granted: false, reason: "" });
    this.name = name;
  }

  /** @param {boolean} take also from somebody who drives it now */
  request(take) {
    this._asked = true;
    this._link.post({ t: "RequestControl", source: this.name, take });
  }

  /** What follows needs control. */
  need() {
    if (!this.driving) this.request(false);
  }

  giveBack() {
    this._link.post({ t: "GiveBack", source: this.name });
  }

  /** @param {InputEvent[]} events */
  input(events) {
    if (!this.name) return;
    const pressed = events.some(({ t, down }) => (t === "Key" || t === "Button") && down);
    if (!this.driving && !this._asked) {
      // Whoever types or clicks wants to drive; motion alone says nothing.
      const source = this._state.sources.get(this.name);
      if (!pressed || !this.allowed || !source?.online || source.controller) return;
      this.request(false);
      // The hub grants before it reads on: what is sent now arrives as the driver's.
    }
    this._link.post({ t: "Input", source: this.name, events });
    const now = nowNs();
    const overdue = now - this._pressedNs > ANSWER_NS; // what changed nothing is no delay
    if (overdue && pressed) this._pressedNs = now;
  }

  /** Input that is answered once the source has done it. @param {InputEvent[]} events @returns {Promise<string[]>} failures */
  inject(events) {
    this._serial = (this._serial % SERIALS) + 1;
    const serial = this._serial;
    return new Promise((resolve) => {
      this._answers.set(serial, resolve);
      this.need();
      this._link.post({ t: "Input", source: this.name, events, serial });
    });
  }

  /** How long the last key or button waited for this picture, ms; null when it was not waiting. @param {number} damagedNs */
  answeredBy(damagedNs) {
    if (!this._pressedNs || damagedNs <= this._pressedNs) return null;
    const ms = (nowNs() - this._pressedNs) / 1e6;
    this._pressedNs = 0;
    return ms;
  }

  /** @param {any} message */
  _onControl(message) {
    const had = this.driving;
    this.driving = message.granted;
    if (!message.granted && (this._asked || had) && message.reason) this._hear.say(S.refused(message.reason));
    this._asked = false;
    if (had && !message.granted) this._hear.lost();
    this._hear.changed();
  }

  /** @param {any} message */
  _onDone(message) {
    this._answers.get(message.serial)?.(message.failures);
    this._answers.delete(message.serial);
    for (const failure of message.failures) this._hear.say(S.notDone(failure));
  }
}
