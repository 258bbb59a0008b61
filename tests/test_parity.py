"""Behaviour of docs/architecture.md, run against both backends."""

from __future__ import annotations

import gc
import os
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kvmstream import errors

NAMES = {
    "BACKEND",
    "Packet",
    "Pipeline",
    "Subscription",
    "build_info",
    "captures",
    "displays",
    "encoders",
    "screenshot",
}
SPS, PPS, IDR, SLICE = 7, 8, 5, 1
MAX_REFINEMENTS = 6

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


# -- names and facts ---------------------------------------------------------------------------------------------------


def test_the_seam_exports_its_names(backend):
    assert set(dir(backend)) >= NAMES
    assert backend.BACKEND in ("native", "python")


def test_displays_describes_the_monitors(backend, screen):
    found = backend.displays(screen.display)
    assert len(found) == 1
    identity, name, x, y, width, height, scale, refresh, primary = found[0]
    assert identity
    assert name
    assert (x, y, width, height, primary) == (0, 0, 640, 480, True)
    assert scale > 0
    assert refresh >= 0


def test_displays_of_the_environment(backend, screen, monkeypatch):
    monkeypatch.setenv("DISPLAY", screen.display)
    assert backend.displays() == backend.displays(screen.display)


def test_captures_says_why_not(backend, screen):
    working = {name: (ok, why) for name, ok, why in backend.captures(screen.display)}
    assert working["x11"] == (True, "")
    assert working["pattern"] == (True, "")
    broken = {name: (ok, why) for name, ok, why in backend.captures(":4999")}
    assert broken["x11"][0] is False
    assert ":4999" in broken["x11"][1]
    assert broken["pattern"][0]


def test_encoders_gives_a_reason_for_each_refusal(backend):
    found = backend.encoders()
    assert found
    for name, hardware, available, reason in found:
        assert isinstance(name, str)
        assert isinstance(hardware, bool)
        assert available == (reason == "")
    order = [hardware for _, hardware, _, _ in found]
    assert order == sorted(order, reverse=True), "hardware comes first"
    assert ("libx264", False, True, "") in found


def test_build_info_is_text(backend):
    info = backend.build_info()
    assert {"ffmpeg", "ffmpeg_license", "simd"} <= set(info)
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in info.items())


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


# -- cursor ------------------------------------------------------------------------------------------------------------


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


# -- consumers ---------------------------------------------------------------------------------------------------------


def test_late_subscriber_begins_with_a_keyframe(stream, screen, h264):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        late = flow.pipeline.subscribe(16)
        packet = late.next(10.0)
        assert packet is not None
        assert packet.keyframe
        assert_colour(h264.rgb(h264.decode([packet])[0]), GREY)
        # The one that was there goes on as well: the keyframe is everybody's.
        assert flow.next().keyframe


def test_slow_consumer_is_wiped_and_rejoins_with_a_keyframe(stream, h264):
    with stream(source="pattern", display="320x240", capacity=64) as flow:
        slow = flow.pipeline.subscribe(3)
        received = flow.take(40)
        assert slow.dropped >= 3
        assert slow.queued == 0
        first = slow.next(10.0)
        assert first is not None
        assert first.keyframe
        h264.decode([first, slow.next(10.0)])
        # The fast one never lost a packet.
        h264.decode(received)
        assert flow.subscription.dropped == 0


def test_a_consumer_that_never_reads_causes_no_keyframes(stream):
    with stream(source="pattern", display="320x240") as flow:
        flow.pipeline.subscribe(2)
        flow.take(5)
        packets = flow.take_for(2.0)
        assert sum(p.keyframe for p in packets) <= 1


def test_all_consumers_full_makes_the_encoder_wait(stream, h264):
    with stream(source="pattern", display="320x240", capacity=3) as flow:
        time.sleep(1.0)
        assert flow.subscription.queued == 3
        assert flow.pipeline.stats()["frames"] == 3
        packets = flow.take(12)
        assert flow.subscription.dropped == 0
    assert [p.keyframe for p in packets] == [True] + [False] * 11
    h264.decode(packets)


