"""Keyboard and mouse on Windows by SendInput: the rules of cpp/input in Python.

Windows leaves the repeats of a held key to the keyboard, so they are made here. Releases that a window of higher
integrity has kept back are sent again until they arrive. One object belongs to one thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from kvmstream.wire.keys import BUTTONS, KEYS, LOCKS, MODIFIERS

from ._held import HeldKeys
from ._scan_codes import SCAN_CODES, VIRTUAL_KEYS
from ._win32 import Input, User32

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SendInput", "SendInputInjector", "Windows", "to_absolute"]

_MOUSE, _KEYBOARD = 0, 1
_EXTENDED, _KEY_UP, _UNICODE, _SCAN_CODE = 0x1, 0x2, 0x4, 0x8
_MOVE, _ABSOLUTE, _VIRTUAL_DESK, _WHEEL, _HWHEEL = 0x0001, 0x8000, 0x4000, 0x0800, 0x1000
# evdev's button → MOUSEEVENTF_…DOWN and XBUTTON; each …UP is the bit above.
_BUTTONS: Final = {
    BUTTONS["left"]: (0x0002, 0), BUTTONS["right"]: (0x0008, 0), BUTTONS["middle"]: (0x0020, 0),
    BUTTONS["back"]: (0x0080, 1), BUTTONS["forward"]: (0x0080, 2),
}  # fmt: skip
_SWAPPED: Final = {
    BUTTONS["left"]: BUTTONS["right"],
    BUTTONS["right"]: BUTTONS["left"],
}
_PAUSE, _PRINT_SCREEN = KEYS["Pause"], KEYS["PrintScreen"]
_CONTROLS: Final = (KEYS["ControlLeft"], KEYS["ControlRight"])
_ALTS: Final = (KEYS["AltLeft"], KEYS["AltRight"])
_LOCKS: Final = {KEYS["CapsLock"]: 0x14, KEYS["NumLock"]: 0x90}  # VK_CAPITAL, VK_NUMLOCK
_BREAK, _SYS_RQ = (0xE046, 0x03), (0x54, 0x2C)  # scan code and virtual key
# Programs expect these as keys, not as characters.
_KEYS_OF_TEXT: Final = {
    "\n": KEYS["Enter"], "\r": KEYS["Enter"], "\t": KEYS["Tab"], "\b": KEYS["Backspace"], "\x1b": KEYS["Escape"],
    "\x7f": KEYS["Delete"],
}  # fmt: skip
_BATCH: Final = 256  # events of a text at a time, so that others get their turn
_SETTLE_SECONDS: Final = 0.25  # between two attempts to release what is owed
_LARGEST: Final = 65535  # of an absolute axis


class Windows(Protocol):
    """What is asked of Windows: User32, or a test's own."""

    def send(self, events: list[Input]) -> int: ...
    def virtual_key(self, scan: int) -> int: ...
    def bounds(self) -> tuple[int, int, int, int]: ...
    def locked_on(self, virtual_key: int) -> bool: ...
    def buttons_swapped(self) -> bool: ...
    def key_repeat(self) -> tuple[int, int]: ...
    def out_of_reach(self, pointer: bool) -> bool: ...


