/** The source's picture on the page: the surface of a player, the pointer over it, and where a point lies. */
import { element } from "./dom.js";
import { nowNs, ackFrame } from "./header.js";
import { MsePlayer } from "./mse-player.js";
import { Still } from "./still.js";
import { S } from "./strings.js";
import { WorkerPlayer } from "./worker-player.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {"fit" | "fill" | "actual"} Mode */
/** @typedef {{width: number, height: number, generation: number}} Geometry */

const LARGEST_CURSOR = 128; // browsers ignore larger ones
let channels = 0; // numbers are never used twice on a page

export class Picture {
  static get possible() {
    return WorkerPlayer.possible || MsePlayer.possible;
  }

  /**
   * @param {Link} link @param {import("./state.js").State} state
   * @param {{figures: (report: any) => void, failed: (reason: string) => void, drawn: (report: any) => void}} hear
   */
  constructor(link, state, hear) {
    this._link = link;
    this._hear = hear;
    this._player = new (WorkerPlayer.possible ? WorkerPlayer : MsePlayer)((data) => this._fromPlayer(data));
    this.surface = this._player.surface;
    this._still = new Still(state, () => this._layout());
    this._cursor = element("canvas", { class: "cursor", "aria-hidden": true, hidden: true });
    this._box = element("div", { class: "box" }, this.surface, this._still.root, this._cursor);
    this.stage = element("div", { class: "stage", tabindex: 0, role: "application" }, this._box);
    /** @type {Geometry | null} */
    this.geometry = null;
    /** @type {Mode} */
    this.mode = "fit";
    this.channel = 0;
    /** @type {{dropped: number, rendition: number} | null} what the hub says of this line */
    this.delivery = null;
    this.source = "";
    this.driving = false;
    this._touched = false; // the last pointer was a finger: the page has no pointer of its own
    /** @type {any} the last Cursor message, with its shape */
    this._shape = null;
    /** @type {any} */
    this._place = null;
    if (link.roundTripMs) this._player.setClock(link.offsetNs);
    this._ends = [
      link.on("unit", (/** @type {ArrayBuffer} */ data) => this._player.unit(data, nowNs())),
      link.on("clock", (/** @type {number} */ offsetNs) => this._player.setClock(offsetNs)),
      link.on("Cursor", (message) => message.channel === this.channel && this._onCursor(message)),
      link.on("Delivery", (message) => message.channel === this.channel && (this.delivery = message)),
      link.on("up", () => this.source && this._subscribe()),
    ];
    this._resize = new ResizeObserver(() => this._layout());
    this._resize.observe(this.stage);
    this._abort = new AbortController();
    const { signal } = this._abort;
    document.addEventListener("visibilitychange", () => this._visibility(), { signal });
    document.addEventListener("pointerlockchange", () => this._drawCursor(), { signal });
    for (const type of ["pointerdown", "pointermove"]) {
      this.stage.addEventListener(type, (event) => this._pointedBy(/** @type {PointerEvent} */ (event)), { signal });
    }
    this._watchRatio();
  }

  close() {
    this.show("");
    this._ends.forEach((end) => end());
    this._resize.disconnect();
    this._abort.abort();
    this._player.close();
  }

  /** Change to another source; what was last seen of it stands in until the first real picture. @param {string} source */
  show(source) {
    if (this.source && this.geometry !== null) void this._still.keep(this.source, this.surface, this.geometry);
    this._unsubscribe();
    this.source = source;
    this._cursor.hidden = true;
    this._shape = this._place = null;
    this.stage.style.cursor = "";
    this.stage.setAttribute("aria-label", S.picture(source));
    this.geometry = null;
    this.surface.style.visibility = "hidden";
    void this._still.show(source);
    if (source && !document.hidden) this._subscribe();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode;
    this._layout();
  }

  /** The page's own pointer shows the source's shape while its user drives: no line is between it and the hand. @param {boolean} driving */
  setDriving(driving) {
    this.driving = driving;
    this._drawCursor();
  }

  /**
   * Where a point of the page lies on the picture, clamped to its edge; null while there is none.
   * @param {number} clientX @param {number} clientY @returns {import("./pointer.js").Place | null}
   */
  locate(clientX, clientY) {
    if (this.geometry === null) return null;
    const { width, height, generation } = this.geometry;
    const box = this._box.getBoundingClientRect();
    /** @param {number} share @param {number} size */
    const step = (share, size) => {
      const pixel = Math.max(0, Math.min(size - 1, Math.floor(share * size)));
      // Rounded up: the source rounds down again.
      return size > 1 ? Math.min(65535, Math.ceil((pixel * 65535) / (size - 1))) : 0;
    };
    return {
      x: step((clientX - box.left) / box.width, width),
      y: step((clientY - box.top) / box.height, height),
      generation,
    };
  }

  /** Whether a point of the page is on the picture, and not beside it or on a scroll bar. @param {number} clientX @param {number} clientY */
  contains(clientX, clientY) {
    if (this.geometry === null) return false;
    const box = this._box.getBoundingClientRect();
    const stage = this.stage.getBoundingClientRect();
    return clientX >= Math.max(box.left, stage.left) && clientX < Math.min(box.right, stage.left + this.stage.clientWidth) &&
      clientY >= Math.max(box.top, stage.top) && clientY < Math.min(box.bottom, stage.top + this.stage.clientHeight);
  }

  /** A picture of the picture. @returns {Promise<Blob | null>} */
  async screenshot() {
    if (this.geometry === null) return null;
    const bitmap = await createImageBitmap(this.surface);
    const copy = new OffscreenCanvas(this.geometry.width, this.geometry.height);
    copy.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
    return copy.convertToBlob({ type: "image/png" });
  }

