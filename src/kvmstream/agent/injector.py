"""Plays input back on this machine's screen, and never leaves a key down."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

from kvmstream._fallback.x11_wire import XServerGone
from kvmstream.errors import CaptureError
from kvmstream.wire.keys import KEYS, MODIFIERS

from ._held import HeldKeys
from ._keymap import TextTyper
from ._xtest import BUTTONS, EVDEV_OFFSET, XHands, XTest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Injector", "open_injector"]

_NOTCH: Final = 120  # of a wheel
_WHEEL_BUTTONS: Final = {("y", -1): 4, ("y", 1): 5, ("x", -1): 6, ("x", 1): 7}
_CAPS_LOCK, _NUM_LOCK = KEYS["CapsLock"], KEYS["NumLock"]
_LARGEST_KEY: Final = 247  # X has no keycode above 255


def open_injector(
    display: str, locate: Callable[[int, int, int], tuple[int, int] | None]
) -> HeldKeys:
    """This platform's: SendInput on Windows, an X server elsewhere. Raises CaptureError."""
    if sys.platform == "win32":
        from ._native_win32 import NativeInjector, native_agent
        from ._sendinput import SendInputInjector

        core = native_agent()
        return SendInputInjector(locate) if core is None else NativeInjector(core, locate)
    return Injector(display, locate)


class Injector(HeldKeys):
    """One controller's hands on one X server.

    Raises CaptureError when no X server answers at `display`, or it has no XTEST and /dev/uinput cannot be written
    either.
    """

    def __init__(
        self, display: str, locate: Callable[[int, int, int], tuple[int, int] | None]
    ) -> None:
        self._wheel = {"x": 0, "y": 0}  # fractions of a notch not yet turned
        self._test = _open(display)
        try:
            super().__init__(display, locate)
        except BaseException:
            self._test.close()
            raise
        self._typer = TextTyper(self._test, self._tell)

    def key(self, code: int, down: bool) -> str:
        """A physical key, by its evdev code."""
        if code > _LARGEST_KEY:
            return f"key {code} does not exist on X11: the largest is {_LARGEST_KEY}"
        return self._set(code, down)

    def button(self, code: int, down: bool) -> str:
        """A pointer button, by its evdev code."""
        if code not in BUTTONS:
            return f"button {code:#x} is none of left, right, middle, back and forward"
        return self._set(code, down)

    def move(self, x: int, y: int) -> str:
        """The pointer goes to this pixel of the root window."""
        self._test.move(x, y)
        return ""

    def move_by(self, dx: int, dy: int) -> str:
        """The pointer goes so many pixels further."""
        self._test.move_by(dx, dy)
        return ""

    def sync(self) -> None:
        """Wait until the server has done all of it."""
        self._test.sync()

    def wheel(self, dx: int, dy: int) -> str:
        """Turn the wheel by fractions of a notch; X11 knows whole ones, the rest is kept for the next time."""
        for axis, turn in (("x", dx), ("y", dy)):
            if turn * self._wheel[axis] < 0:
                self._wheel[axis] = 0  # the other way round begins anew
            total = self._wheel[axis] + turn
            notches = int(total / _NOTCH)
            self._wheel[axis] = total - notches * _NOTCH
            for _ in range(abs(notches)):
                self._test.click(_WHEEL_BUTTONS[axis, 1 if notches > 0 else -1])
        return ""

    def text(self, text: str) -> str:
        """Type characters through the present layout, borrowing spare keys for what it lacks."""
        # A modifier that is held would turn the text into shortcuts.
        held = [code for code in self._down if code in MODIFIERS]
        for code in held:
            self._test.release(code)
        try:
            return self._typer.type(text)
        finally:
            for code in held:
                self._test.press(code)

    def locks(self, caps: bool | None, num: bool | None) -> str:
        """Caps Lock and Num Lock become so; None, and a keyboard that has no such lock, leave one alone."""
        keys = self._test.modifier_keycodes()
        now = self._test.modifiers()
        for code, wanted in ((_CAPS_LOCK, caps), (_NUM_LOCK, num)):
            bit = next((1 << n for n, held in enumerate(keys) if code + EVDEV_OFFSET in held), 0)
            if wanted is not None and bit and bool(now & bit) != wanted and code not in self._down:
                self._set(code, down=True)
                self._set(code, down=False)
        return ""

    def release_all(self) -> None:
        """Everything up, and the keyboard's map as it was."""
        super().release_all()
        self._typer.give_back()
        self._test.sync()

    def close(self) -> None:
        """Everything up, and the watchdog ends; never raises."""
        with contextlib.suppress(XServerGone):
            self.release_all()
        self._test.close()
        super().close()

    def _press(self, code: int) -> str:
        self._test.press(code)
        return ""

    def _release(self, code: int) -> str:
        self._test.release(code)
        return ""


def _open(display: str) -> XHands:
    """XTEST where the server has it: it needs no rights and works on virtual servers, too."""
    try:
        return XTest(display)
    except XServerGone as error:
        reason = str(error)
    if sys.platform != "win32":
        from ._uinput import Uinput

        try:
            return Uinput(display)
        except XServerGone as error:
            reason = str(error)
        except OSError as error:
            reason += f"; and /dev/uinput cannot be used: {error.strerror} "
            reason += "(let this user write it, e.g. by a udev rule)"
    raise CaptureError(reason)