def to_absolute(place: int, origin: int, size: int) -> int:
    """From a pixel to the 0 … 65535 of MOUSEEVENTF_ABSOLUTE; a place outside becomes the nearest one inside.

    Rounded up: then every way back that Windows may use (floor(v·size/65536), v·(size−1)/65535 rounded down or to the
    nearest) gives this pixel again, for every size up to 65536.
    """
    if size <= 1:
        return 0
    return -(-min(max(place - origin, 0), size - 1) * _LARGEST // (size - 1))


class SendInput:
    """Sends presses, releases and motion, by evdev codes. What returns a string says in it what could not be done."""

    def __init__(self, windows: Windows | None = None) -> None:
        self._windows = windows if windows is not None else User32()
        self._pressed: dict[int, Input] = {}  # a release belongs to what was pressed

    def press(self, code: int) -> str:
        """A key or a button goes down, or a key that is down repeats."""
        if code not in self._pressed:
            self._pressed[code] = self._press_of(code)
        event = self._pressed[code]
        return self.send([event], pointer=code in _BUTTONS)

    def release(self, code: int) -> tuple[Input, str]:
        """A key or a button goes up; also what was sent, to send it once more."""
        press = self._pressed.pop(code) if code in self._pressed else self._press_of(code)
        event = _up(press)
        return event, self.send([event], pointer=code in _BUTTONS)

    def move(self, x: int, y: int) -> str:
        """The pointer goes to this pixel of all monitors together."""
        left, top, width, height = self._windows.bounds()
        across, down = to_absolute(x, left, width), to_absolute(y, top, height)
        return self.send([_mouse(_MOVE | _ABSOLUTE | _VIRTUAL_DESK, across, down)], pointer=True)

    def move_by(self, dx: int, dy: int) -> str:
        """The pointer goes so many counts further; the user's acceleration applies."""
        return self.send([_mouse(_MOVE, dx, dy)], pointer=True)

    def turn(self, dx: int, dy: int) -> str:
        """The wheel: Windows takes fractions of a notch, and away from the user is positive."""
        events = [_mouse(_WHEEL, data=-dy)] if dy else []
        if dx:
            events.append(_mouse(_HWHEEL, data=dx))
        return self.send(events, pointer=True) if events else ""

    def type(self, text: str, held: list[int]) -> str:
        """Characters whatever the layout has; the modifiers in `held` are let go of meanwhile."""
        modifiers = [self._pressed[code] for code in held]
        events = [_up(event) for event in modifiers]
        for character in text.replace("\r\n", "\n"):
            code = _KEYS_OF_TEXT.get(character)
            units = character.encode("utf-16-le", "replace")
            presses = (
                [self._press_of(code)]
                if code is not None
                else [
                    _keyboard(0, int.from_bytes(units[i : i + 2], "little"), _UNICODE)
                    for i in range(0, len(units), 2)
                ]
            )
            for press in presses:
                events += [press, _up(press)]
        events += modifiers
        failures = [
            self.send(events[i : i + _BATCH], pointer=False) for i in range(0, len(events), _BATCH)
        ]
        return next(filter(None, failures), "")

    def lock(self, code: int, wanted: bool) -> str:
        """Caps Lock or Num Lock becomes so."""
        if self._windows.locked_on(_LOCKS[code]) == wanted:
            return ""
        press = self._press_of(code)
        return self.send([press, _up(press)], pointer=False)

    def repeat_times(self) -> tuple[float, float]:
        """Seconds until a held key repeats, and from one repeat to the next."""
        delay, speed = self._windows.key_repeat()
        return (delay + 1) * 0.25, 1 / (2.5 + 27.5 * speed / 31)

    def send(self, events: list[Input], *, pointer: bool) -> str:
        """Send them; the sentence says why they did not arrive."""
        out_of_reach = self._windows.out_of_reach(pointer)
        taken = self._windows.send(events)
        if out_of_reach:
            where, what = ("under the pointer", "mouse") if pointer else ("in front", "keyboard")
            return (
                f"the window {where} runs with higher rights than kvmstream, so Windows keeps the {what} from it "
                "(UIPI); run the agent as administrator, or use another window"
            )
        if taken == len(events):
            return ""
        return (
            f"Windows took {taken} of {len(events)} events; the lock screen and questions of UAC take input from a "
            "process of SYSTEM only"
        )

    # ---- inside

    def _press_of(self, code: int) -> Input:
        if code in _BUTTONS:
            if self._windows.buttons_swapped():
                code = _SWAPPED.get(code, code)
            flags, data = _BUTTONS[code]
            return _mouse(flags, data=data)
        if code == _PAUSE and not any(held in self._pressed for held in _CONTROLS):
            # E1 1D 45 is no single scan code, and 45 alone is Num Lock: only its virtual key names this one.
            return _keyboard(VIRTUAL_KEYS[_PAUSE], SCAN_CODES[_PAUSE], 0)
        if code == _PAUSE:
            scan, virtual_key = _BREAK
        elif code == _PRINT_SCREEN and any(held in self._pressed for held in _ALTS):
            scan, virtual_key = _SYS_RQ
        else:
            scan, virtual_key = SCAN_CODES[code], VIRTUAL_KEYS.get(code, 0)
        # Windows looks at the scan code alone, Wine 8 at the virtual key alone.
        flags = _SCAN_CODE | (_EXTENDED if scan & 0xE000 == 0xE000 else 0)
        return _keyboard(virtual_key or self._windows.virtual_key(scan), scan & 0xFF, flags)


class SendInputInjector(HeldKeys):
    """One controller's hands on this desktop. Raises CaptureError elsewhere than on Windows."""

    def __init__(
        self,
        locate: Callable[[int, int, int], tuple[int, int] | None],
        windows: Windows | None = None,
    ) -> None:
        self._send = SendInput(windows)
        self._owed: list[tuple[Input, bool]] = []  # releases that did not arrive; of the pointer?
        self._settle_at = 0.0
        self._repeats: tuple[int, float] | None = None  # the key that went down last, and when
        self._interval = 0.0
        super().__init__("", locate)

    def key(self, code: int, down: bool) -> str:
        """A physical key, by its evdev code."""
        if code not in SCAN_CODES:
            return f"key {code} has no scan code on Windows; leave it out"
        return self._set(code, down)

    def button(self, code: int, down: bool) -> str:
        """A pointer button, by its evdev code."""
        if code not in _BUTTONS:
            return f"button {code:#x} is none of left, right, middle, back and forward"
        return self._set(code, down)

    def move(self, x: int, y: int) -> str:
        """The pointer goes to this pixel of all monitors together."""
        return self._send.move(x, y)

    def move_by(self, dx: int, dy: int) -> str:
        """The pointer goes so many counts further; the user's acceleration applies."""
        return self._send.move_by(dx, dy)

    def wheel(self, dx: int, dy: int) -> str:
        """Turn the wheel; Windows takes fractions of a notch."""
        return self._send.turn(dx, dy)

    def text(self, text: str) -> str:
        """Type characters, whatever the layout has."""
        self._repeats = None
        return self._send.type(text, [code for code in self._down if code in MODIFIERS])

    def locks(self, caps: bool | None, num: bool | None) -> str:
        """Caps Lock and Num Lock become so; None leaves one alone."""
        failure = ""
        for code, wanted in zip(_LOCKS, (caps, num), strict=True):
            if wanted is not None and code not in self._down:
                failure = self._send.lock(code, wanted) or failure
        return failure

    def sync(self) -> None:
        """SendInput returns when it is done."""

    def due(self) -> float | None:
        """Seconds until tick() wants to be called; None when it does not."""
        due = [self._settle_at] if self._owed else []
        if self._repeats is not None:
            due.append(self._repeats[1])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def tick(self) -> None:
        """Repeat the key that is held, and release what a window has kept down."""
        self._settle()
        if self._repeats is not None and self._repeats[1] <= time.monotonic():
            code, _ = self._repeats
            self._send.press(code)
            # Late is late: what was missed does not come in a burst.
            self._repeats = (code, time.monotonic() + self._interval)

    def release_all(self) -> None:
        """Everything up."""
        super().release_all()
        self._settle()

    def close(self) -> None:
        """Everything up, and the watchdog ends; never raises."""
        try:
            self.release_all()
        finally:
            super().close()

    def _press(self, code: int) -> str:
        if code not in _BUTTONS and code not in MODIFIERS and code not in LOCKS and code != _PAUSE:
            delay, self._interval = self._send.repeat_times()
            self._repeats = (code, time.monotonic() + delay)
        return self._send.press(code)

    def _release(self, code: int) -> str:
        if self._repeats is not None and self._repeats[0] == code:
            self._repeats = None
        event, failure = self._send.release(code)
        if failure:  # Windows goes on believing that it is down, in whatever window comes next
            self._owed.append((event, code in _BUTTONS))
            self._settle_at = time.monotonic() + _SETTLE_SECONDS
        return failure

    def _settle(self) -> None:
        owed, self._owed = self._owed, []
        self._settle_at = time.monotonic() + _SETTLE_SECONDS
        self._owed = [
            (event, pointer) for event, pointer in owed if self._send.send([event], pointer=pointer)
        ]


def _keyboard(virtual_key: int, scan: int, flags: int) -> Input:
    event = Input(kind=_KEYBOARD)
    event.ki.virtual_key, event.ki.scan, event.ki.flags = virtual_key, scan, flags
    return event


def _mouse(flags: int, dx: int = 0, dy: int = 0, data: int = 0) -> Input:
    event = Input(kind=_MOUSE)
    event.mi.flags, event.mi.dx, event.mi.dy, event.mi.data = flags, dx, dy, data & 0xFFFF_FFFF
    return event


def _up(press: Input) -> Input:
    event = Input.from_buffer_copy(press)
    if press.kind == _MOUSE:
        event.mi.flags <<= 1
    else:
        event.ki.flags |= _KEY_UP
    return event
