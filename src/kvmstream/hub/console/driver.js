/** Who drives a source, and input on its way to it. */
import { nowNs } from "./header.js";
import { S } from "./strings.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./state.js").State} State */
/** @typedef {{t: string, [field: string]: any}} InputEvent */

const ANSWER_NS = 1e9;
const SERIALS = 0xffff_ffff;
const LONGEST_TEXT = 10_000; // characters that the hub takes at once

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
    /** @type {((granted: boolean) => void)[]} who waits for the control */
    this._hopes = [];
    this._pressedNs = 0; // the key or button whose picture is still to come
    this._ends = [
      link.on("Control", (message) => message.source === this.name && this._onControl(message)),
      link.on("InputDone", (message) => this._onDone(message)),
      link.on("down", () => this._onDown()),
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

  /** Whether keys and buttons go to the source: it is driven, or about to be. */
  get active() {
    return this.driving || this._asked;
  }

  /** Another source: the control of this one goes back. @param {string} name */
  change(name) {
    if (this.driving) this.giveBack();
    this._onControl({ granted: false, reason: "" });
    this.name = name;
  }

  /** @param {boolean} take also from somebody who drives it now */
  request(take) {
    if (!this._link.connected) return; // it would be lost, and nobody would ever answer
    this._asked = true;
    this._link.post({ t: "RequestControl", source: this.name, take });
  }

  /** What follows needs control. @returns {Promise<boolean>} whether it was granted; input need not wait for that */
  async need() {
    if (this.driving) return true;
    this.request(false);
    return this._asked ? new Promise((resolve) => this._hopes.push(resolve)) : false;
  }

  giveBack() {
    this._link.post({ t: "GiveBack", source: this.name });
  }

  /** @param {InputEvent[]} events */
  input(events) {
    if (!this.name) return;
    const pressed = events.some(({ t, down }) => (t === "Key" || t === "Button") && down);
    if (!this.active) {
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
    if (!this._link.connected) return Promise.resolve([S.noHub]);
    this._serial = (this._serial % SERIALS) + 1;
    const serial = this._serial;
    return new Promise((resolve) => {
      this._answers.set(serial, resolve);
      this._link.post({ t: "Input", source: this.name, events, serial });
    });
  }

  /** Characters that are typed at the source, in the order of the keys around them. @param {string} text */
  text(text) {
    void this.need();
    for (let i = 0; i < text.length; i += LONGEST_TEXT) this.input([{ t: "Text", text: text.slice(i, i + LONGEST_TEXT) }]);
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
    if (!message.granted && (this._asked || had) && message.reason) {
      this._hear.say(this._asked ? S.refused(message.reason) : S.controlEnded(message.reason));
    }
    this._asked = false;
    for (const hope of this._hopes.splice(0)) hope(this.driving);
    if (had && !message.granted) this._hear.lost();
    this._hear.changed();
  }

  /** @param {any} message */
  _onDone(message) {
    const answer = this._answers.get(message.serial);
    this._answers.delete(message.serial);
    if (answer !== undefined) answer(message.failures);
    else for (const failure of message.failures) this._hear.say(S.notDone(failure));
  }

  /** Nothing that was asked is answered any more. */
  _onDown() {
    for (const answer of this._answers.values()) answer([S.noHub]);
    this._answers.clear();
    this._onControl({ granted: false, reason: "" });
  }
}
