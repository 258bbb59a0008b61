/** The pointer over the picture, to the source: moves are gathered, buttons and wheel never wait. */
import { EdgePan } from "./pan.js";
import { Touch } from "./touch.js";

const BUTTONS = [0x110, 0x112, 0x111, 0x113, 0x114]; // MouseEvent.button → evdev
const BITS = [1, 4, 2, 8, 16]; // MouseEvent.button → MouseEvent.buttons
const MOVE_MS = 8;
const NOTCH = 120;
const PIXELS_PER_NOTCH = 100; // what browsers make of one notch of a wheel
const LINES_PER_NOTCH = 3;

/**
 * @typedef {object} Place
 * @property {number} x 0…65535 of the picture
 * @property {number} y
 * @property {number} generation
 */

/**
 * @typedef {object} Surface
 * @property {HTMLElement} stage
 * @property {boolean} driving
 * @property {(clientX: number, clientY: number) => Place | null} locate null: there is no picture
 * @property {(clientX: number, clientY: number) => boolean} contains
 */

export class Pointer {
  /**
   * @param {Surface} picture
   * @param {(events: {t: string, [field: string]: any}[]) => void} send
   * @param {(code: number, down: boolean) => void} hold tells the keyboard's lease of buttons
   * @param {() => void} focus
   */
  constructor(picture, send, hold, focus) {
    this._picture = picture;
    this._target = picture.stage;
    this._send = send;
    this._hold = hold;
    this._focus = focus;
    /** @type {Place | null} the newest move that was not sent */
    this._waiting = null;
    this._moved = { x: 0, y: 0 }; // relative, not sent
    this._last = { x: 0, y: 0 }; // where the pointer is on the page
    this._timer = 0;
    this._sentAt = 0;
    this._wheel = { x: 0, y: 0 }; // fractions of a unit
    /** @type {Set<number>} evdev codes of a mouse's or a pen's buttons */
    this._pressed = new Set();
    this._pan = new EdgePan(this._target, () => this._go(this._last.x, this._last.y));
    this._touch = new Touch({
      contains: (x, y) => picture.contains(x, y),
      button: (x, y, code, down) => this._press(x, y, code, down),
      move: (x, y) => this._go(x, y),
      scroll: (dx, dy) => this._scroll(dx, dy),
      pan: (dx, dy) => this._pan.by(dx, dy),
    });
    this._abort = new AbortController();
    const { signal } = this._abort;
    /** @param {string} type @param {(event: any) => void} act */
    const on = (type, act) => this._target.addEventListener(type, act, { signal, passive: false });
    on("pointermove", (event) => this._move(event));
    on("pointerdown", (event) => this._down(event));
    on("pointerup", (event) => this._up(event));
    on("pointercancel", (event) => this._cancel(event));
    on("lostpointercapture", (event) => event.pointerType !== "touch" && this._release());
    on("pointerleave", () => this._pan.stop());
    on("wheel", (event) => this._turn(event));
    on("contextmenu", (event) => event.preventDefault());
    // The middle button would paste or scroll, the side buttons would go back.
    on("auxclick", (event) => event.preventDefault());
    on("mouseup", (event) => event.preventDefault());
  }

  close() {
    clearTimeout(this._timer);
    this._pan.stop();
    this._touch.close();
    this._abort.abort();
  }

  get locked() {
    return document.pointerLockElement === this._target;
  }

  /** Relative motion, as games and 3D programs want it. */
  async lock() {
    this._pan.stop();
    try {
      await this._target.requestPointerLock({ unadjustedMovement: true });
    } catch {
      await this._target.requestPointerLock(); // a platform that cannot leave acceleration out
    }
  }

  /** @param {PointerEvent} event */
  _move(event) {
    if (event.pointerType === "touch") {
      this._touch.move(event);
      return;
    }
    if (event.button >= 0) {
      // Of two buttons that are down at once browsers tell the second as a move.
      this._button(event, (event.buttons & /** @type {number} */ (BITS[event.button])) !== 0);
      return;
    }
    if (this.locked) {
      this._moved.x += event.movementX;
      this._moved.y += event.movementY;
      this._soon();
    } else {
      if (this._pressed.size > 0 || this._picture.contains(event.clientX, event.clientY)) this._pan.at(event.clientX, event.clientY);
      else this._pan.stop();
      this._go(event.clientX, event.clientY);
    }
  }

