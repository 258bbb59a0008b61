"""The Windows clipboard as text, both ways, as clipboard.py does it: a message window in a thread of its own."""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from kvmstream.errors import CaptureError
from kvmstream.wire.limits import CLIPBOARD_BYTES

from ._win32 import load

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clipboard", "Desk", "from_clipboard", "to_clipboard"]

_log = logging.getLogger("kvmstream.agent")

_LINGER_MS: Final = 20  # a program that copies often announces itself twice
_ATTEMPTS: Final = 100  # 2 s: another program holds the clipboard while it fills it
_UNICODE_TEXT: Final = 13
_MESSAGE_ONLY: Final = -3
_CLIPBOARD_UPDATE, _TIMER, _APP = 0x031D, 0x0113, 0x8000
_MOVEABLE: Final = 0x0002


def to_clipboard(text: str) -> str:
    """Line ends as Windows has them; one that is right already stays."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def from_clipboard(text: str) -> str:
    """Line ends as the wire has them."""
    return text.replace("\r\n", "\n")


class Desk(Protocol):
    """What is asked of Windows: _Win32Desk, or a test's own. All but wake() belongs to one thread."""

    def open(self) -> None:
        """A message window that hears of changes. Raises CaptureError."""

    def next(self) -> str:
        """The next "update", "timer" or "woken"."""

    def wake(self) -> None:
        """Make next() return "woken". Any thread."""

    def set_timer(self, on: bool) -> None:
        """Make next() return "timer" every 20 ms, or no more."""

    def ours(self) -> bool:
        """Whether write() was the last to change it."""

    def read(self) -> str | None:
        """The text, "" for none, None while another program holds the clipboard."""

    def write(self, text: str) -> bool:
        """False while another program holds the clipboard. Raises OSError."""

    def close(self) -> None:
        """The window goes."""


