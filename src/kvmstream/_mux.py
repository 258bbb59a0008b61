"""Writing H.264 samples into files that are playable at any moment.

FFmpeg's muxers write a fragment when the next packet arrives, and a still screen sends none. So FFmpeg (through PyAV)
only makes the codec description, and the fragments are written here: whole, flushed, and with the duration of the
newest sample at a known place, where it is corrected as time goes on.

MP4: ISO/IEC 14496-12 (movie fragments, 8.8) and 14496-15 (AVC). Matroska: RFC 9559, SimpleBlock and BlockGroup.
"""

from __future__ import annotations

import io
import itertools
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error

from .errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO


__all__ = ["MUXERS", "Muxer", "Sample", "nal_units"]

_START_CODE = b"\x00\x00\x01"


@dataclass(frozen=True, slots=True)
class Sample:
    """One access unit in Annex B form; `time` counts the muxer's ticks from the file's start."""

    time: int
    data: bytes
    keyframe: bool


def nal_units(access_unit: bytes) -> Iterator[bytes]:
    """Split Annex B into NAL units without their start codes."""
    begin = access_unit.find(_START_CODE)
    while begin >= 0:
        begin += len(_START_CODE)
        end = access_unit.find(_START_CODE, begin)
        # A NAL unit never ends in a zero byte: zeros before a start code belong to the start code.
        unit = access_unit[begin : end if end >= 0 else None].rstrip(b"\x00")
        if unit:
            yield unit
        begin = end


