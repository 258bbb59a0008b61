"""Framed connections of an event loop: dialling, the greeting, control messages, video frames, heartbeat and clock.

A control frame is a length (4 bytes, big endian) and a MessagePack map; a video frame is the header of video.py and its
payload. Whoever dials first sends the greeting: 7 bytes ``KVMSTRM`` and one byte of version. All of it belongs to one
event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Final

from kvmstream.errors import AuthenticationFailed, ConnectionLost, ProtocolError

from . import tls
from .clock import ClockEstimate
from .limits import (
    BACKLOG_BYTES,
    CONTROL_BYTES,
    GREETING_BYTES,
    HANDSHAKE_SECONDS,
    HEARTBEAT_SECONDS,
    SILENCE_SECONDS,
    VERSION,
)
from .messages import AnyMessage, Ping, Pong, Refused, decode, encode
from .video import HEADER, VideoHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .address import HubAddress

__all__ = ["Connection", "accept_greeting", "dial", "until_one_ends"]

_GREETING: Final = b"KVMSTRM"
_LENGTH: Final = struct.Struct("!I")

# Bytes that may wait in the event loop for the kernel before send() waits; more than that waits where it can still be
# replaced by something newer.
_HIGH_WATER: Final = 64 << 10
_NOTSENT_LOWAT: Final = 64 << 10
# Reads after which others have their turn: what has arrived already is read without waiting, and a flood never ends.
_READS: Final = 64
_SEND_SECONDS: Final = 10.0  # a peer that takes nothing for so long is gone


class Connection:
    """One TCP or TLS connection that speaks in frames."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.now_ns = clock
        self.limit = GREETING_BYTES  # of a control frame; raised once the peer is known
        self.clock = ClockEstimate()
        self.heard = time.monotonic()  # when the last byte came
        self.closed_because = ""
        self._reads = 0
        self.identity = ""  # of an agent, once it is known
        self.on_end: Callable[[], object] | None = None
        peer = writer.get_extra_info("peername")
        self.host = str(peer[0]) if isinstance(peer, tuple) else ""
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a local peer"
        writer.transport.set_write_buffer_limits(high=_HIGH_WATER)
        raw: socket.socket | None = writer.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT)

    # ---- control frames

    def post(self, message: AnyMessage) -> None:
        """Send without waiting. A peer that has left too much of it untaken is cut off."""
        if self._keeps_up():
            body = encode(message)
            self._writer.write(_LENGTH.pack(len(body)) + body)

    async def send(self, message: AnyMessage) -> None:
        """Send, and wait while the peer is behind. Raises ConnectionLost."""
        self.post(message)
        await self.drain()

    async def receive(self) -> AnyMessage:
        """The next message. Raises ConnectionLost at the end, ProtocolError for what is not one."""
        (size,) = _LENGTH.unpack(await self._read(_LENGTH.size))
        if size > self.limit:
            raise ProtocolError(f"a control message of {size} bytes: the limit is {self.limit}")
        return decode(await self._read(size))

    async def receive_greeted(self) -> AnyMessage:
        """The first message of a peer, in time. Raises ConnectionLost when it keeps us waiting."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                return await self.receive()
        except TimeoutError:
            raise ConnectionLost(
                f"{self.peer} did not introduce itself within {HANDSHAKE_SECONDS:g} s"
            ) from None

    # ---- video frames

    def post_frame(self, header: bytes, payload: bytes | memoryview | None = None) -> None:
        """Send a video frame without waiting; after one with a payload drain()."""
        if payload is None:
            if self._keeps_up():
                self._writer.write(header)
        else:
            self._writer.writelines((header, payload))

    async def receive_frame(self) -> tuple[VideoHeader, bytes]:
        """The next video frame. Raises ConnectionLost at the end, ProtocolError for what is not one."""
        header = VideoHeader.unpack(await self._read(HEADER.size))
        return header, await self._read(header.payload) if header.payload else b""

    # ---- heartbeat and clock

    async def beat(self) -> None:
        """Ping for ever, and raise ConnectionLost when the peer has fallen silent. Runs beside the reader."""
        soon = 4  # pings in quick succession: the clock is known after the first tenths of a second
        while True:
            self.post(Ping(self.now_ns()))
            await asyncio.sleep(0.05 if soon else HEARTBEAT_SECONDS)
            soon = max(0, soon - 1)
            silent = time.monotonic() - self.heard
            if silent > SILENCE_SECONDS:
                raise ConnectionLost(f"{self.peer} has been silent for {silent:.0f} s")

    def answered(self, message: AnyMessage) -> bool:
        """Deal with a heartbeat; False when the message is something else."""
        now = self.now_ns()
        if isinstance(message, Ping):
            self.post(Pong(message.sent_ns, now, self.now_ns()))
        elif isinstance(message, Pong):
            self.clock.add(message.sent_ns, message.received_ns, message.answered_ns, now)
        else:
            return False
        return True

    # ---- bytes

    async def _read(self, size: int) -> bytes:
        self._reads += 1
        if self._reads % _READS == 0:
            await asyncio.sleep(0)
        try:
            data = await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise ConnectionLost(
                self.closed_because or f"{self.peer} closed the connection"
            ) from None
        except (OSError, ssl.SSLError) as error:
            raise ConnectionLost(self.closed_because or f"{self.peer} is lost: {error}") from None
        self.heard = time.monotonic()
        return data

    async def drain(self) -> None:
        """Wait until the kernel has taken nearly everything. Raises ConnectionLost."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._writer.drain()
        except TimeoutError:
            self.abort(f"{self.peer} has taken nothing for {_SEND_SECONDS:g} s")
            raise ConnectionLost(self.closed_because) from None
        except (OSError, ssl.SSLError) as error:
            raise ConnectionLost(self.closed_because or f"{self.peer} is lost: {error}") from None

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    def _keeps_up(self) -> bool:
        """Whether the peer takes what it is sent without our waiting for it; one that does not is cut off here."""
        if self.closed_because:
            return False
        if self.waiting > BACKLOG_BYTES:
            self.abort(f"{self.peer} takes nothing: {self.waiting} bytes wait for it")
            return False
        return True

    def abort(self, reason: str) -> None:
        """Cut the connection now; whoever reads gets ConnectionLost with this reason."""
        self.closed_because = self.closed_because or reason
        self._writer.transport.abort()

    def end(self) -> None:
        """Whoever uses the connection is done with it; whoever accepted it may close it."""
        if self.on_end is not None:
            self.on_end()

    async def close(self) -> None:
        """Send what is waiting, then close; never fails and never waits long."""
        self._writer.close()
        try:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._writer.wait_closed()
        finally:
            # Also when this wait is cancelled: a peer that is gone would keep the descriptor for the transport's own
            # patience, which may be longer than the event loop lives.
            self._writer.transport.abort()

    async def refuse(self, reason: str, *, authentication: bool = False) -> None:
        """Say why, then close."""
        with contextlib.suppress(ConnectionLost):
            await self.send(Refused(reason[:1024], authentication))
        await self.close()


