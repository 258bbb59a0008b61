"""The agent's screen on its way to the hub: units under the hub's credit, cursor, thumbnails, state."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from kvmstream.errors import KvmStreamError, ProtocolError, StreamClosed
from kvmstream.stream import Stream
from kvmstream.wire import messages as m
from kvmstream.wire.limits import THUMBNAIL_BYTES
from kvmstream.wire.video import ACK, THUMBNAIL, UNIT, VideoHeader

if TYPE_CHECKING:
    from kvmstream._types import Display, Packet
    from kvmstream.config import StreamConfig
    from kvmstream.stream import Subscription
    from kvmstream.wire.connection import Connection

__all__ = ["Screen"]

_log = logging.getLogger("kvmstream.agent")

_UNACKNOWLEDGED: Final = 2  # units on their way to the hub
_RETRY_SECONDS: Final = 1.0  # after a capture that failed
_STATE_SECONDS: Final = 1.0
_THUMBNAIL_WIDTH: Final = 320


class Screen:
    """Outlives connections, and so does its capture: a new one goes on with a keyframe. Event loop's thread only."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config
        self._stream: Stream | None = None
        self._subscription: Subscription | None = None
        self._control: Connection | None = None
        self._video: Connection | None = None
        self._watched = asyncio.Event()
        self._credit = asyncio.Event()
        self._sequence = 0
        self._acknowledged = 0
        self._problem = ""
        self._displays: list[Display] = []
        self._picture = (0, 0, 0)  # generation, width, height of the newest unit
        self._origin = (0, 0, 0, 0)  # what the picture shows, in pixels of the root window
        self._thumbnail_seconds = 60.0
        self._thumbnail_wanted = asyncio.Event()

    # ---- a connection begins and ends

    def begin(self, control: Connection, video: Connection) -> None:
        """Units go there from now on, once the hub says that somebody watches."""
        self._control, self._video = control, video
        self._sequence = self._acknowledged = 0
        self._watched.clear()
        self._credit.set()

    def end(self) -> None:
        """The connection is gone; the capture stays."""
        self._control = self._video = None
        self._watched.clear()
        self._unsubscribe()

    async def close(self) -> None:
        """End the capture too."""
        self._unsubscribe()
        stream, self._stream = self._stream, None
        if stream is not None:
            await asyncio.to_thread(stream.stop)

    # ---- what the hub asks

    async def watch(self, message: m.Watch) -> None:
        """Begin or end to send units, and at which rate."""
        self._thumbnail_seconds = (
            60.0 / message.thumbnails_per_minute if message.thumbnails_per_minute else float("inf")
        )
        self._thumbnail_wanted.set()
        if message.active:
            self._watched.set()
            if self._stream is not None:
                self._stream.update(
                    bitrate=min(message.bitrate, self._config.bitrate),
                    fps=min(message.fps, self._config.fps),
                )
        else:
            self._watched.clear()
            self._unsubscribe()

    def keyframe(self) -> None:
        """A decoder wants to begin."""
        if self._stream is not None:
            self._stream.request_keyframe()

    async def show(self, display: str) -> None:
        """Another monitor."""
        self._config.display = display
        stream = self._stream
        if stream is not None:
            try:
                await asyncio.to_thread(stream.update, display=display, region=(0, 0, 0, 0))
            except KvmStreamError as error:
                self._problem = str(error)

    def locate(self, x: int, y: int, generation: int) -> tuple[int, int] | None:
        """Where a point of the picture lies on the root window. Any thread."""
        now, width, height = self._picture
        left, top, wide, high = self._origin
        if generation != now or not width or not height:
            return None
        return left + x * (wide - 1) // 65535, top + y * (high - 1) // 65535

    # ---- the tasks of a connection

    async def send_units(self) -> None:
        """Send what the screen becomes while somebody watches."""
        while True:
            await self._watched.wait()
            try:
                stream = await self._opened()
                # One unit waits encoded, at most, while those on their way are not acknowledged.
                self._subscription = stream.subscribe(capacity=1)
                self._problem = ""
                await self._send_while_watched(self._subscription)
            except StreamClosed:
                if self._subscription is not None:  # else we closed it
                    await self._lost("the capture ended")
            except KvmStreamError as error:
                if isinstance(error, ProtocolError) or self._video is None:
                    raise
                if "connection" in type(error).__name__.lower():
                    raise
                await self._lost(str(error))
            finally:
                self._unsubscribe()

    async def receive_acks(self) -> None:
        """The hub's credit."""
        video = self._video
        assert video is not None
        while True:
            header, _ = await video.receive_frame()
            if header.kind != ACK or header.sequence > self._sequence:
                raise ProtocolError(
                    f"kind {header.kind}, sequence {header.sequence} is no acknowledgement"
                )
            self._acknowledged = max(self._acknowledged, header.sequence)
            self._credit.set()

    async def send_cursor(self) -> None:
        """The pointer, beside the picture."""
        control = self._control
        assert control is not None
        while True:
            await self._watched.wait()
            stream = self._stream
            if stream is None or stream.config.cursor != "metadata":
                await asyncio.sleep(0.05)
                continue
            shape = -1
            try:
                with stream.cursor_updates() as updates:
                    while self._watched.is_set():
                        state = await updates.next_async()
                        fresh = (
                            state.shape_serial != shape and len(state.shape_bgra) <= 512 * 512 * 4
                        )
                        shape = state.shape_serial
                        control.post(
                            m.Cursor(
                                max(-65536, min(65536, state.x)),
                                max(-65536, min(65536, state.y)),
                                state.visible,
                                shape & 0xFFFF_FFFF,
                                0,
                                *((state.shape_width, state.shape_height, state.hot_x, state.hot_y,
                                   bytes(state.shape_bgra)) if fresh else ()),
                            )
                        )  # fmt: skip
                        await control.drain()
            except StreamClosed:
                await asyncio.sleep(0.05)

    async def send_thumbnails(self) -> None:
        """A small JPEG, as often as the hub asks, when the picture is another one."""
        video = self._video
        assert video is not None
        last = b""
        while True:
            self._thumbnail_wanted.clear()
            try:
                async with asyncio.timeout(self._thumbnail_seconds):
                    await self._thumbnail_wanted.wait()
                await asyncio.sleep(min(0.5, self._thumbnail_seconds))
            except TimeoutError:
                pass
            stream = self._stream
            if stream is None:
                continue
            try:
                picture = await asyncio.to_thread(stream.thumbnail, _THUMBNAIL_WIDTH)
            except KvmStreamError:
                continue
            if picture and picture != last and len(picture) <= THUMBNAIL_BYTES:
                last = picture
                video.post_frame(
                    VideoHeader(THUMBNAIL, len(picture), sent_ns=video.now_ns()).pack(), picture
                )
                await video.drain()

    async def send_state(self) -> None:
        """Monitors, problems and figures: when they change, and the figures now and then."""
        control = self._control
        assert control is not None
        last = None
        while True:
            await asyncio.to_thread(self._look_at_displays)
            state = m.SourceState(
                [
                    m.DisplayInfo(d.id[:128], d.name[:128], d.width, d.height, d.primary)
                    for d in self._displays[:64]
                ],
                self._config.display,
                self._problem[:1024],
                self.figures() if self._watched.is_set() else {},
            )
            if state != last:
                last = state
                await control.send(state)
            await asyncio.sleep(_STATE_SECONDS)

    def figures(self) -> dict[str, float | str]:
        """How the stream does; without one only the backend's name."""
        from kvmstream import backend

        stream = self._stream
        if stream is None:
            return {"backend": backend, "fps": 0.0}
        try:
            stats = stream.stats()
        except StreamClosed:
            return {"backend": backend, "fps": 0.0}
        return {
            "backend": backend,
            "encoder": stats.encoder,
            "capture": stats.capture,
            "width": float(stats.width),
            "height": float(stats.height),
            "fps": stats.fps,
            "bitrate": stats.bitrate,
            "dropped": float(stats.dropped),
            "capture_ms_p50": stats.capture_ms_p50,
            "convert_ms_p50": stats.convert_ms_p50,
            "encode_ms_p50": stats.encode_ms_p50,
            "latency_ms_p50": stats.latency_ms_p50,
            "latency_ms_p95": stats.latency_ms_p95,
            "cpu_seconds": time.process_time(),
        }

    # ---- inside

    async def _send_while_watched(self, subscription: Subscription) -> None:
        video = self._video
        assert video is not None
        while self._watched.is_set():
            while self._sequence - self._acknowledged >= _UNACKNOWLEDGED:
                self._credit.clear()
                await self._credit.wait()
            packet = await subscription.next_async()
            if packet.generation != self._picture[0]:
                await asyncio.to_thread(self._look_at_displays)
                self._picture = (packet.generation, packet.width, packet.height)
            self._post(packet, video)
            await video.drain()

    def _post(self, packet: Packet, video: Connection) -> None:
        self._sequence += 1
        header = VideoHeader(
            UNIT,
            len(packet),
            packet.keyframe,
            packet.refinement,
            0,
            0,
            self._sequence,
            packet.generation,
            packet.width,
            packet.height,
            packet.pts,
            packet.damaged_ns,
            packet.captured_ns,
            packet.encoded_ns,
            video.now_ns(),
        )
        video.post_frame(header.pack(), memoryview(packet))

    async def _opened(self) -> Stream:
        if self._stream is None:
            stream = Stream(self._config)
            try:
                await asyncio.to_thread(stream.start)
            except BaseException:
                await asyncio.to_thread(stream.stop)
                raise
            self._stream = stream
        return self._stream

    async def _lost(self, problem: str) -> None:
        """The capture failed: say so, and try anew."""
        _log.warning("%s", problem)
        self._problem = problem
        stream, self._stream = self._stream, None
        if stream is not None:
            await asyncio.to_thread(stream.stop)
        await asyncio.sleep(_RETRY_SECONDS)

    def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _look_at_displays(self) -> None:
        """Which monitors there are, and what the picture shows of them. Any thread."""
        from kvmstream import displays

        config = self._config
        x_display = config.display.partition("/")[0] if ":" in config.display else ""
        wanted = config.display.partition("/")[2] if ":" in config.display else config.display
        try:
            found = displays(x_display)
        except KvmStreamError as error:
            self._problem = str(error)
            return
        self._displays = found
        shown = next(
            (d for d in found if wanted in (d.name, d.id)),
            next((d for d in found if d.primary), found[0] if found else None),
        )
        if wanted.isdecimal() and int(wanted) < len(found):
            shown = found[int(wanted)]
        if shown is not None:
            x, y, width, height = config.region or (0, 0, shown.width, shown.height)
            self._origin = (shown.x + x, shown.y + y, width, height)