def test_damage_merges_while_the_encoder_waits(stream, screen, h264):
    with stream(display=screen.display, cursor="hidden", capacity=1) as flow:
        packets = [flow.next()]
        time.sleep(0.5)  # one refinement now fills the queue
        for index, colour in enumerate((RED, GREEN, BLUE)):
            screen.fill(index * 200, 0, 150, 480, colour)
            time.sleep(0.1)
        packets += flow.until_quiet()
        picture = h264.rgb(h264.decode(packets)[-1])
    for index, colour in enumerate((RED, GREEN, BLUE)):
        assert_colour(picture[10:470, index * 200 + 10 : index * 200 + 140], colour, tolerance=12)


class _Painter:
    """Changes the screen a hundred times a second until the block ends."""

    def __init__(self, brush):
        self._brush = brush
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._paint)

    def _paint(self):
        step = 0
        while not self._stop.wait(0.01):
            step += 1
            self._brush.fill(step * 7 % 600, 100, 30, 30, (step % 256, 0, 0))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_slow_consumer_gets_fewer_frames_not_later_ones(stream, screen, h264):
    """A picture must not wait for a consumer: what it gets after a pause was captured after the pause."""
    ages = []
    with (
        h264.Brush(screen.display) as brush,
        stream(display=screen.display, cursor="hidden", capacity=1) as flow,
        _Painter(brush),
    ):
        stop = time.monotonic() + 4
        while time.monotonic() < stop:
            flow.next()  # encoded before the pause
            packet = flow.next()
            ages.append((time.perf_counter_ns() - packet.captured_ns) / 1e6)
            time.sleep(0.4)
    assert np.median(ages) < 200, ages


def test_keyframe_requests_are_coalesced(stream):
    with stream(source="pattern", display="320x240") as flow:
        flow.take(5)
        started = time.monotonic()
        keyframes = 0
        while time.monotonic() - started < 2.0:
            flow.pipeline.request_keyframe()
            keyframes += sum(p.keyframe for p in flow.take_for(0.02))
        assert 2 <= keyframes <= 5


def test_keyframe_on_request_of_a_still_screen(stream, screen, h264):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        flow.pipeline.request_keyframe()
        packet = flow.next()
        assert packet.keyframe
        assert not packet.refinement
        h264.decode([packet])


def test_keyframe_interval(stream):
    with stream(source="pattern", display="320x240", keyframe_interval=0.5) as flow:
        flow.next()
        keys = [p.pts for p in flow.take_for(2.5) if p.keyframe]
    assert 2 <= len(keys) <= 5
    assert all(b - a >= 450_000 for a, b in pairwise(keys))


def test_closed_subscription(stream, h264):
    with stream(source="pattern", display="320x240") as flow:
        other = flow.pipeline.subscribe(4)
        assert other.next(10.0) is not None
        timer = threading.Timer(0.3, other.close)
        timer.start()
        with pytest.raises(errors.StreamClosed):
            h264.Flow(flow.pipeline, other).until(lambda _: False)
        timer.join()
        other.close()
        flow.take(3)


def test_bad_capacity(stream):
    with stream(source="pattern", display="320x240") as flow, pytest.raises(errors.ConfigError):
        flow.pipeline.subscribe(0)


def test_queue_statistics(stream):
    with stream(source="pattern", display="320x240", capacity=4) as flow:
        time.sleep(0.7)
        (queue,) = flow.pipeline.stats()["queue"]
        assert queue["size"] == queue["capacity"] == 4
        assert queue["dropped"] == 0
        assert queue["oldest_ms"] > 100


def test_statistics(stream):
    with stream(source="pattern", display="320x240") as flow:
        packets = flow.take_for(2.0)
        stats = flow.pipeline.stats()
    integers = "frames keyframes refinements bytes captured dropped generation width height"
    for key in integers.split():
        assert isinstance(stats[key], int), key
    for stage in ("capture", "convert", "encode", "latency"):
        assert 0 <= stats[f"{stage}_ms_p50"] <= stats[f"{stage}_ms_p95"]
    assert stats["latency_ms_p50"] > 0
    assert stats["frames"] >= len(packets)
    assert stats["bytes"] >= sum(len(p) for p in packets)
    assert stats["captured"] >= stats["frames"]
    assert stats["keyframes"] == 1
    assert 5 <= stats["fps"] <= 70
    assert stats["bitrate"] > 0
    assert stats["encoder"] == "libx264"
    assert "pattern" in stats["capture"]
    assert (stats["width"], stats["height"], stats["generation"]) == (320, 240, 1)
    assert isinstance(stats["notes"], list)


