/** What the hub has told of its sources, shared by all parts of the page. */

/** @typedef {"both" | "to_source" | "from_source" | "none"} ClipboardPolicy */

/**
 * @typedef {object} SourceInfo
 * @property {string} name
 * @property {boolean} online
 * @property {{id: string, name: string, width: number, height: number, primary: boolean}[]} displays
 * @property {string} shown
 * @property {string} problem
 * @property {boolean} view_only
 * @property {string} controller
 * @property {number} viewers
 * @property {number} last_seen
 * @property {Record<string, number | string>} figures
 * @property {boolean} recording
 * @property {ClipboardPolicy} clipboard
 */

export class State {
  /** @param {import("./link.js").Link} link */
  constructor(link) {
    /** @type {Map<string, SourceInfo>} */
    this.sources = new Map();
    /** @type {Map<string, {url: string, at: number}>} source → its last small picture, and when that was (s since 1970) */
    this.thumbnails = new Map();
    /** @type {Map<string, {bitmap: ImageBitmap, at: number, width: number, height: number}>} source → what was seen of it here */
    this.kept = new Map();
    this.user = "";
    this.role = "";
    /** @type {Map<string, Set<(name: string) => void>>} */
    this._handlers = new Map();
    let complete = false;
    link.on("up", (welcome) => {
      this.user = welcome.name;
      this.role = welcome.role;
      complete = false;
    });
    link.on("Sources", (message) => {
      if (!complete) this.sources.clear(); // the first one after Welcome has all of them
      complete = true;
      for (const source of message.sources) this.sources.set(source.name, source);
      for (const name of message.removed) this.sources.delete(name);
      this._emit("sources", "");
    });
    link.on("Thumbnail", (message) => {
      const bytes = Uint8Array.from(atob(message.jpeg), (character) => character.charCodeAt(0));
      const url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
      const old = this.thumbnails.get(message.source);
      this.thumbnails.set(message.source, { url, at: message.at });
      this._emit("thumbnail", message.source);
      if (old !== undefined) setTimeout(() => URL.revokeObjectURL(old.url), 5000); // may still be loading
    });
  }

  /** Names in order. */
  names() {
    return [...this.sources.keys()].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  }

  /** @param {"sources" | "thumbnail"} what @param {(name: string) => void} handler @returns {() => void} ends it */
  on(what, handler) {
    const handlers = this._handlers.get(what) ?? new Set();
    this._handlers.set(what, handlers);
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** @param {string} what @param {string} name */
  _emit(what, name) {
    for (const handler of [...(this._handlers.get(what) ?? [])]) handler(name);
  }
}
