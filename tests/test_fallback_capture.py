"""The fallback's view of a screen: its monitors, and servers that lack the usual."""

from __future__ import annotations

import numpy as np
import pytest

from kvmstream import _fallback as fallback
from kvmstream import errors
from kvmstream._fallback import monitors, reader, x11_wire
from kvmstream._fallback.x11 import Monitor

# -- monitors ----------------------------------------------------------------------------------------------------------


MONITORS = [
    Monitor("DP-1", 0, 0, 800, 600, False, 60.0),
    Monitor("HDMI-1", 800, 0, 1024, 768, True, 60.0),
]


def test_choosing_an_area():
    def choose(wanted, region=None, **how):
        return monitors.choose_area(MONITORS, "here", wanted, region, **how)

    assert choose("") == (800, 0, 1024, 768)
    assert choose("DP-1") == (0, 0, 800, 600)
    assert choose("1") == (800, 0, 1024, 768)
    assert choose("HDMI-1", (24, 68, 1000, 700)) == (824, 68, 1000, 700)
    with pytest.raises(errors.ConfigError, match=r"DP-9.*DP-1 .800x600"):
        choose("DP-9")
    with pytest.raises(errors.ConfigError, match="region"):
        choose("DP-1", (700, 0, 101, 10))
    # While streaming, what is left of it, else the whole primary one.
    assert choose("DP-9", lenient=True) == (800, 0, 1024, 768)
    assert choose("DP-1", (700, 0, 101, 10), lenient=True) == (700, 0, 100, 10)
    assert choose("DP-1", (900, 0, 10, 10), lenient=True) == (0, 0, 800, 600)


class _FakeConnection:
    display = ":0"
    image = x11_wire.ImageFormat(24, 32, True, (0xFF0000, 0xFF00, 0xFF))

    def __init__(self, extensions=(), outputs=()):
        self._extensions = extensions
        self._outputs = outputs

    def extension(self, name):
        return x11_wire.Extension(1, 2) if name in self._extensions else None

    def output_names(self):
        return list(self._outputs)

    def geometry(self):
        return (1000, 500)

    def monitors(self):
        return [Monitor("A", -10, 0, 100, 600, False, 0.0), Monitor("B", 2000, 0, 5, 5, True, 0.0)]


@pytest.mark.parametrize(
    "connection",
    [_FakeConnection(extensions=("XWAYLAND",)), _FakeConnection(outputs=("XWAYLAND0",))],
)
def test_xwayland_is_refused_with_the_reason(connection):
    reason = monitors.why_unreadable(connection)
    assert "Wayland" in reason
    assert "black" in reason


def test_plain_servers_are_readable():
    assert monitors.why_unreadable(_FakeConnection(outputs=("HDMI-1",))) == ""


def test_monitors_are_cut_to_the_root_window():
    assert monitors.list_monitors(_FakeConnection()) == [Monitor("A", 0, 0, 90, 500, True, 0.0)]


def test_wayland_session_without_x(monkeypatch):
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with pytest.raises(errors.CaptureError, match="Wayland session"):
        fallback.displays()


def test_shallow_screens_are_refused(make_xvfb):
    server = make_xvfb("320x240", depth=16)
    with pytest.raises(errors.CaptureError, match="depth 16"):
        fallback.Pipeline(display=server.display).start()


# -- capture without the usual extensions ------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["DAMAGE", "MIT-SHM", "RANDR"])
def test_server_without_an_extension(make_xvfb, h264, missing):
    server = make_xvfb("320x240", "-extension", missing)
    server.solid("#ff0000")
    stream = fallback.Pipeline(display=server.display, cursor="embedded")
    flow = h264.Flow(stream, stream.subscribe(64))
    try:
        stream.start()
        packets = flow.until_quiet()
        assert not [p for p in packets[1:] if not p.refinement], "a still screen is still"
        server.fill(0, 0, 320, 240, (0, 255, 0))
        packets += flow.until_quiet()
        picture = h264.rgb(h264.decode(packets)[-1]).reshape(-1, 3).mean(axis=0)
        assert np.abs(picture - (0, 255, 0)).max() < 8
        if missing == "DAMAGE":
            assert "polling" in stream.stats()["capture"]
    finally:
        stream.stop()
        stream.join()


def test_without_mss_the_wire_reads(screen, monkeypatch, h264):
    def refuse(self, display):
        raise errors.CaptureError("mss is not in the mood")

    monkeypatch.setattr(reader.MssReader, "__init__", refuse)
    stream = fallback.Pipeline(display=screen.display, cursor="hidden")
    flow = h264.Flow(stream, stream.subscribe(64))
    try:
        stream.start()
        assert (flow.next().width, "GetImage" in stream.stats()["capture"]) == (640, True)
        assert any("not in the mood" in line for _, _, line in stream.drain_logs())
    finally:
        stream.stop()
        stream.join()


def test_old_mss_is_not_used(monkeypatch, screen):
    import mss

    monkeypatch.setattr(mss, "__version__", "10.1.0")
    with pytest.raises(errors.CaptureError, match=r"10\.2"):
        reader.MssReader(screen.display)
