"""Input by way of the kernel: what is written to /dev/uinput, and what is said where it cannot be opened."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path

import pytest

from kvmstream.agent import _uinput
from kvmstream.agent._xtest import XKeyboard, XTest
from kvmstream.agent.injector import Injector
from kvmstream.errors import CaptureError
from kvmstream.wire import messages as m

_EVENT = struct.Struct("@llHHi")


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def bare(make_xvfb):
    """An X server without XTEST."""
    return make_xvfb("640x480", "-extension", "XTEST")


class Kernel:
    """Stands in for /dev/uinput: remembers the ioctls, and what is written to each device."""

    def __init__(self, monkeypatch) -> None:
        self.calls: list[tuple[int, int, object]] = []
        self.ends: dict[int, int] = {}  # the writer's descriptor → our end
        self.refuses = 0
        monkeypatch.setattr(_uinput.fcntl, "ioctl", self._ioctl)
        monkeypatch.setattr(_uinput, "_DISCOVERY_SECONDS", 0.0)
        real = os.open

        def opened(path, flags, *rest, **named):
            if path != "/dev/uinput":
                return real(path, flags, *rest, **named)
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            self.ends[writer] = reader
            return writer

        monkeypatch.setattr(_uinput.os, "open", opened)

    def _ioctl(self, device, request, argument=0):
        if request == self.refuses:
            raise OSError(22, "Invalid argument")
        self.calls.append((device, request, argument))
        return 0

    def events(self, device: int) -> list[tuple[int, int, int]]:
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.ends[device], 65536)
        return [_EVENT.unpack_from(data, i)[2:] for i in range(0, len(data), _EVENT.size)]

    def close(self) -> None:
        for reader in self.ends.values():
            os.close(reader)


@pytest.fixture
def kernel(monkeypatch):
    it = Kernel(monkeypatch)
    yield it
    it.close()


def test_events_are_the_kernels(bare, kernel) -> None:
    injector = Injector(bare.display, lambda x, y, _generation: (x, y))
    try:
        hand, tablet = kernel.ends
        assert injector.apply(m.Key(30, True)) == ""
        assert injector.apply(m.Button(0x110, True)) == ""
        assert injector.apply(m.Wheel(0, -240)) == ""
        assert injector.apply(m.RelativeMotion(-3, 7)) == ""
        syn = (0, 0, 0)
        assert kernel.events(hand) == [
            (1, 30, 1), syn, (1, 0x110, 1), syn,
            (2, 8, 1), (2, 0x0B, 120), syn, (2, 8, 1), (2, 0x0B, 120), syn,
            (2, 0, -3), (2, 1, 7), syn,
        ]  # fmt: skip
        for x, y in ((0, 0), (639, 479), (320, 240)):
            injector.apply(m.Motion(x, y, 0))
            (_, _, across), (_, _, down), _ = kernel.events(tablet)
            # What an X server makes of it: the axis' range laid over the screen.
            assert (across * 640 // 65536, down * 480 // 65536) == (x, y)
        injector.apply(m.ReleaseAll())
        assert kernel.events(hand) == [(1, 0x110, 0), syn, (1, 30, 0), syn]
        # Texts go through the X server's map, as with XTEST.
        assert injector.apply(m.Text("aé")) == ""
        typed = kernel.events(hand)
        assert typed[:4] == [(1, 30, 1), syn, (1, 30, 0), syn]
        assert len(typed) == 8
    finally:
        injector.close()
    assert [(d, r) for d, r, _ in kernel.calls if r == 0x5502] == [(hand, 0x5502), (tablet, 0x5502)]
    names = [a[8:88].rstrip(b"\0") for _, r, a in kernel.calls if r == 0x405C5503]
    assert names == [b"kvmstream keyboard and mouse", b"kvmstream tablet"]


@pytest.mark.parametrize("request_number", [0x40045564, 0x401C5504, 0x405C5503, 0x5501])
def test_a_kernel_that_refuses_leaves_nothing_open(bare, kernel, request_number: int) -> None:
    kernel.refuses = request_number
    before = _descriptors()
    with pytest.raises(CaptureError, match=r"XTEST.*uinput cannot be used: Invalid argument"):
        Injector(bare.display, lambda x, y, _generation: (x, y))
    assert _descriptors() == before + len(kernel.ends)


@pytest.mark.skipif(os.access("/dev/uinput", os.W_OK), reason="this machine lets us")
def test_neither_xtest_nor_uinput_is_a_reason(bare) -> None:
    with pytest.raises(CaptureError, match=r"no XTEST extension.*udev rule"):
        Injector(bare.display, lambda x, y, _generation: (x, y))


def test_borrowed_keys_come_back_without_xtest(bare, kernel) -> None:
    """The watchdog restores the map of a server that has no XTEST."""
    injector = Injector(bare.display, lambda x, y, _generation: (x, y))
    keyboard = XKeyboard(bare.display)
    try:
        before = keyboard.keymap()
        assert injector.apply(m.Text("漢")) == ""
        assert keyboard.keymap() != before
        # As kill -9 would: nothing is given back by us.
        injector._watchdog.stdin.close()
        injector._watchdog.wait(10)
        deadline = time.monotonic() + 5
        while keyboard.keymap() != before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert keyboard.keymap() == before
    finally:
        keyboard.close()
        injector._test.close()


@pytest.mark.skipif(not os.access("/dev/uinput", os.W_OK), reason="/dev/uinput cannot be written")
def test_the_real_device_opens(make_xvfb) -> None:
    server = make_xvfb("640x480")
    device = _uinput.Uinput(server.display)
    try:
        device.press(30)
        device.release(30)
    finally:
        device.close()
    XTest(server.display).close()
