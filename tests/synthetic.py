"""H.264 packets made without any backend, for tests of what consumes them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakePacket(bytes):
    """Has what kvmstream.Packet promises."""

    keyframe: bool
    pts: int
    generation: int
    width: int
    height: int
    refinement = False
    damaged_ns = captured_ns = converted_ns = encoded_ns = 0


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Four flat quarters (red, green, blue, grey) under a white bar that moves down with `index`."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 40)
    image[: height // 2, width // 2 :] = (20, 180, 60)
    image[height // 2 :, : width // 2] = (30, 60, 210)
    image[height // 2 :, width // 2 :] = (128, 128, 128)
    top = index * 4 % height
    image[top : top + 4] = 255
    return image


def packets(
    count: int,
    *,
    width: int = 320,
    height: int = 240,
    generation: int = 1,
    first_pts: int = 0,
    step_us: int = 33_333,
    keyframes: tuple[int, ...] = (0,),
) -> Iterator[FakePacket]:
    """Encode `count` pictures of `width` × `height` (odd sizes are padded as the engine does it)."""
    even = (width + width % 2, height + height % 2)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = even
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 1_000_000)
    encoder.framerate = Fraction(60)
    encoder.max_b_frames = 0
    encoder.gop_size = 100_000
    encoder.colorspace = encoder.color_primaries = encoder.color_trc = 1  # BT.709
    encoder.color_range = 1  # limited
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "crf": "14",
        "forced-idr": "1",
        "x264-params": "annexb=1:repeat-headers=1:threads=2:sliced-threads=1",
    }
    for index in range(count):
        padded = np.pad(
            picture(index, width, height),
            ((0, even[1] - height), (0, even[0] - width), (0, 0)),
            mode="edge",
        )
        frame = av.VideoFrame.from_ndarray(padded, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=1, src_color_range=2, dst_color_range=1
        )
        frame.pts = first_pts + index * step_us
        frame.time_base = encoder.time_base
        if index in keyframes:
            frame.pict_type = 1  # I
        (encoded,) = encoder.encode(frame)
        packet = FakePacket(encoded)
        packet.keyframe = encoded.is_keyframe
        packet.pts = frame.pts
        packet.generation = generation
        packet.width, packet.height = width, height
        yield packet
