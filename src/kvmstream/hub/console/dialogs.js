/**
 * Dialogs of one source: keys that the browser keeps, texts, the clipboard. Each is told how to focus the picture and does so
 * before it opens: the browser gives the focus back to what had it in the moment a dialog closes, and no key gets lost between.
 */
import { button, dialog, element } from "./dom.js";
import { KEPT } from "./leader.js";
import { S } from "./strings.js";

const TEXT_CHUNK = 100; // characters of one message, so that progress is seen and cancel works
const CHORDS = [
  ...Object.values(KEPT), ["Escape"], ["ControlLeft", "AltLeft", "F1"], ["ControlLeft", "AltLeft", "F2"], ["ControlLeft", "AltLeft", "F7"],
];
const ENDS = ["B", "O", "C"]; // whatever was not saved is lost

/** @param {string[]} names @returns {string} as it stands on the keys */
const face = (names) => names.map((name) => name.replace(/^(Key|Digit)|Left$/g, "")).join(" + ");

/** Halves of characters, which some programs leave in a text, are none that a message may have. @param {string} text */
const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");

/** @param {(names: string[]) => void} chord @param {() => void} focus */
export function keysDialog(chord, focus) {
  const list = element("p", { class: "row wrap" });
  for (const names of CHORDS) {
    list.append(button(face(names), () => chord(names)));
  }
  const followers = element("dl", { class: "leader" });
  for (const [key, what] of [...S.followers, ...Object.entries(KEPT).map(([code, names]) => [face([code]), face(names)])]) {
    followers.append(element("dt", {}, element("kbd", {}, key ?? "")), element("dd", {}, what ?? ""));
  }
  focus();
  dialog(S.sendKeys, S.close, list, sysrq(chord), element("h3", {}, S.leader), element("p", {}, S.leaderHelp), followers);
}

/** Alt + SysRq + a letter, which Linux' kernel itself obeys. @param {(names: string[]) => void} chord */
function sysrq(chord) {
  const letter = element("select", { "aria-label": S.sysrqLetter });
  for (const [value, what] of Object.entries(S.sysrq)) letter.append(element("option", { value }, `${value} – ${what}`));
  const send = () => chord(["AltLeft", "PrintScreen", `Key${letter.value}`]);
  return element("p", { class: "row wrap" }, "Alt + SysRq +", letter, button(S.send, () => {
    if (!ENDS.includes(letter.value)) {
      send();
      return;
    }
    const what = S.sysrq[/** @type {keyof typeof S.sysrq} */ (letter.value)];
    const sure = dialog(S.sysrqSure(letter.value, what), S.cancel, button(S.sysrqDo, () => {
      sure.close();
      send();
    }, { class: "primary" }));
  }));
}

/**
 * @param {() => Promise<boolean>} begin false: nothing can be typed now, and that was said
 * @param {(text: string) => Promise<string[]>} type resolves when the source has typed it, with what it could not do
 * @param {() => void} focus
 */
export function textDialog(begin, type, focus) {
  const text = element("textarea", { rows: 8, "aria-label": S.typeText });
  const progress = element("progress", { max: 1, value: 0, hidden: true });
  const said = element("span", { role: "status" });
  let cancelled = false;
  const start = button(S.type, async () => {
    const characters = [...wellFormed(text.value)];
    start.disabled = true;
    said.textContent = "";
    if (await begin()) {
      progress.hidden = false;
      for (let i = 0; i < characters.length && !cancelled; i += TEXT_CHUNK) {
        const [failure] = await type(characters.slice(i, i + TEXT_CHUNK).join(""));
        if (failure !== undefined) {
          said.textContent = S.notTyped(failure, i, characters.length);
          break;
        }
        const done = Math.min(characters.length, i + TEXT_CHUNK);
        progress.value = done / characters.length;
        said.textContent = S.typed(done, characters.length);
      }
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
  /** @param {() => void} focus @param {(text: string) => string} send "", or why not @param {(text: string) => void} say */
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
        this._say(this._send(wellFormed(text.value)) || S.clipboardSent);
      }, { class: "primary" }));
    }
    if (policy !== "to_source") {
      row.append(button(S.copyHere, async () => {
        await navigator.clipboard.writeText(text.value).then(() => this._say(S.copied), () => this._say(S.notCopied));
      }));
    }
    this._focus();
    const made = dialog(S.clipboard, S.close, element("p", {}, S.clipboardHelp[policy]), text, row);
    made.addEventListener("close", () => {
      this._box = null;
    });
  }
}
