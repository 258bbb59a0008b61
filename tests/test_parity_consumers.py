"""Consumers on both backends: joining, back-pressure, keyframes on request, statistics and logs."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, assert_colour, settle

from kvmstream import errors


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


def test_statistics(stream, backend):
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
    assert (stats["encoder"], False, True, "") in backend.encoders()
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
