/** One source: its picture, who drives it, and what can be done with it. */
import { request } from "./api.js";
import { ClipboardDialog, keysDialog, textDialog } from "./dialogs.js";
import { button, download, element } from "./dom.js";
import { Driver } from "./driver.js";
import { Figures } from "./figures.js";
import { Keyboard } from "./keyboard.js";
import { Leader } from "./leader.js";
import { Macros } from "./macros.js";
import { OnScreenKeyboard } from "./onscreen.js";
import { Picture } from "./picture.js";
import { Pointer } from "./pointer.js";
import { S } from "./strings.js";
import { Typing } from "./typing.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./state.js").State} State */
/** @typedef {{open: (name: string) => void, back: () => void, say: (text: string) => void}} Console */

const CLIPBOARD_BYTES = 256 << 10; // what a source takes
const MODIFIER = /^(Shift|Control|Alt|Meta)(Left|Right)$/;
const MESSAGE_BYTES = (1 << 20) - 1024; // what the hub reads at once

export class View {
  /** @param {Link} link @param {State} state @param {Record<string, number>} keys @param {Console} console_ */
  constructor(link, state, keys, console_) {
    this._link = link;
    this._state = state;
    this._console = console_;
    this._codes = keys;
    this._name = "";
    this._last = ""; // the source shown before this one
    this.figures = new Figures();
    this.picture = new Picture(link, state, {
      figures: (report) => this._onFigures(report),
      failed: (reason) => this._say(S.decoderFailed(reason)),
      drawn: (report) => this._onDrawn(report),
    });
    this._message = element("p", { class: "message", role: "status" });
    this._heading = element("h1", {});
    this._who = element("span", { class: "who" });
    this._out = element("span", { class: "hint" }, S.wayOut);
    this._driver = new Driver(link, state, {
      changed: () => this._onControl(),
      lost: () => this.keyboard.releaseAll(),
      say: (text) => this._console.say(text),
    });
    this._take = button(S.takeControl, () => this._takeOver(), { class: "primary" });
    this._give = button(S.giveBack, () => this._giveBack());
    this._monitor = element("select", { "aria-label": S.monitor, onchange: () => this._showMonitor() });
    this._record = button(S.record, () => this._toggleRecording());
    this._copy = button(S.clipboard, () => this._clipboard.open(this._state.sources.get(this._name)?.clipboard ?? "both"));
    this._typing = new Typing((text) => this._driver.text(text), (code) => this._chord([code]));
    this.picture.stage.append(this._typing.box);
    this.picture.stage.setAttribute("aria-description", S.wayOutLong);
    this._leader = new Leader({
      open: (place) => this._openPlace(place),
      step: (by) => this._step(by),
      last: () => this._openLast(),
      back: () => this._console.back(),
      help: () => this._keys(),
      chord: (codes) => this._chord(codes),
    });
    this._board = new OnScreenKeyboard((codes) => this._chord(codes));
    const scene = element("div", { class: "scene" }, this.picture.stage, this._message, this.figures.root);
    this.root = element("main", { class: "view" }, this._bar(), scene, this._board.root);
    this._ends = [
      state.on("sources", () => this._update()),
      link.on("ClipboardText", (message) => message.source === this._name && this._onClipboard(message)),
      link.on("Problem", (message) => this._console.say(message.reason)),
    ];
    const { stage } = this.picture;
    this.keyboard = new Keyboard(stage, keys, (events) => this._driver.input(events), (event) => this._whose(event));
    this.macros = new Macros(keys, {
      key: (code, down) => (down ? this.keyboard.press(code) : this.keyboard.release(code)),
      take: () => this._driver.need(),
      say: (text) => this._console.say(text),
      focus: () => this._focus(),
    });
    this.keyboard.heard = (name, down) => this.macros.heard(name, down);
    this._clipboard = new ClipboardDialog(() => this._focus(), (text) => this._sendClipboard(text), (said) => this._console.say(said));
    scene.after(this.macros.bar);
    /** @type {Set<string>} modifiers that are down, and not at the source */
    this._withheld = new Set();
    stage.addEventListener("keyup", (event) => this._withheld.delete(event.code));
    stage.addEventListener("focusout", () => this._withheld.clear());
    this.pointer = new Pointer(
      this.picture, (events) => this._driver.input(events), (code, down) => this.keyboard.set(code, down), () => this._focus(),
    );
    if (!Picture.possible) this._say(S.noDecoder);
  }

  close() {
    this.leave();
    this.keyboard.close();
    this.pointer.close();
    this._ends.forEach((end) => end());
    this._driver.close();
    this.picture.close();
    this.root.remove();
  }

  /** Show another source: keys go up on the old one first. @param {string} name */
  show(name) {
    if (name === this._name) return;
    this.leave(name);
    if (this._name) this._last = this._name;
    this._name = name;
    this._clipboard.take("");
    this._heading.textContent = name;
    document.title = `${name} – ${S.title}`;
    this._say(S.waiting);
    this.picture.show(name);
    this._focus();
    this._update();
  }

