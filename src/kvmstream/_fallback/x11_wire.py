"""The X11 wire protocol in plain Python: connecting, requests, replies, events.

A dead server is an exception here instead of an exit() inside Xlib. One object belongs to one thread.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Extension", "ImageFormat", "XError", "XServerGone", "XWire", "parse_display"]

_CONNECT_TIMEOUT = 5.0  # seconds
# Seconds. A stopped server must not hang a thread for ever, but a program may grab the server (a menu, a window being
# dragged) and make everybody else wait.
_REPLY_TIMEOUT = 20.0
_MAX_REPLY = 64 << 20  # bytes; far above any reply that we ask for


class XServerGone(Exception):
    """No connection to the X server, or it broke; the message says why."""


class XError(Exception):
    """The server refused a request: its error code and the request's opcodes."""


@dataclass(frozen=True)
class Extension:
    """Where an extension's requests and events begin."""

    opcode: int
    first_event: int


@dataclass(frozen=True)
class ImageFormat:
    """How the root window's pixels lie in memory."""

    depth: int
    bits_per_pixel: int
    little_endian: bool
    masks: tuple[int, ...]  # red, green, blue

    @property
    def is_bgrx(self) -> bool:
        """Whether each pixel is the bytes B, G, R and one unused."""
        return (self.bits_per_pixel, self.little_endian, self.masks) == (
            32,
            True,
            (0xFF0000, 0xFF00, 0xFF),
        )


_DISPLAY = re.compile(
    r"^(?:(?P<protocol>[a-z]+)/)?(?P<host>[^:]*):(?P<number>\d+)(?:\.(?P<screen>\d+))?$"
)


def parse_display(display: str) -> tuple[str, int, int]:
    """``":7.1"`` → ``("", 7, 1)``. Raises :exc:`XServerGone` for anything that is no display name."""
    match = _DISPLAY.match(display)
    if match is None:
        raise XServerGone(
            f"{display!r} is not an X display name (expected HOST:NUMBER, such as ':0')"
        )
    host = match["host"]
    if host == "unix" or match["protocol"] == "unix":
        host = ""
    return host, int(match["number"]), int(match["screen"] or 0)


def _connect_socket(host: str, number: int) -> socket.socket:
    if host:
        return socket.create_connection((host, 6000 + number), timeout=_CONNECT_TIMEOUT)
    if sys.platform == "win32":
        raise OSError("Windows has no X servers of its own; name a host, as in 'host:0'")
    path = f"/tmp/.X11-unix/X{number}"
    last: OSError | None = None
    # The abstract name reaches a server in another mount namespace; it exists on Linux only.
    for address in (path, "\0" + path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_CONNECT_TIMEOUT)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = last or error
    assert last is not None
    raise last


def _authority(host: str, number: int) -> tuple[bytes, bytes]:
    """The MIT-MAGIC-COOKIE-1 entry for this display, or two empty strings."""
    path = Path(os.environ.get("XAUTHORITY") or "~/.Xauthority").expanduser()
    try:
        data = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        return b"", b""
    wanted_host = (host or socket.gethostname()).encode()
    best: tuple[bytes, bytes] = (b"", b"")
    offset = 0
    try:
        while offset < len(data):
            offset += 2  # address family
            fields: list[bytes] = []
            for _ in range(4):
                (size,) = struct.unpack_from(">H", data, offset)
                fields.extend(struct.unpack_from(f">{size}s", data, offset + 2))
                offset += 2 + size
            address, display, name, cookie = fields
            if name != b"MIT-MAGIC-COOKIE-1" or display not in (b"", str(number).encode()):
                continue
            if address == wanted_host:
                return name, cookie
            if not best[0]:
                best = (name, cookie)
    except struct.error:
        pass  # a truncated file: use what was whole
    return best