def test_logs_are_drained_once(stream):
    with stream(source="pattern", display="320x240") as flow:
        flow.next()
        for level, component, message in flow.pipeline.drain_logs():
            assert level in (10, 20, 30, 40)
            assert component
            assert message
        assert flow.pipeline.drain_logs() == []


# -- live changes ------------------------------------------------------------------------------------------------------


def test_update_fps(stream):
    with stream(source="pattern", display="320x240", fps=60.0) as flow:
        flow.take(5)
        flow.pipeline.update(fps=5.0)
        flow.take_for(0.5)
        fresh = [p for p in flow.take_for(2.0) if not p.refinement]
        assert 3 <= len(fresh) <= 14


def test_update_bitrate(stream):
    with stream(source="pattern", display="1280x720", crf=1.0, bitrate=20_000_000) as flow:
        flow.take_for(1.0)
        before = sum(len(p) for p in flow.take_for(1.0))
        flow.pipeline.update(bitrate=150_000)
        flow.take_for(1.5)
        after = sum(len(p) for p in flow.take_for(1.0))
        assert after < before * 2 / 3, (before, after)
        assert after * 8 < 300_000, (before, after)


def test_update_region_begins_a_new_generation(stream, screen, h264):
    screen.fill(0, 0, 200, 200, RED)
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        flow.pipeline.update(region=(20, 20, 120, 100))
        packets = flow.until_quiet()
        assert packets[0].keyframe
        assert {p.generation for p in packets} == {2}
        assert {(p.width, p.height) for p in packets} == {(120, 100)}
        assert flow.pipeline.generation == 2
        assert_colour(h264.rgb(h264.decode(packets)[-1]), RED)

        # Another place of the same size is another generation too: coordinates mean something else.
        flow.pipeline.update(region=(300, 300, 120, 100))
        packets = flow.until_quiet()
        assert packets[0].keyframe
        assert packets[0].generation == 3
        assert_colour(h264.rgb(h264.decode(packets)[-1]), GREY)

        flow.pipeline.update(region=(0, 0, 0, 0))
        packets = flow.until_quiet()
        assert (packets[0].width, packets[0].height, packets[0].generation) == (640, 480, 4)


def test_refused_updates_leave_the_stream_as_it_was(stream, screen):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        for change in (
            {"bitrate": 5},
            {"fps": 0.0},
            {"crf": 99.0},
            {"display": f"{screen.display}/NO-SUCH-MONITOR"},
            {"region": (600, 400, 100, 100)},
        ):
            with pytest.raises(errors.ConfigError):
                flow.pipeline.update(**change)
        with pytest.raises(errors.CaptureError):
            flow.pipeline.update(display=":4999")
        screen.fill(0, 0, 100, 100, RED)
        packet = flow.next()
        assert not packet.keyframe
        assert packet.generation == 1


def test_update_display_to_another_server(stream, screen, x_server):
    x_server.solid("#00ff00")
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        flow.pipeline.update(display=x_server.display)
        packet = flow.next()
        assert packet.keyframe
        assert (packet.width, packet.height, packet.generation) == (1920, 1080, 2)


# -- ends and errors ---------------------------------------------------------------------------------------------------


def test_stop_from_another_thread_wakes_next(stream, screen):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        timer = threading.Timer(0.3, flow.pipeline.stop)
        started = time.monotonic()
        timer.start()
        with pytest.raises(errors.StreamClosed):
            flow.subscription.next()
        assert time.monotonic() - started < 5
        timer.join()
        flow.pipeline.join()
        flow.pipeline.stop()
        flow.pipeline.join()


def test_queued_packets_are_readable_after_stop(stream):
    with stream(source="pattern", display="320x240", capacity=4) as flow:
        time.sleep(0.7)
        flow.pipeline.stop()
        flow.pipeline.join()
        assert [p is not None for p in flow.take(4, timeout=0)] == [True] * 4
        with pytest.raises(errors.StreamClosed):
            flow.subscription.next(0)
        with pytest.raises(errors.StreamClosed):
            flow.pipeline.subscribe(4).next(0)
        with pytest.raises(errors.StreamClosed):
            flow.pipeline.update(fps=10.0)