  /** Everything up, and the control given back. @param {string} [next] the source to drive then */
  leave(next = "") {
    this.macros.stop();
    this.keyboard.releaseAll();
    this._driver.change(next);
    if (document.pointerLockElement) document.exitPointerLock();
  }

  // ---- the toolbar

  _bar() {
    const size = element("select", { "aria-label": S.size, onchange: () => this._resize(size.value) });
    for (const [value, text] of [["fit", S.fit], ["fill", S.fill], ["actual", S.actual]]) {
      size.append(element("option", { value }, /** @type {string} */ (text)));
    }
    const figures = this._toggle(S.figures, this.figures.root);
    const typing = button(S.ime, () => {
      this._typing.set(!this._typing.active);
      typing.setAttribute("aria-pressed", String(this._typing.active));
      this._focus();
    }, { "aria-pressed": "false", "aria-label": S.systemKeyboard, title: S.systemKeyboardHelp });
    const board = this._toggle(S.keyboard, this._board.root, S.onScreenKeyboard);
    return element(
      "header", { class: "bar" },
      button("‹", () => this._console.back(), { "aria-label": S.back, title: S.back }), this._heading,
      button("↑", () => this._step(-1), { "aria-label": S.previous, title: S.previous }),
      button("↓", () => this._step(1), { "aria-label": S.next, title: S.next }),
      button("⇄", () => this._openLast(), { "aria-label": S.last, title: S.last }),
      this._who, this._take, this._give, this._out, element("span", { class: "spring" }), this._monitor, size,
      button(S.keys, () => this._keys()), board, typing, button(S.macros, () => this.macros.open()),
      button(S.typeText, () => this._text()),
      this._copy, button(S.pointerLock, () => this._lockPointer()),
      button(S.screenshot, () => this._screenshot()), this._record, figures,
      button(S.fullScreen, () => this._fullScreen()),
    );
  }

  /** A button that shows and hides a part of the page. @param {string} text @param {HTMLElement} part @param {string | null} [name] */
  _toggle(text, part, name = null) {
    const made = button(text, () => {
      part.hidden = !part.hidden;
      made.setAttribute("aria-pressed", String(!part.hidden));
      this._focus();
    }, { "aria-pressed": "false", "aria-label": name, title: name });
    return made;
  }

  _update() {
    const source = this._state.sources.get(this._name);
    if (!this._name) return;
    if (source === undefined) {
      this._say(S.gone(this._name));
      return;
    }
    if (!source.online) this._say(S.sourceOffline(this._name));
    else if (source.problem) this._say(source.problem);
    else if (this.picture.geometry === null) this._say(S.waiting);
    const { allowed: mayDrive, driving } = this._driver;
    const other = Boolean(source.controller) && !driving;
    this._take.hidden = !mayDrive || driving;
    this._take.textContent = other ? S.takeOver : S.takeControl;
    this._give.hidden = this._out.hidden = !driving;
    if (driving) this._who.textContent = S.youDrive;
    else if (source.controller) this._who.textContent = S.driver(source.controller);
    else if (source.view_only) this._who.textContent = S.sourceViewOnly;
    else this._who.textContent = mayDrive ? S.nobodyDrives : S.viewOnly;
    this._record.hidden = this._state.role === "view";
    this._copy.hidden = !mayDrive || source.clipboard === "none";
    this._record.textContent = source.recording ? S.stopRecording : S.record;
    this._record.setAttribute("aria-pressed", String(source.recording));
    this._fillMonitors(source);
  }

  /** @param {import("./state.js").SourceInfo} source */
  _fillMonitors(source) {
    this._monitor.hidden = source.displays.length < 2 || this._state.role === "view";
    this._monitor.disabled = Boolean(source.controller) && !this._driver.driving; // the choice is that of whoever drives
    const wanted = source.displays.map((display) => display.id).join("\n");
    if (this._monitor.dataset["ids"] !== wanted) {
      this._monitor.dataset["ids"] = wanted;
      this._monitor.replaceChildren(
        ...source.displays.map(({ id, name, width, height }) =>
          element("option", { value: id }, `${name} ${width}×${height}`)),
      );
    }
    const shown = source.displays.find(({ id, name }) => source.shown === id || source.shown === name) ??
      source.displays.find(({ primary }) => primary);
    if (shown !== undefined) this._monitor.value = shown.id;
  }

  /** @param {string} text */
  _say(text) {
    this._message.textContent = text;
    this._message.hidden = text === "";
  }

  /** @param {{damagedNs: number, refinement: boolean}} report */
  _onDrawn({ damagedNs, refinement }) {
    const waited = refinement ? null : this._driver.answeredBy(damagedNs);
    if (waited !== null) this.figures.answered(waited);
    if (!this._message.hidden) {
      const source = this._state.sources.get(this._name);
      if (source?.online && !source.problem) this._say("");
    }
  }

