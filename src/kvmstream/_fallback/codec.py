"""H.264 through PyAV: one picture in, one access unit out, nothing kept back."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av
from av.video.frame import PictureType

from kvmstream.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

__all__ = ["PIXEL_FORMATS", "SPECS", "AccessUnit", "Encoder", "PyavEncoder", "Spec"]

# Every encoder here takes NV12, and x264 copies it faster than planar YUV.
PIXEL_FORMATS = {"420": "nv12", "444": "yuv444p"}

_BT709 = 1  # AVCOL_PRI_, AVCOL_TRC_ and AVCOL_SPC_BT709 alike
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
_VBV_SECONDS = 0.25  # a keyframe is coded coarse enough to pass in this time at the ceiling
_NO_GOP_LIMIT = (1 << 31) - 1
_MAX_THREADS = 4  # each is a slice, and slices cost bits
_X264_PRESETS = (  # by rising effort
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
# What this FFmpeg's wrapper can change while it runs, from PyAV 19 on (before, the fields are read-only).
_LIVE_RATE = ("libx264", "h264_nvenc", "h264_qsv")

# x264_encoder_open() and _close() are not safe against each other in one process.
_open_close = threading.Lock()

_SPS, _PPS = 7, 8


class AccessUnit:
    """One coded picture, Annex B."""

    __slots__ = ("data", "keyframe", "pts")

    def __init__(self, data: bytes, keyframe: bool, pts: int) -> None:
        self.data = data
        self.keyframe = keyframe
        self.pts = pts


class Encoder(Protocol):
    """Owned by the encode thread. Any method may raise :exc:`EncoderError`: the encoder must then be rebuilt."""

    name: str

    def encode(self, frame: av.VideoFrame, pts: int, *, keyframe: bool) -> list[AccessUnit]:
        """Reads the frame before it returns. `pts` in µs, rising."""

    def update(self, settings: Settings) -> bool:
        """Applies new fps, bitrate and crf; False when that needs another encoder."""

    def close(self) -> None:
        """Idempotent."""


@dataclass(frozen=True)
class Spec:
    """One rung of the ladder, as far as PyAV's encoders differ."""

    name: str
    hardware: bool
    platforms: tuple[str, ...]  # prefixes of sys.platform
    vendors: tuple[int, ...]  # PCI vendors of GPUs; () = any
    options: Callable[[Settings], dict[str, str]]
    chroma_444: bool = False


def _level_of_effort(preset: str) -> int:
    """0 (ultrafast) … 9 (placebo)."""
    return _X264_PRESETS.index(preset) if preset in _X264_PRESETS else 0


def _buffer_bits(settings: Settings) -> int:
    return round(settings.bitrate * _VBV_SECONDS)


def _x264(settings: Settings) -> dict[str, str]:
    params = "keyint=infinite:scenecut=0:repeat-headers=1:annexb=1:force-cfr=1:bframes=0:ref=1"
    if settings.preset == "ultrafast":
        # Scrolled text moves further than the preset's search reaches: fewer bytes at no more CPU.
        params += ":me=umh:merange=64"
    tune = settings.tune if "zerolatency" in settings.tune else f"{settings.tune},zerolatency"
    return {
        "preset": settings.preset,
        "tune": tune.lstrip(","),
        "crf": f"{settings.crf:g}",
        "maxrate": str(settings.bitrate),
        "bufsize": str(_buffer_bits(settings)),
        "forced-idr": "1",
        "x264-params": params,
    }


def _nvenc(settings: Settings) -> dict[str, str]:
    return {
        "preset": f"p{min(7, 1 + _level_of_effort(settings.preset))}",
        "tune": "ull",
        "rc": "vbr",
        "cq": f"{settings.crf:g}",
        "b": "0",
        "maxrate": str(settings.bitrate),
        "bufsize": str(_buffer_bits(settings)),
        "delay": "0",
        "surfaces": "1",
        "zerolatency": "1",
        "forced-idr": "1",
    }


def _qsv(settings: Settings) -> dict[str, str]:
    presets = ("veryfast", "veryfast", "veryfast", "faster", "fast", "medium", "slow", "slower")
    return {
        "preset": presets[min(_level_of_effort(settings.preset), len(presets) - 1)],
        # A mean below the maximum selects VBR.
        "b": str(settings.bitrate - 1),
        "maxrate": str(settings.bitrate),
        "bufsize": str(_buffer_bits(settings)),
        "async_depth": "1",
        "low_delay_brc": "1",
        "forced_idr": "1",
        "look_ahead": "0",
        "scenario": "displayremoting",
        "max_dec_frame_buffering": "1",
    }


def _amf(settings: Settings) -> dict[str, str]:
    return {
        "usage": "ultralowlatency",
        "quality": "speed" if _level_of_effort(settings.preset) < 3 else "balanced",
        "rc": "vbr_latency",
        "b": str(settings.bitrate),
        "maxrate": str(settings.bitrate),
        "bufsize": str(_buffer_bits(settings)),
        "forced_idr": "1",
    }


def _mf(settings: Settings) -> dict[str, str]:
    return {
        "hw_encoding": "1",
        "rate_control": "u_vbr",
        "scenario": "display_remoting",
        "b": str(settings.bitrate),
    }


def _videotoolbox(settings: Settings) -> dict[str, str]:
    return {
        "realtime": "1",
        "prio_speed": "1",
        "allow_sw": "0",
        "b": str(settings.bitrate),
        "maxrate": str(settings.bitrate),
    }


