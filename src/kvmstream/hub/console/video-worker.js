/** Decodes units by WebCodecs and draws the newest picture, away from the page's thread. */
import { HEADER_BYTES, codecOf, nowNs, readHeader } from "./header.js";

/** @typedef {import("./header.js").UnitHeader} UnitHeader */
/** @typedef {{header: UnitHeader, received: number, bytes: number}} Flying */

const QUEUE = 3; // units in the decoder beyond which it cannot keep up
const FIGURES_MS = 500;
const PRESENT_MS = 100; // a browser that draws no frames: nobody looks
const ERRORS = 3; // in a row, with either kind of decoder, before giving up

const scope = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** @type {OffscreenCanvas | null} */
let canvas = null;
/** @type {OffscreenCanvasRenderingContext2D | null} */
let context = null;
/** @type {VideoDecoder | null} */
let decoder = null;
/** @type {HardwareAcceleration} */
let acceleration = "no-preference";
/** @type {Map<number, Flying>} by timestamp */
const flying = new Map();
let channel = 0;
let codec = "";
let generation = -1;
let clock = 0; // timestamp of the next unit, µs: must rise
let errors = 0;
/** @type {number | null} hub's clock minus ours; null before it is known */
let offsetNs = null;
let drawnGeneration = -1;

/** @type {{unit: Flying, decoded: number} | null} drawn, and on the screen with the next frame of the browser */
let drawn = null;
let presenting = 0;

const figures = { units: 0, decoded: 0, drawn: 0, bytes: 0, dropped: 0 };
/** @type {number[][]} ms of each stage, of each picture since the last report */
let samples = [];

/** @param {Record<string, unknown>} message */
const tell = (message) => scope.postMessage(message);

function closeDecoder() {
  if (decoder !== null && decoder.state !== "closed") decoder.close();
  decoder = null;
  flying.clear();
  generation = -1;
}

/** What is on its way cannot be used any more. @param {string} why */
function resync(why) {
  figures.dropped += flying.size;
  closeDecoder();
  tell({ type: "keyframe", channel, why });
}

/** @param {Uint8Array} unit @param {UnitHeader} header */
function open(unit, header) {
  const found = codecOf(unit);
  if (found === "") return false;
  if (decoder !== null && found === codec && generation === header.generation) return true;
  closeDecoder();
  codec = found;
  generation = header.generation;
  const made = new VideoDecoder({
    output: (frame) => {
      if (made === decoder) onFrame(frame);
      else frame.close();
    },
    error: (error) => {
      if (made === decoder) onError(error);
    },
  });
  decoder = made;
  made.configure({ codec, optimizeForLatency: true, hardwareAcceleration: acceleration });
  return true;
}

/** @param {DOMException | Error} error */
function onError(error) {
  errors++;
  decoder = null;
  // What a graphics card does not take, the processor does.
  acceleration = "prefer-software";
  if (errors >= ERRORS) tell({ type: "failed", reason: error.message });
  else resync(error.message);
}

/** @param {ArrayBuffer} data @param {number} received */
function onUnit(data, received) {
  const header = readHeader(data);
  if (header.channel !== channel) return;
  figures.units++;
  figures.bytes += data.byteLength;
  const unit = new Uint8Array(data, HEADER_BYTES);
  try {
    if (header.keyframe ? !open(unit, header) : decoder === null || generation !== header.generation) {
      // Nothing can be made of it before the next keyframe; taken in all the same.
      figures.dropped++;
      tell({ type: "ack", channel, sequence: header.sequence });
      return;
    }
    if (decoder === null) return;
    if (decoder.decodeQueueSize > QUEUE && !header.keyframe) {
      figures.dropped++;
      tell({ type: "ack", channel, sequence: header.sequence });
      resync("the decoder cannot keep up");
      return;
    }
    clock += 1000;
    flying.set(clock, { header, received, bytes: data.byteLength });
    const type = header.keyframe ? "key" : "delta";
    // Firefox judges a hardware decoder by the duration.
    decoder.decode(new EncodedVideoChunk({ type, timestamp: clock, duration: 1000, data: unit }));
  } catch (error) {
    onError(/** @type {Error} */ (error));
  }
}

/** @param {VideoFrame} frame */
function onFrame(frame) {
  const decoded = nowNs();
  const unit = flying.get(frame.timestamp);
  for (const timestamp of flying.keys()) if (timestamp <= frame.timestamp) flying.delete(timestamp);
  errors = 0;
  figures.decoded++;
  if (unit === undefined || canvas === null || context === null) {
    frame.close();
    return;
  }
  const { header } = unit;
  tell({ type: "ack", channel, sequence: header.sequence });
  if (canvas.width !== header.width || canvas.height !== header.height) {
    // In the same task as the drawing: a canvas of a new size is never seen empty.
    canvas.width = header.width;
    canvas.height = header.height;
  }
  context.drawImage(frame, 0, 0, header.width, header.height, 0, 0, header.width, header.height);
  frame.close();
  const [damaged] = header.times;
  tell({
    type: "drawn", channel, refinement: header.refinement, keyframe: header.keyframe, sequence: header.sequence,
    damagedNs: offsetNs === null || !damaged ? 0 : damaged - offsetNs,
  });
  drawn = { unit, decoded };
  if (presenting) return;
  presenting = setTimeout(onPresented, PRESENT_MS);
  requestAnimationFrame(onPresented);
}

/** The newest picture is being shown. */
function onPresented() {
  clearTimeout(presenting);
  presenting = 0;
  if (drawn === null || drawn.unit.header.channel !== channel) return;
  const { unit, decoded } = drawn;
  const { header } = unit;
  drawn = null;
  figures.drawn++;
  if (drawnGeneration !== header.generation) {
    drawnGeneration = header.generation;
    tell({ type: "size", channel, width: header.width, height: header.height, generation: header.generation });
  }
  const presented = nowNs();
  const [damaged, captured, encoded, sent, relayed] = header.times;
  const offset = offsetNs;
  const here = offset === null ? [0] : [unit.received, decoded, presented].map((time) => time + offset);
  const times = [damaged, captured, encoded, sent, relayed, ...here].map((time) => time ?? 0);
  if (!header.refinement && times.every((time) => time !== 0)) {
    samples.push(times.slice(1).map((time, i) => (time - /** @type {number} */ (times[i])) / 1e6));
  }
}

setInterval(() => {
  tell({ type: "figures", ...figures, samples, codec, acceleration });
  samples = [];
}, FIGURES_MS);

scope.onmessage = (/** @type {MessageEvent} */ { data }) => {
  if (data.type === "unit") {
    onUnit(data.data, data.received);
  } else if (data.type === "clock") {
    offsetNs = data.offsetNs;
  } else if (data.type === "canvas") {
    canvas = data.canvas;
    context = data.canvas.getContext("2d", { alpha: false, desynchronized: true });
  } else if (data.type === "channel") {
    channel = data.channel;
    drawnGeneration = -1;
    errors = 0;
    closeDecoder();
  }
};