  /** @param {any} report */
  _onFigures(report) {
    const figures = this._state.sources.get(this._name)?.figures ?? {};
    this.figures.take(report, figures, this.picture.delivery, this._link.roundTripMs);
  }

  _showMonitor() {
    this._link.post({ t: "ShowDisplay", display: this._monitor.value, source: this._name });
  }

  /** @param {string} mode */
  _resize(mode) {
    this.picture.setMode(/** @type {import("./picture.js").Mode} */ (mode));
    this._focus();
  }

  /** @param {number} by */
  _step(by) {
    const names = this._state.names();
    const next = names[(names.indexOf(this._name) + by + names.length) % names.length];
    if (next !== undefined) this._console.open(next);
  }

  /** @param {number} place in the list */
  _openPlace(place) {
    const name = this._state.names()[place];
    if (name !== undefined) this._console.open(name);
  }

  /** The source shown before: a second time leads back. */
  _openLast() {
    if (this._state.sources.has(this._last)) this._console.open(this._last);
  }

  _focus() {
    (this._typing.active ? this._typing.box : this.picture.stage).focus({ preventScroll: true });
  }

  async _fullScreen() {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    await this.root.requestFullscreen();
    // Where the browser lets us, Escape, Meta and Alt+Tab go to the source as well.
    await /** @type {any} */ (navigator).keyboard?.lock?.().catch(() => {});
    this._focus();
  }

  async _lockPointer() {
    this._focus();
    await this.pointer.lock().catch((error) => this._console.say(String(error)));
  }

  /** Recorded at the hub: it goes on when this page is closed. */
  async _toggleRecording() {
    const path = `sources/${encodeURIComponent(this._name)}/recording`;
    try {
      if (this._state.sources.get(this._name)?.recording) {
        const { names } = await request("DELETE", path);
        for (const name of names) download(`/api/v1/recordings/${encodeURIComponent(name)}`, name);
      } else {
        await request("POST", path);
      }
    } catch (error) {
      this._console.say(/** @type {Error} */ (error).message);
    }
    this._focus();
  }

  async _screenshot() {
    const blob = await this.picture.screenshot();
    if (blob === null) return;
    const url = URL.createObjectURL(blob);
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    download(url, `${this._name} ${stamp}.png`);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    this._focus();
  }

  // ---- who drives

  _takeOver() {
    this._driver.request(true);
    this._focus();
  }

  _giveBack() {
    this.keyboard.releaseAll();
    this._driver.giveBack();
  }

  _onControl() {
    this.keyboard.forgetLocks(); // another driver may have changed them
    this.picture.setDriving(this._driver.driving);
    if (this._name) this._update();
  }

  // ---- keys and texts

  /** @param {KeyboardEvent} event @returns {"source" | "console" | "browser"} */
  _whose(event) {
    const action = this._leader.follow(event);
    if (action !== null) {
      this.keyboard.releaseAll();
      action();
      return "console";
    }
    if (this._driver.active) return "source";
    // Whoever does not drive walks through the page by keys, and asks for control by typing.
    const modifier = MODIFIER.test(event.code);
    if (modifier) this._withheld.add(event.code);
    if (modifier || !this._driver.allowed || event.code === "Tab" || event.code === "F5") return "browser";
    for (const code of this._withheld) this.keyboard.press(/** @type {number} */ (this._codes[code]));
    this._withheld.clear();
    return "source";
  }

  /** @param {string[]} names pressed together, and let go */
  _chord(names) {
    void this._driver.need();
    this.keyboard.chord(names);
  }

  _keys() {
    keysDialog((names) => this._chord(names), () => this._focus());
  }

  _text() {
    const type = (/** @type {string} */ text) => this._driver.inject([{ t: "Text", text }]);
    textDialog(() => this._driver.need(), type, () => this._focus());
  }

  /** @param {string} text @returns {string} why it cannot be sent */
  _sendClipboard(text) {
    const bytes = (/** @type {string} */ of) => new TextEncoder().encode(of).length;
    if (bytes(text) > CLIPBOARD_BYTES) return S.clipboardTooLarge(bytes(text), CLIPBOARD_BYTES);
    const message = { t: "ClipboardText", text, source: this._name };
    const whole = bytes(JSON.stringify(message)); // control characters take six bytes each
    if (whole > MESSAGE_BYTES) return S.clipboardTooLarge(whole, MESSAGE_BYTES);
    if (!this._link.connected) return S.lost;
    void this._driver.need();
    this._link.post(message);
    return "";
  }

  /** @param {any} message */
  _onClipboard(message) {
    if (message.too_long) this._console.say(S.clipboardTooLong(message.too_long));
    else this._clipboard.take(message.text);
  }
}
