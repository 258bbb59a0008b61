"""A peer with real credentials that sends what it likes and never reads, as a stalled or hostile one does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

from kvmstream.wire import limits
from kvmstream.wire import messages as m

__all__ = ["GREETING", "Deaf", "Flood", "framed"]

GREETING = b"KVMSTRM" + bytes([limits.VERSION])
_RECEIVE_BYTES = 8 << 10  # of the kernel: else megabytes vanish there before the hub notices


def framed(message: m.AnyMessage) -> bytes:
    body = m.encode(message)
    return struct.pack("!I", len(body)) + body


def _dial(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.socket()
    plain.settimeout(30)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    plain.connect(("127.0.0.1", port))
    return context.wrap_socket(plain)


class Flood:
    """One TLS connection on which only sending goes on. Blocking: for a thread."""

    def __init__(self, port: int) -> None:
        self.socket = _dial(port)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the hub closed the connection too early"
            data += more
        return data

    def pour(self, data: bytes, most: int) -> int:
        """Send it again and again until the other side has had enough; how many bytes went out, at most `most`."""
        sent = 0
        with contextlib.suppress(OSError):
            while sent < most:
                self.socket.sendall(data)
                sent += len(data)
        return sent

    def close(self) -> None:
        self.socket.close()


class Deaf(Flood):
    """An agent or a viewer up to its Welcome, and then no more reading on either connection."""

    def __init__(self, hello: m.AnyMessage, control_port: int, video_port: int) -> None:
        super().__init__(control_port)
        self.socket.sendall(GREETING + framed(hello))
        (size,) = struct.unpack("!I", self.read(4))
        welcome = m.decode(self.read(size))
        assert isinstance(welcome, m.Welcome), welcome
        self.video = Flood(video_port)
        self.video.socket.sendall(GREETING + framed(m.VideoHello(welcome.video_token)))

    def close(self) -> None:
        super().close()
        self.video.close()
