"""From one agent to many viewers: bounded queues, credit on both hops, keyframes asked for once. No decoding."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from kvmstream.errors import ProtocolError
from kvmstream.wire.limits import VIDEO_BYTES
from kvmstream.wire.messages import Delivery, KeyframeWanted
from kvmstream.wire.video import ACK, VideoHeader

from .pace import CEILING, Pace

if TYPE_CHECKING:
    from kvmstream.wire.connection import Connection

    from .source import HubSource
    from .viewer import ViewerSession

__all__ = ["Channel", "Relay", "ViewerLink"]

_QUEUE_UNITS: Final = 8
_QUEUE_BYTES: Final = VIDEO_BYTES
_OVERFLOWS: Final = 2  # in…
_OVERFLOW_SECONDS: Final = 5.0  # …so long move a viewer to the low rendition
_HEADROOM_SECONDS: Final = 10.0  # without any move it back, the first time
_MOST_PATIENCE: Final = 160.0
_HEADROOM_DELAY: Final = 0.05  # seconds in queues
_KEYFRAME_SECONDS: Final = 0.5  # between two that are asked of the agent


class VideoLine(Protocol):
    """The way to a viewer that units take."""

    def post_frame(self, header: bytes, payload: bytes | memoryview | None = None) -> None:
        """Send a unit without waiting."""

    async def drain(self) -> None:
        """Wait until the kernel has taken nearly everything. Raises ConnectionLost."""


class Channel:
    """One viewer's subscription to one source: a bounded queue, and the pace of its line.

    A unit that does not fit wipes the queue, and nothing more is queued until a keyframe: a chain of P-frames has no
    holes. `offer` is called by the source's relay, the rest by the viewer's link. Overflows move a viewer to the
    source's low rendition, time without any back to main.
    """

    def __init__(self, number: int, source: HubSource, viewer: ViewerSession) -> None:
        self.number = number
        self.source = source
        self.viewer = viewer
        self.relay = source.relays[0]
        self.pace = Pace()
        self._link = viewer.link
        self._queue: deque[tuple[VideoHeader, bytes, float]] = deque()  # and since when
        self._bytes = 0
        self._waits_for_keyframe = True
        self._sequence = 0  # of the newest unit sent
        self._overflows: deque[float] = deque(maxlen=_OVERFLOWS)
        self._calm_since = 0.0
        self._patience = _HEADROOM_SECONDS
        self.dropped = 0
        self.sent = 0
        self._told = Delivery(number)

    @property
    def has_room(self) -> bool:
        """Whether a unit that came now would go straight out."""
        return not self._queue and self.pace.in_flight < self.pace.window

    @property
    def queued(self) -> int:
        """Units waiting."""
        return len(self._queue)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest of them has waited."""
        return time.monotonic() - self._queue[0][2] if self._queue else 0.0

    def offer(self, header: VideoHeader, payload: bytes) -> None:
        """Take a unit, or drop it when it cannot be decoded."""
        if header.keyframe:
            self._drop_queue()  # what waits would only make it later
            self._waits_for_keyframe = False
        elif self._waits_for_keyframe:
            self.dropped += 1
            return
        elif len(self._queue) >= _QUEUE_UNITS or self._bytes + len(payload) > _QUEUE_BYTES:
            self._overflow()
            return
        self._queue.append((header, payload, time.monotonic()))
        self._bytes += len(payload)
        self._link.wake()

    def take(self) -> tuple[bytes, bytes] | None:
        """The next unit with the viewer's own header, when the window has room."""
        if not self._queue or self.pace.in_flight >= self.pace.window:
            return None
        header, payload, _ = self._queue.popleft()
        self._bytes -= len(payload)
        self._sequence += 1
        self.sent += 1
        self.pace.sent(self._sequence, len(payload), time.monotonic())
        return header.for_viewer(self.number, self._sequence), payload

    def acknowledge(self, sequence: int) -> None:
        """The viewer has decoded up to here. Raises ProtocolError for what was never sent."""
        if sequence > self._sequence:
            raise ProtocolError(
                f"acknowledged unit {sequence}, the newest sent is {self._sequence}"
            )
        now = time.monotonic()
        self.pace.acknowledged(sequence, now)
        self._link.wake()
        self.relay.credit()
        if self._waits_for_keyframe and self.has_room:
            self.relay.want_keyframe()
        self.reconsider()

    def reconsider(self) -> None:
        """Back to main after calm; called now and then, for a still screen brings nothing to acknowledge."""
        if self.relay.number and self._is_calm(time.monotonic()):
            self._patience *= 2  # whoever has to come back here waits longer the next time
            self._move(0)

    def report(self) -> None:
        """Tell the viewer what its line did not carry; called now and then."""
        news = Delivery(self.number, self.relay.number, self.dropped)
        if news != self._told:
            self._told = news
            self.viewer.post(news)

    def ask_keyframe(self) -> None:
        """The viewer's decoder has lost its thread."""
        self._waits_for_keyframe = True
        self._drop_queue()
        self.relay.want_keyframe()

    def _overflow(self) -> None:
        self._drop_queue()
        self.dropped += 1
        self._waits_for_keyframe = True
        now = self._calm_since = time.monotonic()
        self._overflows.append(now)
        often = len(self._overflows) == _OVERFLOWS and self._overflows[0] > now - _OVERFLOW_SECONDS
        if often and not self.relay.number:
            self._move(1)
        elif self.pace.in_flight < self.pace.window:
            self.relay.want_keyframe()
        # Else it takes nothing now: a keyframe would be for nobody. It is asked for with the next acknowledgement.

    def _is_calm(self, now: float) -> bool:
        busy = bool(self._queue or self.pace.in_flight)  # else the delay is that of some time ago
        if busy and self.pace.queue_delay > _HEADROOM_DELAY:
            self._calm_since = now
        return now - self._calm_since > min(self._patience, _MOST_PATIENCE)

    def _move(self, rendition: int) -> None:
        self._overflows.clear()
        self._calm_since = time.monotonic()
        self._waits_for_keyframe = True
        self._drop_queue()
        self.relay.remove(self)
        self.relay = self.source.relays[rendition]
        self.relay.add(self)
        self.source.watch()

    def _drop_queue(self) -> None:
        self.dropped += len(self._queue)
        self._queue.clear()
        self._bytes = 0


