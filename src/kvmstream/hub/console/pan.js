/** A picture that is larger than its stage follows a pointer that is pushed against the stage's edge. */

const EDGE = 32; // CSS pixels from which on it is pushed
const SPEED = 1500; // CSS pixels a second at the very edge

export class EdgePan {
  /** @param {HTMLElement} stage @param {() => void} moved another part of the picture is under the pointer now */
  constructor(stage, moved) {
    this._stage = stage;
    this._moved = moved;
    this._speed = { x: 0, y: 0 };
    this._frame = 0;
    this._at = 0;
  }

  /** Whether there is more of the picture than is seen. */
  get possible() {
    const { scrollWidth, scrollHeight, clientWidth, clientHeight } = this._stage;
    return this._stage.classList.contains("pans") && (scrollWidth > clientWidth || scrollHeight > clientHeight);
  }

  /** The pointer is here. @param {number} clientX @param {number} clientY */
  at(clientX, clientY) {
    const { clientWidth, clientHeight } = this._stage;
    const box = this._stage.getBoundingClientRect();
    /** @param {number} place @param {number} size */
    const push = (place, size) => {
      if (place < EDGE) return -Math.min(1, (EDGE - place) / EDGE) * SPEED;
      return place > size - EDGE ? Math.min(1, (place - size + EDGE) / EDGE) * SPEED : 0;
    };
    this._speed = { x: push(clientX - box.left, clientWidth), y: push(clientY - box.top, clientHeight) };
    if (!this.possible) this.stop();
    else if (!this._frame && (this._speed.x || this._speed.y)) {
      this._at = performance.now();
      this._frame = requestAnimationFrame((now) => this._step(now));
    }
  }

  stop() {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    this._speed = { x: 0, y: 0 };
  }

  /** @param {number} dx @param {number} dy CSS pixels @returns {boolean} whether there is anything to pan */
  by(dx, dy) {
    if (!this.possible) return false;
    this._stage.scrollBy(dx, dy);
    return true;
  }

  /** @param {number} now */
  _step(now) {
    this._frame = 0;
    const { x, y } = this._speed;
    if (!x && !y) return;
    const seconds = Math.max(0, Math.min(0.1, (now - this._at) / 1000));
    this._at = now;
    const { scrollLeft, scrollTop } = this._stage;
    this._stage.scrollBy(x * seconds, y * seconds);
    if (scrollLeft !== this._stage.scrollLeft || scrollTop !== this._stage.scrollTop) this._moved();
    this._frame = requestAnimationFrame((next) => this._step(next));
  }
}
