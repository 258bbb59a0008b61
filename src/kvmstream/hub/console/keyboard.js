/** Physical keys of the page, by KeyboardEvent.code, to the source; nothing stays down. */

const RENEW_MS = 1000;
const ALTGR_MS = 10; // Windows sends a ControlLeft of its own just before AltGr
const WINDOWS = /Win/.test(navigator.platform);
const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

/** @typedef {{t: string, code?: number, down?: boolean, codes?: number[], caps?: boolean, num?: boolean | null}} KeyEvent */

export class Keyboard {
  /**
   * @param {HTMLElement} target what has the focus while keys go to the source
   * @param {Record<string, number>} keys KeyboardEvent.code → evdev
   * @param {(events: KeyEvent[]) => void} send
   * @param {(event: KeyboardEvent) => "source" | "console" | "browser"} whose who gets a key
   */
  constructor(target, keys, send, whose) {
    this._keys = keys;
    this._send = send;
    this._whose = whose;
    /** @type {Set<number>} evdev codes that are down at the source */
    this.held = new Set();
    /** @type {(name: string, down: boolean) => void} hears of every key that goes to the source, by KeyboardEvent.code */
    this.heard = () => {};
    /** @type {Map<number, string>} */
    this._names = new Map(Object.entries(keys).map(([name, code]) => [code, name]));
    /** @type {{code: number, timer: number} | null} a Control that may be AltGr's */
    this._doubtful = null;
    this._controlAt = -Infinity; // when the left Control went down, by the event
    this._locks = ""; // Caps Lock and Num Lock as the source was told them last
    this._abort = new AbortController();
    const { signal } = this._abort;
    target.addEventListener("keydown", (event) => this._down(event), { signal });
    target.addEventListener("keyup", (event) => this._up(event), { signal });
    target.addEventListener("focusout", () => this.releaseAll(), { signal });
    window.addEventListener("blur", () => this.releaseAll(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.releaseAll(), { signal });
    this._timer = setInterval(() => this._renew(), RENEW_MS);
  }

  close() {
    this.releaseAll();
    clearInterval(this._timer);
    this._abort.abort();
  }

  /** Press keys together and let go. @param {string[]} names KeyboardEvent.code */
  chord(names) {
    const codes = names.map((name) => this._keys[name]).filter((code) => code !== undefined);
    for (const code of codes) this.heard(this._names.get(code) ?? "", true);
    for (const code of [...codes].reverse()) this.heard(this._names.get(code) ?? "", false);
    this._send([
      ...codes.map((code) => ({ t: "Key", code, down: true })),
      ...[...codes].reverse().map((code) => ({ t: "Key", code, down: false })),
    ]);
  }

  releaseAll() {
    if (this._doubtful !== null) clearTimeout(this._doubtful.timer);
    this._doubtful = null;
    this.forgetLocks();
    if (this.held.size === 0) return;
    this.held.clear();
    this._send([{ t: "ReleaseAll" }]);
  }

  /** Somebody else may have switched them meanwhile: the source is told anew with the next key. */
  forgetLocks() {
    this._locks = "";
  }

  /** What goes before a key where the locks are others than the source was told. @param {KeyboardEvent} event @returns {KeyEvent[]} */
  _lockNews(event) {
    // The keys themselves go to the source as they are, and systems differ in what they say of a lock while its key moves.
    if (event.code === "CapsLock" || event.code === "NumLock") return [];
    const caps = event.getModifierState("CapsLock");
    const num = MAC ? null : event.getModifierState("NumLock"); // a Mac has none, and says that it is off
    const locks = `${caps} ${num}`;
    if (locks === this._locks) return [];
    this._locks = locks;
    return [{ t: "Locks", caps, num }];
  }

  /** Buttons are held like keys. @param {number} code @param {boolean} down */
  set(code, down) {
    if (down === this.held.has(code)) return;
    if (down) this.held.add(code);
    else this.held.delete(code);
  }

  /** @param {KeyboardEvent} event */
  _down(event) {
    const whose = this._whose(event);
    if (whose === "console") event.preventDefault();
    if (whose !== "source") return;
    if (event.isComposing || event.keyCode === 229) return; // an input method is at work: its text comes when it is composed
    const code = this._keys[event.code];
    if (code === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return; // repeats are the source's own business
    if (event.code === "CapsLock" && MAC) {
      this.press(code);
      this.release(code); // macOS tells one half of each press only
      return;
    }
    if (WINDOWS && event.code === "ControlLeft" && this._doubtful === null) {
      this._controlAt = event.timeStamp;
      const timer = window.setTimeout(() => this._settle(), ALTGR_MS);
      this._doubtful = { code, timer };
      return;
    }
    if (this._doubtful !== null) {
      if (event.code === "AltRight") {
        clearTimeout(this._doubtful.timer);
        this._doubtful = null;
      } else {
        this._settle();
      }
    } else if (WINDOWS && event.code === "AltRight" && event.timeStamp - this._controlAt <= ALTGR_MS) {
      const control = this._keys["ControlLeft"];
      if (control !== undefined) this.release(control); // the page was too busy to see both in time
    }
    this.press(code, this._lockNews(event));
    // While Meta is down, macOS tells of no other key's release.
    if (MAC && event.metaKey && !event.code.startsWith("Meta")) this.release(code);
  }

  /** @param {KeyboardEvent} event */
  _up(event) {
    const code = this._keys[event.code];
    if (code === undefined) return;
    if (event.code === "CapsLock" && MAC) {
      event.preventDefault();
      this.press(code);
      this.release(code);
      return;
    }
    this._settle();
    if (!this.held.has(code)) return; // its press was not the source's either
    event.preventDefault();
    this.release(code);
  }

  /** It was a Control after all. */
  _settle() {
    if (this._doubtful === null) return;
    const { code, timer } = this._doubtful;
    clearTimeout(timer);
    this._doubtful = null;
    this.press(code);
  }

  /** @param {number} code @param {KeyEvent[]} [before] goes out with it */
  press(code, before = []) {
    if (this.held.has(code)) return;
    this.held.add(code);
    this.heard(this._names.get(code) ?? "", true);
    this._send([...before, { t: "Key", code, down: true }]);
  }

  /** @param {number} code */
  release(code) {
    if (!this.held.delete(code)) return;
    this.heard(this._names.get(code) ?? "", false);
    this._send([{ t: "Key", code, down: false }]);
  }

  _renew() {
    if (this.held.size > 0) this._send([{ t: "Held", codes: [...this.held] }]);
  }
}
