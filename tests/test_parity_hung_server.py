"""An X server that neither answers nor ends (a driver that hangs, SIGSTOP) hangs nobody else, on both backends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from kvmstream import errors

_STOP = 3.0  # seconds; a second of grace and what a busy machine takes
_FAIL = 7.0  # seconds; five, and as much again as above


@contextmanager
def hung(server):
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.fixture
def server(make_xvfb):
    return make_xvfb("320x240")


@pytest.mark.parametrize("cursor", ["embedded", "metadata", "hidden"])
def test_stop_and_join_return(backend, server, cursor):
    pipeline = backend.Pipeline(display=server.display, cursor=cursor)
    subscription = pipeline.subscribe()
    pipeline.start()
    assert subscription.next(10.0) is not None
    with hung(server):
        time.sleep(0.7)  # the pointer is asked for every quarter of a second
        started = time.monotonic()
        pipeline.stop()
        pipeline.join()
        assert time.monotonic() - started < _STOP
        # What was waited for in vain is not waited for again: the interpreter's exit comes after a stop.
        again = time.monotonic()
        pipeline.join()
        assert time.monotonic() - again < 0.5
    for _ in range(subscription.queued):  # what came before can still be had
        assert subscription.next(0.0) is not None
    with pytest.raises(errors.StreamClosed):
        subscription.next(0.0)


def test_a_server_that_hung_for_a_while_is_followed_again(stream, server):
    with stream(display=server.display) as flow:
        flow.until_quiet()
        with hung(server):
            time.sleep(1.0)
        server.solid("#ff8000")
        assert flow.next() is not None
        assert flow.pipeline.generation == 1


def test_start_fails_and_says_so(backend, server):
    with hung(server) as started:
        with pytest.raises(errors.CaptureError, match="answer"):
            backend.Pipeline(display=server.display).start()
        assert time.monotonic() - started < _FAIL


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda backend, display: backend.screenshot(display=display), id="screenshot"),
        pytest.param(lambda backend, display: backend.displays(display), id="displays"),
    ],
)
def test_what_asks_once_fails_and_says_so(backend, server, ask):
    with hung(server) as started:
        with pytest.raises(errors.CaptureError, match="answer"):
            ask(backend, server.display)
        assert time.monotonic() - started < _FAIL


_FORGETS_TO_STOP = """
import sys, time
import kvmstream
stream = kvmstream.Stream(kvmstream.StreamConfig(display=sys.argv[1]))
stream.start()
packets = stream.subscribe()
print(len(bytes(packets.next(10.0))) > 0, flush=True)
sys.stdin.readline()
"""


def test_the_interpreter_exits(backend, server):
    process = subprocess.Popen(
        [sys.executable, "-c", _FORGETS_TO_STOP, server.display],
        env={**os.environ, "KVMSTREAM_BACKEND": backend.BACKEND},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "True\n"
        with hung(server):
            time.sleep(0.7)
            started = time.monotonic()
            process.stdin.close()
            assert process.wait(10.0) == 0
            assert time.monotonic() - started < _STOP + 1.0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
