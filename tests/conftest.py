"""Fixtures that every test file shares. No test ever touches the display of whoever runs it."""

from __future__ import annotations

import importlib
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import pytest

_REQUIRE_NATIVE = os.environ.get("KVMSTREAM_REQUIRE_NATIVE", "0") not in ("", "0")
_START_SECONDS = 20.0
# What cannot even be imported without fcntl and termios.
collect_ignore = ["test_cli_record.py", "test_line.py"] if sys.platform == "win32" else []

# Before anything else: what follows may only reach servers that these fixtures start.
for _name in ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"):
    os.environ.pop(_name, None)


def _version(module):
    try:
        return getattr(importlib.import_module(module), "__version__", "?")
    except ImportError:
        return "missing"


def _load_native():
    """The native core, or why it is not there."""
    try:
        return importlib.import_module("kvmstream._core"), ""
    except ImportError as error:
        return None, str(error)


def pytest_report_header():
    _, missing = _load_native()
    native = f"MISSING ({missing})" if missing else "there"
    versions = ", ".join(f"{name} {_version(name)}" for name in ("av", "mss", "numpy"))
    return [
        f"kvmstream: Python {sys.version.split()[0]}, {versions}",
        f"kvmstream: native core {native}",
    ]


def pytest_collection_modifyitems(items):
    for item in items:
        if {"make_xvfb", "make_xvnc"}.intersection(item.fixturenames):
            item.add_marker("display")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Files side by side, but those of the console one after the other.

    Chromium keeps a core busy and more; the others mostly wait.
    """
    from xdist.scheduler import LoadFileScheduling

    class OneBrowser(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "console" if "test_console" in file else file

    return OneBrowser(config, log)


def _backend_module(name):
    if name == "python":
        return importlib.import_module("kvmstream._fallback")
    module, missing = _load_native()
    if module is None:
        if _REQUIRE_NATIVE:
            pytest.fail(
                f"KVMSTREAM_REQUIRE_NATIVE is set, but kvmstream._core does not load: {missing}"
            )
        pytest.skip(f"NATIVE CORE NOT TESTED: kvmstream._core does not load: {missing}")
    return module


@pytest.fixture(params=[pytest.param("native", marks=pytest.mark.native), "python"])
def backend(request):
    """The seam module (docs/architecture.md) of each backend in turn."""
    return _backend_module(request.param)


@pytest.fixture(scope="session")
def native():
    """The native seam module alone."""
    return _backend_module("native")


# A test run that crashes takes its servers with it.
_DIE_WITH_US = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


# -- X servers ---------------------------------------------------------------------------------------------------------


class XServer:
    """A private X server on a free display number.

    The number is a high random one: a low one might be taken over by somebody else's server as soon as a test has
    killed its own.
    """

    def __init__(self, command):
        for attempt in range(5):
            try:
                self._start([*command[:1], f":{random.randint(1000, 50_000)}", *command[1:]])
                break
            except RuntimeError:
                if attempt == 4:
                    raise

    def _start(self, command):
        with tempfile.TemporaryFile() as log:
            read_end, write_end = os.pipe()
            try:
                self.process = subprocess.Popen(
                    [*_DIE_WITH_US, *command, "-displayfd", str(write_end)],
                    pass_fds=[write_end],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
            finally:
                os.close(write_end)
            try:
                self.display = ":" + self._read_number(read_end, log)
            except BaseException:
                self.end()
                raise
            finally:
                os.close(read_end)
        self.env = {**os.environ, "DISPLAY": self.display, "LC_ALL": "C.UTF-8"}

    def _read_number(self, descriptor, log):
        text = b""
        deadline = time.monotonic() + _START_SECONDS
        while not text.strip() or not text.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise RuntimeError(f"the X server did not start in {_START_SECONDS:g} s")
            chunk = os.read(descriptor, 64)
            if not chunk:
                status = self.process.wait()
                log.seek(0)
                said = log.read()[-2000:].decode(errors="replace").strip()
                raise RuntimeError(f"the X server ended with status {status}: {said}")
            text += chunk
        return text.decode().strip()

    def run(self, *command, check=True):
        """Runs a client to its end."""
        return subprocess.run(
            command,
            env=self.env,
            check=check,
            timeout=30,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    @contextmanager
    def client(self, *command):
        """A client that runs until the block ends."""
        process = subprocess.Popen(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def solid(self, colour):
        """Paints the root window, e.g. "#ff8000"."""
        self.run("xsetroot", "-solid", colour)

    def fill(self, x, y, width, height, rgb):
        """Paints one rectangle over whatever is there."""
        with Brush(self.display) as brush:
            brush.fill(x, y, width, height, rgb)

    def move_pointer(self, x, y):
        self.run("xdotool", "mousemove", str(x), str(y))

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self):
        """As a crash would."""
        self.process.kill()
        self.process.wait()


class Brush:
    """Draws rectangles on the root window, over its children, through one open connection."""

    def __init__(self, display):
        from kvmstream._fallback.x11 import XConnection

        self._connection = XConnection(display)
        self._context = self._connection._new_id()
        # GCSubwindowMode = IncludeInferiors
        payload = struct.pack("<IIII", self._context, self._connection.root, 1 << 15, 1)
        self._connection._send(55, 0, payload)

    def fill(self, x, y, width, height, rgb):
        red, green, blue = rgb
        pixel = red << 16 | green << 8 | blue
        change = struct.pack("<III", self._context, 1 << 2, pixel)  # GCForeground
        self._connection._send(56, 0, change)
        rectangle = struct.pack(
            "<IIhhHH", self._connection.root, self._context, x, y, width, height
        )
        self._connection._send(70, 0, rectangle)
        self._connection.geometry()  # a round trip: it is drawn now

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()


@pytest.fixture(scope="session")
def make_xvfb():
    """make_xvfb("800x600", *options) → XServer; ended with the session."""
    servers = []

    def make(size="1920x1080", *options, depth=24):
        command = ["Xvfb", "-screen", "0", f"{size}x{depth}", "-nolisten", "tcp", "-noreset"]
        servers.append(XServer([*command, "-s", "0", *options]))
        return servers[-1]

    yield make
    for server in servers:
        server.end()


@pytest.fixture(scope="session")
def make_xvnc(tmp_path_factory):
    """make_xvnc("1024x768") → XServer whose screen xrandr can resize; ended with the session."""
    servers = []
    folder = tmp_path_factory.mktemp("xvnc")

    def make(size="1024x768"):
        command = ["Xtigervnc", "-geometry", size, "-depth", "24", "-SecurityTypes", "None"]
        # It insists on listening somewhere.
        command += ["-rfbport", "-1", "-rfbunixpath", str(folder / f"{len(servers)}.rfb")]
        servers.append(XServer([*command, "-nolisten", "tcp", "-noreset"]))
        return servers[-1]

    yield make
    for server in servers:
        server.end()


@pytest.fixture(scope="session")
def x_server(make_xvfb):
    """The 1920x1080 server that most tests share. Each test paints what it needs first."""
    return make_xvfb("1920x1080")


@pytest.fixture
def xvfb(x_server):
    """Its display, ":N"."""
    return x_server.display


@pytest.fixture(scope="session")
def _small_server(make_xvfb):
    return make_xvfb("640x480")


@pytest.fixture
def screen(_small_server):
    """A 640x480 server, grey, with the pointer out of the way."""
    _small_server.move_pointer(600, 440)
    _small_server.solid("#808080")
    return _small_server


# -- streams -----------------------------------------------------------------------------------------------------------


class Flow:
    """A running pipeline with one subscription, and what tests do with it."""

    def __init__(self, pipeline, subscription):
        self.pipeline = pipeline
        self.subscription = subscription

    def next(self, timeout=10.0):
        packet = self.subscription.next(timeout)
        assert packet is not None, f"no packet within {timeout} s: {self.pipeline.stats()}"
        return packet

    def take(self, count, timeout=10.0):
        return [self.next(timeout) for _ in range(count)]

    def take_for(self, seconds):
        packets = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            packet = self.subscription.next(left)
            if packet is not None:
                packets.append(packet)
        return packets

    def until_quiet(self, quiet=1.0, limit=30.0):
        """Everything up to the first pause of `quiet` seconds."""
        packets = []
        deadline = time.monotonic() + limit
        while (packet := self.subscription.next(quiet)) is not None:
            packets.append(packet)
            assert time.monotonic() < deadline, f"still sending after {limit} s"
        return packets

    def until(self, condition, limit=15.0):
        """Everything up to and with the first packet for which the condition holds."""
        packets = []
        deadline = time.monotonic() + limit
        while True:
            packets.append(self.next(max(0.1, deadline - time.monotonic())))
            if condition(packets[-1]):
                return packets
            assert time.monotonic() < deadline, f"not within {limit} s"


@pytest.fixture
def stream(backend):
    """with stream(capacity=…, **Pipeline arguments) as flow: …"""

    @contextmanager
    def run(*, capacity=256, **arguments):
        pipeline = backend.Pipeline(**arguments)
        subscription = pipeline.subscribe(capacity)
        try:
            pipeline.start()
            yield Flow(pipeline, subscription)
        finally:
            pipeline.stop()
            pipeline.join()

    return run


def nal_types(data):
    """Types of the NAL units of an Annex B access unit, in order."""
    data = bytes(data)
    found, at = [], data.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(data):
        found.append(data[at + 3] & 31)
        at = data.find(b"\0\0\1", at + 3)
    return found


def decode(packets):
    """Decoded frames of a chain of packets that begins with a keyframe; one for each, or the decoder complains."""
    import av

    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = []
    for packet in packets:
        frames += decoder.decode(av.Packet(bytes(packet)))
    frames += decoder.decode(None)
    assert len(frames) == len(packets)
    return frames


def rgb(frame):
    """Height × width × 3 of a decoded frame, by the colours that its own VUI declares."""
    return frame.to_ndarray(format="rgb24")


class Helpers:
    decode = staticmethod(decode)
    rgb = staticmethod(rgb)
    nal_types = staticmethod(nal_types)
    Brush = Brush
    Flow = Flow


@pytest.fixture(scope="session")
def h264():
    """decode(), rgb(), nal_types() for the tests."""
    return Helpers
