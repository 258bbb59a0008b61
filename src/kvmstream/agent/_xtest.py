"""XTEST and the keyboard map over the wire: what the injector and its watchdog ask of the X server.

Codes are evdev's: keys (KEY_A = 30) become X keycodes by + 8, BTN_LEFT… (0x110 and up) become X buttons. One object
belongs to one thread. Numbers come from the protocol documents: X11 core and XTEST 2.2.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Final

from kvmstream._fallback.x11 import XConnection
from kvmstream._fallback.x11_wire import XServerGone

__all__ = ["BUTTONS", "EVDEV_OFFSET", "XHands", "XKeyboard", "XTest"]

_KEY_PRESS, _KEY_RELEASE, _BUTTON_PRESS, _BUTTON_RELEASE, _MOTION = 2, 3, 4, 5, 6
EVDEV_OFFSET: Final = 8  # from an evdev code to the X keycode
_FIRST_BUTTON: Final = 0x100  # codes from here on are buttons, not keys

# BTN_LEFT, RIGHT, MIDDLE, SIDE (back), EXTRA (forward) → X11's numbers; 4 to 7 are the wheel.
BUTTONS: Final = {0x110: 1, 0x112: 2, 0x111: 3, 0x113: 8, 0x114: 9}


class XKeyboard(XConnection):
    """The keyboard of one X server: its map, and what is down. Raises XServerGone when the server is or goes away."""

    def __init__(self, display: str) -> None:
        super().__init__(display)
        reply = self._ask(
            101, 0, struct.pack("<BBxx", 8, 1)
        )  # GetKeyboardMapping: how many symbols a key has
        self.symbols_per_key = reply[1]

    def sync(self) -> None:
        """Wait until the server has done all of it."""
        self._ask(43, 0)  # GetInputFocus: the usual round trip

    def keymap(self) -> dict[int, list[int]]:
        """Symbols of every X keycode, `symbols_per_key` each."""
        first, count = 8, 248
        reply = self._ask(101, 0, struct.pack("<BBxx", first, count))
        per_key = self.symbols_per_key = reply[1]
        symbols = struct.unpack_from(f"<{count * per_key}I", reply, 32)
        return {first + i: list(symbols[i * per_key : (i + 1) * per_key]) for i in range(count)}

    def set_symbols(self, keycode: int, symbols: list[int]) -> None:
        """Give one X keycode these symbols."""
        body = struct.pack(f"<BBxx{len(symbols)}I", keycode, len(symbols), *symbols)
        self._send(100, 1, body)

    def pressed_keycodes(self) -> set[int]:
        """X keycodes that are down now, whoever pressed them."""
        bits = self._ask(44, 0)[8:40]
        return {i for i in range(256) if bits[i // 8] >> i % 8 & 1}

    def modifiers(self) -> int:
        """Modifier and button bits now; 0x02 is Caps Lock."""
        return int(struct.unpack_from("<H", self._ask(38, 0, struct.pack("<I", self.root)), 24)[0])

    def modifier_keycodes(self) -> list[set[int]]:
        """X keycodes of each of the eight modifiers: Shift, Lock, Control, Mod1 … Mod5."""
        reply = self._ask(119, 0)
        per = reply[1]
        return [set(reply[32 + i * per : 32 + (i + 1) * per]) - {0} for i in range(8)]


class XHands(XKeyboard, ABC):
    """What plays input on one X server: XTest, or Uinput."""

    @abstractmethod
    def press(self, code: int) -> None:
        """A key or a button goes down."""

    @abstractmethod
    def release(self, code: int) -> None:
        """A key or a button goes up."""

    @abstractmethod
    def click(self, button: int) -> None:
        """An X button down and up: the wheel's notches."""

    @abstractmethod
    def move(self, x: int, y: int) -> None:
        """The pointer goes to this pixel of the root window."""

    @abstractmethod
    def move_by(self, dx: int, dy: int) -> None:
        """The pointer goes so many pixels further."""


class XTest(XHands):
    """Injects into one X server. Raises XServerGone also when it has no XTEST."""

    def __init__(self, display: str) -> None:
        super().__init__(display)
        found = self.extension("XTEST")
        if found is None:
            self.close()
            raise XServerGone(
                f"the X server {display!r} has no XTEST extension: input cannot be injected"
            )
        self._xtest = found.opcode

    def press(self, code: int) -> None:
        """A key or a button goes down."""
        if code >= _FIRST_BUTTON:
            self._fake(_BUTTON_PRESS, BUTTONS[code])
        else:
            self._fake(_KEY_PRESS, code + EVDEV_OFFSET)

    def release(self, code: int) -> None:
        """A key or a button goes up."""
        if code >= _FIRST_BUTTON:
            self._fake(_BUTTON_RELEASE, BUTTONS[code])
        else:
            self._fake(_KEY_RELEASE, code + EVDEV_OFFSET)

    def click(self, button: int) -> None:
        """An X button down and up: the wheel's notches."""
        self._fake(_BUTTON_PRESS, button)
        self._fake(_BUTTON_RELEASE, button)

    def move(self, x: int, y: int) -> None:
        """The pointer goes to this pixel of the root window."""
        self._fake(_MOTION, 0, self.root, x, y)

    def move_by(self, dx: int, dy: int) -> None:
        """The pointer goes so many pixels further."""
        self._fake(_MOTION, 1, 0, dx, dy)

    def _fake(self, kind: int, detail: int, root: int = 0, x: int = 0, y: int = 0) -> None:
        payload = struct.pack("<BBxxIIxxxxxxxxhhxxxxxxxx", kind, detail, 0, root, x, y)
        self._send(self._xtest, 2, payload)
