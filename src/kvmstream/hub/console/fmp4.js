/** Fragmented MP4 (ISO/IEC 14496-12 and -15) around H.264 units, for browsers that decode by Media Source Extensions only. */

export const TIMESCALE = 1_000_000; // ticks a second
const START_CODE = 3; // bytes; a zero before it belongs to it

/** @param {string} type @param {...(Uint8Array | number[])} parts */
function box(type, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 8);
  const made = new Uint8Array(size);
  made.set([...u32(size), ...[...type].map((letter) => letter.charCodeAt(0))]);
  let at = 8;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}

/** @param {string} type @param {number} version @param {number} flags @param {...(Uint8Array | number[])} parts */
const full = (type, version, flags, ...parts) => box(type, u32((version << 24) | flags), ...parts);

/** @param {...number} values */
function u32(...values) {
  return values.flatMap((value) => [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
}

/** @param {...number} values */
const u16 = (...values) => values.flatMap((value) => [(value >> 8) & 255, value & 255]);

/** @param {number} count */
const zeros = (count) => new Uint8Array(count);

const MATRIX = u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000); // unity, ISO/IEC 14496-12 8.2.2.2

/** The NAL units of an access unit in Annex B. @param {Uint8Array} unit @returns {Uint8Array[]} */
export function nalUnits(unit) {
  /** @type {number[]} */
  const starts = [];
  for (let at = unit.indexOf(1); at >= 0; at = unit.indexOf(1, at + 1)) {
    if (at >= 2 && unit[at - 1] === 0 && unit[at - 2] === 0) starts.push(at - 2);
  }
  return starts.map((start, i) => {
    let end = starts[i + 1] ?? unit.length;
    while (i + 1 < starts.length && end > start && unit[end - 1] === 0) end--;
    return unit.subarray(start + START_CODE, end);
  });
}

/**
 * The initialization segment.
 * @param {Uint8Array} sps @param {Uint8Array} pps @param {number} width coded size @param {number} height
 */
export function initSegment(sps, pps, width, height) {
  const [profile = 0, compatible = 0, level = 0] = sps.subarray(1, 4);
  const avcC = box(
    "avcC", [1, profile, compatible, level, 0xff, 0xe1], u16(sps.length), sps, [1], u16(pps.length), pps,
  );
  const avc1 = box(
    "avc1", zeros(6), u16(1), zeros(16), u16(width, height), u32(0x480000, 0x480000, 0), u16(1), zeros(32),
    u16(0x18, 0xffff), avcC,
  );
  const table = box(
    "stbl", full("stsd", 0, 0, u32(1), avc1), full("stts", 0, 0, u32(0)), full("stsc", 0, 0, u32(0)),
    full("stsz", 0, 0, u32(0, 0)), full("stco", 0, 0, u32(0)),
  );
  const data = box("dinf", full("dref", 0, 0, u32(1), full("url ", 0, 1)));
  const media = box(
    "mdia",
    full("mdhd", 0, 0, u32(0, 0, TIMESCALE, 0), u16(0x55c4, 0)), // language: und
    full("hdlr", 0, 0, u32(0), [...new TextEncoder().encode("vide")], zeros(13)),
    box("minf", full("vmhd", 0, 1, zeros(8)), data, table),
  );
  const track = box(
    "trak", full("tkhd", 0, 3, u32(0, 0, 1, 0, 0), zeros(8), u16(0, 0, 0, 0), MATRIX, u32(width << 16, height << 16)), media,
  );
  const movie = full("mvhd", 0, 0, u32(0, 0, TIMESCALE, 0, 0x10000), u16(0x100, 0), zeros(8), MATRIX, zeros(24), u32(2));
  const extends_ = box("mvex", full("trex", 0, 0, u32(1, 1, 0, 0, 0))); // no duration: a live stream, decoded without delay
  const type = box("ftyp", [...new TextEncoder().encode("isom")], u32(0x200), [...new TextEncoder().encode("isomiso5avc1")]);
  return join([type, box("moov", movie, track, extends_)]);
}

/**
 * A media segment of one picture.
 * @param {Uint8Array[]} nals @param {number} sequence @param {number} time ticks @param {number} duration ticks @param {boolean} keyframe
 */
export function mediaSegment(nals, sequence, time, duration, keyframe) {
  const size = nals.reduce((sum, nal) => sum + 4 + nal.length, 0);
  const flags = keyframe ? 0x0200_0000 : 0x0101_0000; // depends on nothing; or on others, and no sync sample
  /** @param {number} offset of the samples from the start of the moof */
  const moof = (offset) => box(
    "moof", full("mfhd", 0, 0, u32(sequence)),
    box(
      "traf", full("tfhd", 0, 0x20000, u32(1)), // base is the moof
      full("tfdt", 1, 0, u32(Math.floor(time / 2 ** 32), time % 2 ** 32)),
      full("trun", 0, 0x701, u32(1, offset, duration, size, flags)), // offset, duration, size and flags are there
    ),
  );
  const length = moof(0).length;
  const samples = nals.flatMap((nal) => [new Uint8Array(u32(nal.length)), nal]);
  return join([moof(length + 8), box("mdat", ...samples)]);
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const made = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}
