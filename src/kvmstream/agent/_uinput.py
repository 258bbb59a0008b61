"""Input through the kernel's /dev/uinput, for X servers without XTEST: a keyboard with a mouse, and a tablet.

The X server reads both like hardware, so the map and the modifiers are asked of it as ever. The kernel lets go of
whatever is down when the descriptors close, also by kill -9. Numbers come from linux/uinput.h and
linux/input-event-codes.h. One object belongs to one thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import time
from typing import Final

from kvmstream._fallback.x11_wire import XServerGone

from ._xtest import BUTTONS, XHands

assert sys.platform != "win32"

__all__ = ["Uinput"]

_DEVICE: Final = "/dev/uinput"
_CREATE, _DESTROY, _SETUP, _ABS_SETUP = 0x5501, 0x5502, 0x405C5503, 0x401C5504
_SET_EVENT, _SET_KEY, _SET_REL, _SET_ABS = 0x40045564, 0x40045565, 0x40045566, 0x40045567
_SYN, _KEY, _REL, _ABS = 0, 1, 2, 3
_X, _Y = 0, 1
_WHEEL, _HWHEEL, _WHEEL_FINE, _HWHEEL_FINE = 0x08, 0x06, 0x0B, 0x0C
_VIRTUAL_BUS: Final = 0x06
_LARGEST: Final = 65535  # of an absolute axis
_KEYS: Final = range(1, 248)
_NOTCH: Final = 120
# X's wheel buttons → axis, fine axis, notches.
_TURNS: Final = {
    4: (_WHEEL, _WHEEL_FINE, 1),
    5: (_WHEEL, _WHEEL_FINE, -1),
    6: (_HWHEEL, _HWHEEL_FINE, -1),
    7: (_HWHEEL, _HWHEEL_FINE, 1),
}
_DISCOVERY_SECONDS: Final = 0.5  # until udev and the X server have opened a new device


class Uinput(XHands):
    """Injects through the kernel. Raises XServerGone when the server is or goes away, OSError without the device."""

    def __init__(self, display: str) -> None:
        self._devices: list[int] = []
        super().__init__(display)
        try:
            self._hand = self._create(
                "kvmstream keyboard and mouse", (*_KEYS, *BUTTONS), absolute=False
            )
            self._tablet = self._create("kvmstream tablet", tuple(BUTTONS), absolute=True)
        except BaseException:
            self.close()
            raise
        time.sleep(_DISCOVERY_SECONDS)

    def close(self) -> None:
        """The devices vanish, and with them whatever is down."""
        for device in self._devices:
            with contextlib.suppress(OSError):
                fcntl.ioctl(device, _DESTROY)
            os.close(device)
        self._devices.clear()
        super().close()

    def press(self, code: int) -> None:
        """A key or a button goes down."""
        self._write(self._hand, (_KEY, code, 1))

    def release(self, code: int) -> None:
        """A key or a button goes up."""
        self._write(self._hand, (_KEY, code, 0))

    def click(self, button: int) -> None:
        """One of X's wheel buttons: a notch."""
        axis, fine, notches = _TURNS[button]
        self._write(self._hand, (_REL, axis, notches), (_REL, fine, notches * _NOTCH))

    def move(self, x: int, y: int) -> None:
        """The pointer goes to this pixel of the root window."""
        width, height = self.geometry()
        # The middle of the pixel, so that no rounding on the way moves it to its neighbour.
        across, down = (
            (2 * place + 1) * (_LARGEST + 1) // (2 * size)
            for place, size in ((x, width), (y, height))
        )
        self._write(self._tablet, (_ABS, _X, across), (_ABS, _Y, down))

    def move_by(self, dx: int, dy: int) -> None:
        """The pointer goes so many counts further; the X server's acceleration applies."""
        self._write(self._hand, (_REL, _X, dx), (_REL, _Y, dy))

    # ---- inside

    def _create(self, name: str, keys: tuple[int, ...], *, absolute: bool) -> int:
        device = os.open(_DEVICE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._devices.append(device)
        for kind in (_KEY, _ABS if absolute else _REL):
            fcntl.ioctl(device, _SET_EVENT, kind)
        for key in keys:
            fcntl.ioctl(device, _SET_KEY, key)
        if absolute:
            for axis in (_X, _Y):
                fcntl.ioctl(device, _SET_ABS, axis)
                fcntl.ioctl(
                    device, _ABS_SETUP, struct.pack("=Hxx6i", axis, 0, 0, _LARGEST, 0, 0, 0)
                )
        else:
            for axis in (_X, _Y, _WHEEL, _HWHEEL, _WHEEL_FINE, _HWHEEL_FINE):
                fcntl.ioctl(device, _SET_REL, axis)
        identity = struct.pack("=4H80sI", _VIRTUAL_BUS, 0, 0, 1, name.encode(), 0)
        fcntl.ioctl(device, _SETUP, identity)
        fcntl.ioctl(device, _CREATE)
        return device

    @staticmethod
    def _write(device: int, *events: tuple[int, int, int]) -> None:
        full = b"".join(struct.pack("@llHHi", 0, 0, *event) for event in (*events, (_SYN, 0, 0)))
        try:
            os.write(device, full)
        except OSError as error:
            raise XServerGone(f"{_DEVICE} takes no more input: {error.strerror}") from None