_PC = ("linux", "win32")
SPECS = (
    Spec("h264_nvenc", True, _PC, (0x10DE,), _nvenc, chroma_444=True),
    Spec("h264_qsv", True, _PC, (0x8086,), _qsv),
    Spec("h264_amf", True, _PC, (0x1002,), _amf),
    Spec("h264_mf", True, ("win32",), (), _mf),
    Spec("h264_videotoolbox", True, ("darwin",), (), _videotoolbox),
    Spec("libx264", False, ("",), (), _x264, chroma_444=True),
)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class PyavEncoder:
    """An open encoder. Pictures have the coded (even) size."""

    def __init__(
        self, spec: Spec, size: tuple[int, int], settings: Settings, notes: list[str]
    ) -> None:
        self.name = spec.name
        if settings.chroma == "444" and not spec.chroma_444:
            raise EncoderError("encodes 4:2:0 only; chroma='444' needs libx264 or h264_nvenc")
        self._hardware = spec.hardware
        self._settings = settings
        self._opened_fps = settings.fps
        self._parameter_sets = b""
        if spec.hardware and settings.tune != "zerolatency":
            notes.append(f"{spec.name}: tune={settings.tune!r} is x264's and has no counterpart")
        if spec.hardware and spec.name != "h264_nvenc":
            notes.append(f"{spec.name}: crf has no counterpart; bitrate alone decides the quality")
        try:
            with _open_close:
                codec = av.CodecContext.create(spec.name, "w")
                assert isinstance(codec, av.VideoCodecContext)
                codec.width, codec.height = size
                codec.pix_fmt = PIXEL_FORMATS[settings.chroma]
                codec.time_base = Fraction(1, 1_000_000)
                codec.framerate = Fraction(settings.fps).limit_denominator(1000)
                codec.gop_size = _NO_GOP_LIMIT if spec.name in ("libx264", "h264_nvenc") else 0xFFFF
                codec.max_b_frames = 0
                codec.color_primaries = codec.color_trc = codec.colorspace = _BT709
                codec.color_range = _LIMITED_RANGE
                if not spec.hardware:
                    codec.thread_count = min(_cores(), _MAX_THREADS)
                codec.options = spec.options(settings)
                codec.open()
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise EncoderError(f"does not open: {_brief(error)}") from None
        self._codec: av.VideoCodecContext | None = codec

    def encode(self, frame: av.VideoFrame, pts: int, *, keyframe: bool) -> list[AccessUnit]:
        """See :class:`Encoder`."""
        assert self._codec is not None
        frame.pts = pts
        frame.time_base = Fraction(1, 1_000_000)
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        try:
            packets = self._codec.encode(frame)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise EncoderError(f"failed: {_brief(error)}") from None
        return [
            AccessUnit(
                self._complete(bytes(p), p.is_keyframe),
                p.is_keyframe,
                p.pts if p.pts is not None else pts,
            )
            for p in packets
        ]

    def _complete(self, data: bytes, keyframe: bool) -> bytes:
        """Some hardware encoders send SPS and PPS once; every keyframe must carry them."""
        if not keyframe or not self._hardware:
            return data
        units = _parameter_sets(data)
        if units:
            self._parameter_sets = units
            return data
        if not self._parameter_sets and self._codec is not None and self._codec.extradata:
            self._parameter_sets = _parameter_sets(bytes(self._codec.extradata))
        if not self._parameter_sets:
            raise EncoderError("gave a keyframe without SPS and PPS")
        return self._parameter_sets + data

    def update(self, settings: Settings) -> bool:
        """See :class:`Encoder`."""
        before, self._settings = self._settings, settings
        if settings.crf != before.crf:
            return False
        if (settings.bitrate, settings.fps) == (before.bitrate, before.fps):
            return True
        return self._set_ceiling(settings) or (
            # The old budget of a frame still keeps below the ceiling when there are fewer of them.
            settings.bitrate == before.bitrate and settings.fps < before.fps
        )

    def _set_ceiling(self, settings: Settings) -> bool:
        """Live, where the encoder and PyAV can."""
        if self.name not in _LIVE_RATE or self._codec is None:
            return False
        # Encoders share the rate out by frames, at the frame rate that they were opened with.
        rate = round(settings.bitrate * self._opened_fps / settings.fps)
        fields = {"max_bit_rate": rate, "rc_buffer_size": _buffer_bits(settings)}
        if self.name == "h264_qsv":
            fields["bit_rate"] = rate - 1
        try:
            for field, value in fields.items():
                setattr(self._codec, field, value)
        except AttributeError:  # PyAV before 19
            return False
        return True

    def close(self) -> None:
        """Idempotent."""
        with _open_close:
            self._codec = None


def _brief(error: Exception) -> str:
    """FFmpeg's words without PyAV's list of all options."""
    return str(getattr(error, "strerror", None) or error)


def _parameter_sets(data: bytes) -> bytes:
    """SPS and PPS of an Annex B access unit; b"" unless both are there."""
    starts = [match.end() for match in re.finditer(b"\0\0\1", data)]
    found = {}
    for index, start in enumerate(starts):
        end = starts[index + 1] - 3 if index + 1 < len(starts) else len(data)
        kind = data[start] & 31 if start < len(data) else 0
        if kind in (_SPS, _PPS):
            found[kind] = b"\0\0\0\1" + data[start:end].rstrip(b"\0")
    return found[_SPS] + found[_PPS] if len(found) == 2 else b""
