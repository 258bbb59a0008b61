"""The X clipboard as text, both ways: an owner of the CLIPBOARD selection in a thread of its own.

ICCCM 2.0, section 2, with INCR for what does not fit into one request; XFIXES 5 tells of changes.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kvmstream._fallback.x11 import XConnection
from kvmstream._fallback.x11_wire import XError, XServerGone
from kvmstream.errors import CaptureError
from kvmstream.wire.limits import CLIPBOARD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform != "win32"

__all__ = ["Clipboard"]

_PROPERTY_NOTIFY, _SELECTION_CLEAR, _SELECTION_REQUEST, _SELECTION_NOTIFY = 28, 29, 30, 31
_PROPERTY_CHANGE_MASK: Final = 0x400000
_CHUNK: Final = 64 << 10  # bytes in one request; the core protocol allows 256 KiB
_TRANSFERS: Final = 16  # to slow programs at a time
_PATIENCE: Final = 5.0  # seconds that a program may take for the next piece
_LINGER_SECONDS: Final = 0.02  # a program that copies often announces itself twice
_ATOM: Final = 4  # the type "atom" is predefined


@dataclass
class _Incoming:
    """What another program is handing us piece by piece."""

    data: bytearray
    deadline: float
    piecewise: bool = False


@dataclass
class _Outgoing:
    """What we are handing to another program piece by piece."""

    kind: int
    data: memoryview
    deadline: float


class Clipboard:
    """Calls `on_text(text, too_long)` from its own thread whenever another program has copied something else.

    `too_long` is the number of bytes of a text beyond the limit of 256 KiB, which is not handed on; else 0. What
    write() has put there is not reported back. Raises CaptureError when no X server with XFIXES answers.
    """

    def __init__(self, display: str, on_text: Callable[[str, int], None]) -> None:
        try:
            self._owner = _Owner(display, on_text)
        except XServerGone as error:
            raise CaptureError(str(error)) from None
        self._thread = threading.Thread(
            target=self._owner.run, name="kvmstream-clipboard", daemon=True
        )
        self._thread.start()

    def write(self, text: str) -> None:
        """Put a text into the clipboard. Any thread. Raises ValueError beyond 256 KiB of UTF-8."""
        size = len(text.encode())
        if size > CLIPBOARD_BYTES:
            raise ValueError(
                f"a text of {size} bytes: the clipboard takes at most {CLIPBOARD_BYTES}"
            )
        self._owner.ask(text)

    def leave(self) -> None:
        """Look at it no more, and end once another program has copied something: what write() put there stays."""
        self._owner.leave()

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Give the clipboard up and end the thread; idempotent."""
        self._owner.ask(None)
        self._thread.join()


