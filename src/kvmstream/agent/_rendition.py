"""One encode of the screen on its way to the hub: `main`, or the small `low` one for viewers behind a slow line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from kvmstream.errors import ConnectionLost, KvmStreamError, ProtocolError, StreamClosed
from kvmstream.stream import Stream
from kvmstream.wire.video import UNIT, VideoHeader

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmstream._types import Packet
    from kvmstream.config import StreamConfig
    from kvmstream.stream import Subscription
    from kvmstream.wire import messages as m
    from kvmstream.wire.connection import Connection

__all__ = ["LOW_GENERATIONS", "Rendition"]

_log = logging.getLogger("kvmstream.agent")

_UNACKNOWLEDGED: Final = 2  # units on their way to the hub
_SENDS: Final = 256  # of the newest, for the figures
_RETRY_SECONDS: Final = 1.0  # after a capture that failed
# Added to the generations of `low`, so that no two pictures of different sizes share one.
LOW_GENERATIONS: Final = 0x8000_0000


class Rendition:
    """Outlives connections, and so does its capture. Event loop's thread only.

    `configure` gives the settings when the stream is opened; `new_picture` hears of every new generation.
    """

    def __init__(
        self,
        number: int,
        configure: Callable[[], StreamConfig],
        new_picture: Callable[[int], None],
    ) -> None:
        self.number = number
        self.stream: Stream | None = None
        self.problem = ""
        self._configure = configure
        self._new_picture = new_picture
        self._subscription: Subscription | None = None
        self._video: Connection | None = None
        self._wanted = asyncio.Event()
        self._credit = asyncio.Event()
        self._rate: tuple[int, float] | None = None  # bit/s and fps that the hub asked for
        self._generation = 0
        self._sequence = 0
        self._acknowledged = 0
        self._send_ns: deque[int] = deque(maxlen=_SENDS)

    @property
    def watched(self) -> bool:
        """Whether the hub wants it."""
        return self._wanted.is_set()

    def send_ms(self) -> tuple[float, float]:
        """From encoded to taken by the kernel, waiting for credit included: median and 95th percentile of late."""
        times = sorted(self._send_ns)
        if not times:
            return 0.0, 0.0
        last = len(times) - 1
        return times[last // 2] / 1e6, times[last * 95 // 100] / 1e6

    async def wait_watched(self) -> None:
        """Wait until the hub wants it."""
        await self._wanted.wait()

    async def restart(self) -> None:
        """Open the capture anew with the settings of now, when it is wanted next."""
        self._unsubscribe()
        await self.close()

    def begin(self, video: Connection) -> None:
        """Units go there from now on, once the hub says that somebody watches."""
        self._video = video
        self._sequence = self._acknowledged = 0
        self._wanted.clear()
        self._credit.set()

    def end(self) -> None:
        """The connection is gone; the capture stays."""
        self._video = None
        self._wanted.clear()
        self._unsubscribe()

    async def close(self) -> None:
        """End the capture too."""
        self._unsubscribe()
        stream, self.stream = self.stream, None
        if stream is not None:
            await asyncio.to_thread(stream.stop)

    def watch(self, message: m.Watch) -> None:
        """Begin or end to send units, and at which rate."""
        if not message.active:
            self._wanted.clear()
            self._unsubscribe()
            return
        self._rate = (message.bitrate, message.fps)
        self._apply_rate()
        self._wanted.set()

    def keyframe(self) -> None:
        """A decoder wants to begin."""
        if self.stream is not None:
            self.stream.request_keyframe()

    def acknowledge(self, sequence: int) -> None:
        """The hub's credit. Raises ProtocolError for what was never sent."""
        if sequence > self._sequence:
            raise ProtocolError(f"unit {sequence} was acknowledged, the newest is {self._sequence}")
        self._acknowledged = max(self._acknowledged, sequence)
        self._credit.set()

    async def send_forever(self) -> None:
        """Send what the screen becomes while somebody watches. Raises ConnectionLost."""
        while True:
            await self._wanted.wait()
            try:
                stream = await self._opened()
                # One unit waits encoded, at most, while those on their way are not acknowledged.
                self._subscription = stream.subscribe(capacity=1)
                self.problem = ""
                await self._send(self._subscription)
            except ConnectionLost:
                raise
            except StreamClosed:
                if self._subscription is not None:  # else we closed it
                    await self._lost("the capture ended")
            except KvmStreamError as error:
                await self._lost(str(error))
            finally:
                self._unsubscribe()

    # ---- inside

    async def _send(self, subscription: Subscription) -> None:
        video = self._video
        assert video is not None
        while self._wanted.is_set():
            while self._sequence - self._acknowledged >= _UNACKNOWLEDGED:
                self._credit.clear()
                await self._credit.wait()
            packet = await subscription.next_async()
            generation = packet.generation + (LOW_GENERATIONS if self.number else 0)
            if generation != self._generation:
                self._generation = generation
                await asyncio.to_thread(self._new_picture, generation)
            self._sequence += 1
            video.post_frame(self._header(packet, generation, video.now_ns()), memoryview(packet))
            await video.drain()
            if not packet.refinement:
                self._send_ns.append(time.perf_counter_ns() - packet.encoded_ns)

    def _header(self, packet: Packet, generation: int, now_ns: int) -> bytes:
        return VideoHeader(
            UNIT,
            len(packet),
            packet.keyframe,
            packet.refinement,
            self.number,
            0,
            self._sequence,
            generation,
            packet.width,
            packet.height,
            packet.pts,
            packet.damaged_ns,
            packet.captured_ns,
            packet.encoded_ns,
            now_ns,
        ).pack()

    async def _opened(self) -> Stream:
        if self.stream is None:
            stream = Stream(self._configure())
            try:
                await asyncio.to_thread(stream.start)
            except BaseException:
                await asyncio.to_thread(stream.stop)
                raise
            self.stream = stream
            self._apply_rate()
        return self.stream

    def _apply_rate(self) -> None:
        if self.stream is None or self._rate is None:
            return
        bitrate, fps = self._rate
        config = self.stream.config
        self.stream.update(bitrate=min(bitrate, config.bitrate), fps=min(fps, config.fps))

    async def _lost(self, problem: str) -> None:
        """The capture failed: say so, and try anew."""
        _log.warning("%s", problem)
        self.problem = problem
        stream, self.stream = self.stream, None
        if stream is not None:
            await asyncio.to_thread(stream.stop)
        await asyncio.sleep(_RETRY_SECONDS)

    def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