class Muxer(ABC):
    """One file. `ticks` is its clock's rate in Hz."""

    ticks: int
    frame_rate: Fraction | None = None  # what the SPS says, known after begin()

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @abstractmethod
    def begin(self, keyframe: bytes) -> None:
        """Write everything that stands before the first sample, described by that sample."""

    @abstractmethod
    def append(self, samples: Sequence[Sample], last_duration: int) -> None:
        """Write the samples as one fragment; all durations but the last one's follow from the times."""

    @abstractmethod
    def stretch(self, last_duration: int, end: int) -> None:
        """Give the newest sample written this duration, so that the file ends at `end`."""

    def flush(self) -> None:
        """Hand everything to the operating system: from here on it outlives the process."""
        self._file.flush()

    def _patch(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        self._file.write(data)
        self._file.seek(0, io.SEEK_END)


class AnnexB(Muxer):
    """A bare elementary stream: no times."""

    ticks = 1_000_000

    def begin(self, keyframe: bytes) -> None:
        """Write nothing: SPS and PPS stand in front of every keyframe."""

    def append(self, samples: Sequence[Sample], last_duration: int) -> None:  # noqa: ARG002
        """Write the samples as they are."""
        self._file.write(b"".join(sample.data for sample in samples))

    def stretch(self, last_duration: int, end: int) -> None:
        """Do nothing: there are no durations."""


class Mp4(Muxer):
    """Fragmented MP4: ftyp, moov, then one moof + mdat per fragment."""

    ticks = 90_000  # the customary video clock; QuickTime dislikes rates above 100 kHz

    def begin(self, keyframe: bytes) -> None:
        """Write ftyp and moov."""
        description, self.frame_rate = _describe(keyframe)
        header = bytearray(description)
        if self.frame_rate:
            _name_interval(header, round(self.ticks / self.frame_rate))
        # The whole duration for players that do not read every fragment first (mehd, 8.8.2).
        moov = _find_box(header, 0, len(header), b"moov")
        mvex = _find_box(header, moov + 8, _box_end(header, moov), b"mvex")
        mehd = _box(b"mehd", bytes([1, 0, 0, 0]) + bytes(8))
        header[mvex + 8 : mvex + 8] = mehd
        for parent in (moov, mvex):
            (size,) = struct.unpack_from(">I", header, parent)
            struct.pack_into(">I", header, parent, size + len(mehd))
        # Durations there count ticks of mvhd, whose rate FFmpeg chooses.
        mvhd = _find_box(header, moov + 8, _box_end(header, moov), b"mvhd")
        (self._movie_ticks,) = struct.unpack_from(">I", header, mvhd + 20)
        self._total_at = mvex + 8 + 12
        self._duration_at = 0
        self._sequence = 0
        self._file.write(header)

    def append(self, samples: Sequence[Sample], last_duration: int) -> None:
        """Write moof and mdat."""
        payloads = [_length_prefixed(sample.data) for sample in samples]
        times = [sample.time for sample in samples]
        durations = [later - time for time, later in itertools.pairwise(times)]
        durations.append(min(last_duration, _LONGEST))
        entries = b"".join(
            struct.pack(">III", duration, len(payload), _SYNC if sample.keyframe else _NON_SYNC)
            for sample, payload, duration in zip(samples, payloads, durations, strict=True)
        )
        self._sequence += 1
        mfhd = _box(b"mfhd", struct.pack(">II", 0, self._sequence))
        tfhd = _box(b"tfhd", struct.pack(">II", _DEFAULT_BASE_IS_MOOF, 1))
        tfdt = _box(b"tfdt", struct.pack(">IQ", 1 << 24, samples[0].time))
        before_trun = 8 + len(mfhd) + 8 + len(tfhd) + len(tfdt)
        moof_size = before_trun + 8 + 12 + len(entries)
        flags = _DATA_OFFSET | _DURATIONS | _SIZES | _FLAGS
        trun = _box(b"trun", struct.pack(">IIi", flags, len(samples), moof_size + 8) + entries)
        # Free space until all of it is there: a process that is killed meanwhile leaves no half fragment.
        moof = _box(b"free", mfhd + _box(b"traf", tfhd + tfdt + trun))
        start = self._file.tell()
        mdat_size = 8 + sum(map(len, payloads))
        self._file.write(b"".join([moof, struct.pack(">I4s", mdat_size, b"mdat"), *payloads]))
        self._file.flush()
        self._patch(start + 4, b"moof")
        self._duration_at = start + moof_size - 12
        self._write_total(times[-1] + last_duration)

    def stretch(self, last_duration: int, end: int) -> None:
        """Correct the newest sample's duration and the file's."""
        self._patch(self._duration_at, struct.pack(">I", min(last_duration, _LONGEST)))
        self._write_total(end)

    def _write_total(self, end: int) -> None:
        self._patch(self._total_at, struct.pack(">Q", end * self._movie_ticks // self.ticks))


class Matroska(Muxer):
    """Matroska: Segment Info, one video track, then one Cluster per fragment."""

    ticks = 10_000  # a block's time counts from its cluster's in 16 bits: 3.2 s

    def begin(self, keyframe: bytes) -> None:
        """Write the EBML header, and the Segment up to its first cluster."""
        header, self.frame_rate = _describe(keyframe)
        entry = header.index(b"avc1") - 4
        inside = entry + 86  # VisualSampleEntry's own fields end here
        avcc = _find_box(header, inside, _box_end(header, entry), b"avcC")
        width, height = struct.unpack_from(">HH", header, entry + 32)
        video = _element(0xB0, _uint(width)) + _element(0xBA, _uint(height))
        colr = _find_box(header, inside, _box_end(header, entry), b"colr", required=False)
        if colr >= 0:
            primaries, transfer, matrix = struct.unpack_from(">HHH", header, colr + 12)
            full = header[colr + 8 : colr + 12] == b"nclx" and header[colr + 18] & 0x80
            video += _element(
                0x55B0,
                _element(0x55B1, _uint(matrix))
                + _element(0x55B9, _uint(2 if full else 1))
                + _element(0x55BA, _uint(transfer))
                + _element(0x55BB, _uint(primaries)),
            )
        interval = (  # DefaultDuration, as a rule: every block has its own time
            _element(0x23E383, _uint(round(1_000_000_000 / self.frame_rate)))
            if self.frame_rate
            else b""
        )
        track = (
            _element(0xD7, _uint(1))  # TrackNumber
            + _element(0x73C5, _uint(1))  # TrackUID
            + _element(0x83, _uint(1))  # TrackType: video
            + _element(0x9C, _uint(0))  # FlagLacing
            + _element(0x86, b"V_MPEG4/ISO/AVC")
            + _element(0x63A2, bytes(header[avcc + 8 : _box_end(header, avcc)]))
            + interval
            + _element(0xE0, video)
        )
        info = (
            _element(0x2AD7B1, _uint(100_000))  # TimestampScale: one tick in ns
            + _element(0x4D80, b"kvmstream")
            + _element(0x5741, b"kvmstream")
            + _element(0x4489, struct.pack(">d", 0.0))  # Duration, last so that its place is known
        )
        ebml = (
            _element(0x4286, _uint(1))
            + _element(0x42F7, _uint(1))
            + _element(0x42F2, _uint(4))
            + _element(0x42F3, _uint(8))
            + _element(0x4282, b"matroska")
            + _element(0x4287, _uint(4))
            + _element(0x4285, _uint(2))
        )
        start = _element(0x1A45DFA3, ebml)
        start += bytes.fromhex("18538067 01ffffffffffffff")  # Segment of unknown size: it grows
        start += _element(0x1549A966, info)
        self._total_at = len(start) - 8
        start += _element(0x1654AE6B, _element(0xAE, track))
        self._duration_at = 0
        self._file.write(start)

    def append(self, samples: Sequence[Sample], last_duration: int) -> None:
        """Write one Cluster; its last block carries a duration."""
        base = samples[0].time
        blocks = [_element(0xE7, _uint(base))]
        for sample in samples[:-1]:
            flags = 0x80 if sample.keyframe else 0
            blocks.append(_element(0xA3, _block(sample, base, flags)))
        last = samples[-1]
        group = _element(0xA1, _block(last, base, 0))
        if not last.keyframe:
            group += _element(0xFB, struct.pack(">h", -1))  # ReferenceBlock: some earlier one
        group += _element(
            0x9B, struct.pack(">Q", last_duration)
        )  # last, so that its place is known
        blocks.append(_element(0xA0, group))
        self._file.write(_element(0x1F43B675, b"".join(blocks)))
        self._duration_at = self._file.tell() - 8
        self._write_total(last.time + last_duration)

    def stretch(self, last_duration: int, end: int) -> None:
        """Correct the newest block's duration and the file's."""
        self._patch(self._duration_at, struct.pack(">Q", last_duration))
        self._write_total(end)

    def _write_total(self, end: int) -> None:
        self._patch(self._total_at, struct.pack(">d", float(end)))


MUXERS: dict[str, type[Muxer]] = {
    ".mp4": Mp4,
    ".m4v": Mp4,
    ".mkv": Matroska,
    ".h264": AnnexB,
    ".264": AnnexB,
}

# tfhd and trun flags (8.8.7, 8.8.8), sample flags (8.8.3.1)
_DEFAULT_BASE_IS_MOOF = 0x020000
_DATA_OFFSET = 0x000001
_DURATIONS = 0x000100
_SIZES = 0x000200
_FLAGS = 0x000400
_LONGEST = 0xFFFF_FFFF  # ticks; 13 hours
_SYNC = 0x02000000  # depends on no other sample
_NON_SYNC = 0x01010000  # depends on others, is no sync sample


def _describe(keyframe: bytes) -> tuple[bytes, Fraction | None]:
    """Return ftyp and moov for a stream that begins with this keyframe, as FFmpeg writes them, and its frame rate."""
    out = io.BytesIO()
    try:
        with av.open(io.BytesIO(keyframe), format="h264") as source:
            target = av.open(
                out, "w", format="mp4", options={"movflags": "empty_moov+default_base_moof"}
            )
            frame_rate = source.streams.video[0].codec_context.framerate
            stream = target.add_stream_from_template(source.streams.video[0])
            stream.time_base = Fraction(1, Mp4.ticks)
            target.start_encoding()
            header = out.getvalue()
            target.close()
    except (av.error.FFmpegError, IndexError) as error:
        raise ProtocolError(
            f"a recording must begin with a keyframe that carries SPS and PPS; this one ({len(keyframe)} bytes) "
            f"cannot be read: {error}"
        ) from error
    return header, frame_rate


def _name_interval(header: bytearray, interval: int) -> None:
    """Say in the sample table, which holds no samples, how long one lasts as a rule.

    Readers that want one frame rate for the whole file otherwise guess it from the first seconds, and count later,
    faster frames in those ticks: the ffmpeg command then warns of two frames in one.
    """
    entry = struct.pack(">II", 0, interval)  # sample_count, sample_delta (8.6.1.2)
    place, end = 0, len(header)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        box = _find_box(header, place, end, kind)
        place, end = box + 8, _box_end(header, box)
        struct.pack_into(">I", header, box, end - box + len(entry))
    struct.pack_into(">I", header, place + 4, 1)  # entry_count
    header[end:end] = entry


def _length_prefixed(access_unit: bytes) -> bytes:
    parts: list[bytes] = []
    for unit in nal_units(access_unit):
        parts += (len(unit).to_bytes(4, "big"), unit)
    return b"".join(parts)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _box_end(data: bytes | bytearray, offset: int) -> int:
    (size,) = struct.unpack_from(">I", data, offset)
    return offset + int(size)


def _find_box(
    data: bytes | bytearray, offset: int, end: int, kind: bytes, *, required: bool = True
) -> int:
    """Return the offset of the first box of this kind among those from `offset` to `end`; -1 when there is none."""
    while offset < end:
        if data[offset + 4 : offset + 8] == kind:
            return offset
        offset = _box_end(data, offset)
    if required:
        raise ProtocolError(
            f"FFmpeg's MP4 header has no {kind.decode()} box: report this with the version of PyAV"
        )
    return -1


def _uint(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _element(identifier: int, content: bytes) -> bytes:
    """Return an EBML element; the size always takes 8 bytes."""
    size = (1 << 56 | len(content)).to_bytes(8, "big")
    return _uint(identifier) + size + content


def _block(sample: Sample, base: int, flags: int) -> bytes:
    return b"\x81" + struct.pack(">hB", sample.time - base, flags) + _length_prefixed(sample.data)
