/** A keyboard on the screen, for whoever has none: keys of a us board by their place, modifiers that stay until the next key. */
import { button, element } from "./dom.js";
import { S } from "./strings.js";

/** @typedef {[code: string, face: string, width?: number]} Key */

/** @type {Key[][]} */
const ROWS = [
  [["Escape", "Esc"], ...[..."123456789"].map((n) => /** @type {Key} */ ([`F${n}`, `F${n}`])), ["F10", "F10"], ["F11", "F11"],
    ["F12", "F12"], ["Delete", "Del"]],
  [["Backquote", "`"], ...[..."1234567890"].map((n) => /** @type {Key} */ ([`Digit${n}`, n])), ["Minus", "-"], ["Equal", "="],
    ["Backspace", "⌫", 2]],
  [["Tab", "Tab", 1.5], ...letters("QWERTYUIOP"), ["BracketLeft", "["], ["BracketRight", "]"], ["Backslash", "\\", 1.5]],
  [["CapsLock", "Caps", 1.75], ...letters("ASDFGHJKL"), ["Semicolon", ";"], ["Quote", "'"], ["Enter", "⏎", 2.25]],
  [["ShiftLeft", "Shift", 2], ["IntlBackslash", "<"], ...letters("ZXCVBNM"), ["Comma", ","], ["Period", "."], ["Slash", "/"],
    ["ArrowUp", "↑"], ["End", "End"]],
  [["ControlLeft", "Ctrl", 1.5], ["MetaLeft", "Meta", 1.25], ["AltLeft", "Alt", 1.25], ["Space", " ", 5], ["AltRight", "AltGr", 1.25],
    ["Home", "Home"], ["PageUp", "PgUp"], ["PageDown", "PgDn"], ["ArrowLeft", "←"], ["ArrowDown", "↓"], ["ArrowRight", "→"]],
];
const STICKY = /^(Shift|Control|Alt|Meta)/;

/** @param {string} text @returns {Key[]} */
function letters(text) {
  return [...text].map((letter) => [`Key${letter}`, letter.toLowerCase()]);
}

export class OnScreenKeyboard {
  /** @param {(codes: string[]) => void} chord presses keys together and lets go */
  constructor(chord) {
    this._chord = chord;
    /** @type {Map<string, HTMLButtonElement>} modifiers that wait for the next key */
    this._waiting = new Map();
    this.root = element("div", { class: "keyboard", role: "group", "aria-label": S.onScreenKeyboard, hidden: true });
    for (const row of ROWS) {
      const line = element("div", { class: "keys" });
      for (const [code, face, width = 1] of row) {
        const name = face.trim() ? null : code;
        const key = button(face, () => this._press(code, key), {
          "aria-label": name, "aria-pressed": STICKY.test(code) ? "false" : null, tabindex: -1,
        });
        key.style.flexGrow = String(width);
        // The picture keeps the focus, and with it a real keyboard's keys.
        key.addEventListener("pointerdown", (event) => event.preventDefault());
        line.append(key);
      }
      this.root.append(line);
    }
  }

  /** @param {string} code @param {HTMLButtonElement} key */
  _press(code, key) {
    if (STICKY.test(code)) {
      if (this._waiting.has(code)) {
        this._chord([code]); // twice: the modifier by itself, as Meta opens a menu
        this._release();
      } else {
        this._waiting.set(code, key);
        key.setAttribute("aria-pressed", "true");
      }
      return;
    }
    this._chord([...this._waiting.keys(), code]);
    this._release();
  }

  _release() {
    for (const key of this._waiting.values()) key.setAttribute("aria-pressed", "false");
    this._waiting.clear();
  }
}