class XWire:
    """A connection to one X server. Raises :exc:`XServerGone` from any method when the server is or goes away."""

    def __init__(self, display: str) -> None:
        self.display = display
        host, number, screen = parse_display(display)
        try:
            self._socket = _connect_socket(host, number)
        except OSError as error:
            raise XServerGone(
                f"no X server answers at {display!r} ({error.strerror or error})"
            ) from None
        self._buffer = bytearray()
        self._sequence = 0
        self._events: deque[bytes] = deque()
        self._extensions: dict[str, Extension | None] = {}
        try:
            self._setup(host, number, screen)
            self._socket.settimeout(_REPLY_TIMEOUT)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Idempotent; the server frees what this client made."""
        self._socket.close()

    # -- wire ---------------------------------------------------------------------------------------------------------

    def _setup(self, host: str, number: int, screen: int) -> None:
        name, cookie = _authority(host, number)
        self._send_raw(
            struct.pack("<BxHHHHxx", 0x6C, 11, 0, len(name), len(cookie))
            + _pad(name)
            + _pad(cookie)
        )
        status, reason_size, _, _, words = struct.unpack("<BBHHH", self._read_exactly(8))
        body = self._read_exactly(words * 4)
        if status != 1:
            reason = body[:reason_size].decode("latin-1").strip() or f"status {status}"
            raise XServerGone(
                f"X server {self.display!r} refused the connection: {reason}; check XAUTHORITY"
            )
        self._id_base, self._id_mask = struct.unpack_from("<II", body, 4)
        self._next_id = 0
        vendor_size, _, roots, formats, image_order = struct.unpack_from("<HHBBB", body, 16)
        offset = 32 + vendor_size + (-vendor_size) % 4
        depth_bits = {body[offset + i * 8]: body[offset + i * 8 + 1] for i in range(formats)}
        offset += formats * 8
        for index in range(roots):
            root, root_visual = struct.unpack_from("<I28xI", body, offset)
            root_depth, depths = body[offset + 38], body[offset + 39]
            offset += 40
            masks = {}
            for _ in range(depths):
                (visuals,) = struct.unpack_from("<H", body, offset + 2)
                offset += 8
                for _ in range(visuals):
                    visual, *mask = struct.unpack_from("<I4xIII", body, offset)
                    masks[visual] = tuple(mask)
                    offset += 24
            if index == screen:
                self.root: int = root
                self.image = ImageFormat(
                    root_depth,
                    depth_bits.get(root_depth, 0),
                    image_order == 0,
                    masks.get(root_visual, (0, 0, 0)),
                )
                return
        raise XServerGone(f"X server {self.display!r} has {roots} screen(s), no screen {screen}")

    def _lost(self, error: object) -> XServerGone:
        return XServerGone(f"the X server {self.display!r} went away ({error})")

    def _send_raw(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error.strerror or error) from None

    def _receive(self, missing: int) -> None:
        try:
            data = self._socket.recv(max(1 << 16, missing))
        except TimeoutError:
            raise self._lost(f"no answer within {self._socket.gettimeout():g} s") from None
        except OSError as error:
            raise self._lost(error.strerror or error) from None
        if not data:
            raise self._lost("it closed the connection")
        self._buffer += data

    def _read_exactly(self, size: int) -> bytes:
        if size > _MAX_REPLY:
            raise self._lost(f"it announced a message of {size} bytes")
        while len(self._buffer) < size:
            self._receive(size - len(self._buffer))
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    def _read_message(self) -> bytes:
        head = self._read_exactly(32)
        if head[0] == 1 or head[0] & 0x7F == 35:  # a reply or a generic event carries more
            (words,) = struct.unpack_from("<I", head, 4)
            head += self._read_exactly(words * 4)
        return head

    def _send(self, opcode: int, data: int, payload: bytes = b"") -> int:
        payload = _pad(payload)
        self._send_raw(struct.pack("<BBH", opcode, data, 1 + len(payload) // 4) + payload)
        self._sequence = (self._sequence + 1) & 0xFFFF
        return self._sequence

    def _ask(self, opcode: int, data: int, payload: bytes = b"") -> bytes:
        sequence = self._send(opcode, data, payload)
        while True:
            message = self._read_message()
            if message[0] > 1:
                self._events.append(message)
                continue
            (answered,) = struct.unpack_from("<H", message, 2)
            if answered != sequence:
                continue  # an error of an earlier request that has no reply
            if message[0] == 0:
                raise XError(f"X error {message[1]} for request {opcode}.{data}")
            return message

    def _new_id(self) -> int:
        self._next_id += 1
        return int(self._id_base | (self._next_id & self._id_mask))

    def extension(self, name: str) -> Extension | None:
        """Opcodes of an extension, or None when the server has none of that name."""
        if name not in self._extensions:
            encoded = name.encode()
            reply = self._ask(98, 0, struct.pack("<Hxx", len(encoded)) + encoded)
            self._extensions[name] = Extension(reply[9], reply[10]) if reply[8] else None
        return self._extensions[name]

    def _versioned(self, name: str, major: int, minor: int) -> Extension | None:
        """The extension after its mandatory version handshake."""
        known = name in self._extensions
        found = self.extension(name)
        if found is not None and not known:
            self._ask(found.opcode, 0, struct.pack("<II", major, minor))
        return found


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
