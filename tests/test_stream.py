"""Stream on each backend that is there: consumers, event loops, lifecycle, forks and exits."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.util
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvmstream import (
    ConfigError,
    EncoderUnavailable,
    Recorder,
    Stream,
    StreamClosed,
    StreamConfig,
    _backend,
    displays,
    encoders,
    screenshot,
)

_BACKENDS = [
    name for name, module in _backend._MODULES.items() if importlib.util.find_spec(module) is not None
]


@pytest.fixture(params=_BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_backend, "_choice", _backend.choose(request.param))
    return str(request.param)


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Every thread of kvmstream has ended when its stream is closed and forgotten."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    deadline = time.monotonic() + 3
    while extra := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, extra
        time.sleep(0.02)


def _config(**settings: Any) -> StreamConfig:
    return StreamConfig(**{"source": "pattern", "display": "64x48", "fps": 100, **settings})


# ---- consumers


def test_packets_are_readable_without_a_copy_and_outlive_the_stream() -> None:
    with Stream(_config()) as stream:
        packets = list(itertools.islice(stream, 5))
    stream.close()
    first = packets[0]
    assert first.keyframe
    assert (first.width, first.height) == (64, 48)
    assert bytes(first)[:5] in (b"\x00\x00\x00\x01\x67", b"\x00\x00\x01\x67\x64", b"\x00\x00\x01\x67\x42")
    for packet in packets:
        view = memoryview(packet)
        assert view.readonly
        assert view.nbytes == len(packet) == len(bytes(packet))
        assert packet.damaged_ns <= packet.captured_ns <= packet.converted_ns <= packet.encoded_ns
    pts = [packet.pts for packet in packets]
    assert pts == sorted(set(pts))


def test_the_configuration_learns_the_size() -> None:
    config = _config(display="640x358")
    assert (config.width, config.height) == (1920, 1080)
    with Stream(config):
        assert (config.width, config.height) == (640, 358)


def test_every_iteration_is_a_consumer_of_its_own() -> None:
    with Stream(_config()) as stream:
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
    stream = Stream(_config())
    subscription = stream.subscribe()
    with stream:
        packet = subscription.next(5)
        assert packet is not None
        assert packet.keyframe
        subscription.close()


def test_next_returns_none_after_its_timeout() -> None:
    stream = Stream(_config())
    with stream.subscribe() as subscription:
        begin = time.monotonic()
        assert subscription.next(0.6) is None
        assert 0.55 < time.monotonic() - begin < 1.5
        assert subscription.next(0) is None
    stream.close()


def test_a_closed_subscription_ends_and_wakes_its_reader() -> None:
    stream = Stream(_config())
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
    with Stream(_config(display="161x91")) as stream, stream.frames() as frames:
        first = next(frames)
        assert first.shape == (91, 161, 3)
        assert first.dtype == np.uint8
        time.sleep(0.3)
        assert not np.array_equal(first, next(frames))


def test_frames_follow_a_new_size() -> None:
    with Stream(_config(display="320x200")) as stream, stream.frames() as frames:
        assert next(frames).shape == (200, 320, 3)
        stream.update(display="160x100")
        assert any(frame.shape == (100, 160, 3) for frame in itertools.islice(frames, 100))


# ---- event loops


def test_async_iteration_and_update() -> None:
    async def main() -> tuple[int, int]:
        count = ticks = 0
        done = asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0.005)

        async with Stream(_config()) as stream, asyncio.TaskGroup() as group:
            group.create_task(tick())
            async for packet in stream:
                assert packet.keyframe == (count == 0)
                count += 1
                if count == 40:
                    break
            done.set()
        return count, ticks

    count, ticks = asyncio.run(main())
    assert count == 40
    assert ticks > 20, "the event loop stood still"


def test_async_does_not_starve_the_loop_when_packets_never_run_out() -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with Stream(_config(display="fast", region=(0, 0, 32, 32))) as stream:
            ticker = asyncio.create_task(tick())
            count = 0
            async for _ in stream:
                count += 1
                if count == 300:
                    break
            ticker.cancel()
        return ticks

    assert asyncio.run(main()) >= 300 // 8


def test_async_order_is_kept_and_cancelling_loses_nothing() -> None:
    async def main() -> list[int]:
        seen = []
        async with Stream(_config(fps=200)) as stream:
            subscription = stream.subscribe(64)
            while len(seen) < 150:
                try:
                    packet = await asyncio.wait_for(subscription.next_async(), 0.003)
                except TimeoutError:
                    continue
                seen.append(packet)
            assert subscription.dropped == 0
            subscription.close()
        from kvmstream import Decoder

        # Only an unbroken chain shows the pattern's frames one after the other.
        decoder = Decoder()
        assert all(decoder.decode(packet) is not None for packet in seen)
        return [packet.pts for packet in seen]

    pts = asyncio.run(main())
    assert pts == sorted(set(pts))


def test_async_iteration_ends_with_the_stream() -> None:
    async def main() -> int:
        count = 0
        async with Stream(_config()) as stream:
            asyncio.get_running_loop().call_later(0.4, stream.close)
            async for _ in stream:
                count += 1
            async for _ in stream:
                raise AssertionError("a stopped stream has no packets")
        return count

    assert asyncio.run(asyncio.wait_for(main(), 10)) > 3


def test_async_frames() -> None:
    async def main() -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        async with Stream(_config()) as stream:
            async for frame in stream.frames():
                shapes.append(frame.shape)
                if len(shapes) == 5:
                    return shapes
        return shapes

    assert asyncio.run(main()) == [(48, 64, 3)] * 5


def test_one_stream_in_two_event_loops_one_after_the_other() -> None:
    with Stream(_config()) as stream:
        subscription = stream.subscribe()
        for _ in range(2):
            assert asyncio.run(subscription.next_async()) is not None
        subscription.close()


def test_unconsumed_packets_stay_in_the_bounded_queue() -> None:
    """An event loop that does not ask takes nothing: the capacity is the credit."""

    async def main() -> None:
        async with Stream(_config(fps=300)) as stream:
            subscription = stream.subscribe(3)
            await subscription.next_async()
            await asyncio.sleep(0.5)
            (queue,) = stream.stats().queue
            assert queue.capacity == 3
            assert queue.size <= 3
            sent = stream.stats().frames
            await asyncio.sleep(0.3)
            assert stream.stats().frames == sent, "the encoder waits for its only consumer"
            subscription.close()

    asyncio.run(main())


# ---- lifecycle


def test_iterating_before_the_start_says_what_to_do() -> None:
    stream = Stream(_config())
    for use in (iter, Stream.frames, Stream.__aiter__):
        with pytest.raises(StreamClosed, match="call start"):
            use(stream)
    stream.close()


def test_stop_is_idempotent_and_final() -> None:
    stream = Stream(_config())
    stream.start()
    stream.start()
    stream.stop()
    stream.stop()
    stream.close()
    with pytest.raises(StreamClosed, match="make a new Stream"):
        stream.start()
    assert list(stream) == []
    assert list(stream.frames()) == []


def test_stop_from_other_threads_ends_iterations() -> None:
    stream = Stream(_config())
    with stream:
        stoppers = [threading.Timer(0.3, stream.stop) for _ in range(4)]
        for stopper in stoppers:
            stopper.start()
        count = sum(1 for _ in stream)
        assert count > 3
        for stopper in stoppers:
            stopper.join()


def test_a_stream_that_is_forgotten_while_running_ends() -> None:
    stream = Stream(_config())
    stream.start()
    next(iter(stream))
    del stream  # the fixture sees to it that its threads end


def test_errors_at_the_start_leave_nothing_behind() -> None:
    stream = Stream(StreamConfig(encoder="h264_imaginary", source="pattern"))
    with pytest.raises(EncoderUnavailable, match="h264_imaginary"), stream:
        pass
    stream.stop()


def test_statistics_have_every_figure() -> None:
    with Stream(_config()) as stream:
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
    with Stream(_config(display="640x360")) as stream:
        for _ in itertools.islice(stream, 3):
            pass
        jpeg = stream.thumbnail(160)
        with pytest.raises(ConfigError, match="max_width = 5"):
            stream.thumbnail(5)
    import av

    with av.open(__import__("io").BytesIO(jpeg), format="mjpeg") as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (160, 90)


def test_request_keyframe() -> None:
    with Stream(_config()) as stream:
        packets = iter(stream)
        assert next(packets).keyframe
        time.sleep(0.6)  # requests are coalesced: one per half second
        stream.request_keyframe()
        assert any(packet.keyframe for packet in itertools.islice(packets, 100))


def test_update_checks_everything_before_it_changes_anything() -> None:
    with Stream(_config()) as stream:
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
    with Stream(_config(fps=100)) as stream:
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
    with Stream(_config()) as stream:
        with pytest.raises(ConfigError, match="cursor = 'embedded'"):
            _ = stream.cursor
        with pytest.raises(ConfigError, match="cursor"):
            stream.cursor_updates()


def test_the_engines_log_reaches_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kvmstream.native")
    with Stream(_config()) as stream:
        next(iter(stream))
    lines = [record for record in caplog.records if record.name == "kvmstream.native"]
    assert lines
    assert all(": " in record.getMessage() for record in lines)


# ---- processes


def _child(code: str, backend: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KVMSTREAM_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


_OPEN = (
    "import kvmstream, os, sys, threading, itertools\n"
    "config = kvmstream.StreamConfig(source='pattern', display='64x48')\n"
    "stream = kvmstream.Stream(config); stream.start()\n"
    "packets = iter(stream); next(packets)\n"
)


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "sys.exit()",
        "raise SystemExit",
        "threading.Thread(target=lambda: list(packets), daemon=True).start()",
        "cycle = [stream, packets]; cycle.append(cycle)",
        "import asyncio; asyncio.run(packets.next_async())",
        "frames = stream.frames(); next(frames)",
    ],
)
def test_the_interpreter_exits_with_a_stream_running(ending: str, backend: str) -> None:
    result = _child(_OPEN + ending, backend)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_child_gets_an_error_and_the_parent_goes_on(backend: str) -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
        + _OPEN
        + """
