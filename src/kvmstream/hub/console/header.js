/** The binary header of units and acknowledgements (docs/protocol.md): 72 bytes, big endian. */
export const HEADER_BYTES = 72;
export const UNIT = 1;
export const ACK = 3;

/**
 * @typedef {object} UnitHeader
 * @property {number} kind
 * @property {boolean} keyframe
 * @property {boolean} refinement
 * @property {number} rendition
 * @property {number} channel
 * @property {number} sequence
 * @property {number} generation
 * @property {number} width true size: what is coded may be a pixel more
 * @property {number} height
 * @property {number[]} times damaged, captured, encoded, sent, relayed: ns on the hub's clock, 0 = not known
 */

/** @param {ArrayBuffer} buffer @returns {UnitHeader} */
export function readHeader(buffer) {
  const view = new DataView(buffer);
  const flags = view.getUint8(5);
  return {
    kind: view.getUint8(4),
    keyframe: (flags & 1) !== 0,
    refinement: (flags & 2) !== 0,
    rendition: view.getUint8(6),
    channel: view.getUint32(8),
    sequence: view.getUint32(12),
    generation: view.getUint32(16),
    width: view.getUint16(20),
    height: view.getUint16(22),
    times: [32, 40, 48, 56, 64].map((at) => Number(view.getBigInt64(at))),
  };
}

/** An acknowledgement. @param {number} channel @param {number} sequence */
export function ackFrame(channel, sequence) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  view.setUint8(4, ACK);
  view.setUint32(8, channel);
  view.setUint32(12, sequence);
  return view.buffer;
}

/**
 * WebCodecs' name of a stream, from the SPS of a keyframe in Annex B; "" when it has none.
 * @param {Uint8Array} unit
 */
export function codecOf(unit) {
  for (let i = 0; i + 7 < unit.length && i < 256; i++) {
    const start = unit[i] === 0 && unit[i + 1] === 0 && unit[i + 2] === 1;
    if (start && (/** @type {number} */ (unit[i + 3]) & 0x1f) === 7) {
      const three = [...unit.subarray(i + 4, i + 7)];
      return `avc1.${three.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    }
  }
  return "";
}

/** Nanoseconds of this browser's clock, the same in page and worker. */
export function nowNs() {
  return Math.round((performance.timeOrigin + performance.now()) * 1e6);
}
