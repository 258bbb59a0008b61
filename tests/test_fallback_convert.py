"""From pixels to pictures in the fallback: damaged rectangles, BT.709, scaling, JPEG."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import bt709_reference

from kvmstream import errors
from kvmstream._fallback.convert import YuvPicture, encode_jpeg, scale_bgra
from kvmstream._fallback.frames import Delta, Patch, coalesce, even, intersect, merge, next_epoch
from kvmstream._fallback.settings import Settings, picture_size

# -- frames ------------------------------------------------------------------------------------------------------------


def test_even_rectangles_cover_whole_chroma_samples():
    assert even((3, 5, 4, 1), 100, 100) == (2, 4, 6, 2)
    assert even((0, 0, 101, 77), 101, 77) == (0, 0, 101, 77)
    assert even((100, 76, 1, 1), 101, 77) == (100, 76, 1, 1)


def test_coalesce_covers_everything_with_few_rectangles():
    random = np.random.default_rng(3)
    for count in (1, 2, 5, 20, 33, 200):
        rects = [
            (int(x), int(y), int(w), int(h))
            for x, y, w, h in zip(
                *random.integers(0, 1000, (2, count)),
                *random.integers(1, 300, (2, count)),
                strict=True,
            )
        ]
        merged = coalesce(rects)
        assert 1 <= len(merged) <= 4
        for rect in rects:
            assert any(intersect(rect, outer) == rect for outer in merged)
    assert coalesce([]) == []
    far_apart = [(0, 0, 10, 10), (1900, 1000, 10, 10)]
    assert sorted(coalesce(far_apart)) == far_apart


def _delta(epoch, *rects, damaged=5):
    patches = [Patch(x, y, np.zeros((h, w, 4), np.uint8)) for x, y, w, h in rects]
    return Delta(epoch, 100, 100, patches, damaged, 9)


def test_merging_keeps_old_damage_unless_covered():
    epoch = next_epoch()
    old = _delta(epoch, (0, 0, 10, 10), (50, 50, 10, 10), damaged=3)
    new = _delta(epoch, (0, 0, 20, 20), damaged=7)
    merged = merge(old, new)
    assert [p.rect for p in merged.patches] == [(50, 50, 10, 10), (0, 0, 20, 20)]
    assert merged.damaged_ns == 3
    assert merge(None, new) is new
    other = _delta(next_epoch(), (0, 0, 100, 100))
    assert merge(old, other) is other


# -- conversion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(640, 360), (641, 359), (2, 2), (3, 1), (1, 1), (1918, 6)])
def test_nv12_is_bt709_to_the_last_bit(size):
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 4), dtype=np.uint8)
    picture = YuvPicture(size, size, "nv12")
    picture.apply([Patch(0, 0, pixels)])
    y, u, v = bt709_reference(pixels)
    rows, columns = y.shape
    data = picture.frame.to_ndarray()
    chroma = data[rows:].reshape(rows // 2, columns // 2, 2)
    assert np.abs(data[:rows] - y).max() < 0.6
    assert np.abs(chroma[..., 0] - u).max() < 0.6
    assert np.abs(chroma[..., 1] - v).max() < 0.6


@pytest.mark.parametrize("pixel_format", ["nv12", "yuv444p"])
@pytest.mark.parametrize("size", [(320, 200), (201, 99)])
def test_patches_equal_a_whole_conversion(size, pixel_format):
    random = np.random.default_rng(2)
    width, height = size
    pixels = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
    piecewise = YuvPicture(size, size, pixel_format)
    piecewise.apply([Patch(0, 0, pixels.copy())])
    for _ in range(30):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        rect = (
            x,
            y,
            int(random.integers(1, width - x + 1)),
            int(random.integers(1, height - y + 1)),
        )
        x, y, w, h = even(rect, width, height)
        pixels[y : y + h, x : x + w] = random.integers(0, 256, (h, w, 4), dtype=np.uint8)
        piecewise.apply([Patch(x, y, pixels[y : y + h, x : x + w])])
        whole = YuvPicture(size, size, pixel_format)
        whole.apply([Patch(0, 0, pixels.copy())])
        assert np.array_equal(piecewise.frame.to_ndarray(), whole.frame.to_ndarray()), (x, y, w, h)


def test_scaling_keeps_flat_colours():
    pixels = np.full((90, 160, 4), (10, 200, 90, 0), np.uint8)
    for width, height in ((80, 45), (320, 180), (41, 23)):
        scaled = scale_bgra(pixels, width, height)
        assert scaled.shape == (height, width, 4)
        assert np.abs(scaled[..., :3].astype(int) - (10, 200, 90)).max() <= 1


def test_jpeg_size_limits():
    import av

    pixels = np.zeros((700, 1000, 4), np.uint8)
    frame = av.CodecContext.create("mjpeg", "r").decode(av.Packet(encode_jpeg(pixels, 320)))[0]
    assert (frame.width, frame.height) == (320, 224)


def test_picture_sizes():
    assert picture_size(Settings(), 1921, 1081) == (1921, 1081)
    assert picture_size(Settings(width=960), 1920, 1080) == (960, 540)
    assert picture_size(Settings(height=540), 1920, 1080) == (960, 540)
    assert picture_size(Settings(width=7, height=9), 1920, 1080) == (7, 9)
    with pytest.raises(errors.ConfigError, match="8192"):
        picture_size(Settings(), 10_000, 100)
