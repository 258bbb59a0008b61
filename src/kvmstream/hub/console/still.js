/** What stands in for a source's picture until its first real one: the last that was seen of it. */
import { element } from "./dom.js";

/** @typedef {import("./state.js").State} State */

const WIDTH = 640; // of a kept picture: it is seen for a blink
const MOST = 64; // sources whose picture is kept

export class Still {
  /** @param {State} state @param {() => void} changed it has another size, or is there at all */
  constructor(state, changed) {
    this._state = state;
    this._changed = changed;
    this._source = "";
    this.root = element("canvas", { class: "still", "aria-hidden": true, hidden: true });
    this.width = this.height = 0; // of the picture, or of a small one of the same shape
    this.exact = false; // of the picture itself
  }

  /** Keep what is seen of a source. @param {string} source @param {HTMLCanvasElement | HTMLVideoElement} surface @param {{width: number, height: number}} size */
  async keep(source, surface, { width, height }) {
    const at = Date.now() / 1000;
    try {
      const wide = Math.min(WIDTH, width);
      const options = { resizeWidth: wide, resizeHeight: Math.max(1, Math.round((wide * height) / width)) };
      const bitmap = await createImageBitmap(surface, 0, 0, width, height, options);
      const kept = this._state.kept;
      kept.get(source)?.bitmap.close();
      kept.delete(source);
      kept.set(source, { bitmap, at, width, height });
      for (const [name, { bitmap: old }] of kept) {
        if (kept.size <= MOST) break;
        old.close();
        kept.delete(name);
      }
    } catch {
      // A surface without a picture: nothing to keep.
    }
  }

  /** @param {string} source "" is none */
  async show(source) {
    this._source = source;
    this.root.hidden = true;
    if (!source) return;
    const kept = this._state.kept.get(source);
    const small = this._state.thumbnails.get(source);
    if (kept && kept.at >= (small?.at ?? 0)) {
      this._draw(kept.bitmap, { ...kept, exact: true });
      return;
    }
    const image = new Image();
    image.src = small?.url ?? `/api/v1/sources/${encodeURIComponent(source)}/thumbnail`;
    try {
      await image.decode();
    } catch {
      return; // it has sent none yet
    }
    if (source === this._source) this._draw(image, { width: image.naturalWidth, height: image.naturalHeight, exact: false });
  }

  /** The real picture is there. */
  hide() {
    this._source = "";
    this.root.hidden = true;
  }

  /** @param {ImageBitmap | HTMLImageElement} picture @param {{width: number, height: number, exact: boolean}} size of what it shows */
  _draw(picture, { width, height, exact }) {
    this.root.width = picture.width;
    this.root.height = picture.height;
    this.root.getContext("2d")?.drawImage(picture, 0, 0);
    Object.assign(this, { width, height, exact });
    this.root.hidden = false;
    this._changed();
  }
}
