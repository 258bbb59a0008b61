/** Shows units by Media Source Extensions, where there is no WebCodecs: a video element whose clock is kept at the newest picture. */
import { element } from "./dom.js";
import { TIMESCALE, initSegment, mediaSegment, nalUnits } from "./fmp4.js";
import { HEADER_BYTES, codecOf, nowNs, readHeader } from "./header.js";
import { S } from "./strings.js";

/** @typedef {import("./header.js").UnitHeader} UnitHeader */
/** @typedef {{header: UnitHeader, received: number, time: number}} Flying */

// Shorter than pictures come: the element has always shown the newest one and waits for the next.
const DURATION = TIMESCALE / 120;
const LATE_SECONDS = 0.1; // behind the newest picture, from which on it plays faster
const FAST = 4;
const KEEP_BYTES = 32e6; // then a keyframe is asked for, and what is before it goes; browsers hold about 100 MB
const QUEUE = 16; // segments that wait for the source buffer
const FIGURES_MS = 500;
const UNSEEN_MS = 150; // after which a picture that is in the buffer ought to be on the screen
const STUCK_MS = 1000; // after which an element that does not show it is given up on

/** Safari on phones has this one only. @returns {typeof MediaSource | undefined} */
const mediaSource = () => /** @type {any} */ (globalThis).ManagedMediaSource ?? globalThis.MediaSource;

export class MsePlayer {
  static get possible() {
    return mediaSource() !== undefined;
  }

  /** @param {(message: any) => void} tell the same messages as the worker's */
  constructor(tell) {
    this._tell = tell;
    this.surface = element("video", { muted: true, autoplay: true, playsinline: true, disableremoteplayback: true, "aria-hidden": true });
    this.surface.muted = true;
    this._channel = 0;
    this._offsetNs = /** @type {number | null} */ (null);
    this._figures = { units: 0, decoded: 0, drawn: 0, bytes: 0, dropped: 0 };
    /** @type {number[][]} */
    this._samples = [];
    this._drawnGeneration = -1;
    /** @type {MediaSource | null} */
    this._source = null;
    /** @type {SourceBuffer | null} */
    this._buffer = null;
    this._url = "";
    /** @type {{bytes?: Uint8Array, header?: UnitHeader, before?: number, type?: string}[]} what the buffer has still to do */
    this._queue = [];
    /** @type {Flying[]} */
    this._flying = [];
    this._codec = "";
    this._generation = -1;
    this._skips = false; // until the next keyframe
    this._number = 0;
    this._time = 0; // of the next picture, ticks
    this._held = 0; // bytes in the buffer, about
    this._unseen = 0; // the timer until _nudge(), then until _restart()
    this._mayRestart = true; // once, until something is seen: an element that nobody sees tells of no picture
    this._timer = setInterval(() => this._report(), FIGURES_MS);
    this.surface.addEventListener("error", () => this._failed(this.surface.error?.message ?? ""));
    this.surface.addEventListener("timeupdate", () => this._keepUp());
  }

  close() {
    clearInterval(this._timer);
    clearTimeout(this._unseen);
    this._channel = 0;
    this._reset();
    this.surface.removeAttribute("src");
    this.surface.load();
  }

  /** @param {number} channel */
  setChannel(channel) {
    this._channel = channel;
    this._drawnGeneration = -1;
    this._reset();
  }

  /** @param {number} offsetNs */
  setClock(offsetNs) {
    this._offsetNs = offsetNs;
  }

  /** @param {ArrayBuffer} data @param {number} received */
  unit(data, received) {
    const header = readHeader(data);
    if (header.channel !== this._channel) return;
    this._figures.units++;
    this._figures.bytes += data.byteLength;
    const unit = new Uint8Array(data, HEADER_BYTES);
    if (header.keyframe) {
      this._open(unit, header);
      this._skips = false;
    } else if (this._queue.length >= QUEUE && !this._skips) {
      this._skips = true;
      this._tell({ type: "keyframe", channel: this._channel, why: "the buffer cannot keep up" });
    }
    if (this._source === null || this._skips || header.generation !== this._generation) {
      this._figures.dropped++;
      this._ack(header);
      return;
    }
    const nals = nalUnits(unit);
    this._queue.push({ bytes: mediaSegment(nals, ++this._number, this._time, DURATION, header.keyframe), header });
    this._flying.push({ header, received, time: this._time / TIMESCALE });
    this._held += data.byteLength;
    if (header.keyframe) {
      if (this._time > 0) this._queue.push({ before: this._time / TIMESCALE });
      this._held = data.byteLength;
    } else if (this._held > KEEP_BYTES) {
      this._held = -KEEP_BYTES; // asked for once; and again when it does not come
      this._tell({ type: "keyframe", channel: this._channel, why: "the buffer is full" });
    }
    this._time += DURATION;
    this._append();
  }

  _reset() {
    this._source = null;
    this._buffer = null;
    this._queue = [];
    this._flying = [];
    this._codec = "";
    this._generation = -1;
    this._skips = false;
    this._number = 0;
    this._time = 0;
    this._held = 0;
    if (this._url) URL.revokeObjectURL(this._url);
    this._url = "";
  }

