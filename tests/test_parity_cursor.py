"""The cursor on both backends: embedded, hidden, or as metadata."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import BLUE, assert_colour, settle

from kvmstream import errors


def _around_pointer(picture, x, y):
    return picture[y - 12 : y + 12, x - 12 : x + 12].astype(int)


def test_cursor_is_embedded_or_hidden(stream, screen, h264):
    screen.solid("#0000ff")
    screen.move_pointer(320, 240)
    pictures = {}
    for mode in ("embedded", "hidden"):
        with stream(display=screen.display, cursor=mode, crf=8.0) as flow:
            pictures[mode] = h264.rgb(h264.decode(settle(flow))[-1])
    assert_colour(_around_pointer(pictures["hidden"], 320, 240), BLUE)
    cursor = np.abs(_around_pointer(pictures["embedded"], 320, 240) - BLUE).max(axis=2)
    assert (cursor > 60).sum() >= 20, "the cursor has pixels of its own"


def test_embedded_cursor_moves_and_leaves_no_trace(stream, screen, h264):
    screen.solid("#0000ff")
    screen.move_pointer(101, 103)
    with stream(display=screen.display, crf=8.0) as flow:
        packets = settle(flow)
        screen.move_pointer(401, 303)
        moved = flow.until_quiet()
        assert moved
        assert not moved[0].keyframe
        picture = h264.rgb(h264.decode(packets + moved)[-1])
    assert np.abs(_around_pointer(picture, 101, 103) - BLUE).max() < 60
    assert np.abs(_around_pointer(picture, 401, 303) - BLUE).max() > 120


def test_hidden_cursor_costs_nothing(stream, screen):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        screen.move_pointer(50, 60)
        assert flow.subscription.next(0.8) is None
        assert flow.pipeline.cursor() is None


def test_cursor_metadata(stream, screen):
    screen.move_pointer(200, 150)
    region = (100, 100, 300, 200)
    with stream(display=screen.display, region=region, cursor="metadata") as flow:
        settle(flow)
        first = flow.pipeline.next_cursor(0, 10.0)
        assert first is not None
        serial, x, y, visible, shape, width, height, hot_x, hot_y, bgra = first
        assert serial >= 1
        assert (x, y, visible) == (100, 50, True)
        assert shape >= 1
        assert len(bgra) == width * height * 4
        assert 0 <= hot_x < width
        assert 0 <= hot_y < height
        assert any(bgra[3::4]), "some of it is opaque"
        assert flow.pipeline.cursor() == first
        assert flow.pipeline.next_cursor(first[0], 0.3) is None

        screen.move_pointer(220, 160)
        second = flow.pipeline.next_cursor(first[0], 10.0)
        assert second is not None
        assert second[0] > first[0]
        assert second[1:3] == (120, 60)
        assert second[4] == shape
        # The pointer is beside the picture, not in it.
        assert flow.subscription.next(0.5) is None

        screen.move_pointer(20, 20)
        third = flow.pipeline.next_cursor(second[0], 10.0)
        assert third is not None
        assert third[3] is False, "outside the region"
        flow.pipeline.stop()
        with pytest.raises(errors.StreamClosed):
            flow.pipeline.next_cursor(third[0], 10.0)


def test_shape_serials_are_unique_over_streams(stream, screen):
    """Consumers keep shapes by serial, over every stream that begins anew."""
    screen.move_pointer(200, 150)
    serials = []
    for _ in range(2):
        with stream(display=screen.display, cursor="metadata") as flow:
            settle(flow)
            cursor = flow.pipeline.next_cursor(0, 10.0)
            assert cursor is not None
            serials.append(cursor[4])
    assert serials[0] != serials[1]
