"""Decoder: packets become numpy pictures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import av
import av.error
from av.video.reformatter import VideoReformatter

from .errors import ProtocolError, StreamClosed

if TYPE_CHECKING:
    import numpy as np
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from ._types import Packet

__all__ = ["Decoder", "Picture"]

_MOST_THREADS = 4  # beyond that slices are too few to share

# AVCOL_SPC_* and AVCOL_RANGE_* (ITU-T H.273 numbers)
_BT709 = 1
_UNSPECIFIED = 2
_LIMITED = 1
_FULL = 2


class Picture:
    """A decoded picture that is not RGB yet."""

    __slots__ = ("_converter", "_frame", "height", "width")

    def __init__(
        self, frame: VideoFrame, width: int, height: int, converter: VideoReformatter
    ) -> None:
        self._frame = frame
        self._converter = converter
        self.width = width
        self.height = height

    def to_rgb(self) -> NDArray[np.uint8]:
        """Return it as height × width × 3, uint8, RGB, C-contiguous and the caller's own."""
        import numpy as np

        matrix = int(self._frame.colorspace)
        # What an encoder does not say is BT.709 limited in this project; swscale would assume BT.601.
        rgb = self._converter.reformat(
            self._frame,
            format="rgb24",
            src_colorspace=_BT709 if matrix in (0, _UNSPECIFIED) else matrix,
            src_color_range=_FULL if int(self._frame.color_range) == _FULL else _LIMITED,
            dst_color_range=_FULL,
            threads=1,  # starting more takes longer than the conversion
        ).to_ndarray()
        return np.ascontiguousarray(rgb[: self.height, : self.width])


class Decoder:
    """Decodes one consumer's packets, each to its picture at once; not for use from two threads at a time.

        decoder = kvmstream.Decoder()
        for packet in stream:
            picture = decoder.decode(packet)      # height × width × 3, uint8, RGB; None until the first keyframe

    A packet that FFmpeg finds damaged raises ProtocolError; decoding goes on at the next keyframe (`waiting` is True
    until then, so ask the stream for one).
    """

    def __init__(self) -> None:
        self._context: VideoCodecContext | None = None
        self._converter = VideoReformatter()
        self._generation = 0
        self._closed = False
        self.waiting = True
        self.skipped = 0  # packets passed over while waiting for a keyframe

    def decode(self, packet: Packet) -> NDArray[np.uint8] | None:
        """Return the packet's picture; None while waiting for a keyframe. Raises ProtocolError for damaged data."""
        picture = self.decode_picture(packet)
        return None if picture is None else picture.to_rgb()

    def decode_picture(self, packet: Packet) -> Picture | None:
        """Do what decode() does, without the conversion to RGB."""
        if self._closed:
            raise StreamClosed("the decoder was closed: make a new Decoder")
        if packet.generation != self._generation:
            # Another size or another encoder: nothing of the old context may reach into it.
            self._context = None
            self._generation = packet.generation
            self.waiting = True
        if self.waiting and not packet.keyframe:
            self.skipped += 1
            return None
        if self._context is None:
            self._context = _open()
        try:
            frames = self._context.decode(av.Packet(packet))  # type: ignore[arg-type]  # any buffer does
        except av.error.FFmpegError as error:
            self._resynchronise()
            raise ProtocolError(
                f"packet at {packet.pts} µs ({len(packet)} bytes, generation {packet.generation}) cannot be "
                f"decoded: {error.strerror}; decoding goes on at the next keyframe"
            ) from error
        if len(frames) != 1 or frames[0].is_corrupt:
            self._resynchronise()
            raise ProtocolError(
                f"packet at {packet.pts} µs holds {len(frames)} whole pictures instead of 1; "
                "decoding goes on at the next keyframe"
            )
        frame = frames[0]
        if packet.width > frame.width or packet.height > frame.height:
            self._resynchronise()
            raise ProtocolError(
                f"packet at {packet.pts} µs says {packet.width}×{packet.height}, but holds a picture of "
                f"{frame.width}×{frame.height}"
            )
        self.waiting = False
        return Picture(frame, packet.width, packet.height, self._converter)

    def close(self) -> None:
        """Free the decoder; idempotent."""
        self._closed = True
        self._context = None

    def _resynchronise(self) -> None:
        self._context = None
        self.waiting = True


def _open() -> VideoCodecContext:
    context = av.CodecContext.create("h264", "r")
    # Frame threads would hold every picture back until more packets arrive; slice threads do not.
    context.thread_type = "SLICE"
    context.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
    context.flags |= 1 << 19  # AV_CODEC_FLAG_LOW_DELAY
    context.options = {"err_detect": "explode"}
    return context
