"""One source of a remote hub, and the iterators over its packets and pictures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ._fallback.packets import Packet
from ._remote_input import Keyboard, Mouse, RemoteClipboard
from .errors import AuthenticationFailed, KvmStreamError, ProtocolError
from .wire import messages as m

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from .remote import RemoteHub
    from .wire.video import VideoHeader

__all__ = ["RemoteFrames", "RemotePacket", "RemotePackets", "RemoteSource"]

_QUEUE_UNITS: Final = 16  # more than the hub's window ever lets out


class RemotePacket(Packet):
    """One access unit of a remote source; its times are on this machine's clock, as time.perf_counter_ns()."""

    sequence: int
    sent_ns: int  # by the agent
    relayed_ns: int  # by the hub
    received_ns: int


class RemoteSource:
    """One source of a hub: look at it with frames() or packets(), drive it with `keyboard` and `mouse`."""

    def __init__(self, hub: RemoteHub, info: m.SourceInfo) -> None:
        self._hub = hub
        self._info = info
        self._news = asyncio.Event()
        self._held: set[int] = set()
        self._controls = False
        self._geometry: tuple[int, int, int] | None = (
            None  # generation, width, height of the newest unit
        )
        self._watching = 0
        self.cursor: m.Cursor | None = None
        self.keyboard = Keyboard(self)
        self.mouse = Mouse(self)
        self.clipboard = RemoteClipboard(self)

    # ---- what it is

    @property
    def name(self) -> str:
        """Its name at the hub."""
        return self._info.name

    @property
    def info(self) -> m.SourceInfo:
        """Online or not, monitors, who drives it, its agent's figures."""
        return self._info

    @property
    def online(self) -> bool:
        """Whether its agent is connected to the hub."""
        return self._info.online

    async def wait_online(self, timeout: float | None = None) -> None:
        """Wait for its agent. Raises TimeoutError, and KvmStreamError when the hub has no such source any more."""
        async with asyncio.timeout(timeout):
            while not self.online:
                self._hub._check()
                if self._hub.sources.get(self.name) is not self:
                    raise KvmStreamError(f"the hub has no source {self.name!r} any more")
                self._news.clear()
                await self._news.wait()

    def __repr__(self) -> str:
        return f"<RemoteSource {self.name!r}, {'online' if self.online else 'offline'}>"

    # ---- looking

    def packets(self) -> RemotePackets:
        """Iterate over its access units with `async for`; each is acknowledged when the next one is asked for."""
        return RemotePackets(self)

    def frames(self) -> RemoteFrames:
        """Iterate over its newest picture: height × width × 3, uint8, RGB."""
        return RemoteFrames(self)

    async def screenshot(self) -> NDArray[np.uint8]:
        """What it shows now: height × width × 3, uint8, RGB."""
        async with self.frames() as frames:
            return await anext(frames)

    async def wait_change(self, timeout: float | None = None) -> None:
        """Wait until something on it changes. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self.packets() as packets:
            first = True
            async for packet in packets:
                if not first and not packet.refinement and not packet.keyframe:
                    return
                first = False

    async def wait_stable(self, seconds: float = 0.5, timeout: float | None = 10.0) -> None:
        """Wait until nothing has changed for so long. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self.packets() as packets:
            await anext(packets)
            quiet_since = time.monotonic()
            while True:
                left = quiet_since + seconds - time.monotonic()
                if left <= 0:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        packet = await anext(packets)
                        if not packet.refinement:
                            quiet_since = time.monotonic()

    async def record(self, path: str | Path, seconds: float) -> list[Path]:
        """Record it to a file as it is sent, without encoding anew; the files that were written."""
        from .record import Recorder

        with Recorder(path) as recorder:
            async with self.packets() as packets:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        async for packet in packets:
                            recorder.write(packet)
            return list(recorder.paths)

    async def show(self, display: str) -> None:
        """Show another of its monitors, by an id out of info.displays; "" is the primary one.

        Raises AuthenticationFailed for a user who may only watch, and CaptureError when there is no such monitor or
        while somebody else drives it.
        """
        if self._hub.role == "view":
            raise AuthenticationFailed(f"user {self._hub.user!r} may only watch (role view)")
        await self._hub._show(self.name, display)

    # ---- driving

    async def request_control(self, *, take: bool = False) -> None:
        """Become the one who drives it; the keyboard and the mouse do so by themselves. Raises AuthenticationFailed.

        `take` takes it from somebody else, where the role allows that.
        """
        answer = await self._hub._ask_control(
            self.name, lambda serial: m.RequestControl(self.name, take, serial)
        )
        if not answer.granted:
            raise AuthenticationFailed(f"control of {self.name} was refused: {answer.reason}")

    async def give_back(self) -> None:
        """Let others drive; everything that is held down goes up."""
        self._held.clear()
        self._controls = False
        await self._hub._ask_control(self.name, lambda serial: m.GiveBack(self.name, serial))

    @property
    def controlled(self) -> bool:
        """Whether it is this connection that drives it."""
        return self._controls

    # ---- inside

    async def _drive(self) -> None:
        if not self._controls:
            await self.request_control()

    async def _inject(self, *events: m.InputEvent) -> None:
        await self._drive()
        await self._hub._input(self.name, list(events))

    async def _picture(self) -> tuple[int, int, int]:
        """Generation, width and height of what it shows now."""
        if self._geometry is None or not self._watching:
            async with self.packets() as packets:
                await anext(packets)
        assert self._geometry is not None
        return self._geometry

    def _on_control(self, message: m.Control) -> None:
        if self._controls and not message.granted:
            self._held.clear()
        self._controls = message.granted

    def _on_cursor(self, message: m.Cursor) -> None:
        kept = self.cursor
        if not message.shape and kept is not None and kept.shape_serial == message.shape_serial:
            message = m.Cursor(
                message.x, message.y, message.visible, message.shape_serial, message.channel,
                kept.shape_width, kept.shape_height, kept.hot_x, kept.hot_y, kept.shape,
            )  # fmt: skip
        self.cursor = message


