"""What tests expect of streamed pictures: that they settle, plain colours, BT.709 in floating point."""

from __future__ import annotations

import numpy as np

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
GREY = (128, 128, 128)


def assert_colour(pixels, expected, tolerance=6):
    mean = pixels.reshape(-1, 3).mean(axis=0)
    assert np.abs(mean - expected).max() <= tolerance, f"{mean} is not {expected}"


def settle(flow):
    """Past the first keyframe and its refinements."""
    packets = flow.until_quiet()
    assert packets
    assert packets[0].keyframe
    return packets


def bt709_reference(pixels):
    """BT.709 limited range in floating point: Y, and U and V of the 2×2 means."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, height & 1), (0, width & 1), (0, 0)), mode="edge").astype(float)

    def luma(blue, green, red):
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    channels = [padded[..., i] for i in range(3)]
    means = [(c[0::2, 0::2] + c[1::2, 0::2] + c[0::2, 1::2] + c[1::2, 1::2]) / 4 for c in channels]
    blue, _, red = means
    u = 128 + 224 / 255 * (blue - luma(*means)) / 1.8556
    v = 128 + 224 / 255 * (red - luma(*means)) / 1.5748
    return 16 + 219 / 255 * luma(*channels), u, v
