/** Macros: keys as they were pressed, kept at the hub for each user, played back with their pauses. */
import { request } from "./api.js";
import { button, dialog, element } from "./dom.js";
import { S } from "./strings.js";

/** @typedef {{code: string, down: boolean, after_ms: number}} Step */

const LONGEST_STEPS = 1000; // what the hub takes
const LONGEST_PAUSE_MS = 2000; // whoever thought for longer need not be waited for

export class Macros {
  /**
   * @param {Record<string, number>} keys KeyboardEvent.code → evdev
   * @param {{key: (code: number, down: boolean) => void, take: () => unknown, say: (text: string) => void, focus: () => void}} view
   */
  constructor(keys, view) {
    this._keys = keys;
    this._view = view;
    /** @type {Step[] | null} what is being recorded */
    this._steps = null;
    this._at = 0; // when the last step was
    this._run = 0; // number of the playback that may go on
    this._said = element("span", {});
    this._stop = button(S.stopMacro, () => this._finish(), { class: "primary" });
    this.bar = element("p", { class: "macro row", role: "status", hidden: true }, this._said, this._stop);
  }

  /** A key went down or up: while one records, it is remembered. @param {string} code @param {boolean} down */
  heard(code, down) {
    if (this._steps === null) return;
    if (this._steps.length >= LONGEST_STEPS) {
      this._finish();
      return;
    }
    const now = performance.now();
    const pause = this._steps.length ? Math.min(LONGEST_PAUSE_MS, Math.round(now - this._at)) : 0;
    this._steps.push({ code, down, after_ms: pause });
    this._at = now;
    this._said.textContent = S.macroKeys(this._steps.filter((step) => step.down).length);
  }

  /** No more recording, no more playback. */
  stop() {
    this._run++;
    this._steps = null;
    this.bar.hidden = true;
  }

  async open() {
    /** @type {Record<string, {steps: Step[]}>} */
    let kept;
    try {
      kept = await request("GET", "macros");
    } catch (error) {
      this._view.say(/** @type {Error} */ (error).message);
      return;
    }
    const rows = Object.entries(kept).map(([name, { steps }]) => {
      const row = element(
        "p", { class: "row" },
        button(name, () => {
          made.close();
          void this.play(steps);
        }, { class: "primary", title: S.playMacro(name) }),
        element("span", { class: "spring" }, S.macroKeys(steps.filter((step) => step.down).length)),
        button(S.remove, async () => {
          await this._ask("DELETE", name);
          row.remove();
        }, { "aria-label": S.removeMacro(name) }),
      );
      return row;
    });
    const record = button(S.recordMacro, () => {
      made.close();
      this._steps = [];
      this._said.textContent = S.macroHelp;
      this.bar.hidden = false;
      this._view.take();
      this._view.focus();
    });
    this._view.focus();
    const made = dialog(S.macros, S.close, ...rows, element("p", {}, rows.length ? "" : S.noMacros), element("p", {}, record));
  }

  /** @param {Step[]} steps */
  async play(steps) {
    const run = ++this._run;
    /** @type {Set<number>} */
    const down = new Set();
    this._view.take();
    for (const step of steps) {
      if (step.after_ms > 0) await new Promise((resolve) => setTimeout(resolve, step.after_ms));
      if (run !== this._run) return; // everything went up when that was said
      const code = this._keys[step.code];
      if (code === undefined) continue;
      this._view.key(code, step.down);
      if (step.down) down.add(code);
      else down.delete(code);
    }
    for (const code of down) this._view.key(code, false);
  }

  /** The recording is over: it gets a name. */
  _finish() {
    const steps = this._steps ?? [];
    this.stop();
    if (!steps.some((step) => step.down)) {
      this._view.focus();
      return;
    }
    const name = element("input", { required: true, maxlength: 64, autocomplete: "off" });
    const form = element("form", { class: "fields", onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      if (await this._ask("PUT", name.value.trim(), { steps })) made.close();
    } }, element("label", {}, S.name, name), element("button", { type: "submit", class: "primary" }, S.save));
    this._view.focus();
    const made = dialog(S.newMacro, S.cancel, form);
  }

  /** @param {string} method @param {string} name @param {unknown} [body] */
  async _ask(method, name, body) {
    try {
      await request(method, `macros/${encodeURIComponent(name)}`, body);
      return true;
    } catch (error) {
      this._view.say(/** @type {Error} */ (error).message);
      return false;
    }
  }
}
