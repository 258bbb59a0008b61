/** The pointer over the picture, to the source: moves are gathered, buttons and wheel never wait. */

const BUTTONS = [0x110, 0x112, 0x111, 0x113, 0x114]; // MouseEvent.button → evdev
const MOVE_MS = 8;
const NOTCH = 120;
const PIXELS_PER_NOTCH = 100; // what browsers make of one notch of a wheel
const LINES_PER_NOTCH = 3;
const TAP_MS = 250;
const LONG_MS = 500;
const SLACK = 8; // CSS pixels that a finger may tremble

/**
 * @typedef {object} Place
 * @property {number} x 0…65535 of the picture
 * @property {number} y
 * @property {number} generation
 */

export class Pointer {
  /**
   * @param {HTMLElement} target
   * @param {(clientX: number, clientY: number) => Place | null} locate null: there is no picture
   * @param {(events: {t: string, [field: string]: any}[]) => void} send
   * @param {(code: number, down: boolean) => void} hold tells the keyboard's lease of buttons
   */
  constructor(target, locate, send, hold) {
    this._target = target;
    this._locate = locate;
    this._send = send;
    this._hold = hold;
    /** @type {Place | null} the newest move that was not sent */
    this._waiting = null;
    this._moved = { x: 0, y: 0 }; // relative, not sent
    this._timer = 0;
    this._sentAt = 0;
    this._wheel = { x: 0, y: 0 }; // fractions of a unit
    /** @type {Map<number, {x: number, y: number, startX: number, startY: number}>} fingers */
    this._fingers = new Map();
    this._longTimer = 0;
    this._touchedAt = 0;
    this._gesture = "";
    this._abort = new AbortController();
    const { signal } = this._abort;
    /** @param {string} type @param {(event: any) => void} act */
    const on = (type, act) => target.addEventListener(type, act, { signal, passive: false });
    on("pointermove", (event) => this._move(event));
    on("pointerdown", (event) => this._down(event));
    on("pointerup", (event) => this._up(event));
    on("pointercancel", (event) => this._cancel(event));
    on("wheel", (event) => this._turn(event));
    on("contextmenu", (event) => event.preventDefault());
    // The middle button would paste or scroll, the side buttons would go back.
    on("auxclick", (event) => event.preventDefault());
    on("mouseup", (event) => event.preventDefault());
  }

  close() {
    clearTimeout(this._timer);
    clearTimeout(this._longTimer);
    this._abort.abort();
  }

  get locked() {
    return document.pointerLockElement === this._target;
  }

  /** Relative motion, as games and 3D programs want it. */
  async lock() {
    try {
      await this._target.requestPointerLock({ unadjustedMovement: true });
    } catch {
      await this._target.requestPointerLock(); // a platform that cannot leave acceleration out
    }
  }

  /** @param {PointerEvent} event */
  _move(event) {
    if (event.pointerType === "touch") {
      this._drag(event);
      return;
    }
    if (this.locked) {
      this._moved.x += event.movementX;
      this._moved.y += event.movementY;
    } else {
      this._waiting = this._locate(event.clientX, event.clientY);
    }
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
    this._target.focus({ preventScroll: true });
    event.preventDefault();
    if (event.pointerType === "touch") {
      this._touch(event);
      return;
    }
    this._target.setPointerCapture(event.pointerId); // its release arrives wherever it happens
    this._button(event, true);
  }

  /** @param {PointerEvent} event */
  _up(event) {
    event.preventDefault();
    if (event.pointerType === "touch") this._lift(event);
    else this._button(event, false);
  }

  /** @param {PointerEvent} event */
  _cancel(event) {
    this._fingers.delete(event.pointerId);
    clearTimeout(this._longTimer);
  }

  /** @param {PointerEvent} event @param {boolean} down */
  _button(event, down) {
    const code = BUTTONS[event.button];
    if (code === undefined) return;
    if (!this.locked) this._waiting = this._locate(event.clientX, event.clientY) ?? this._waiting;
    this._hold(code, down);
    this._flush({ t: "Button", code, down });
  }

  /** @param {WheelEvent} event */
  _turn(event) {
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

  // ---- touch: tap = click, drag = drag, long press = right click, two fingers = scroll

  /** @param {PointerEvent} event */
  _touch(event) {
    const [x, y] = [event.clientX, event.clientY];
    this._fingers.set(event.pointerId, { x, y, startX: x, startY: y });
    clearTimeout(this._longTimer);
    if (this._fingers.size === 1) {
      this._gesture = "tap";
      this._touchedAt = performance.now();
      this._longTimer = window.setTimeout(() => {
        this._gesture = "long";
        this._click(x, y, 0x111);
      }, LONG_MS);
    } else {
      if (this._gesture === "drag") this._flush({ t: "Button", code: 0x110, down: false });
      this._gesture = "scroll";
    }
  }

  /** @param {PointerEvent} event */
  _drag(event) {
    const finger = this._fingers.get(event.pointerId);
    if (finger === undefined) return;
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    const far = Math.hypot(event.clientX - finger.startX, event.clientY - finger.startY) > SLACK;
    if (this._gesture === "scroll") {
      const share = 1 / Math.max(1, this._fingers.size);
      this._scroll(-dx * 3 * share, -dy * 3 * share);
    } else if (this._gesture === "tap" && far) {
      clearTimeout(this._longTimer);
      this._gesture = "drag";
      this._waiting = this._locate(finger.startX, finger.startY);
      this._hold(0x110, true);
      this._flush({ t: "Button", code: 0x110, down: true });
    }
    if (this._gesture === "drag") {
      this._waiting = this._locate(event.clientX, event.clientY);
      this._flush();
    }
    finger.x = event.clientX;
    finger.y = event.clientY;
  }

  /** @param {PointerEvent} event */
  _lift(event) {
    clearTimeout(this._longTimer);
    this._fingers.delete(event.pointerId);
    if (this._fingers.size > 0) return;
    if (this._gesture === "drag") {
      this._hold(0x110, false);
      this._flush({ t: "Button", code: 0x110, down: false });
    } else if (this._gesture === "tap" && performance.now() - this._touchedAt < LONG_MS + TAP_MS) {
      this._click(event.clientX, event.clientY, 0x110);
    }
    this._gesture = "";
  }

  /** @param {number} x @param {number} y @param {number} code */
  _click(x, y, code) {
    this._waiting = this._locate(x, y);
    this._flush({ t: "Button", code, down: true }, { t: "Button", code, down: false });
  }
}