class ViewerLink:
    """A viewer's video connection: one task writes what its channels have, oldest channel first."""

    def __init__(self, connection: VideoLine) -> None:
        self.connection = connection
        self.channels: dict[int, Channel] = {}
        self._something = asyncio.Event()

    def wake(self) -> None:
        """There may be something to send."""
        self._something.set()

    async def send_forever(self) -> None:
        """Until the connection is lost (ConnectionLost)."""
        while True:
            await self._something.wait()
            self._something.clear()
            busy = True
            while busy:
                busy = False
                for channel in list(self.channels.values()):
                    unit = channel.take()
                    if unit is not None:
                        busy = True
                        self.connection.post_frame(*unit)
                        # Waiting here leaves the rest in the channels, where a newer keyframe can replace it.
                        await self.connection.drain()
                        channel.relay.credit()

    async def receive_forever(self, connection: Connection) -> None:
        """Acknowledgements, until the connection is lost. Raises ProtocolError for anything else."""
        while True:
            header, _ = await connection.receive_frame()
            self.on_frame(header)

    def on_frame(self, header: VideoHeader) -> None:
        """What a viewer sends. Raises ProtocolError for anything but an acknowledgement."""
        if header.kind != ACK:
            raise ProtocolError(
                f"a viewer sends nothing but acknowledgements, not kind {header.kind}"
            )
        channel = self.channels.get(header.channel)
        if channel is not None:  # else it was unsubscribed meanwhile
            channel.acknowledge(header.sequence)


class Relay:
    """One rendition of a source: the agent's connections on one side, any number of channels on the other."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.channels: set[Channel] = set()
        self._control: Connection | None = None
        self._video: Connection | None = None
        self._owed: deque[int] = deque()  # sequences of the agent that wait for credit
        self._keyframe_asked = float("-inf")
        self._keyframe_timer: asyncio.TimerHandle | None = None
        self.units = 0
        self.bytes = 0

    def attach(self, control: Connection, video: Connection) -> None:
        """An agent is here. Whoever watches waits for its first keyframe."""
        self._control, self._video = control, video
        self._owed.clear()
        for channel in self.channels:
            channel.ask_keyframe()

    def detach(self) -> None:
        """The agent is gone."""
        self._control = self._video = None
        self._owed.clear()
        if self._keyframe_timer is not None:
            self._keyframe_timer.cancel()
            self._keyframe_timer = None

    def add(self, channel: Channel) -> None:
        """A viewer joins: it starts at a keyframe."""
        self.channels.add(channel)
        self.want_keyframe()
        self.credit()

    def remove(self, channel: Channel) -> None:
        """A viewer leaves."""
        self.channels.discard(channel)
        self.credit()

    def pass_on(self, header: VideoHeader, payload: bytes) -> None:
        """A unit from the agent, its times already on the hub's clock."""
        self.units += 1
        self.bytes += len(payload)
        self._owed.append(header.sequence)
        for channel in tuple(self.channels):  # one that overflows may move to the other rendition
            channel.offer(header, payload)
        self.credit()

    def credit(self) -> None:
        """Let the agent send more once anybody has room for it: the slowest viewer holds up only itself."""
        if not self._owed or self._video is None:
            return
        if self.channels and not any(channel.has_room for channel in self.channels):
            return
        newest = self._owed[-1]
        self._owed.clear()
        self._video.post_frame(VideoHeader(ACK, rendition=self.number, sequence=newest).pack())

    def bitrate(self) -> int:
        """What the best line among the viewers carries: the slower ones have their queue and the low rendition."""
        return max((channel.pace.bitrate for channel in self.channels), default=CEILING)

    def want_keyframe(self) -> None:
        """Ask the agent for a keyframe; requests within half a second become one."""
        if self._control is None or self._keyframe_timer is not None:
            return
        wait = self._keyframe_asked + _KEYFRAME_SECONDS - time.monotonic()
        if wait > 0:
            loop = asyncio.get_running_loop()
            self._keyframe_timer = loop.call_later(wait, self._send_keyframe_request)
        else:
            self._send_keyframe_request()

    def _send_keyframe_request(self) -> None:
        self._keyframe_timer = None
        if self._control is not None:
            self._keyframe_asked = time.monotonic()
            self._control.post(KeyframeWanted(rendition=self.number))
