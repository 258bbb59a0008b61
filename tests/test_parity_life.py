"""How pipelines start, fail and end on both backends, and that nothing stays behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import pytest
from pictures import settle

from kvmstream import errors

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
