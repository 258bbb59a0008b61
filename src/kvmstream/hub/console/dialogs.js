/**
 * Dialogs of one source: keys that the browser keeps, texts, the clipboard. Each is told how to focus the picture and does so
 * before it opens: the browser gives the focus back to what had it in the moment a dialog closes, and no key gets lost between.
 */
import { button, dialog, element } from "./dom.js";
import { S } from "./strings.js";

const TEXT_CHUNK = 100; // characters of one message, so that progress is seen and cancel works
const CHORDS = [
  ["ControlLeft", "AltLeft", "Delete"], ["AltLeft", "Tab"], ["AltLeft", "F4"], ["MetaLeft"], ["ControlLeft", "KeyW"],
  ["ControlLeft", "KeyT"], ["ControlLeft", "KeyN"], ["Escape"], ["F11"], ["PrintScreen"], ["ControlLeft", "AltLeft", "F1"],
  ["ControlLeft", "AltLeft", "F2"], ["ControlLeft", "AltLeft", "F7"], ["AltLeft", "PrintScreen", "KeyB"],
];

/** @param {(names: string[]) => void} chord @param {() => void} focus */
export function keysDialog(chord, focus) {
  const list = element("p", { class: "row wrap" });
  for (const names of CHORDS) {
    const text = names.map((name) => name.replace(/^(Key|Digit)|Left$/g, "")).join(" + ");
    list.append(button(text, () => chord(names)));
  }
  focus();
  dialog(S.sendKeys, S.close, list);
}

/** @param {(text: string) => Promise<unknown>} type resolves when the source has typed it @param {() => void} focus */
export function textDialog(type, focus) {
  const text = element("textarea", { rows: 8, "aria-label": S.typeText });
  const progress = element("progress", { max: 1, value: 0, hidden: true });
  const said = element("span", {});
  let cancelled = false;
  const start = button(S.type, async () => {
    const characters = [...text.value];
    start.disabled = true;
    progress.hidden = false;
    for (let i = 0; i < characters.length && !cancelled; i += TEXT_CHUNK) {
      await type(characters.slice(i, i + TEXT_CHUNK).join(""));
      const done = Math.min(characters.length, i + TEXT_CHUNK);
      progress.value = done / characters.length;
      said.textContent = S.typed(done, characters.length);
    }
    start.disabled = false;
  }, { class: "primary" });
  focus();
  const made = dialog(
    S.typeText, S.cancel, element("p", {}, S.typeTextHelp), text, element("p", { class: "row" }, start, progress, said),
  );
  made.addEventListener("close", () => {
    cancelled = true;
  });
}

/** The source's clipboard, open or not. */
export class ClipboardDialog {
  /** @param {() => void} focus @param {(text: string) => void} send @param {(text: string) => void} say */
  constructor(focus, send, say) {
    this._focus = focus;
    this._send = send;
    this._say = say;
    this._text = "";
    /** @type {HTMLTextAreaElement | null} */
    this._box = null;
  }

  /** What was copied on the source. @param {string} text */
  take(text) {
    this._text = text;
    if (this._box) this._box.value = text;
  }

  /** @param {import("./state.js").ClipboardPolicy} policy */
  open(policy) {
    const text = element("textarea", { rows: 8, "aria-label": S.clipboard });
    text.value = this._text;
    this._box = text;
    const row = element("p", { class: "row" });
    if (policy !== "from_source") {
      row.append(button(S.sendClipboard, () => {
        this._send(text.value);
        this._say(S.clipboardSent);
      }, { class: "primary" }));
    }
    if (policy !== "to_source") {
      row.append(button(S.copyHere, async () => {
        await navigator.clipboard.writeText(text.value);
        this._say(S.copied);
      }));
    }
    this._focus();
    const made = dialog(S.clipboard, S.close, element("p", {}, S.clipboardHelp[policy]), text, row);
    made.addEventListener("close", () => {
      this._box = null;
    });
  }
}
