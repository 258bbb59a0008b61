"""Regions, scaling, odd sizes, and screens that change their size, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, assert_colour, settle

# -- regions, sizes ----------------------------------------------------------------------------------------------------


def test_region(stream, screen, h264):
    screen.fill(100, 50, 200, 120, RED)
    with stream(display=screen.display, region=(100, 50, 200, 120), cursor="hidden") as flow:
        packets = settle(flow)
        assert (packets[0].width, packets[0].height) == (200, 120)
        assert (flow.pipeline.width, flow.pipeline.height) == (200, 120)
        assert_colour(h264.rgb(h264.decode(packets)[-1]), RED)
        # Outside: no business of this stream.
        screen.fill(400, 300, 50, 50, GREEN)
        assert flow.subscription.next(0.7) is None


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ((320, 240), (320, 240)),
        ((320, 0), (320, 240)),
        ((0, 120), (160, 120)),
        ((801, 601), (801, 601)),
    ],
)
def test_scaling(stream, screen, h264, wanted, sent):
    screen.fill(0, 0, 320, 480, RED)
    screen.fill(320, 0, 320, 480, BLUE)
    width, height = wanted
    with stream(display=screen.display, width=width, height=height, cursor="hidden") as flow:
        packets = settle(flow)
        assert (packets[0].width, packets[0].height) == sent
        picture = h264.rgb(h264.decode(packets)[-1])
    assert_colour(picture[:, : sent[0] * 2 // 5], RED)
    assert_colour(picture[:, sent[0] * 3 // 5 :], BLUE)


def test_change_in_a_scaled_picture(stream, screen, h264):
    with stream(display=screen.display, width=320, height=240, cursor="hidden") as flow:
        packets = settle(flow)
        screen.fill(200, 200, 100, 100, RED)
        packets += flow.until_quiet()
        picture = h264.rgb(h264.decode(packets)[-1])
    assert_colour(picture[104:146, 104:146], RED, tolerance=12)
    assert_colour(picture[10:90, 10:90], GREY)


@pytest.mark.parametrize("size", [(641, 359), (31, 64), (64, 33)])
def test_odd_sizes_are_padded_to_even(stream, h264, size):
    width, height = size
    with stream(source="pattern", display=f"{width}x{height}", crf=5.0) as flow:
        packets = flow.take(5)
    assert {(p.width, p.height) for p in packets} == {size}
    frame = h264.decode(packets)[-1]
    assert (frame.width, frame.height) == (width + width % 2, height + height % 2)
    luma = frame.to_ndarray()[: frame.height].astype(int)
    if width % 2:
        assert np.abs(luma[:, -1] - luma[:, -2]).mean() < 3, "the last column is repeated"
    if height % 2:
        assert np.abs(luma[-1] - luma[-2]).mean() < 3, "the last row is repeated"


def test_odd_region_on_a_screen(stream, screen, h264):
    screen.fill(11, 13, 101, 77, GREEN)
    with stream(display=screen.display, region=(11, 13, 101, 77), cursor="hidden") as flow:
        packets = settle(flow)
        frame = h264.decode(packets)[-1]
    assert (packets[0].width, packets[0].height) == (101, 77)
    assert (frame.width, frame.height) == (102, 78)
    assert_colour(h264.rgb(frame), GREEN)


# -- geometry ----------------------------------------------------------------------------------------------------------


def test_resolution_change_begins_a_new_generation(stream, make_xvnc, h264):
    server = make_xvnc("1024x768")
    server.solid("#ff0000")
    with stream(display=server.display, cursor="hidden") as flow:
        packets = settle(flow)
        assert (packets[0].width, packets[0].height) == (1024, 768)
        for generation, (width, height) in ((2, (800, 600)), (3, (1280, 720))):
            server.run("xrandr", "-s", f"{width}x{height}")
            packets = flow.until(lambda p, size=(width, height): (p.width, p.height) == size)
            first = packets[-1]
            assert first.keyframe
            assert first.generation >= generation
            server.solid("#00ff00")
            packets = [first, *flow.until_quiet()]
            assert {(p.width, p.height) for p in packets} == {(width, height)}
            last = [p for p in packets if p.generation == packets[-1].generation]
            frame = h264.decode(last)[-1]
            assert (frame.width, frame.height) == (width, height)
            assert_colour(h264.rgb(frame), GREEN)
            assert (flow.pipeline.width, flow.pipeline.height) == (width, height)


def test_monitor_that_changes_while_streaming(stream, make_xvfb, h264):
    server = make_xvfb("640x480")
    server.solid("#808080")
    server.fill(0, 0, 320, 480, RED)
    server.run("xrandr", "--setmonitor", "half", "320/80x480/120+0+0", "none")
    with stream(display=f"{server.display}/half", cursor="hidden") as flow:
        packets = settle(flow)
        assert (packets[0].width, packets[0].height) == (320, 480)
        # Gone: the whole screen stands in for it.
        server.run("xrandr", "--delmonitor", "half")
        packets = flow.until(lambda p: (p.width, p.height) == (640, 480))
        assert packets[-1].keyframe
        assert packets[-1].generation > 1
        # Back, elsewhere and smaller.
        server.run("xrandr", "--setmonitor", "half", "200/80x100/120+400+100", "none")
        packets = flow.until(lambda p: (p.width, p.height) == (200, 100))
        assert packets[-1].keyframe
        assert packets[-1].generation > 2
        picture = h264.rgb(h264.decode([packets[-1]])[0])
        assert_colour(picture, GREY)
