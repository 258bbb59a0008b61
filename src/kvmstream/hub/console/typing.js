/** The system's own keyboard and input methods: what they compose here goes to the source as text, on a phone as well. */
import { element } from "./dom.js";
import { S } from "./strings.js";

// Before the cursor: a phone's keyboard tells of Backspace only where there is something to delete.
const GUARD = " ";

export class Typing {
  /** @param {(text: string) => void} type @param {(code: string) => void} press a key by KeyboardEvent.code */
  constructor(type, press) {
    this._type = type;
    this._press = press;
    this.active = false;
    this.box = element("textarea", {
      class: "typing", rows: 1, hidden: true, "aria-label": S.systemKeyboard, autocapitalize: "off", autocomplete: "off",
      autocorrect: "off", spellcheck: "false",
      oncompositionend: (/** @type {CompositionEvent} */ event) => this._take(event.data),
      oninput: (/** @type {InputEvent} */ event) => this._input(event),
    });
  }

  /** @param {boolean} active */
  set(active) {
    this.active = active;
    this.box.hidden = !active;
    if (active) this._empty();
  }

  /** @param {InputEvent} event */
  _input(event) {
    // What is composed comes at its end, as one text.
    if (event.isComposing || /Composition/.test(event.inputType)) return;
    if (event.inputType.startsWith("delete")) this._press("Backspace");
    else if (event.inputType === "insertLineBreak" || event.inputType === "insertParagraph") this._press("Enter");
    else this._type(event.data ?? this.box.value.slice(GUARD.length));
    this._empty();
  }

  /** @param {string} text */
  _take(text) {
    if (text) this._type(text);
    this._empty();
  }

  _empty() {
    this.box.value = GUARD;
    this.box.setSelectionRange(GUARD.length, GUARD.length);
  }
}
