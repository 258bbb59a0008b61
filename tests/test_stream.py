"""Stream on each backend: its consumers, its control, its figures."""

from __future__ import annotations

import dataclasses
import io
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from streaming import backend_name, nothing_stays, pattern

from kvmstream import (
    ConfigError,
    Recorder,
    Stream,
    StreamClosed,
    StreamConfig,
    displays,
    encoders,
    screenshot,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["backend_name", "nothing_stays"]  # fixtures

pytestmark = pytest.mark.usefixtures("backend_name", "nothing_stays")


# ---- consumers


def test_packets_are_readable_without_a_copy_and_outlive_the_stream() -> None:
    with Stream(pattern()) as stream:
        packets = list(itertools.islice(stream, 5))
    stream.close()
    first = packets[0]
    assert first.keyframe
    assert (first.width, first.height) == (64, 48)
    assert bytes(first)[:5] in (
        b"\x00\x00\x00\x01\x67",
        b"\x00\x00\x01\x67\x64",
        b"\x00\x00\x01\x67\x42",
    )
    for packet in packets:
        view = memoryview(packet)
        assert view.readonly
        assert view.nbytes == len(packet) == len(bytes(packet))
        assert packet.damaged_ns <= packet.captured_ns <= packet.converted_ns <= packet.encoded_ns
    pts = [packet.pts for packet in packets]
    assert pts == sorted(set(pts))


def test_the_configuration_learns_the_size() -> None:
    config = pattern(display="640x358")
    assert (config.width, config.height) == (1920, 1080)
    with Stream(config):
        assert (config.width, config.height) == (640, 358)


def test_every_iteration_is_a_consumer_of_its_own() -> None:
    with Stream(pattern()) as stream:
        for _ in range(3):
            packets = list(itertools.islice(stream, 3))
            assert packets[0].keyframe
            assert [packet.keyframe for packet in packets[1:]] == [False, False]
        with stream.subscribe(2) as one, stream.subscribe() as other:
            first, second = one.next(5), other.next(5)
            assert first is not None
            assert second is not None
            assert first.keyframe
            assert second.keyframe
        assert len(stream.stats().queue) == 0, "closed and forgotten consumers are gone"


def test_a_subscription_made_before_the_start() -> None:
    stream = Stream(pattern())
    subscription = stream.subscribe()
    with stream:
        packet = subscription.next(5)
        assert packet is not None
        assert packet.keyframe
        subscription.close()


def test_next_returns_none_after_its_timeout() -> None:
    stream = Stream(pattern())
    with stream.subscribe() as subscription:
        begin = time.monotonic()
        assert subscription.next(0.6) is None
        assert 0.55 < time.monotonic() - begin < 1.5
        assert subscription.next(0) is None
    stream.close()


def test_a_closed_subscription_ends_and_wakes_its_reader() -> None:
    stream = Stream(pattern())
    subscription = stream.subscribe()
    outcome: list[object] = []

    def read() -> None:
        try:
            outcome.append(subscription.next())
        except StreamClosed as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    subscription.close()
    subscription.close()
    reader.join(3)
    assert isinstance(outcome[0], StreamClosed)
    with pytest.raises(StreamClosed, match="subscribe"):
        subscription.next(0)
    assert list(subscription) == []
    stream.close()


def test_frames_are_the_newest_pictures() -> None:
    with Stream(pattern(display="161x91")) as stream, stream.frames() as frames:
        first = next(frames)
        assert first.shape == (91, 161, 3)
        assert first.dtype == np.uint8
        time.sleep(0.3)
        assert not np.array_equal(first, next(frames))


def test_frames_follow_a_new_size() -> None:
    with Stream(pattern(display="320x200")) as stream, stream.frames() as frames:
        assert next(frames).shape == (200, 320, 3)
        stream.update(display="160x100")
        assert any(frame.shape == (100, 160, 3) for frame in itertools.islice(frames, 100))


# ---- control and figures


def test_statistics_have_every_figure() -> None:
    with Stream(pattern()) as stream:
        for _ in itertools.islice(stream, 20):
            pass
        stats = stream.stats()
    assert stats.frames >= 20
    assert stats.keyframes >= 1
    assert stats.bytes > 0
    assert stats.capture == "pattern"
    assert stats.encoder
    assert (stats.width, stats.height) == (64, 48)
    assert 0 < stats.latency_ms_p50 <= stats.latency_ms_p95
    assert stats.encode_ms_p50 <= stats.latency_ms_p95
    for field in dataclasses.fields(stats):
        value = getattr(stats, field.name)
        assert isinstance(value, (int, float, str, tuple)), field.name


def test_thumbnail_is_a_small_jpeg() -> None:
    with Stream(pattern(display="640x360")) as stream:
        for _ in itertools.islice(stream, 3):
            pass
        jpeg = stream.thumbnail(160)
        with pytest.raises(ConfigError, match="max_width = 5"):
            stream.thumbnail(5)
    import av

    with av.open(io.BytesIO(jpeg), format="mjpeg") as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (160, 90)


def test_request_keyframe() -> None:
    with Stream(pattern()) as stream:
        packets = iter(stream)
        assert next(packets).keyframe
        time.sleep(0.6)  # requests are coalesced: one per half second
        stream.request_keyframe()
        assert any(packet.keyframe for packet in itertools.islice(packets, 100))


def test_update_checks_everything_before_it_changes_anything() -> None:
    with Stream(pattern()) as stream:
        for bad in (
            {"bitrate": 1},
            {"fps": 0},
            {"crf": 99},
            {"region": (0, 0, -1, 5)},
            {"display": 7},
            {"bitrate": 1_000_000, "fps": "many"},
        ):
            field = list(bad)[-1]
            with pytest.raises(ConfigError, match=field):
                stream.update(**bad)  # type: ignore[arg-type]
        stream.update()
        stream.update(bitrate=1_000_000, fps=50, crf=30)


def test_a_lower_frame_rate_takes_effect() -> None:
    with Stream(pattern(fps=100)) as stream:
        packets = iter(stream)
        next(packets)
        stream.update(fps=10)
        for _ in itertools.islice(packets, 10):  # what was queued
            pass
        begin = time.monotonic()
        for _ in itertools.islice(packets, 5):
            pass
        assert time.monotonic() - begin > 0.3


def test_the_pointer_needs_metadata() -> None:
    with Stream(pattern()) as stream:
        with pytest.raises(ConfigError, match="cursor = 'embedded'"):
            _ = stream.cursor
        with pytest.raises(ConfigError, match="cursor"):
            stream.cursor_updates()


def test_the_engines_log_reaches_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kvmstream.native")
    with Stream(pattern()) as stream:
        next(iter(stream))
    lines = [record for record in caplog.records if record.name == "kvmstream.native"]
    assert lines
    assert all(": " in record.getMessage() for record in lines)


# ---- a real screen


def test_a_real_screen(xvfb: str, tmp_path: Path) -> None:
    (display,) = displays(xvfb)[:1]
    assert (display.x, display.y) == (0, 0)
    picture = screenshot(display=xvfb, cursor="hidden")
    assert picture.shape == (display.height, display.width, 3)
    corner = screenshot(display=xvfb, region=(10, 20, 33, 21), cursor="hidden")
    assert np.array_equal(corner, picture[20:41, 10:43])
    config = StreamConfig(display=xvfb, cursor="metadata")
    with Stream(config) as stream, Recorder(tmp_path / "out.mp4") as recorder:
        packet = next(iter(stream))
        recorder.write(packet)
        assert (packet.width, packet.height) == (display.width, display.height)
        assert (config.width, config.height) == (display.width, display.height)
        with stream.cursor_updates() as updates:
            state = updates.next(5)
        assert state is not None
        assert state.shape().shape == (state.shape_height, state.shape_width, 4)
        assert stream.cursor is not None


def test_encoders_list_reasons() -> None:
    found = encoders()
    assert any(encoder.available for encoder in found)
    for encoder in found:
        assert bool(encoder.reason) != encoder.available, encoder
