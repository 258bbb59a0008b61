"""Plays input back on this machine's X screen, and never leaves a key down."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from kvmstream._fallback.x11_wire import XServerGone
from kvmstream.errors import CaptureError
from kvmstream.wire import messages as m
from kvmstream.wire.keys import KEYS, MODIFIERS
from kvmstream.wire.limits import LEASE_SECONDS

from ._keymap import TextTyper
from ._uinput import Uinput
from ._xtest import BUTTONS, EVDEV_OFFSET, XTest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Injector"]

_NOTCH: Final = 120  # of a wheel
_WHEEL_BUTTONS: Final = {("y", -1): 4, ("y", 1): 5, ("x", -1): 6, ("x", 1): 7}
_CAPS_LOCK, _NUM_LOCK = KEYS["CapsLock"], KEYS["NumLock"]
_LARGEST_KEY: Final = 247  # X has no keycode above 255


class Injector:
    """One controller's hands on one X server. Belongs to one thread.

    Each method returns what could not be done as a sentence, "" when all went well. Raises CaptureError when no X
    server answers at `display`, or it has no XTEST and /dev/uinput cannot be written either. A watchdog process lets go
    of everything when this one dies.
    """

    def __init__(
        self, display: str, locate: Callable[[int, int, int], tuple[int, int] | None]
    ) -> None:
        self._locate = locate
        self._down: dict[int, float] = {}  # code → when it was pressed or renewed
        self._wheel = {"x": 0, "y": 0}  # fractions of a notch not yet turned
        self._test = _open(display)
        try:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-m", "kvmstream.agent._watchdog", display],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self._test.close()
            raise
        self._typer = TextTyper(self._test, self._tell)

    @property
    def held(self) -> frozenset[int]:
        """Codes that are down now."""
        return frozenset(self._down)

    def apply(self, event: m.InputEvent) -> str:
        """Do one event. Raises XServerGone when the server is gone."""
        if isinstance(event, m.Key):
            return self.key(event.code, event.down)
        if isinstance(event, m.Button):
            return self.button(event.code, event.down)
        if isinstance(event, m.Motion):
            return self.motion(event.x, event.y, event.generation)
        if isinstance(event, m.RelativeMotion):
            self._test.move_by(event.dx, event.dy)
        elif isinstance(event, m.Wheel):
            self.wheel(event.dx, event.dy)
        elif isinstance(event, m.Text):
            return self.text(event.text)
        elif isinstance(event, m.Locks):
            self.locks(event.caps, event.num)
        elif isinstance(event, m.Held):
            self.renew(event.codes)
        else:
            self.release_all()
        return ""

    def key(self, code: int, down: bool) -> str:
        """A physical key, by its evdev code."""
        if code > _LARGEST_KEY:
            return f"key {code} does not exist on X11: the largest is {_LARGEST_KEY}"
        self._set(code, down)
        return ""

    def button(self, code: int, down: bool) -> str:
        """A pointer button, by its evdev code."""
        if code not in BUTTONS:
            return f"button {code:#x} is none of left, right, middle, back and forward"
        self._set(code, down)
        return ""

    def motion(self, x: int, y: int, generation: int) -> str:
        """The pointer goes to a place of the picture; a place in an older picture is dropped."""
        place = self._locate(x, y, generation)
        if place is None:
            return (
                f"the picture has changed since: generation {generation} is not what is shown now"
            )
        self._test.move(*place)
        return ""

    def sync(self) -> None:
        """Wait until the server has done all of it."""
        self._test.sync()

    def wheel(self, dx: int, dy: int) -> None:
        """Turn the wheel by fractions of a notch; X11 knows whole ones, the rest is kept for the next time."""
        for axis, turn in (("x", dx), ("y", dy)):
            if turn * self._wheel[axis] < 0:
                self._wheel[axis] = 0  # the other way round begins anew
            total = self._wheel[axis] + turn
            notches = int(total / _NOTCH)
            self._wheel[axis] = total - notches * _NOTCH
            for _ in range(abs(notches)):
                self._test.click(_WHEEL_BUTTONS[axis, 1 if notches > 0 else -1])

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

    def locks(self, caps: bool | None, num: bool | None) -> None:
        """Caps Lock and Num Lock become so; None, and a keyboard that has no such lock, leave one alone."""
        keys = self._test.modifier_keycodes()
        now = self._test.modifiers()
        for code, wanted in ((_CAPS_LOCK, caps), (_NUM_LOCK, num)):
            bit = next((1 << n for n, held in enumerate(keys) if code + EVDEV_OFFSET in held), 0)
            if wanted is not None and bit and bool(now & bit) != wanted and code not in self._down:
                self._set(code, down=True)
                self._set(code, down=False)

    def renew(self, codes: list[int]) -> None:
        """The holder says what is down; what is not in it goes up, and nothing goes down."""
        now = time.monotonic()
        for code in [code for code in self._down if code not in codes]:
            self._set(code, down=False)
        for code in self._down:
            self._down[code] = now

    def expire(self) -> list[int]:
        """Let go of what nobody has renewed within the lease; call it about once a second."""
        limit = time.monotonic() - LEASE_SECONDS
        late = [code for code, since in self._down.items() if since < limit]
        for code in late:
            self._set(code, down=False)
        return late

    def release_all(self) -> None:
        """Everything up, and the keyboard's map as it was."""
        for code in list(reversed(self._down)):
            self._set(code, down=False)
        self._typer.give_back()
        self._test.sync()

    def close(self) -> None:
        """Everything up, and the watchdog ends; never raises."""
        with contextlib.suppress(XServerGone):
            self.release_all()
        self._test.close()
        assert self._watchdog.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already
            self._watchdog.stdin.close()
        try:
            self._watchdog.wait(5)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()

    # ---- inside

    def _set(self, code: int, down: bool) -> None:
        if down:
            if code in self._down:
                return  # repeats are the source's own business
            self._tell(f"+{code}")
            self._down[code] = time.monotonic()
            self._test.press(code)
        elif self._down.pop(code, None) is not None:
            self._test.release(code)
            self._tell(f"-{code}")

    def _tell(self, line: str) -> None:
        """Let the watchdog know before it matters."""
        assert self._watchdog.stdin is not None
        try:
            self._watchdog.stdin.write(line.encode() + b"\n")
            self._watchdog.stdin.flush()
        except OSError:
            # Somebody killed the guard: without one no key goes down.
            raise XServerGone("the watchdog process has ended") from None


def _open(display: str) -> XTest | Uinput:
    """XTEST where the server has it: it needs no rights and works on virtual servers, too."""
    try:
        return XTest(display)
    except XServerGone as error:
        reason = str(error)
    try:
        return Uinput(display)
    except XServerGone as error:
        raise CaptureError(str(error)) from None
    except OSError as error:
        raise CaptureError(
            f"{reason}; and /dev/uinput cannot be used: {error.strerror} (let this user write it, e.g. by a udev rule)"
        ) from None