class RemotePackets:
    """One subscription; ``async with`` ends it at once, else it ends with the iteration."""

    def __init__(self, source: RemoteSource) -> None:
        self.source = source
        self._hub = source._hub
        self._waiting: deque[RemotePacket] = deque()
        self._something = asyncio.Event()
        self._error: KvmStreamError | None = None
        self._owed = 0  # sequence that is acknowledged when the next packet is asked for
        self._delivery = m.Delivery(0)
        self._channel = self._hub._subscribe(self)
        self._open = True
        source._watching += 1

    @property
    def dropped(self) -> int:
        """Packets that the hub had for this subscription and did not send.

        The line was too slow, or whoever reads here. The hub tells four times a second.
        """
        return self._delivery.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RemotePacket:
        self._settle()
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if not self._open:
                raise StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        packet = self._waiting.popleft()
        self._owed = packet.sequence
        return packet

    def take_waiting(self) -> RemotePacket | None:
        """The next packet if it has arrived already."""
        self._settle()
        if not self._waiting:
            return None
        packet = self._waiting.popleft()
        self._owed = packet.sequence
        return packet

    def request_keyframe(self) -> None:
        """Ask for one: a decoder has lost its thread."""
        if self._open:
            self._hub._check().post(m.KeyframeWanted(self._channel))

    def close(self) -> None:
        """Idempotent."""
        if self._open:
            self._open = False
            self.source._watching -= 1
            self._hub._unsubscribe(self._channel)
            self._something.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.close()

    def _settle(self) -> None:
        if self._owed:
            self._hub._acknowledge(self._channel, self._owed)
            self._owed = 0

    def _put(self, header: VideoHeader, payload: bytes) -> None:
        control = self._hub._check()
        if len(self._waiting) >= _QUEUE_UNITS:
            self._fail(ProtocolError(f"the hub sent {_QUEUE_UNITS} units without credit"))
            return
        shift = -control.clock.offset_ns
        packet = RemotePacket(payload)
        packet.keyframe, packet.refinement = header.keyframe, header.refinement
        packet.pts, packet.generation = header.pts, header.generation
        packet.width, packet.height = header.width, header.height
        packet.sequence = header.sequence
        packet.damaged_ns = header.damaged_ns + shift
        packet.captured_ns = packet.converted_ns = header.captured_ns + shift
        packet.encoded_ns = header.encoded_ns + shift
        packet.sent_ns = header.sent_ns + shift
        packet.relayed_ns = header.relayed_ns + shift
        packet.received_ns = control.now_ns()
        self.source._geometry = (header.generation, header.width, header.height)
        self._waiting.append(packet)
        self._something.set()

    def _fail(self, error: KvmStreamError) -> None:
        self._error = self._error or error
        self._something.set()


class RemoteFrames:
    """Decoded pictures of one source; every packet is decoded, only the newest picture is converted and returned."""

    def __init__(self, source: RemoteSource) -> None:
        from .decode import Decoder

        self._packets = source.packets()
        self._decoder = Decoder()
        self.decoded_ns = 0  # when the last picture had been decoded, before RGB
        self.packet: RemotePacket | None = None  # that picture's

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NDArray[np.uint8]:
        loop = asyncio.get_running_loop()
        pool = self._packets._hub._decoding
        while True:
            batch = [await anext(self._packets)]
            while (more := self._packets.take_waiting()) is not None:
                batch.append(more)
            try:
                picture = await loop.run_in_executor(pool, self._decode, batch)
            except ProtocolError:
                self._packets.request_keyframe()
                continue
            if picture is not None:
                return picture

    def _decode(self, batch: list[RemotePacket]) -> NDArray[np.uint8] | None:
        picture = None
        for packet in batch:
            decoded = self._decoder.decode_picture(packet)
            if decoded is not None:
                picture, self.packet = decoded, packet
                self.decoded_ns = time.perf_counter_ns()
        return None if picture is None else picture.to_rgb()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription; idempotent."""
        self._packets.close()
