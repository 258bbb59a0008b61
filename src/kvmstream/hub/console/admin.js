/** Sources, users and the audit, for admins. */
import { request } from "./api.js";
import { button, dialog, download, element } from "./dom.js";
import { S, ago } from "./strings.js";

const ROLES = ["admin", "control", "view"];

/** @typedef {import("./state.js").State} State */

export class Admin {
  /** @param {State} state @param {() => void} back @param {(text: string) => void} say */
  constructor(state, back, say) {
    this._state = state;
    this._say = say;
    this._loads = 0;
    this._sources = element("tbody", {});
    this._users = element("tbody", {});
    this._audit = element("tbody", {});
    this._recordings = element("tbody", {});
    const bar = element(
      "header", { class: "bar" }, button("‹", back, { "aria-label": S.back, title: S.back }), element("h1", {}, S.manage),
    );
    this.root = element(
      "main", { class: "admin" }, bar,
      element(
        "div", { class: "pages" },
        this._section(S.sources, [S.name, S.state, S.clipboard, S.actions], this._sources, button(S.addMachine, () => this._pair(), { class: "primary" })),
        this._section(S.users, [S.name, S.role, S.actions], this._users, button(S.addUser, () => this._addUser(), { class: "primary" })),
        this._section(S.recordings, [S.name, S.fileSize, S.actions], this._recordings),
        this._section(S.audit, [S.when, S.user, S.what, S.name], this._audit),
      ),
    );
    this._end = state.on("sources", () => this._showSources());
    this._showSources();
    void this._act(() => this._load());
  }

  close() {
    this._end();
    this.root.remove();
  }

  /** @param {string} title @param {string[]} heads @param {HTMLElement} body @param {...Node} more */
  _section(title, heads, body, ...more) {
    const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
    return element(
      "section", { "aria-label": title }, element("h2", {}, title), ...more,
      element("div", { class: "scrolls" }, element("table", {}, element("thead", {}, head), body)),
    );
  }

  /** Do it, say what went wrong, and look again. @param {() => Promise<unknown>} act */
  async _act(act) {
    try {
      await act();
    } catch (error) {
      this._say(/** @type {Error} */ (error).message);
    }
  }

  async _load() {
    const load = ++this._loads;
    const [users, recordings, audit] = await Promise.all(["users", "recordings", "audit"].map((path) => request("GET", path)));
    if (load !== this._loads) return; // overtaken: it shows what was
    this._recordings.replaceChildren(...recordings.map((/** @type {any} */ one) => this._recordingRow(one)));
    this._users.replaceChildren(...users.map((/** @type {any} */ user) => this._userRow(user)));
    this._audit.replaceChildren(
      ...audit.map((/** @type {any} */ { at, who, what, source }) =>
        element("tr", {}, ...[new Date(at * 1000).toLocaleString(), who, what, source].map((text) => element("td", {}, text)))),
    );
  }

  // ---- sources

  _showSources() {
    this._sources.replaceChildren(...this._state.names().map((name) => this._sourceRow(name)));
  }

  /** @param {string} name */
  _sourceRow(name) {
    const source = this._state.sources.get(name);
    const path = `sources/${encodeURIComponent(name)}`;
    const state = source?.online ? S.online : `${S.offline}, ${S.lastSeen(ago(source?.last_seen ?? 0))}`;
    const policy = element(
      "select", { "aria-label": `${S.clipboard}: ${name}` },
      ...Object.entries(S.clipboardPolicy).map(([value, text]) =>
        element("option", { value, selected: value === source?.clipboard }, text)),
    );
    policy.addEventListener("change", () => this._act(async () => {
      await request("PATCH", path, { clipboard: policy.value });
      this._say(S.done);
    }));
    return element(
      "tr", {}, element("th", { scope: "row" }, name), element("td", {}, state), element("td", {}, policy),
      element(
        "td", { class: "row" },
        button(S.rename, () => this._rename(name, path)),
        button(S.revoke, () => this._sure(S.revokeHelp(name), S.revoke, () => request("POST", `${path}/revoke`))),
        button(S.forget, () => this._sure(S.forgetHelp(name), S.forget, () => request("DELETE", path))),
      ),
    );
  }

