/** Fingers: tap = click, drag = drag, long press = right click, two = pan what is larger than the stage, else the wheel; three = the wheel. */

const TAP_MS = 250;
const LONG_MS = 500;
const SLACK = 8; // CSS pixels that a finger may tremble
const WHEEL = 3; // units of the wheel for a CSS pixel
const [LEFT, RIGHT] = [0x110, 0x111];

/**
 * @typedef {object} Hand what fingers do
 * @property {(x: number, y: number) => boolean} contains whether a point of the page is on the picture
 * @property {(x: number, y: number, code: number, down: boolean) => void} button
 * @property {(x: number, y: number) => void} move
 * @property {(dx: number, dy: number) => void} scroll
 * @property {(dx: number, dy: number) => boolean} pan false: all of the picture is seen
 */

export class Touch {
  /** @param {Hand} hand */
  constructor(hand) {
    this._hand = hand;
    /** @type {Map<number, {x: number, y: number, startX: number, startY: number}>} */
    this._fingers = new Map();
    this._timer = 0;
    this._since = 0;
    /** @type {"" | "tap" | "long" | "drag" | "several"} "": nothing comes of it any more */
    this._gesture = "";
  }

  close() {
    clearTimeout(this._timer);
  }

  /** @param {PointerEvent} event */
  down(event) {
    const [x, y] = [event.clientX, event.clientY];
    this._fingers.set(event.pointerId, { x, y, startX: x, startY: y });
    clearTimeout(this._timer);
    if (this._fingers.size > 1) {
      this._endDrag();
      this._gesture = "several";
    } else if (this._hand.contains(x, y)) {
      this._gesture = "tap";
      this._since = performance.now();
      this._timer = window.setTimeout(() => {
        this._gesture = "long";
        this._click(x, y, RIGHT);
      }, LONG_MS);
    } else {
      this._gesture = "";
    }
  }

  /** @param {PointerEvent} event */
  move(event) {
    const finger = this._fingers.get(event.pointerId);
    if (finger === undefined) return;
    const [x, y] = [event.clientX, event.clientY];
    const far = Math.hypot(x - finger.startX, y - finger.startY) > SLACK;
    if (this._gesture === "several") {
      const share = 1 / this._fingers.size;
      const [dx, dy] = [(x - finger.x) * share, (y - finger.y) * share];
      if (this._fingers.size > 2 || !this._hand.pan(-dx, -dy)) this._hand.scroll(-dx * WHEEL, -dy * WHEEL);
    } else if (this._gesture === "tap" && far) {
      clearTimeout(this._timer);
      this._gesture = "drag";
      this._hand.button(finger.startX, finger.startY, LEFT, true);
    }
    if (this._gesture === "drag") this._hand.move(x, y);
    finger.x = x;
    finger.y = y;
  }

  /** @param {PointerEvent} event */
  up(event) {
    clearTimeout(this._timer);
    if (!this._fingers.delete(event.pointerId)) return;
    if (this._gesture === "drag") this._endDrag();
    else if (this._gesture === "tap" && performance.now() - this._since < LONG_MS + TAP_MS) this._click(event.clientX, event.clientY, LEFT);
    if (this._fingers.size === 0) this._gesture = "";
  }

  /** The browser has taken a finger for itself: whatever it did is over. @param {PointerEvent} event */
  cancel(event) {
    clearTimeout(this._timer);
    this._fingers.delete(event.pointerId);
    this._endDrag();
    this._gesture = this._fingers.size > 0 ? this._gesture : "";
  }

  _endDrag() {
    if (this._gesture !== "drag") return;
    this._gesture = "";
    const [finger] = this._fingers.values();
    this._hand.button(finger?.x ?? NaN, finger?.y ?? NaN, LEFT, false);
  }

  /** @param {number} x @param {number} y @param {number} code */
  _click(x, y, code) {
    this._hand.button(x, y, code, true);
    this._hand.button(x, y, code, false);
  }
}
