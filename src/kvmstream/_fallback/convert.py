"""BGRX pixels → the encoder's YUV (BT.709, limited range), only where they changed; scaling; JPEG."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frames import Patch, Pixels

__all__ = ["YuvPicture", "encode_jpeg", "scale_bgra"]

# Chroma by the mean of each 2×2 block: two taps down, so that the rows of one patch never need those of the next.
_AREA = int(Interpolation.AREA)
_ITU601 = int(Colorspace.ITU601)
_ITU709 = int(Colorspace.ITU709)
_BICUBIC = int(Interpolation.BICUBIC)
_JPEG_QUALITY = 4  # mjpeg's scale, 2 (best) … 31


class YuvPicture:
    """The picture that the encoder reads, kept from frame to frame. Belongs to the encode thread.

    The coded size is the true one rounded up to even, the last row and column repeated.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int], pixel_format: str) -> None:
        self.source = source
        self.size = size
        self.pixel_format = pixel_format
        width, height = size
        self.coded = (width + (width & 1), height + (height & 1))
        self.frame = av.VideoFrame(*self.coded, pixel_format)
        self._planes = _plane_arrays(self.frame)
        self._patches = VideoReformatter()
        self._scaler = VideoReformatter()
        # Scaling needs the neighbours of what changed, so the source is kept whole.
        self._whole: Pixels | None = None
        if source != size:
            self._whole = np.zeros((source[1], source[0], 4), np.uint8)

    def apply(self, patches: list[Patch]) -> None:
        """Takes over what changed."""
        if self._whole is not None:
            for patch in patches:
                x, y, width, height = patch.rect
                self._whole[y : y + height, x : x + width] = patch.pixels
            self._put(0, 0, self._scaled(self._whole))
            return
        # A hardware encoder may still hold the last picture; x264 never does, and then this copies nothing.
        self.frame.make_writable()
        self._planes = _plane_arrays(self.frame)
        for patch in patches:
            self._put(patch.x, patch.y, patch.pixels)

    def _scaled(self, pixels: Pixels) -> Pixels:
        smaller = self.size[0] <= self.source[0] and self.size[1] <= self.source[1]
        frame = self._scaler.reformat(
            av.VideoFrame.from_numpy_buffer(pixels, format="bgra"),
            width=self.size[0],
            height=self.size[1],
            interpolation=_AREA if smaller else _BICUBIC,
            threads=1,
        )
        return _plane_arrays(frame)[0].reshape(self.size[1], self.size[0], 4)

    def _put(self, x: int, y: int, pixels: Pixels) -> None:
        pixels = _even_sized(pixels)
        height = pixels.shape[0]
        if (
            height == 2
        ):  # libswscale takes a single row of chroma from one of the two rows, not from their mean
            pixels = np.concatenate((pixels, pixels))
        converted = self._patches.reformat(
            av.VideoFrame.from_numpy_buffer(pixels, format="bgra"),
            format=self.pixel_format,
            dst_colorspace=_ITU709,
            dst_color_range="MPEG",
            interpolation=_AREA,
            threads=1,
        )
        if (converted.width, converted.height) == self.coded:
            self.frame = converted
            self._planes = _plane_arrays(converted)
            return
        for target, source in zip(self._planes, _plane_arrays(converted), strict=True):
            down = self.coded[1] // target.shape[0]
            across = self.coded[0] // target.shape[1]
            top, left, rows = y // down, x // across, height // down
            target[top : top + rows, left : left + source.shape[1]] = source[:rows]


def _even_sized(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if not (width | height) & 1:
        return pixels
    return np.pad(pixels, ((0, height & 1), (0, width & 1), (0, 0)), mode="edge")


def _plane_arrays(frame: av.VideoFrame) -> list[npt.NDArray[Any]]:
    """Writable views of a frame's planes, one element per sample (a U and V pair counts as one)."""
    arrays: list[npt.NDArray[Any]] = []
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        if frame.format.name == "bgra":
            arrays.append(rows[:, : plane.width * 4])
        elif frame.format.name == "nv12" and index == 1:
            arrays.append(rows[:, : plane.width * 2].view(np.uint16))
        else:
            arrays.append(rows[:, : plane.width])
    return arrays


def scale_bgra(pixels: Pixels, width: int, height: int) -> Pixels:
    """One picture at another size."""
    picture = YuvPicture((pixels.shape[1], pixels.shape[0]), (width, height), "nv12")
    return picture._scaled(np.ascontiguousarray(pixels))


def encode_jpeg(pixels: Pixels, max_width: int) -> bytes:
    """A JPEG (BT.601 full range, as JFIF wants) of at most `max_width` pixels across."""
    height, width = pixels.shape[:2]
    if width > max_width:
        height, width = max(1, round(height * max_width / width)), max_width
    frame = VideoReformatter().reformat(
        av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="bgra"),
        width=width,
        height=height,
        format="yuvj420p",
        dst_colorspace=_ITU601,
        dst_color_range="JPEG",
        interpolation=_AREA,
        threads=1,
    )
    codec = av.CodecContext.create("mjpeg", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.color_range = 2
    codec.time_base = Fraction(1, 1)
    codec.thread_count = 1
    codec.qmin = codec.qmax = _JPEG_QUALITY
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