  async _pair() {
    await this._act(async () => {
      const { line, qr } = await request("POST", "pairing");
      const commands = `kvmstream pair '${line}'\nkvmstream agent ${location.hostname}`;
      const copy = button(S.copy, () => this._act(async () => {
        await navigator.clipboard.writeText(commands);
        this._say(S.copied);
      }));
      dialog(
        S.addMachine, S.close, element("p", {}, S.pairingHelp), element("pre", {}, commands), copy,
        element("p", {}, element("img", { class: "qr", src: qr, alt: line })), element("p", { class: "hint" }, S.fingerprint),
      );
    });
  }

  /** @param {string} name @param {string} path */
  _rename(name, path) {
    const field = element("input", { value: name, required: true, maxlength: 64 });
    this._form(S.rename, [element("label", {}, S.newName, field)], () => request("PATCH", path, { name: field.value }));
  }

  // ---- users

  /** @param {{name: string, role: string}} user */
  _userRow({ name, role }) {
    const path = `users/${encodeURIComponent(name)}`;
    const roles = this._roles(`${S.role}: ${name}`, role);
    roles.addEventListener("change", () => this._act(async () => {
      await request("PUT", path, { role: roles.value });
      await this._load();
      this._say(S.done);
    }));
    return element(
      "tr", {}, element("th", { scope: "row" }, name), element("td", {}, roles),
      element(
        "td", { class: "row" },
        button(S.setPassword, () => {
          const password = this._password();
          this._form(`${S.setPassword}: ${name}`, [element("label", {}, S.password, password)],
            () => request("PUT", path, { password: password.value }));
        }),
        button(S.remove, () => this._sure(S.removeHelp(name), S.remove, () => request("DELETE", path))),
      ),
    );
  }

  _addUser() {
    const name = element("input", { required: true, maxlength: 64, autocomplete: "off" });
    const password = this._password();
    const roles = this._roles(S.role, "control");
    const fields = [
      element("label", {}, S.name, name), element("label", {}, S.role, roles), element("label", {}, S.password, password),
    ];
    this._form(S.addUser, fields, () =>
      request("PUT", `users/${encodeURIComponent(name.value)}`, { role: roles.value, password: password.value }));
  }

  _password() {
    return element("input", { type: "password", required: true, autocomplete: "new-password" });
  }

  /** @param {string} label @param {string} chosen */
  _roles(label, chosen) {
    return element(
      "select", { "aria-label": label },
      ...ROLES.map((role) => element("option", { value: role, selected: role === chosen }, role)),
    );
  }

  // ---- recordings

  /** @param {{name: string, bytes: number, running: boolean}} recording */
  _recordingRow({ name, bytes, running }) {
    const path = `recordings/${encodeURIComponent(name)}`;
    const size = running ? `${S.megabytes(bytes)}, ${S.recording}` : S.megabytes(bytes);
    return element(
      "tr", {}, element("th", { scope: "row" }, name), element("td", {}, size),
      element(
        "td", { class: "row" },
        button(S.download, () => download(`/api/v1/${path}`, name)),
        button(S.remove, () => this._sure(S.removeRecording(name), S.remove, () => request("DELETE", path))),
      ),
    );
  }

  // ---- dialogs

  /** @param {string} title @param {Node[]} fields @param {() => Promise<unknown>} act */
  _form(title, fields, act) {
    const problem = element("p", { class: "problem", role: "alert" });
    const form = element("form", { class: "fields", onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      try {
        await act();
        made.close();
        this._say(S.done);
        await this._act(() => this._load());
      } catch (error) {
        problem.textContent = /** @type {Error} */ (error).message;
      }
    } }, ...fields, problem, element("button", { type: "submit", class: "primary" }, S.save));
    const made = dialog(title, S.cancel, form);
  }

  /** @param {string} question @param {string} verb @param {() => Promise<unknown>} act */
  _sure(question, verb, act) {
    const made = dialog(question, S.cancel, button(verb, () => {
      made.close();
      void this._act(async () => {
        await act();
        await this._load();
        this._say(S.done);
      });
    }, { class: "primary" }));
  }
}
