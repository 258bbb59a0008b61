"""The clipboard of an agent while somebody drives it: between the hub's connection and the clipboard's own thread."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Protocol

from kvmstream.errors import CaptureError
from kvmstream.wire import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmstream.wire.connection import Connection

__all__ = ["Pocket"]

_log = logging.getLogger("kvmstream.agent")


class AnyClipboard(Protocol):
    """That of any platform."""

    @property
    def ended(self) -> bool: ...
    def write(self, text: str) -> None: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...


def open_clipboard(x_display: str, on_text: Callable[[str, int], None]) -> AnyClipboard:
    """This platform's. Raises CaptureError."""
    made: AnyClipboard
    if sys.platform == "win32":
        from ._clipboard_win32 import Clipboard
        from ._native_win32 import NativeClipboard, native_agent

        core = native_agent()
        made = Clipboard(x_display, on_text) if core is None else NativeClipboard(core, on_text)
    else:
        from .clipboard import Clipboard

        made = Clipboard(x_display, on_text)
    return made


class Pocket:
    """Event loop's thread only."""

    def __init__(self, x_display: str) -> None:
        self._x_display = x_display
        self._clipboard: AnyClipboard | None = None
        self._left: list[
            AnyClipboard
        ] = []  # hold what was written to them until somebody copies something else

    async def watch(self, control: Connection | None) -> None:
        """Report what is copied to this connection; None ends it."""
        clipboard, self._clipboard = self._clipboard, None
        if clipboard is not None:
            clipboard.leave()
            self._left.append(clipboard)
        self._left = [left for left in self._left if not left.ended]
        if control is None:
            return
        loop = asyncio.get_running_loop()

        def report(text: str, too_long: int) -> None:
            loop.call_soon_threadsafe(control.post, m.ClipboardText(text, too_long))

        try:
            self._clipboard = await asyncio.to_thread(open_clipboard, self._x_display, report)
        except CaptureError as error:
            _log.warning("no clipboard: %s", error)

    async def close(self) -> None:
        """Give up what was written, and end all threads."""
        await self.watch(None)
        for left in self._left:
            await asyncio.to_thread(left.close)

    def write(self, text: str) -> None:
        """Put a text into it."""
        if self._clipboard is not None:
            try:
                self._clipboard.write(text)
            except ValueError as error:
                _log.warning("%s", error)