  _subscribe() {
    this.channel = ++channels;
    this.delivery = null;
    this._player.setChannel(this.channel);
    this._link.post({ t: "Subscribe", channel: this.channel, source: this.source });
  }

  _unsubscribe() {
    if (this.channel) this._link.post({ t: "Unsubscribe", channel: this.channel });
    this.channel = 0;
    this._player.setChannel(0);
  }

  /** A hidden page gets no video: nobody sees it, and its timers hardly run. */
  _visibility() {
    if (document.hidden) this._unsubscribe();
    else if (this.source && !this.channel) this._subscribe();
  }

  /** @param {any} data */
  _fromPlayer(data) {
    if (data.type === "ack") {
      this._link.postFrame(ackFrame(data.channel, data.sequence));
    } else if (data.type === "drawn") {
      if (data.channel === this.channel) this._hear.drawn(data);
    } else if (data.type === "size") {
      if (data.channel !== this.channel) return;
      this.geometry = { width: data.width, height: data.height, generation: data.generation };
      this._layout();
      this.surface.style.visibility = "visible";
      this._still.hide();
    } else if (data.type === "keyframe") {
      if (data.channel) this._link.post({ t: "KeyframeWanted", channel: data.channel });
    } else if (data.type === "figures") {
      this._hear.figures(data);
    } else if (data.type === "failed") {
      this._hear.failed(data.reason);
    }
  }

  _layout() {
    const { width, height } = this.geometry ?? this._still;
    if (!width || !height) return;
    this.stage.classList.toggle("pans", this.mode !== "fit");
    this.stage.classList.toggle("fill", this.mode === "fill");
    const { clientWidth, clientHeight } = this.stage;
    const [across, down] = [clientWidth / width, clientHeight / height];
    let scale = this.mode === "fill" ? Math.max(across, down) : Math.min(across, down);
    if (this.mode === "actual" && (this.geometry !== null || this._still.exact)) scale = 1 / devicePixelRatio;
    // Whole pixels of the screen in size and place, or each pixel of the picture would be smeared over two of them.
    const [wide, tall] = [width, height].map((size) => Math.floor(size * scale * devicePixelRatio + 0.01) / devicePixelRatio);
    const stage = this.stage.getBoundingClientRect();
    /** @param {number} from @param {number} room */
    const snap = (from, room) => Math.ceil((from + Math.max(0, room / 2)) * devicePixelRatio - 0.01) / devicePixelRatio - from;
    // Layouts count in 64ths of a pixel: what is short by one of them must not be smeared either.
    this.surface.style.imageRendering = Math.abs(scale * devicePixelRatio - 1) < 1e-3 ? "pixelated" : "";
    this._box.style.width = `${wide}px`;
    this._box.style.height = `${tall}px`;
    this._box.style.marginLeft = `${snap(stage.left, clientWidth - /** @type {number} */ (wide))}px`;
    this._box.style.marginTop = `${snap(stage.top, clientHeight - /** @type {number} */ (tall))}px`;
    this._drawCursor();
  }

  /** The page moved to another screen, or was zoomed: its pixels have another size. */
  _watchRatio() {
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", () => {
      this._layout();
      this._watchRatio();
    }, { once: true, signal: this._abort.signal });
  }

  // ---- the pointer

  /** @param {PointerEvent} event */
  _pointedBy(event) {
    const touched = event.pointerType === "touch";
    if (touched === this._touched) return;
    this._touched = touched;
    this._drawCursor();
  }

  /** @param {any} message */
  _onCursor(message) {
    if (message.shape) {
      this._shape = message;
      this._paint(message);
    }
    this._place = message;
    this._drawCursor();
  }

  /** BGRA with plain alpha becomes the canvas' RGBA. @param {any} message */
  _paint(message) {
    const [width, height] = [message.shape_width, message.shape_height];
    if (!width || !height) return;
    const bytes = Uint8Array.from(atob(message.shape), (character) => character.charCodeAt(0));
    const image = new ImageData(width, height);
    for (let i = 0; i + 3 < bytes.length; i += 4) {
      image.data[i] = bytes[i + 2] ?? 0;
      image.data[i + 1] = bytes[i + 1] ?? 0;
      image.data[i + 2] = bytes[i] ?? 0;
      image.data[i + 3] = bytes[i + 3] ?? 0;
    }
    this._cursor.width = width;
    this._cursor.height = height;
    this._cursor.getContext("2d")?.putImageData(image, 0, 0);
    this._url = width <= LARGEST_CURSOR && height <= LARGEST_CURSOR ? this._cursor.toDataURL() : "";
  }

  _drawCursor() {
    const shape = this._shape;
    const place = this._place;
    // A locked pointer and a finger have no shape of their own on the page.
    const own = this.driving && this._url && !this._touched && document.pointerLockElement !== this.stage;
    if (own && place && !place.visible) this.stage.style.cursor = "none";
    else this.stage.style.cursor = own && shape ? `url(${this._url}) ${shape.hot_x} ${shape.hot_y}, default` : "";
    this._cursor.hidden = Boolean(own) || !shape || !place?.visible || this.geometry === null;
    if (this._cursor.hidden || this.geometry === null) return;
    const box = this._box.getBoundingClientRect();
    const scale = box.width / this.geometry.width;
    const x = (place.x / 65535) * (this.geometry.width - 1) - shape.hot_x;
    const y = (place.y / 65535) * (this.geometry.height - 1) - shape.hot_y;
    this._cursor.style.width = `${shape.shape_width * scale}px`;
    this._cursor.style.transform = `translate(${x * scale}px, ${y * scale}px)`;
  }
}
