"""Keyboard, mouse and clipboard of Windows by the native core: cpp/input and cpp/clipboard under the agent's names.

Where the fallback is in use, _sendinput.py and _clipboard_win32.py do the same by ctypes.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol, cast

from kvmstream import _backend
from kvmstream.wire.keys import BUTTONS
from kvmstream.wire.limits import CLIPBOARD_BYTES

from ._held import HeldKeys
from ._scan_codes import SCAN_CODES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NativeClipboard", "NativeInjector", "native_agent"]

_log = logging.getLogger("kvmstream.agent")
_BUTTON_CODES = frozenset(BUTTONS.values())


class _Injector(Protocol):
    def key(self, code: int, down: bool) -> str: ...
    def button(self, code: int, down: bool) -> str: ...
    def move(self, x: int, y: int) -> str: ...
    def move_by(self, dx: int, dy: int) -> str: ...
    def wheel(self, dx: int, dy: int) -> str: ...
    def text(self, text: str) -> str: ...
    def locks(self, caps: bool | None, num: bool | None) -> str: ...
    def renew(self, codes: list[int]) -> str: ...
    def due(self) -> float | None: ...
    def tick(self) -> str: ...
    def release_all(self) -> str: ...


class _Clipboard(Protocol):
    def write(self, text: str) -> None: ...
    def close(self) -> None: ...


class NativeAgent(Protocol):
    """What kvmstream._core has on Windows, and there alone."""

    def SendInputInjector(self) -> _Injector: ...  # noqa: N802 (a class on the other side)
    def Clipboard(  # noqa: N802
        self, on_text: Callable[[str, int], None], on_problem: Callable[[str], None]
    ) -> _Clipboard: ...


def native_agent() -> NativeAgent | None:
    """The native core, where it is in use; None stands for the fallback."""
    chosen = _backend.selected()
    return cast("NativeAgent", chosen.module) if chosen.name == "native" else None


class NativeInjector(HeldKeys):
    """One controller's hands on this desktop. Belongs to one thread."""

    def __init__(
        self, core: NativeAgent, locate: Callable[[int, int, int], tuple[int, int] | None]
    ) -> None:
        self._core = core.SendInputInjector()
        super().__init__("", locate)

    def key(self, code: int, down: bool) -> str:
        """A physical key, by its evdev code."""
        if code not in SCAN_CODES:
            return self._core.key(code, down)  # says why not
        return self._set(code, down)

    def button(self, code: int, down: bool) -> str:
        """A pointer button, by its evdev code."""
        if code not in _BUTTON_CODES:
            return self._core.button(code, down)  # says why not
        return self._set(code, down)

    def move(self, x: int, y: int) -> str:
        """The pointer goes to this pixel of all monitors together."""
        return self._core.move(x, y)

    def move_by(self, dx: int, dy: int) -> str:
        """The pointer goes so many counts further; the user's acceleration applies."""
        return self._core.move_by(dx, dy)

    def wheel(self, dx: int, dy: int) -> str:
        """Turn the wheel; Windows takes fractions of a notch."""
        return self._core.wheel(dx, dy)

    def text(self, text: str) -> str:
        """Type characters, whatever the layout has."""
        return self._core.text(_without_surrogates(text))

    def locks(self, caps: bool | None, num: bool | None) -> str:
        """Caps Lock and Num Lock become so; None leaves one alone."""
        return self._core.locks(caps, num)

    def sync(self) -> None:
        """SendInput returns when it is done."""

    def renew(self, codes: list[int]) -> None:
        """The holder says what is down; the core keeps a lease of its own."""
        super().renew(codes)
        self._core.renew(codes)

    def due(self) -> float | None:
        """Seconds until tick() wants to be called; None when it does not."""
        return self._core.due()

    def tick(self) -> None:
        """Repeat the key that is held, and release what a window has kept down."""
        self._core.tick()

    def release_all(self) -> None:
        """Everything up."""
        super().release_all()
        self._core.release_all()

    def close(self) -> None:
        """Everything up, and the watchdog ends; never raises."""
        try:
            self.release_all()
        finally:
            super().close()

    def _press(self, code: int) -> str:
        return self._send(code, down=True)

    def _release(self, code: int) -> str:
        return self._send(code, down=False)

    def _send(self, code: int, down: bool) -> str:
        send = self._core.button if code in _BUTTON_CODES else self._core.key
        return send(code, down)


class NativeClipboard:
    """Calls `on_text(text, too_long)` as _clipboard_win32.Clipboard does. Raises CaptureError without a desktop."""

    def __init__(self, core: NativeAgent, on_text: Callable[[str, int], None]) -> None:
        self._on_text = on_text
        self._left = False
        self._core = core.Clipboard(self._hear, _log.warning)
        # The clipboard's thread may be waiting for another program: nobody waits for it but this one.
        self._end = threading.Thread(
            target=self._core.close, name="kvmstream-clipboard-end", daemon=True
        )

    def write(self, text: str) -> None:
        """Put a text into the clipboard. Any thread. Raises ValueError beyond 256 KiB of UTF-8."""
        text = _without_surrogates(text)
        size = len(text.encode())
        if size > CLIPBOARD_BYTES:
            raise ValueError(
                f"a text of {size} bytes: the clipboard takes at most {CLIPBOARD_BYTES}"
            )
        self._core.write(text)

    def leave(self) -> None:
        """Look at it no more, and end: Windows keeps what write() put there."""
        if not self._left:
            self._left = True
            self._end.start()

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left."""
        return self._left and not self._end.is_alive()

    def close(self) -> None:
        """End it; idempotent. What was written stays."""
        self.leave()
        self._end.join()

    def _hear(self, text: str, too_long: int) -> None:
        if not self._left:
            self._on_text(text, too_long)


def _without_surrogates(text: str) -> str:
    """UTF-8 has none; a lone half of a character becomes "?"."""
    return text.encode("utf-8", "replace").decode()