pid = os.fork()
if pid == 0:
    names = []
    for use in (stream.stats, stream.request_keyframe, stream.subscribe, stream.frames, stream.start,
                stream.thumbnail, lambda: next(packets), lambda: packets.queued, lambda: iter(stream),
                lambda: stream.update(fps=5)):
        try:
            use()
        except kvmstream.StreamClosed as error:
            assert str(os.getppid()) in str(error)
            names.append(1)
    stream.stop(); packets.close()
    assert len(names) == 10, names
    del stream, packets
    import gc; gc.collect()
    with kvmstream.Stream(config) as own:
        assert next(iter(own)).keyframe
    sys.exit(7)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
assert len(list(itertools.islice(packets, 5))) == 5
print('parent goes on')
"""
    )
    result = _child(code, backend)
    assert (result.returncode, result.stdout, result.stderr) == (0, "parent goes on\n", "")


def test_ctrl_c_reaches_a_blocked_iteration(backend: str) -> None:
    code = (
        "import kvmstream, signal, threading, os, time\n"
        "stream = kvmstream.Stream(kvmstream.StreamConfig(source='pattern'))\n"
        "packets = stream.subscribe()  # not started: nothing will ever come\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try:\n    packets.next()\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    result = _child(code, backend)
    assert (result.stdout, result.returncode) == ("interrupted\n", 0), result.stderr


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