async def accept_greeting(connection: Connection) -> None:
    """Server side of the greeting. Raises ProtocolError for strangers and other versions."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            greeting = await connection._read(len(_GREETING) + 1)
    except TimeoutError:
        raise ConnectionLost(
            f"{connection.peer} said nothing for {HANDSHAKE_SECONDS:g} s"
        ) from None
    if greeting[:-1] != _GREETING:
        raise ProtocolError(
            "this port speaks kvmstream's own protocol; browsers use the https port"
        )
    if greeting[-1] != VERSION:
        raise ProtocolError(
            f"protocol version {greeting[-1]}: this hub speaks version {VERSION}; install the same kvmstream on both"
        )


async def dial(
    hub: HubAddress, port: int, *, clock: Callable[[], int] = time.perf_counter_ns
) -> Connection:
    """Connect to one of a hub's ports and greet it. Raises ConnectionLost, or AuthenticationFailed for another hub."""
    address = f"{hub.host}:{port}"
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_connection(hub.host, port, ssl=tls.client_context())
    except TimeoutError:
        raise ConnectionLost(f"no answer from {address} within {HANDSHAKE_SECONDS:g} s") from None
    except (OSError, ssl.SSLError) as error:
        raise ConnectionLost(
            f"cannot reach a hub at {address}: {error.strerror or error}"
        ) from None
    connection = Connection(reader, writer, clock=clock)
    try:
        found: ssl.SSLObject = writer.get_extra_info("ssl_object")
        tls.check_peer(found.getpeercert(binary_form=True), hub.fingerprint, address)
    except AuthenticationFailed:
        await connection.close()
        raise
    writer.write(_GREETING + bytes([VERSION]))
    connection.limit = CONTROL_BYTES
    return connection


async def until_one_ends(*parts: Coroutine[None, None, None]) -> None:
    """Run all until the first has ended or failed; the rest is cancelled and waited for.

    Raises what it failed with; of several at once, what the one named first failed with.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