  /** @param {number} clientX @param {number} clientY */
  _go(clientX, clientY) {
    this._last = { x: clientX, y: clientY };
    this._waiting = this._picture.locate(clientX, clientY);
    this._soon();
  }

  _soon() {
    const wait = this._sentAt + MOVE_MS - performance.now();
    if (wait <= 0) this._flush();
    else if (!this._timer) this._timer = window.setTimeout(() => this._flush(), wait);
  }

  /** @param {{t: string, [field: string]: any}[]} then follows in the same message */
  _flush(...then) {
    clearTimeout(this._timer);
    this._timer = 0;
    const events = [];
    if (this._waiting !== null) events.push({ t: "Motion", ...this._waiting });
    const [dx, dy] = [Math.trunc(this._moved.x), Math.trunc(this._moved.y)];
    if (dx || dy) events.push({ t: "RelativeMotion", dx, dy });
    this._waiting = null;
    this._moved.x -= dx;
    this._moved.y -= dy;
    events.push(...then);
    this._sentAt = performance.now();
    if (events.length > 0) this._send(events);
  }

  /** @param {PointerEvent} event */
  _down(event) {
    this._focus();
    if (event.pointerType === "touch") {
      event.preventDefault();
      this._touch.down(event);
      return;
    }
    // Beside the picture there is nothing to press, and scroll bars are the browser's.
    if (!this.locked && !this._picture.contains(event.clientX, event.clientY)) return;
    event.preventDefault();
    // Its release arrives wherever it happens; a locked pointer is nowhere else.
    if (!this.locked) this._target.setPointerCapture(event.pointerId);
    this._button(event, true);
  }

  /** @param {PointerEvent} event */
  _up(event) {
    event.preventDefault();
    if (event.pointerType === "touch") this._touch.up(event);
    else this._button(event, false);
  }

  /** @param {PointerEvent} event */
  _cancel(event) {
    if (event.pointerType === "touch") this._touch.cancel(event);
    else this._release();
  }

  /** All buttons up. */
  _release() {
    for (const code of [...this._pressed]) this._press(NaN, NaN, code, false);
  }

  /** @param {PointerEvent} event @param {boolean} down */
  _button(event, down) {
    const code = BUTTONS[event.button];
    if (code !== undefined) this._press(event.clientX, event.clientY, code, down);
  }

  /** @param {number} x @param {number} y NaN: where it is @param {number} code @param {boolean} down */
  _press(x, y, code, down) {
    if (down) this._pressed.add(code);
    else if (!this._pressed.delete(code)) return; // it went down elsewhere
    if (!this.locked && !Number.isNaN(x)) this._waiting = this._picture.locate(x, y) ?? this._waiting;
    this._hold(code, down);
    this._flush({ t: "Button", code, down });
  }

  /** @param {WheelEvent} event */
  _turn(event) {
    if (!this._picture.driving && this._pan.possible) return; // whoever only watches pans
    event.preventDefault();
    const unit = [NOTCH / PIXELS_PER_NOTCH, NOTCH / LINES_PER_NOTCH, NOTCH * 5][event.deltaMode] ?? 1;
    this._scroll(event.deltaX * unit, event.deltaY * unit);
  }

  /** @param {number} x @param {number} y in 120ths of a notch */
  _scroll(x, y) {
    this._wheel.x += x;
    this._wheel.y += y;
    const [dx, dy] = [Math.trunc(this._wheel.x), Math.trunc(this._wheel.y)];
    this._wheel.x -= dx;
    this._wheel.y -= dy;
    /** @param {number} value */
    const bounded = (value) => Math.max(-12000, Math.min(12000, value));
    if (dx || dy) this._flush({ t: "Wheel", dx: bounded(dx), dy: bounded(dy) });
  }
}
