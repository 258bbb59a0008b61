"""What both backends send: packets and their facts, true colours, change and stillness."""

from __future__ import annotations

import gc
import time
from itertools import pairwise

import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, assert_colour, settle

SPS, PPS, IDR, SLICE = 7, 8, 5, 1
MAX_REFINEMENTS = 6


# -- packets -----------------------------------------------------------------------------------------------------------


def test_first_packet_is_a_keyframe_with_parameter_sets(stream, h264):
    with stream(source="pattern", display="320x240") as flow:
        packets = flow.take(20)
    first = packets[0]
    assert first.keyframe
    types = h264.nal_types(first)
    assert types.index(SPS) < types.index(PPS) < types.index(IDR)
    assert bytes(first).startswith((b"\0\0\0\1", b"\0\0\1"))
    for packet in packets[1:]:
        assert not packet.keyframe
        assert IDR not in h264.nal_types(packet)
        assert SLICE in h264.nal_types(packet)


def test_packet_attributes(stream):
    before = time.perf_counter_ns()
    with stream(source="pattern", display="320x240") as flow:
        packets = flow.take(20)
    after = time.perf_counter_ns()
    for packet in packets:
        stamps = [packet.damaged_ns, packet.captured_ns, packet.converted_ns, packet.encoded_ns]
        assert stamps == sorted(stamps)
        assert before <= stamps[0]
        assert stamps[-1] <= after
        assert (packet.width, packet.height, packet.generation) == (320, 240, 1)
    pts = [packet.pts for packet in packets]
    assert all(a < b for a, b in pairwise(pts))
    assert pts[0] >= 0
    # µs: the last one came at most as late as the clock says.
    assert pts[-1] - pts[0] <= (after - before) // 1000


def test_packet_is_a_read_only_buffer_that_outlives_the_pipeline(stream, h264):
    with stream(source="pattern", display="320x240") as flow:
        packet = flow.next()
        copy = bytes(packet)
    del flow
    gc.collect()
    view = memoryview(packet)
    assert view.readonly
    assert view.ndim == 1
    assert view.nbytes == len(packet) == len(copy)
    assert bytes(view) == copy == bytes(packet)
    h264.decode([packet])
    del packet
    assert bytes(view) == copy


def test_stream_decodes_from_any_keyframe(stream, h264):
    with stream(source="pattern", display="320x240") as flow:
        packets = flow.take(10)
        flow.pipeline.request_keyframe()
        packets += flow.until(lambda p: p.keyframe)
        packets += flow.take(10)
    keys = [i for i, packet in enumerate(packets) if packet.keyframe]
    assert len(keys) == 2
    whole, joined = h264.decode(packets), h264.decode(packets[keys[1] :])
    assert np.array_equal(h264.rgb(whole[-1]), h264.rgb(joined[-1]))