def test_a_pipeline_starts_once(stream):
    with stream(source="pattern", display="320x240") as flow:
        with pytest.raises(errors.StreamClosed):
            flow.pipeline.start()
        flow.next()


def test_next_times_out(backend):
    pipeline = backend.Pipeline(source="pattern")
    subscription = pipeline.subscribe()
    started = time.monotonic()
    assert subscription.next(0.2) is None
    assert 0.15 <= time.monotonic() - started < 3
    assert subscription.next(0) is None
    assert pipeline.thumbnail() == b""


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"display": ":4999"}, errors.CaptureError, ":4999"),
        ({}, errors.CaptureError, "DISPLAY"),
        ({"display": "HERE/NO-SUCH"}, errors.ConfigError, "NO-SUCH"),
        ({"display": "HERE/17"}, errors.ConfigError, "17"),
        ({"display": "HERE", "region": (600, 0, 100, 100)}, errors.ConfigError, "region"),
        ({"display": "HERE", "encoder": "h264_imaginary"}, errors.EncoderUnavailable, "imaginary"),
        ({"source": "pattern", "display": "huge"}, errors.ConfigError, "huge"),
    ],
)
def test_start_errors_name_the_cause(backend, screen, arguments, error, word):
    if "display" in arguments:
        arguments = {**arguments, "display": arguments["display"].replace("HERE", screen.display)}
    with pytest.raises(error, match=word):
        backend.Pipeline(**arguments).start()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fps", 0.0),
        ("fps", float("nan")),
        ("bitrate", 100),
        ("crf", 52.0),
        ("chroma", "422"),
        ("cursor", "none"),
        ("source", "camera"),
        ("width", 1),
        ("height", 100_000),
        ("keyframe_interval", -1.0),
        ("region", (0, 0, 0, 10)),
        ("region", (-1, 0, 10, 10)),
    ],
)
def test_bad_settings_name_field_and_value(backend, field, value):
    with pytest.raises(errors.ConfigError, match=field):
        backend.Pipeline(**{"source": "pattern", field: value})


def test_monitor_by_name_and_index(stream, screen):
    name = screen.run("xrandr", "--listmonitors").stdout.split()[-1]
    for monitor in (name, "0"):
        with stream(display=f"{screen.display}/{monitor}", cursor="hidden") as flow:
            assert (flow.next().width, flow.pipeline.height) == (640, 480)


def test_killed_server_is_a_capture_error(stream, make_xvfb):
    server = make_xvfb("320x240")
    with stream(display=server.display) as flow:
        settle(flow)
        server.kill()
        with pytest.raises(errors.CaptureError, match=server.display):
            flow.until(lambda _: False)
        with pytest.raises(errors.CaptureError):
            flow.pipeline.subscribe(4).next(1.0)


def test_server_that_ends_in_full_motion(stream, make_xvfb):
    server = make_xvfb("640x480")
    script = "while :; do xsetroot -solid red; xsetroot -solid blue; done"
    with server.client("sh", "-c", script), stream(display=server.display) as flow:
        flow.take(5)
        server.end()
        with pytest.raises(errors.CaptureError):
            flow.until(lambda _: False)


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


# -- pictures ----------------------------------------------------------------------------------------------------------


def _jpeg(data):
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    return frames[0]


def test_thumbnail(stream, x_server, h264):
    x_server.solid("#ff0000")
    with stream(display=x_server.display, cursor="hidden") as flow:
        flow.next()
        data = flow.pipeline.thumbnail()
        assert data.startswith(b"\xff\xd8")
        assert data.endswith(b"\xff\xd9")
        frame = _jpeg(data)
        assert (frame.width, frame.height) == (320, 180)
        assert_colour(h264.rgb(frame), RED)
        assert _jpeg(flow.pipeline.thumbnail(100)).width == 100
        with pytest.raises(errors.ConfigError):
            flow.pipeline.thumbnail(3)


