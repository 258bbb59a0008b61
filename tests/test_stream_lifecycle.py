"""Streams on each backend begin, end, fork and outlive their interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from streaming import backend_name, nothing_stays, pattern

from kvmstream import (
    EncoderUnavailable,
    Stream,
    StreamClosed,
    StreamConfig,
)

__all__ = ["backend_name", "nothing_stays"]  # fixtures

pytestmark = pytest.mark.usefixtures("backend_name", "nothing_stays")


def test_iterating_before_the_start_says_what_to_do() -> None:
    stream = Stream(pattern())
    for use in (iter, Stream.frames, Stream.__aiter__):
        with pytest.raises(StreamClosed, match="call start"):
            use(stream)
    stream.close()


def test_stop_is_idempotent_and_final() -> None:
    stream = Stream(pattern())
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
    stream = Stream(pattern())
    with stream:
        stoppers = [threading.Timer(0.3, stream.stop) for _ in range(4)]
        for stopper in stoppers:
            stopper.start()
        count = sum(1 for _ in stream)
        assert count > 3
        for stopper in stoppers:
            stopper.join()


def test_a_stream_that_is_forgotten_while_running_ends() -> None:
    stream = Stream(pattern())
    stream.start()
    next(iter(stream))
    del stream  # the fixture sees to it that its threads end


def test_errors_at_the_start_leave_nothing_behind() -> None:
    stream = Stream(StreamConfig(encoder="h264_imaginary", source="pattern"))
    with pytest.raises(EncoderUnavailable, match="h264_imaginary"), stream:
        pass
    stream.stop()


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
def test_the_interpreter_exits_with_a_stream_running(ending: str, backend_name: str) -> None:
    result = _child(_OPEN + ending, backend_name)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_child_gets_an_error_and_the_parent_goes_on(backend_name: str) -> None:
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
    result = _child(code, backend_name)
    assert (result.returncode, result.stdout, result.stderr) == (0, "parent goes on\n", "")


def test_ctrl_c_reaches_a_blocked_iteration(backend_name: str) -> None:
    code = (
        "import kvmstream, signal, threading, os, time\n"
        # A shell's background jobs inherit SIGINT ignored, and then Python raises nothing.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "stream = kvmstream.Stream(kvmstream.StreamConfig(source='pattern'))\n"
        "packets = stream.subscribe()  # not started: nothing will ever come\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try:\n    packets.next()\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    result = _child(code, backend_name)
    assert (result.stdout, result.returncode) == ("interrupted\n", 0), result.stderr