def test_colours_are_tagged_bt709_and_true(stream, screen, h264):
    bars = {"red": RED, "green": GREEN, "blue": BLUE, "orange": (255, 128, 0)}
    for index, colour in enumerate(bars.values()):
        screen.fill(index * 160, 0, 160, 480, colour)
    with stream(display=screen.display, cursor="hidden", crf=10.0) as flow:
        frame = h264.decode(settle(flow))[-1]
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    assert frame.color_range == 1
    picture = frame.to_ndarray(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG")
    for index, colour in enumerate(bars.values()):
        assert_colour(picture[20:460, index * 160 + 20 : index * 160 + 140], colour)


def test_chroma_444(stream, h264):
    with stream(source="pattern", display="320x240", chroma="444") as flow:
        frames = h264.decode(flow.take(3))
    assert frames[-1].format.name == "yuv444p"


def test_both_backends_draw_the_same_pattern(backend, h264):
    width, height, data = backend.screenshot(source="pattern", display="641x359")
    assert (width, height) == (641, 359)
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    x = np.arange(width)
    # The still background at the bottom row, away from the box and the counter.
    assert np.array_equal(picture[-1, :, 0], 64 + x * 128 // width)
    assert np.all(picture[-1, :, 1] == 64 + (height - 1) * 128 // height)
    assert np.array_equal(picture[-1, :, 2], ((x // 32 + (height - 1) // 32) & 1) * 48 + 80)
    assert np.all(picture[:16, :384, :3] == 16), "frame number 0"


def test_pattern_frames_are_numbered(stream, h264):
    with stream(source="pattern", display="640x360") as flow:
        frames = h264.decode(flow.take(30))
    numbers = [_pattern_number(h264.rgb(frame)) for frame in frames]
    assert all(a < b for a, b in pairwise(numbers)), numbers


def _pattern_number(picture):
    cells = picture[4:12, : 24 * 16, 0].reshape(8, 24, 16)[:, :, 4:12].mean(axis=(0, 2))
    return sum(1 << bit for bit, level in enumerate(cells) if level > 128)


def test_unthrottled_pattern_loses_no_frame(stream, h264):
    with stream(source="pattern", display="fast", region=(0, 0, 320, 240), fps=1.0) as flow:
        started = time.monotonic()
        h264.decode(flow.take(60))
        assert time.monotonic() - started < 30
        assert flow.pipeline.stats()["dropped"] == 0


# -- change and stillness ----------------------------------------------------------------------------------------------


def test_still_screen_goes_silent_and_change_resumes(stream, screen, h264):
    with stream(display=screen.display, cursor="hidden") as flow:
        packets = settle(flow)
        refinements = [p for p in packets if p.refinement]
        assert len(refinements) <= MAX_REFINEMENTS
        assert len(packets) == 1 + len(refinements), "a still screen sends one picture"
        assert flow.subscription.next(1.0) is None

        screen.fill(100, 100, 200, 100, RED)
        after = flow.until_quiet()
        assert after
        assert not after[0].refinement
        assert not after[0].keyframe
        assert sum(p.refinement for p in after) <= MAX_REFINEMENTS
        picture = h264.rgb(h264.decode(packets + after)[-1])
        assert_colour(picture[110:190, 110:290], RED, tolerance=10)
        assert_colour(picture[300:400, 300:600], GREY)
        stats = flow.pipeline.stats()
        assert stats["refinements"] == sum(p.refinement for p in packets + after)


def test_redrawing_the_same_pixels_sends_nothing(stream, screen):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        for _ in range(5):
            screen.fill(0, 0, 640, 480, GREY)
        assert flow.subscription.next(1.0) is None


def test_many_small_changes_all_arrive(stream, screen, h264):
    """Odd places and sizes, so that no edge of a tile, a band or a chroma sample goes wrong."""
    random = np.random.default_rng(7)
    expected = np.full((480, 640, 3), 128, np.uint8)
    with stream(display=screen.display, cursor="hidden", crf=8.0, bitrate=50_000_000) as flow:
        packets = settle(flow)
        with h264.Brush(screen.display) as brush:
            for _ in range(40):
                x, y = (int(random.integers(0, top)) for top in (600, 440))
                width, height = (int(v) for v in random.integers(1, 40, 2))
                colour = tuple(int(v) for v in random.integers(0, 256, 3))
                brush.fill(x, y, width, height, colour)
                expected[y : y + height, x : x + width] = colour
                time.sleep(0.01)
        packets += flow.until_quiet()
        frame = h264.decode(packets)[-1]
    luma = frame.to_ndarray()[:480, :640].astype(float)
    wanted = 16 + 219 / 255 * (expected @ np.array([0.2126, 0.7152, 0.0722]))
    error = np.abs(luma - wanted)
    assert error.mean() < 2, error.mean()
    assert error.max() < 40, error.max()


@pytest.mark.slow
def test_a_real_terminal_streams(stream, x_server, h264):
    x_server.solid("#202020")
    script = "i=0; while :; do i=$((i+1)); echo $i the quick brown fox; sleep 0.02; done"
    arguments = ("xterm", "-geometry", "80x24+0+0", "-e", "sh", "-c", script)
    with x_server.client(*arguments), stream(display=x_server.display) as flow:
        packets = flow.take(60, timeout=20)
        frames = h264.decode(packets)
    assert (frames[-1].width, frames[-1].height) == (1920, 1080)
    assert len({bytes(p) for p in packets}) > 30