class Clipboard:
    """Calls `on_text(text, too_long)` from its own thread whenever another program has copied something else.

    `too_long` is the number of bytes of a text beyond the limit of 256 KiB, which is not handed on; else 0. What
    write() has put there is not reported back. Raises CaptureError without a desktop.
    """

    def __init__(
        self, display: str, on_text: Callable[[str, int], None], desk: Desk | None = None
    ) -> None:
        del display  # there is one clipboard in a session
        self._desk = desk if desk is not None else _Win32Desk()
        self._on_text = on_text
        self._lock = threading.Lock()
        self._asked: str | None = None  # under the lock; a text that waits gives way to a newer one
        self._ending = False
        self._left = False
        self._last = ""  # what was reported or written last
        self._failures: list[CaptureError] = []
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kvmstream-clipboard", daemon=True)
        self._thread.start()
        self._opened.wait()
        if self._failures:
            self._thread.join()
            raise self._failures[0]

    def write(self, text: str) -> None:
        """Put a text into the clipboard. Any thread. Raises ValueError beyond 256 KiB of UTF-8."""
        size = len(text.encode("utf-8", "replace"))
        if size > CLIPBOARD_BYTES:
            raise ValueError(
                f"a text of {size} bytes: the clipboard takes at most {CLIPBOARD_BYTES}"
            )
        with self._lock:
            self._asked = text
        self._desk.wake()

    def leave(self) -> None:
        """Look at it no more, and end: Windows keeps what write() put there."""
        self._left = self._ending = True
        self._desk.wake()

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the thread; idempotent. What was written stays."""
        self.leave()
        self._thread.join()

    # ---- the clipboard's own thread

    def _run(self) -> None:
        try:
            self._desk.open()
        except CaptureError as error:
            self._failures.append(error)
            return
        finally:
            self._opened.set()
        try:
            self._serve()
        finally:
            self._desk.close()

    def _serve(self) -> None:
        reads, writes = _ATTEMPTS, 0  # first of all what is there already
        self._desk.set_timer(True)
        while True:
            kind = self._desk.next()
            if kind == "update":
                reads = _ATTEMPTS
                self._desk.set_timer(True)
                continue
            with self._lock:
                asked = self._asked
            if asked is not None and writes == 0:
                writes = _ATTEMPTS
            # Writes first: what was there before is then nobody's any more.
            if asked is not None:
                if self._written(asked):
                    reads = writes = 0
                else:
                    writes -= 1
                    if writes == 0:
                        self._say_unwritten(asked, "another program holds the clipboard")
                if writes == 0:
                    with self._lock:
                        if self._asked is asked:
                            self._asked = None
            elif reads and not self._ending:
                reads = 0 if self._was_read() else reads - 1
            if self._ending:
                return
            self._desk.set_timer(bool(reads or writes))

    def _written(self, text: str) -> bool:
        # An OSError is no reason to try for two seconds: memory, or a clipboard that another has emptied meanwhile.
        try:
            if not self._desk.write(to_clipboard(text)):
                return False
            self._last = text
        except OSError as error:
            self._say_unwritten(text, str(error))
        return True

    @staticmethod
    def _say_unwritten(text: str, reason: str) -> None:
        _log.warning(
            "a text of %d characters did not get into the clipboard: %s; copy it again",
            len(text),
            reason,
        )

    def _was_read(self) -> bool:
        if self._desk.ours():
            return True
        found = self._desk.read()
        if found is None:
            return False
        text = from_clipboard(found)
        size = len(text.encode("utf-8", "replace"))
        if self._left:
            return True
        if size > CLIPBOARD_BYTES:
            self._on_text("", size)
        elif text and text != self._last:
            self._last = text
            self._on_text(text, 0)
        return True


class _Message(ctypes.Structure):
    """MSG."""

    _fields_ = (
        ("window", ctypes.c_void_p),
        ("kind", ctypes.c_uint32),
        ("wide", ctypes.c_size_t),
        ("low", ctypes.c_ssize_t),
        ("time", ctypes.c_uint32),
        ("x", ctypes.c_int32),
        ("y", ctypes.c_int32),
        ("private", ctypes.c_uint32),
    )


class _Win32Desk:
    """By ctypes. Raises CaptureError elsewhere than on Windows."""

    def __init__(self) -> None:
        self._user: Any = load("user32")
        self._kernel: Any = load("kernel32")
        handle = ctypes.c_void_p
        self._user.CreateWindowExW.restype = handle
        self._user.CreateWindowExW.argtypes = (
            ctypes.c_uint32, ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_uint32, *(ctypes.c_int,) * 4,
            handle, handle, handle, handle,
        )  # fmt: skip
        for name in (
            "DestroyWindow",
            "AddClipboardFormatListener",
            "RemoveClipboardFormatListener",
            "OpenClipboard",
        ):
            getattr(self._user, name).argtypes = (handle,)
        self._user.GetClipboardOwner.restype = handle
        self._user.GetClipboardData.restype = handle
        self._user.SetClipboardData.restype = handle
        self._user.SetClipboardData.argtypes = (ctypes.c_uint, handle)
        self._user.SetTimer.argtypes = (handle, ctypes.c_size_t, ctypes.c_uint, handle)
        self._user.SetTimer.restype = ctypes.c_size_t
        self._user.KillTimer.argtypes = (handle, ctypes.c_size_t)
        self._user.PostMessageW.argtypes = (
            handle, ctypes.c_uint, ctypes.c_size_t, ctypes.c_ssize_t,
        )  # fmt: skip
        self._user.GetMessageW.argtypes = (ctypes.c_void_p, handle, ctypes.c_uint, ctypes.c_uint)
        self._kernel.GlobalAlloc.restype = handle
        self._kernel.GlobalAlloc.argtypes = (ctypes.c_uint, ctypes.c_size_t)
        self._kernel.GlobalLock.restype = handle
        self._kernel.GlobalSize.restype = ctypes.c_size_t
        for name in ("GlobalLock", "GlobalUnlock", "GlobalFree", "GlobalSize"):
            getattr(self._kernel, name).argtypes = (handle,)
        self._window: int | None = None
        self._sequence = 0

    def open(self) -> None:
        window = self._user.CreateWindowExW(
            0, "STATIC", "", 0, 0, 0, 0, 0, _MESSAGE_ONLY & (1 << 64) - 1, None, None, None
        )
        if not window or not self._user.AddClipboardFormatListener(window):
            if window:
                self._user.DestroyWindow(window)
            raise CaptureError(
                "the clipboard cannot be watched; run in the session of a user who is logged on"
            )
        self._window = window

    def next(self) -> str:
        # Posted messages all of them: the window's own procedure need not see them.
        message = _Message()
        while self._user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            if message.kind == _CLIPBOARD_UPDATE:
                return "update"
            if message.kind == _TIMER:
                return "timer"
            if message.kind == _APP:
                return "woken"
            self._user.DispatchMessageW(ctypes.byref(message))
        return "woken"

    def wake(self) -> None:
        self._user.PostMessageW(self._window, _APP, 0, 0)

    def set_timer(self, on: bool) -> None:
        if on:
            self._user.SetTimer(self._window, 1, _LINGER_MS, None)
        else:
            self._user.KillTimer(self._window, 1)

    def ours(self) -> bool:
        # Closing may raise the number once more, but the owner is our window until another program copies.
        sequence = self._user.GetClipboardSequenceNumber()
        return bool(sequence == self._sequence or self._user.GetClipboardOwner() == self._window)

    def read(self) -> str | None:
        if not self._user.IsClipboardFormatAvailable(_UNICODE_TEXT):
            return ""  # a picture, or nothing at all
        if not self._user.OpenClipboard(self._window):
            return None
        try:
            memory = self._user.GetClipboardData(_UNICODE_TEXT)
            start = self._kernel.GlobalLock(memory) if memory else None
            if not start:
                return ""  # its program has not kept its promise
            try:
                data = ctypes.string_at(start, self._kernel.GlobalSize(memory) & ~1)
            finally:
                self._kernel.GlobalUnlock(memory)
        finally:
            self._user.CloseClipboard()
        # Another program made it: it may lack its end.
        return data.decode("utf-16-le", "replace").partition("\0")[0]

    def write(self, text: str) -> bool:
        if not self._user.OpenClipboard(self._window):
            return False
        try:
            data = text.encode("utf-16-le", "replace") + b"\0\0"
            memory = self._kernel.GlobalAlloc(_MOVEABLE, len(data))
            start = self._kernel.GlobalLock(memory) if memory else None
            if not start:
                raise OSError("no memory for the clipboard")
            ctypes.memmove(start, data, len(data))
            self._kernel.GlobalUnlock(memory)
            self._user.EmptyClipboard()
            if not self._user.SetClipboardData(_UNICODE_TEXT, memory):
                self._kernel.GlobalFree(memory)  # else it is the clipboard's own
                raise OSError("Windows did not take the text")
            self._sequence = self._user.GetClipboardSequenceNumber()
        finally:
            self._user.CloseClipboard()
        return True

    def close(self) -> None:
        window, self._window = self._window, None
        self._user.RemoveClipboardFormatListener(window)
        self._user.DestroyWindow(window)