class _Owner(XConnection):
    """All but ask() belongs to the thread that calls run()."""

    def __init__(self, display: str, on_text: Callable[[str, int], None]) -> None:
        super().__init__(display)
        try:
            self._on_text = on_text
            self._lock = threading.Lock()
            self._asked: list[str | None] = []
            self._left = False  # nobody wants to hear of it any more
            self._text: str | None = None  # what we own…
            self._since = 0  # …since then, on the server's clock
            self._confirmed = False  # the server has said that we own it
            self._last = ""  # what was reported or written last
            self._incoming: _Incoming | None = None
            self._convert_at = 0.0  # when the new owner is to be asked; 0 = not
            self._outgoing: dict[tuple[int, int], _Outgoing] = {}
            fixes = self._versioned("XFIXES", 5, 0)
            if fixes is None:
                raise XServerGone(
                    f"the X server {display!r} has no XFIXES: its clipboard cannot be watched"
                )
            self._fixes_event = fixes.first_event
            self._clipboard = self._atom("CLIPBOARD")
            self._utf8_string = self._atom("UTF8_STRING")
            self._plain = self._atom("text/plain;charset=utf-8")
            self._string = self._atom("STRING")
            self._targets = self._atom("TARGETS")
            self._incr = self._atom("INCR")
            self._kvmstream = self._atom("KVMSTREAM")
            self._window = self._new_id()
            # CreateWindow: 1×1, class InputOnly, visual of its parent, with property events.
            place = struct.pack("<IIhhHHHHI", self._window, self.root, -1, -1, 1, 1, 0, 2, 0)
            self._send(1, 0, place + struct.pack("<II", 0x800, _PROPERTY_CHANGE_MASK))
            self._send(fixes.opcode, 2, struct.pack("<III", self._window, self._clipboard, 7))
            self._begin_reading()
            self._wake_read, self._wake_write = os.pipe()
            os.set_blocking(self._wake_read, False)
        except BaseException:
            self.close()
            raise

    def ask(self, text: str | None) -> None:
        """Own this text; None ends the thread. Any thread."""
        with self._lock:
            if self._wake_write < 0:
                return  # it has ended
            self._asked.append(text)
            os.write(self._wake_write, b"x")

    def leave(self) -> None:
        """Report nothing more; run() ends when this is not the owner. Any thread."""
        with self._lock:
            if self._wake_write >= 0:
                self._left = True
                os.write(self._wake_write, b"x")

    def run(self) -> None:
        """Until ask(None), after leave() until another owns the clipboard, or until the server is gone."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while True:
                while self._events:
                    self._handle(self._events.popleft())
                if not self._buffer:
                    poll.poll(self._wait_ms())
                if self._take_orders() or (self._left and self._text is None):
                    return
                self._expire()
                readable = select.poll()
                readable.register(self.fileno(), select.POLLIN)
                while self._buffer or readable.poll(0):
                    message = self._read_message()
                    if message[0] > 1:
                        self._events.append(message)
        except XServerGone:
            pass
        finally:
            self.close()
            with self._lock:
                os.close(self._wake_write)
                os.close(self._wake_read)
                self._wake_write = -1

    # ---- orders and deadlines

    def _take_orders(self) -> bool:
        with self._lock:
            asked, self._asked = self._asked, []
            with contextlib.suppress(BlockingIOError):  # nobody has written
                os.read(self._wake_read, 4096)
        for text in asked:
            if text is None:
                return True
            self._since = self._server_time()
            self._confirmed = False
            self._text = self._last = text
            self._incoming = None
            self._convert_at = 0.0
            self._send(22, 0, struct.pack("<III", self._window, self._clipboard, self._since))
        return False

    def _wait_ms(self) -> float | None:
        deadlines = [transfer.deadline for transfer in self._outgoing.values()]
        if self._incoming is not None:
            deadlines.append(self._incoming.deadline)
        if self._convert_at:
            deadlines.append(self._convert_at)
        return max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None

    def _expire(self) -> None:
        now = time.monotonic()
        for key in [key for key, transfer in self._outgoing.items() if transfer.deadline < now]:
            del self._outgoing[key]
        if self._incoming is not None and self._incoming.deadline < now:
            self._incoming = None
        if self._convert_at and self._convert_at <= now:
            self._convert_at = 0.0
            self._convert()

    def _server_time(self) -> int:
        """The server's clock, as ICCCM asks owners to state it: from the event of an empty change."""
        self._change(self._window, self._kvmstream, self._string, 8, b"", append=True)
        while True:
            message = self._read_message()
            if message[0] & 0x7F == _PROPERTY_NOTIFY:
                window, atom, stamp = struct.unpack_from("<III", message, 4)
                if (window, atom) == (self._window, self._kvmstream):
                    return int(stamp)
            if message[0] > 1:
                self._events.append(message)

    # ---- events

    def _handle(self, event: bytes) -> None:
        kind = event[0] & 0x7F
        if kind == self._fixes_event:
            owner, selection, _, since = struct.unpack_from("<IIII", event, 8)
            if selection != self._clipboard or owner == 0:
                return
            if owner == self._window:
                self._confirmed |= since == self._since
            elif self._text is None or not self._overtaken(since):
                self._text = None
                if not self._left:
                    self._begin_reading()
        elif kind == _SELECTION_REQUEST:
            self._serve(event)
        elif kind == _SELECTION_NOTIFY:
            (target_property,) = struct.unpack_from("<I", event, 20)
            self._arrived(target_property)
        elif kind == _SELECTION_CLEAR:
            (since,) = struct.unpack_from("<I", event, 4)
            if not self._overtaken(since):
                self._text = None
        elif kind == _PROPERTY_NOTIFY:
            window, atom = struct.unpack_from("<II", event, 4)
            if event[16] == 1:
                self._continue_serving(window, atom)
            elif window == self._window and atom == self._kvmstream:
                self._next_piece()

    def _overtaken(self, stamp: int) -> bool:
        """Whether what was said then was still under way when we became the owner. The clock wraps after 49 days."""
        if stamp == self._since:  # within a millisecond: what came before our own confirmation
            return not self._confirmed
        return (stamp - self._since) & 0xFFFF_FFFF >= 1 << 31

    # ---- reading what others have copied

    def _begin_reading(self) -> None:
        self._convert_at = time.monotonic() + _LINGER_SECONDS

    def _convert(self) -> None:
        self._incoming = _Incoming(bytearray(), time.monotonic() + _PATIENCE)
        self._send(19, 0, struct.pack("<II", self._window, self._kvmstream))
        request = struct.pack(
            "<IIIII", self._window, self._clipboard, self._utf8_string, self._kvmstream, 0
        )
        self._send(24, 0, request)

    def _arrived(self, target_property: int) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        if target_property == 0:  # a picture, or nothing at all
            self._incoming = None
            return
        kind, data = self._take_property()
        if kind == self._incr:
            incoming.piecewise = True
            incoming.deadline = time.monotonic() + _PATIENCE
        else:
            self._finish(data)

    def _next_piece(self) -> None:
        incoming = self._incoming
        if incoming is None or not incoming.piecewise:
            return
        _, data = self._take_property()
        if not data:
            self._finish(bytes(incoming.data))
            return
        incoming.deadline = time.monotonic() + _PATIENCE
        # Of one that is too long only the length still counts.
        room = CLIPBOARD_BYTES + _CHUNK - len(incoming.data)
        incoming.data += data[: max(0, room)]

    def _finish(self, data: bytes) -> None:
        self._incoming = None
        if len(data) > CLIPBOARD_BYTES:
            self._on_text("", len(data))
            return
        text = data.decode("utf-8", "replace").rstrip("\0")
        if text and text != self._last:
            self._last = text
            self._on_text(text, 0)

    def _take_property(self) -> tuple[int, bytes]:
        """Type and value of our property, which is deleted thereby: that asks an INCR owner for more."""
        data = bytearray()
        offset = 0
        while True:
            request = struct.pack(
                "<IIIII", self._window, self._kvmstream, 0, offset // 4, _CHUNK // 4
            )
            reply = self._ask(20, 1, request)
            kind, left, length = struct.unpack_from("<III", reply, 8)
            size = length * max(1, reply[1] // 8)
            data += reply[32 : 32 + size]
            offset += size
            if not left:
                return kind, bytes(data)

    # ---- handing out what we own

    def _serve(self, event: bytes) -> None:
        stamp, _, requestor, selection, target, where = struct.unpack_from("<IIIIII", event, 4)
        where = where or target  # clients from before ICCCM name no property
        kind, data = self._answer(target)
        if kind and len(data) > _CHUNK:
            if len(self._outgoing) < _TRANSFERS:
                self._send(2, 0, struct.pack("<III", requestor, 0x800, _PROPERTY_CHANGE_MASK))
                self._outgoing[requestor, where] = _Outgoing(
                    kind, memoryview(data), time.monotonic() + _PATIENCE
                )
                self._change(requestor, where, self._incr, 32, struct.pack("<I", len(data)))
            else:
                kind = 0
        elif kind:
            self._change(requestor, where, kind, 32 if kind == _ATOM else 8, data)
        notice = struct.pack(
            "<BxHIIIII8x", _SELECTION_NOTIFY, 0, stamp, requestor, selection, target, where if kind else 0
        )  # fmt: skip
        self._send(25, 0, struct.pack("<II", requestor, 0) + notice)

    def _answer(self, target: int) -> tuple[int, bytes]:
        """Type and value for a target; type 0 refuses."""
        if self._text is None:
            return 0, b""
        if target == self._targets:
            known = (self._targets, self._utf8_string, self._plain, self._string)
            return _ATOM, struct.pack(f"<{len(known)}I", *known)
        if target in (self._utf8_string, self._plain):
            return target, self._text.encode()
        if target == self._string:
            return target, self._text.encode("latin-1", "replace")
        return 0, b""

    def _continue_serving(self, window: int, atom: int) -> None:
        transfer = self._outgoing.get((window, atom))
        if transfer is None:
            return
        piece, transfer.data = bytes(transfer.data[:_CHUNK]), transfer.data[_CHUNK:]
        transfer.deadline = time.monotonic() + _PATIENCE
        self._change(window, atom, transfer.kind, 8, piece)
        if not piece:  # an empty one is the end
            del self._outgoing[window, atom]

    # ---- requests

    def _change(
        self, window: int, where: int, kind: int, width: int, data: bytes, *, append: bool = False
    ) -> None:
        head = struct.pack("<IIIBxxxI", window, where, kind, width, len(data) * 8 // width)
        self._send(18, 2 if append else 0, head + data)

    def _atom(self, name: str) -> int:
        encoded = name.encode()
        reply = self._ask(16, 0, struct.pack("<Hxx", len(encoded)) + encoded)
        (atom,) = struct.unpack_from("<I", reply, 8)
        if not atom:
            raise XError(f"the atom {name} cannot be made")
        return int(atom)