  /** @param {Uint8Array} unit @param {UnitHeader} header */
  _open(unit, header) {
    const codec = codecOf(unit);
    if (codec === "" || (this._source && codec === this._codec && header.generation === this._generation)) return;
    const nals = nalUnits(unit);
    /** @param {number} kind */
    const find = (kind) => nals.find((nal) => (/** @type {number} */ (nal[0]) & 31) === kind);
    const [sps, pps] = [find(7), find(8)];
    if (sps === undefined || pps === undefined) return;
    const type = `video/mp4; codecs="${codec}"`;
    if (!mediaSource()?.isTypeSupported(type)) {
      this._failed(type);
      return;
    }
    if (this._source === null) this._attach(type);
    else if (codec !== this._codec) this._queue.push({ type });
    this._codec = codec;
    this._generation = header.generation;
    this._queue.push({ bytes: initSegment(sps, pps, (header.width + 1) & ~1, (header.height + 1) & ~1) });
  }

  /** @param {string} type */
  _attach(type) {
    const Source = /** @type {typeof MediaSource} */ (mediaSource());
    const source = new Source();
    this._source = source;
    source.addEventListener("sourceopen", () => {
      if (source !== this._source) return;
      this._buffer = source.addSourceBuffer(type);
      this._buffer.addEventListener("updateend", () => this._append());
      this._buffer.addEventListener("error", () => source === this._source && this._resync());
      this._append();
    }, { once: true });
    this._url = URL.createObjectURL(source);
    this.surface.src = this._url;
    this.surface.play().catch(() => {}); // a muted video may play by itself
    this._watch();
  }

  /** One thing after the other, as the source buffer wants it. */
  _append() {
    const buffer = this._buffer;
    if (buffer === null || buffer.updating) return;
    this._keepUp();
    const next = this._queue.shift();
    if (next === undefined) return;
    try {
      if (next.bytes) buffer.appendBuffer(/** @type {BufferSource} */ (next.bytes));
      else if (next.before) buffer.remove(0, next.before);
      else if (next.type) buffer.changeType(next.type);
    } catch {
      this._resync();
      return;
    }
    if (next.header) {
      this._ack(next.header);
      clearTimeout(this._unseen);
      this._unseen = window.setTimeout(() => this._nudge(), UNSEEN_MS);
    }
    if (next.type) this._append();
  }

  /** An element that waits for more than the newest picture, and more may never come, is brought to it. */
  _nudge() {
    const newest = this._flying.at(-1);
    if (newest === undefined || this._buffer === null) return;
    this.surface.currentTime = newest.time + 0.5 * (DURATION / TIMESCALE);
    this._unseen = window.setTimeout(() => this._restart(newest), STUCK_MS);
  }

  /** @param {Flying} unseen */
  _restart(unseen) {
    if (!this._mayRestart || !this._flying.includes(unseen)) return;
    this._mayRestart = false;
    this._resync();
  }

  /** The element's clock stays at the newest picture. */
  _keepUp() {
    const { buffered } = this.surface;
    if (buffered.length === 0) return;
    const late = buffered.end(buffered.length - 1) - this.surface.currentTime;
    this.surface.playbackRate = late > LATE_SECONDS ? FAST : 1;
    if (this.surface.currentTime < buffered.start(buffered.length - 1)) {
      this.surface.currentTime = buffered.start(buffered.length - 1);
    }
    if (this.surface.paused) this.surface.play().catch(() => {});
    // Firefox before 132 tells of no single picture.
    if (this.surface.requestVideoFrameCallback === undefined) this._onDrawn(this.surface.currentTime);
  }

  _watch() {
    const source = this._source;
    this.surface.requestVideoFrameCallback?.((_now, { mediaTime }) => {
      if (source !== this._source) return;
      this._onDrawn(mediaTime);
      this._watch();
    });
  }

  /** @param {number} time of the picture that is seen now */
  _onDrawn(time) {
    /** @type {Flying | undefined} */
    let seen;
    while (this._flying[0] !== undefined && this._flying[0].time <= time + 0.5 * (DURATION / TIMESCALE)) seen = this._flying.shift();
    if (seen === undefined) return;
    this._mayRestart = true;
    const { header, received } = seen;
    const drawn = nowNs();
    this._figures.drawn++;
    if (this._drawnGeneration !== header.generation) {
      this._drawnGeneration = header.generation;
      const { videoWidth, videoHeight } = this.surface;
      this.surface.style.width = `${(videoWidth / header.width) * 100}%`; // what is coded may be a pixel more
      this.surface.style.height = `${(videoHeight / header.height) * 100}%`;
      this._tell({ type: "size", channel: header.channel, width: header.width, height: header.height, generation: header.generation });
    }
    const offset = this._offsetNs;
    const here = offset === null ? [0] : [received, drawn, drawn].map((at) => at + offset);
    const times = [...header.times, ...here];
    if (!header.refinement && times.every((at) => at !== 0)) {
      this._samples.push(times.slice(1).map((at, i) => (at - /** @type {number} */ (times[i])) / 1e6));
    }
    const damaged = header.times[0] ?? 0;
    this._tell({
      type: "drawn", channel: header.channel, refinement: header.refinement, keyframe: header.keyframe, sequence: header.sequence,
      damagedNs: offset === null || !damaged ? 0 : damaged - offset,
    });
  }

  /** @param {UnitHeader} header */
  _ack(header) {
    this._tell({ type: "ack", channel: header.channel, sequence: header.sequence });
  }

  _resync() {
    this._figures.dropped += this._queue.length;
    this._reset();
    this._tell({ type: "keyframe", channel: this._channel, why: "the buffer cannot go on" });
  }

  /** @param {string} reason */
  _failed(reason) {
    if (this._channel) this._tell({ type: "failed", reason });
  }

  _report() {
    this._figures.decoded = this.surface.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    this._tell({ type: "figures", ...this._figures, samples: this._samples, codec: this._codec, acceleration: S.mse });
    this._samples = [];
  }
}
