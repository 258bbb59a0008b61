"""What only the native core has; what both backends promise is in the test_parity files."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import GREEN, RED, assert_colour, settle

pytestmark = pytest.mark.native


@pytest.fixture
def backend(native):
    """The shared `stream` fixture runs on the native core alone here."""
    return native


def _threads():
    return {task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}


def test_its_threads_are_named_and_end_with_the_pipeline(stream):
    with stream(source="pattern", display="320x240") as flow:
        flow.next()
        assert {"kvm-capture", "kvm-encode"} <= _threads()
        assert threading.active_count() == 1, "no Python thread takes part"
    assert not {"kvm-capture", "kvm-encode"} & _threads()


def test_it_encodes_while_python_holds_the_gil(stream):
    with stream(source="pattern", display="640x360", fps=100) as flow:
        flow.next()
        before = flow.pipeline.stats()["frames"]
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            sum(range(1000))  # never blocks; only the interpreter's own switches give the GIL away
        assert flow.pipeline.stats()["frames"] - before > 20


def test_the_licence_of_a_directly_linked_x264_is_named(native):
    info = native.build_info()
    if "x264" in info:
        assert "GPL" in info["x264"]
        assert "GPL" in info["ffmpeg_license"], "x264 and an LGPL FFmpeg would be a surprise here"


def test_the_screen_encoder_is_the_first_software_rung(native):
    software = [found for found in native.encoders() if not found[1]]
    assert software[0] == ("screen", False, True, "")
    assert software[1][0] == "libx264"


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, "screen"),
        ({"chroma": "444"}, "screen"),
        ({"preset": "superfast"}, "screen"),
        ({"preset": "veryfast"}, "libx264"),
        ({"preset": "veryfast", "chroma": "444"}, "libx264"),
    ],
)
def test_what_the_ladder_chooses_without_hardware(stream, settings, chosen):
    with stream(source="pattern", display="320x240", **settings) as flow:
        flow.next()
        assert flow.pipeline.stats()["encoder"] == chosen


def test_the_screen_encoder_shows_what_is_drawn(screen, stream, h264):
    screen.solid("red")
    with stream(display=screen.display, encoder="screen", cursor="hidden") as flow:
        packets = settle(flow)
        assert flow.pipeline.stats()["encoder"] == "screen"
        assert_colour(h264.rgb(h264.decode(packets)[-1]), RED)
        with h264.Brush(screen.display) as brush:
            brush.fill(100, 100, 200, 150, GREEN)
        packets += flow.until_quiet()
    picture = h264.rgb(h264.decode(packets)[-1])
    assert_colour(picture[104:246, 104:296], GREEN)
    picture[100:250, 100:300] = RED
    assert_colour(picture, RED)


def test_the_screen_encoder_sends_a_caret_in_a_few_bytes(screen, stream, h264):
    screen.solid("red")
    with stream(display=screen.display, encoder="screen", cursor="hidden") as flow:
        settle(flow)
        with h264.Brush(screen.display) as brush:
            brush.fill(400, 300, 2, 14, GREEN)
        packets = flow.until_quiet()
    assert 0 < sum(len(memoryview(packet)) for packet in packets) < 400


@pytest.mark.parametrize("size", ["641x359", "64x48", "1920x1080"])
def test_the_screen_encoder_decodes_at_any_keyframe(stream, h264, size):
    width, height = map(int, size.split("x"))
    with stream(source="pattern", display=size, encoder="screen", fps=60) as flow:
        head = flow.take(20)
        time.sleep(0.6)  # keyframes are half a second apart
        flow.pipeline.request_keyframe()
        tail = flow.until(lambda packet: packet.keyframe)[-1:]
        tail += flow.take(5)
    assert (head[0].width, head[0].height) == (width, height)
    even = (height + height % 2, width + width % 2)
    for frame in h264.decode(head) + h264.decode(tail):
        assert (frame.height, frame.width) == even
    pictures = h264.decode(tail)
    assert np.ptp(h264.rgb(pictures[-1])) > 100, "the pattern is no flat picture"


@pytest.mark.parametrize("display", ["320x240", "321x241", "2x3"])
def test_the_screen_encoder_in_444(stream, h264, display):
    with stream(source="pattern", display=display, encoder="screen", chroma="444") as flow:
        packets = flow.take(5)
        assert flow.pipeline.stats()["encoder"] == "screen"
    frame = h264.decode(packets)[-1]
    assert frame.format.name == "yuv444p"
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)


def test_coloured_pixels_stay_apart_in_444(screen, stream, h264):
    """Red and green columns, one pixel wide each: 4:2:0 would make one colour of them."""
    screen.solid("black")
    with (
        stream(display=screen.display, chroma="444", cursor="hidden", crf=14.0) as flow,
        h264.Brush(screen.display) as brush,
    ):
        for x in range(100, 200):
            brush.fill(x, 100, 1, 80, RED if x % 2 else GREEN)
        packets = flow.until_quiet()
    picture = h264.rgb(h264.decode(packets)[-1])
    assert_colour(picture[110:170, 101:199:2], RED)
    assert_colour(picture[110:170, 102:199:2], GREEN)
