"""A browser's way to the hub: one WebSocket, messages as JSON texts, units and acknowledgements as binary frames.

The same session as any viewer's serves it. Messages go before units; a unit waits here while the line is full, so that
the relay sees it and can replace what is behind it by something newer. Event loop's thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType, web

from kvmstream.errors import ConnectionLost, ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.connection import until_one_ends
from kvmstream.wire.limits import BACKLOG_BYTES, CONTROL_BYTES, HEARTBEAT_SECONDS, SILENCE_SECONDS
from kvmstream.wire.video import HEADER, VideoHeader

if TYPE_CHECKING:
    from .core import Hub
    from .store import User

__all__ = ["serve_browser"]

_log = logging.getLogger("kvmstream.hub")

_HIGH_WATER: Final = 64 << 10  # bytes in the event loop beyond which nothing more is given to it
_NOTSENT_LOWAT: Final = 64 << 10
_READS: Final = (
    32  # after which others have their turn: what has arrived already is read without waiting
)
_GOING_AWAY: Final = 1001
_POLICY: Final = 1008


class _Line:
    """What a viewer's session needs of a connection, on a WebSocket."""

    def __init__(self, request: web.Request, socket_: web.WebSocketResponse) -> None:
        self._socket = socket_
        transport = request.transport
        if transport is None:
            raise ConnectionLost("the browser has gone")
        self._transport = transport
        self.peer = request.remote or "a browser"
        self._messages: deque[str] = deque()
        self._bytes = 0
        self._unit: bytes | None = None
        self._something = asyncio.Event()
        self._taken = asyncio.Event()
        self._reason = ""
        self._reads = 0
        self.heard = time.monotonic()
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT)

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._bytes + int(self._transport.get_write_buffer_size())

    def post(self, message: m.AnyMessage) -> None:
        """Send a message without waiting. A browser that has left too much of it untaken is cut off."""
        if self._reason:
            return
        if self.waiting > BACKLOG_BYTES:
            self.abort(f"{self.peer} takes nothing: {self.waiting} bytes wait for it")
            return
        text = m.encode_json(message)
        self._messages.append(text)
        self._bytes += len(text)
        self._something.set()

    def abort(self, reason: str) -> None:
        """Cut it now; the reading side hears this reason."""
        self._reason = self._reason or reason
        self._transport.abort()

    def post_frame(self, header: bytes, payload: bytes | memoryview | None = None) -> None:
        """Send a unit; drain() must have returned since the last one."""
        self._unit = header + payload if payload is not None else header
        self._taken.clear()
        self._something.set()

    async def drain(self) -> None:
        """Wait until the unit is on its way."""
        await self._taken.wait()

    async def send_forever(self) -> None:
        """Messages first. Raises ConnectionLost."""
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._messages or self._unit is not None:
                    if self._messages:
                        text = self._messages.popleft()
                        self._bytes -= len(text)
                        await self._socket.send_str(text)
                    elif self._unit is not None:
                        unit, self._unit = self._unit, None
                        await self._socket.send_bytes(unit)
                        self._taken.set()
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionLost(self._reason or f"{self.peer} is lost: {error}") from None

    async def beat(self) -> None:
        """Ping for ever, and raise ConnectionLost when the browser has fallen silent."""
        while True:
            self.post(m.Ping(time.perf_counter_ns()))
            await asyncio.sleep(HEARTBEAT_SECONDS)
            silent = time.monotonic() - self.heard
            if silent > SILENCE_SECONDS:
                self.abort(f"{self.peer} has been silent for {silent:.0f} s")
                raise ConnectionLost(self._reason)

    async def receive(self) -> m.AnyMessage | VideoHeader:
        """The next message or acknowledgement. Raises ConnectionLost at the end, ProtocolError for what is neither."""
        self._reads += 1
        if self._reads % _READS == 0:
            await asyncio.sleep(0)
        received = await self._socket.receive()
        self.heard = time.monotonic()
        if received.type is WSMsgType.TEXT:
            return m.decode_json(received.data)
        if received.type is WSMsgType.BINARY:
            if len(received.data) != HEADER.size:
                raise ProtocolError(
                    f"a binary frame of {len(received.data)} bytes: must be a header of {HEADER.size}"
                )
            return VideoHeader.unpack(received.data)
        if received.type is WSMsgType.ERROR and isinstance(received.data, Exception):
            raise ConnectionLost(self._reason or f"{self.peer} is lost: {received.data}")
        raise ConnectionLost(self._reason or f"{self.peer} closed the connection")


async def serve_browser(request: web.Request, hub: Hub, user: User) -> web.WebSocketResponse:
    """One browser, from its first message to its last."""
    response = web.WebSocketResponse(
        max_msg_size=CONTROL_BYTES, compress=False, autoping=True, timeout=1.0
    )
    await response.prepare(request)
    line = _Line(request, response)
    line.post(m.Welcome(user.name, role=user.role))
    try:
        with hub.watching(user, line, line) as viewer:

            async def read() -> None:
                while True:
                    received = await line.receive()
                    if isinstance(received, VideoHeader):
                        viewer.link.on_frame(received)
                    elif isinstance(received, m.Ping):
                        now = time.perf_counter_ns()
                        line.post(m.Pong(received.sent_ns, now, time.perf_counter_ns()))
                    elif not isinstance(received, m.Pong):
                        viewer.on_message(received)

            await until_one_ends(
                read(), line.send_forever(), viewer.link.send_forever(), line.beat()
            )
    except ProtocolError as error:
        _log.info("%s: %s", line.peer, error)
        with contextlib.suppress(ConnectionError, RuntimeError):
            await response.send_str(m.encode_json(m.Refused(str(error)[:1024])))
            await response.close(code=_POLICY)
    except ConnectionLost as error:
        _log.info("%s: %s", line.peer, error)
    except asyncio.CancelledError:  # the hub stops
        with contextlib.suppress(ConnectionError, RuntimeError):
            await response.close(code=_GOING_AWAY)
        raise
    return response
