"""Text as key presses: through the present layout where it has the character, through a borrowed key where not."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._xtest import XHands

__all__ = ["TextTyper", "keysym"]

_NAMED: Final = {
    "\n": 0xFF0D,
    "\r": 0xFF0D,
    "\t": 0xFF09,
    "\b": 0xFF08,
    "\x1b": 0xFF1B,
    "\x7f": 0xFFFF,
    "€": 0x20AC,
}
_LEVEL3_SHIFT: Final = 0xFE03
_SHIFT: Final = 0xFFE1
_CAPS: Final = 0xFFE5
_UNICODE: Final = 0x0100_0000
_CAPS_LOCK: Final = 0x02  # bit of the server's state
_GROUP_SHIFT: Final = 13  # where the layout's number begins in the state
_OFFSET: Final = 8  # X keycode minus evdev code
# Programs read the map when they meet the first key after its change: time for them to do so.
_SETTLE_SECONDS: Final = 0.05
_SPARE_KEYS: Final = 16


def keysym(character: str) -> int:
    """X's number of a character; 0 for control characters that no key makes."""
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF:
        return code
    return 0 if code < 0xA0 or 0xD800 <= code < 0xE000 else _UNICODE | code


class TextTyper:
    """Knows the layout, and which spare keys are borrowed. `tell` reports borrowing to the watchdog beforehand."""

    def __init__(self, test: XHands, tell: Callable[[str], None]) -> None:
        self._test = test
        self._tell = tell
        self._borrowed: OrderedDict[int, tuple[int, list[int]]] = (
            OrderedDict()
        )  # symbol → keycode, what it was

    def type(self, text: str) -> str:
        """Type it; the sentence says which characters could not be."""
        test = self._test
        taken = {keycode for keycode, _ in self._borrowed.values()}
        # Borrowed keys change hands while we type: they are looked up in their own list.
        keymap = {code: symbols for code, symbols in test.keymap().items() if code not in taken}
        state = test.modifiers()
        places = _places(keymap, group=state >> _GROUP_SHIFT & 3)
        shift, level3 = _key_of(_SHIFT, keymap), _key_of(_LEVEL3_SHIFT, keymap)
        borrowable = [code for code, symbols in reversed(keymap.items()) if not any(symbols)]
        borrowable = borrowable[: max(0, _SPARE_KEYS - len(taken))]
        # With it on, programs turn the letters of borrowed keys around, too.
        caps = _key_of(_CAPS, keymap) if state & _CAPS_LOCK else None
        if caps is not None:
            self._stroke(caps)
        failed: list[str] = []
        borrowed = False
        for character in text.replace("\r\n", "\n"):
            symbol = keysym(character)
            place = places.get(symbol)
            if symbol == 0:
                failed.append(character)
            elif place is not None and not (place[1] >= 2 and level3 is None):
                keycode, level = place
                self._stroke(keycode, shift if level % 2 else None, level3 if level >= 2 else None)
            elif symbol in self._borrowed or self._borrow(symbol, borrowable):
                borrowed = True
                self._borrowed.move_to_end(symbol)
                self._stroke(self._borrowed[symbol][0])
            else:
                failed.append(character)
        if caps is not None:
            self._stroke(caps)
        test.sync()
        if borrowed:
            time.sleep(_SETTLE_SECONDS)
        return f"no key makes {', '.join(map(repr, dict.fromkeys(failed)))}" if failed else ""

    def give_back(self) -> None:
        """The map becomes what it was."""
        while self._borrowed:
            _, (keycode, before) = self._borrowed.popitem()
            self._test.set_symbols(keycode, before)
            self._tell(f"/{keycode}")

    def _borrow(self, symbol: int, borrowable: list[int]) -> bool:
        """Give a spare key this symbol; False when there is none."""
        if borrowable:
            keycode, before = borrowable.pop(), [0] * self._test.symbols_per_key
        elif self._borrowed:
            # The one that was used longest ago: programs have had the most time to read it.
            self._test.sync()
            time.sleep(_SETTLE_SECONDS)
            _, (keycode, before) = self._borrowed.popitem(last=False)
        else:
            return False
        self._tell("=" + " ".join(map(str, (keycode, *before))))
        self._test.set_symbols(keycode, [symbol] * 2)
        self._borrowed[symbol] = (keycode, before)
        self._test.sync()
        time.sleep(_SETTLE_SECONDS)
        return True

    def _stroke(self, keycode: int, *modifiers: int | None) -> None:
        held = [code for code in modifiers if code is not None]
        codes = [*held, keycode]
        for code in codes:
            self._tell(f"+{code - _OFFSET}")
            self._test.press(code - _OFFSET)
        for code in reversed(codes):
            self._test.release(code - _OFFSET)
            self._tell(f"-{code - _OFFSET}")


def _places(keymap: dict[int, list[int]], group: int) -> dict[int, tuple[int, int]]:
    """Where each symbol is in the present layout: X keycode and level (0 plain, 1 shift, 2 AltGr, 3 both).

    The core protocol's columns are levels 1 and 2 of the first group, the same of the second, then 3 and 4 of the first
    (X Keyboard Extension, "Core keyboard mapping to XKB").
    """
    columns = {0: (0, 1, 4, 5), 1: (2, 3, 6, 7)}.get(group, ())
    found: dict[int, tuple[int, int]] = {}
    for level, column in enumerate(columns):
        for keycode, symbols in keymap.items():
            if column >= len(symbols):
                continue
            symbol = symbols[column]
            if level == 1 and symbol == 0 and 0x61 <= symbols[column - 1] <= 0x7A:
                symbol = (
                    symbols[column - 1] - 0x20
                )  # a key that names only the small letter makes both
            if symbol and symbol not in found:
                found[symbol] = (keycode, level)
    return found


def _key_of(symbol: int, keymap: dict[int, list[int]]) -> int | None:
    """The X keycode that makes this symbol without a modifier; None when there is none."""
    return next((keycode for keycode, symbols in keymap.items() if symbol in symbols[:1]), None)