def test_thumbnail_is_fresh_when_nobody_watches(backend, screen, h264):
    pipeline = backend.Pipeline(display=screen.display, cursor="hidden")
    try:
        pipeline.start()
        assert_colour(h264.rgb(_jpeg(pipeline.thumbnail())), GREY)
        screen.solid("#00ff00")
        time.sleep(0.2)
        assert_colour(h264.rgb(_jpeg(pipeline.thumbnail())), GREEN)
        assert pipeline.stats()["frames"] == 0
    finally:
        pipeline.stop()
        pipeline.join()


def test_small_pictures_are_not_blown_up(stream):
    with stream(source="pattern", display="101x77") as flow:
        flow.next()
        frame = _jpeg(flow.pipeline.thumbnail())
        assert (frame.width, frame.height) == (101, 77)


def test_screenshot_is_exact(backend, screen):
    colours = {(0, 0): (1, 2, 3), (320, 0): (250, 128, 7), (0, 240): BLUE, (320, 240): (90, 91, 92)}
    for (x, y), colour in colours.items():
        screen.fill(x, y, 320, 240, colour)
    width, height, data = backend.screenshot(display=screen.display, cursor="hidden")
    assert (width, height, len(data)) == (640, 480, 640 * 480 * 4)
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2::-1]
    for (x, y), colour in colours.items():
        assert np.all(picture[y : y + 240, x : x + 320] == colour)


def test_screenshot_of_a_region_scaled(backend, screen):
    screen.fill(101, 51, 200, 100, RED)
    width, height, data = backend.screenshot(
        display=screen.display, region=(101, 51, 200, 100), width=50, cursor="hidden"
    )
    assert height in (25, 100)
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2::-1]
    assert width == 50
    assert np.all(picture == RED)


def test_screenshot_shows_the_cursor_when_asked(backend, screen):
    screen.solid("#0000ff")
    screen.move_pointer(320, 240)
    shots = {
        mode: np.frombuffer(backend.screenshot(display=screen.display, cursor=mode)[2], np.uint8)
        for mode in ("embedded", "hidden")
    }
    different = (shots["embedded"] != shots["hidden"]).reshape(480, 640, 4).any(axis=2)
    rows, columns = np.nonzero(different)
    assert rows.size >= 20
    assert abs(rows.mean() - 240) < 20
    assert abs(columns.mean() - 320) < 20


def test_screenshot_errors(backend, screen):
    with pytest.raises(errors.CaptureError):
        backend.screenshot(display=":4999")
    with pytest.raises(errors.ConfigError):
        backend.screenshot(display=f"{screen.display}/NO-SUCH")


# -- resources ---------------------------------------------------------------------------------------------------------


def _resources():
    gc.collect()
    return tuple(sum(1 for _ in Path("/proc/self", kind).iterdir()) for kind in ("fd", "task"))


def test_no_thread_or_descriptor_leaks(stream, screen):
    def cycle():
        with stream(display=screen.display, cursor="metadata") as flow:
            flow.next()
            flow.pipeline.thumbnail()

    for _ in range(3):
        cycle()  # what libraries open once
    before = _resources()
    for _ in range(20):
        cycle()
    assert _resources() == before


def test_failed_starts_leak_nothing(backend, screen):
    def fail():
        for arguments in ({"display": ":4999"}, {"display": screen.display, "encoder": "none"}):
            with pytest.raises(errors.KvmStreamError):
                backend.Pipeline(**arguments).start()

    fail()
    before = _resources()
    for _ in range(10):
        fail()
    assert _resources() == before


def test_dropped_pipelines_end_their_threads(backend):
    before = _resources()
    pipeline = backend.Pipeline(source="pattern", display="320x240")
    subscription = pipeline.subscribe()
    pipeline.start()
    assert subscription.next(10.0) is not None
    del pipeline, subscription
    deadline = time.monotonic() + 10
    while _resources()[1] > before[1]:
        assert time.monotonic() < deadline, "the threads outlive the pipeline"
        time.sleep(0.05)


@pytest.mark.slow
def test_memory_stays_flat(stream):
    """A short form of the soak: no packet, picture or message may pile up."""
    with stream(source="pattern", display="fast", region=(0, 0, 320, 240), capacity=8) as flow:
        flow.take(500)
        before = _resident_bytes()
        flow.take(2000)
        grown = _resident_bytes() - before
    assert grown < 4 << 20, f"{grown / 2**20:.1f} MiB in 2000 frames"


def _resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
