/** All sources at once: what each shows, whether it is there, and who drives it. */
import { button, element } from "./dom.js";
import { S, ago } from "./strings.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./state.js").State} State */

export class Grid {
  /** @param {Link} link @param {State} state @param {(name: string) => void} open */
  constructor(link, state, open) {
    this._link = link;
    this._state = state;
    this._open = open;
    /** @type {Map<string, {card: HTMLElement, image: HTMLImageElement, status: HTMLElement, facts: HTMLElement}>} */
    this._cards = new Map();
    this._search = element("input", {
      type: "search", placeholder: S.search, "aria-label": S.search, oninput: () => this._update(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && this._openFirst(),
    });
    this._list = element("ul", { class: "cards", "aria-label": S.sources });
    this._empty = element("p", { class: "empty" });
    this.root = element("main", { class: "grid" }, element("p", { class: "row" }, this._search), this._list, this._empty);
    this._ends = [
      state.on("sources", () => this._update()),
      state.on("thumbnail", (name) => this._picture(name)),
      link.on("up", () => this._want(true)),
    ];
    this._want(true);
    this._update();
    this._timer = setInterval(() => this._update(), 10_000); // "3 min ago" grows older
  }

  close() {
    this._want(false);
    clearInterval(this._timer);
    this._ends.forEach((end) => end());
    this.root.remove();
  }

  /** @param {boolean} active */
  _want(active) {
    this._link.post({ t: "WatchThumbnails", active });
  }

  _shown() {
    const wanted = this._search.value.trim().toLowerCase();
    return this._state.names().filter((name) => name.toLowerCase().includes(wanted));
  }

  _openFirst() {
    const [name] = this._shown();
    if (name !== undefined) this._open(name);
  }

  _update() {
    const shown = this._shown();
    for (const [name, { card }] of this._cards) {
      if (shown.includes(name)) continue;
      card.remove();
      this._cards.delete(name);
    }
    shown.forEach((name, index) => {
      const { card } = this._cards.get(name) ?? this._add(name);
      if (this._list.children[index] !== card) this._list.insertBefore(card, this._list.children[index] ?? null);
      this._fill(name);
    });
    this._empty.hidden = shown.length > 0;
    this._empty.textContent = this._state.sources.size ? S.nothingFound(this._search.value) : S.noSources;
  }

  /** @param {string} name */
  _add(name) {
    const image = element("img", { alt: "", hidden: true });
    const status = element("span", { class: "status" });
    const facts = element("span", { class: "facts" });
    const show = button("", () => this._open(name), { class: "shot", "aria-label": S.open(name) });
    show.append(image, element("span", { class: "none", "aria-hidden": true }, S.noPicture));
    const line = element("p", {}, element("strong", {}, name), status, facts);
    const card = element("li", { "data-source": name }, show, line);
    const made = { card, image, status, facts };
    this._cards.set(name, made);
    this._picture(name);
    return made;
  }

  /** @param {string} name */
  _picture(name) {
    const card = this._cards.get(name);
    const small = this._state.thumbnails.get(name);
    if (card === undefined || small === undefined) return;
    card.image.src = small.url;
    card.image.hidden = false;
  }

  /** @param {string} name */
  _fill(name) {
    const card = this._cards.get(name);
    const source = this._state.sources.get(name);
    if (card === undefined || source === undefined) return;
    card.card.classList.toggle("offline", !source.online);
    card.status.textContent = source.online ? S.online : `${S.offline}, ${S.lastSeen(ago(source.last_seen))}`;
    const facts = [];
    if (source.recording) facts.push(S.recording);
    if (source.controller) facts.push(S.driver(source.controller));
    if (source.viewers) facts.push(S.watching(source.viewers));
    if (source.online && source.viewers) {
      const { fps, latency_ms_p50: delay } = source.figures;
      if (typeof fps === "number") facts.push(S.fps(fps));
      if (typeof delay === "number" && delay > 0) facts.push(S.delay(delay));
    }
    if (source.problem) facts.push(source.problem);
    card.facts.textContent = facts.join(" · ");
  }
}
