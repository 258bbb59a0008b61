"""Keyboard and mouse of a remote source."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from .errors import ConfigError
from .wire import messages as m
from .wire.keys import BUTTONS, key_code
from .wire.limits import (
    CLIPBOARD_BYTES,
    INPUT_EVENTS,
    RELATIVE_PIXELS,
    TEXT_CHARACTERS,
    WHEEL_UNITS,
)

if TYPE_CHECKING:
    from .remote import RemoteSource

__all__ = ["Keyboard", "Mouse", "RemoteClipboard"]

_NOTCH: Final = 120
_NOTCHES: Final = WHEEL_UNITS // _NOTCH
_CLICKS: Final = 100
_WAITING_SECONDS: Final = 20.0


class Keyboard:
    """Keys by their place ("KeyA", "Enter", "ctrl"), texts by their characters.

    Every method returns when the source has done it, raises CaptureError when it could not, AuthenticationFailed when
    somebody else drives the source, and ConnectionLost.
    """

    def __init__(self, source: RemoteSource) -> None:
        self._source = source

    async def type(self, text: str) -> None:
        """Type characters, also those that the source's layout lacks."""
        for start in range(0, len(text), TEXT_CHARACTERS):
            await self._source._inject(m.Text(text[start : start + TEXT_CHARACTERS]))

    async def press(self, *keys: str) -> None:
        """Press keys together and let go: press("ctrl", "c")."""
        if not keys:
            raise ConfigError("press() needs at least one key, e.g. press('ctrl', 'c')")
        _within("keys together", len(keys), 1, INPUT_EVENTS // 2, "press them one after the other")
        codes = [key_code(key) for key in keys]
        await self._source._inject(
            *(m.Key(code, True) for code in codes),
            *(m.Key(code, False) for code in reversed(codes)),
        )

    async def down(self, key: str) -> None:
        """Hold a key; it goes up with up(), with the control, or when this connection is lost."""
        code = key_code(key)
        self._source._held.add(code)
        await self._source._inject(m.Key(code, True))

    async def up(self, key: str) -> None:
        """Let go of a key."""
        code = key_code(key)
        self._source._held.discard(code)
        await self._source._inject(m.Key(code, False))

    async def release_all(self) -> None:
        """Everything up, the mouse's buttons too."""
        self._source._held.clear()
        await self._source._inject(m.ReleaseAll())


class Mouse:
    """The pointer; places are pixels of the source's picture. Errors as for the keyboard."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source

    async def move(self, x: float, y: float) -> None:
        """Go to a place. Raises ConfigError for one outside of the picture."""
        await self._source._inject(await self._motion(x, y))

    async def move_by(self, dx: int, dy: int) -> None:
        """Go so many pixels further. Raises ConfigError beyond 32,767 at once."""
        for name, value in (("dx", dx), ("dy", dy)):
            _within(name, value, -RELATIVE_PIXELS, RELATIVE_PIXELS, "go there in several steps")
        await self._source._inject(m.RelativeMotion(dx, dy))

    async def click(
        self, x: float | None = None, y: float | None = None, button: str = "left", count: int = 1
    ) -> None:
        """Click, at a place or where the pointer is; count=2 is a double click. Raises ConfigError beyond 100."""
        code = _button(button)
        _within("count", count, 1, _CLICKS, "click() again")
        motion = [] if x is None or y is None else [await self._motion(x, y)]
        clicks = [m.Button(code, down) for _ in range(count) for down in (True, False)]
        await self._source._inject(*motion, *clicks)

    async def down(self, button: str = "left") -> None:
        """Hold a button."""
        code = _button(button)
        self._source._held.add(code)
        await self._source._inject(m.Button(code, True))

    async def up(self, button: str = "left") -> None:
        """Let go of a button."""
        code = _button(button)
        self._source._held.discard(code)
        await self._source._inject(m.Button(code, False))

    async def wheel(self, dx: float = 0, dy: float = 0) -> None:
        """Turn the wheel by notches, also fractions: down and right are positive. Raises ConfigError beyond 100."""
        for name, value in (("dx", dx), ("dy", dy)):
            _within(name, value, -_NOTCHES, _NOTCHES, "turn it several times")
        await self._source._inject(m.Wheel(round(dx * _NOTCH), round(dy * _NOTCH)))

    async def _motion(self, x: float, y: float) -> m.Motion:
        generation, width, height = await self._source._picture()
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f"({x}, {y}) is outside of the picture, which is {width} × {height}")
        # Halfway into the step, so that the source's rounding down lands on the same pixel.
        return m.Motion(_step(x, width), _step(y, height), generation)


class RemoteClipboard:
    """The clipboard of a source, as text; only who drives the source reads and writes it."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source
        self._news = asyncio.Event()
        self._text = ""
        self._too_long = 0

    @property
    def text(self) -> str:
        """What was copied there last, as far as it is known; "" before the source is driven."""
        return self._text

    async def write(self, text: str) -> None:
        """Put a text into it. Raises AuthenticationFailed.

        Raises ConfigError beyond 256 KiB of UTF-8, and where the source's policy lets no text in.
        """
        size = len(text.encode())
        if size > CLIPBOARD_BYTES:
            raise ConfigError(
                f"a text of {size} bytes: the clipboard takes at most {CLIPBOARD_BYTES}"
            )
        self._allowed("to_source")
        await self._source._drive()
        self._text = text
        await self._source._hub._check().send(m.ClipboardText(text, 0, self._source.name))

    async def wait_change(self, timeout: float | None = None) -> str:
        """Wait until something is copied there, and return it. Raises TimeoutError.

        Raises ConfigError for a text beyond the limit: it stays there; and where the policy lets none out.
        """
        self._allowed("from_source")
        await self._source._drive()
        self._news.clear()
        async with asyncio.timeout(timeout):
            while not self._news.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WAITING_SECONDS):
                        await self._news.wait()
                # Else the control would end for want of input, and with it what is heard of the clipboard.
                await self._source._drive()
                self._source._hub._check().post(m.Input([], self._source.name))
        self._source._hub._check()
        if self._too_long:
            raise ConfigError(
                f"a text of {self._too_long} bytes was copied: the limit is {CLIPBOARD_BYTES}"
            )
        return self._text

    def _allowed(self, way: str) -> None:
        policy = self._source.info.clipboard
        if policy not in ("both", way):
            name = self._source.name
            raise ConfigError(
                f"the clipboard policy of {name} is {policy}: an admin can allow more, by the console or by "
                f"kvmstream sources clipboard {name} both"
            )

    def _take(self, message: m.ClipboardText) -> None:
        self._text, self._too_long = message.text, message.too_long
        self._news.set()


def _step(value: float, size: int) -> int:
    return min(65535, -(-int(value) * 65535 // (size - 1))) if size > 1 else 0


def _within(name: str, value: float, least: int, most: int, next_step: str) -> None:
    if not least <= value <= most:  # nor NaN
        raise ConfigError(f"{name} = {value}: must be {least} … {most}; {next_step}")


def _button(name: str) -> int:
    if name not in BUTTONS:
        raise ConfigError(f"button {name!r}: must be one of {', '.join(BUTTONS)}")
    return BUTTONS[name]
