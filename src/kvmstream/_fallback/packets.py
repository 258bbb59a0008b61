"""Packets and the bounded queues that carry them to each consumer."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from kvmstream.errors import ConfigError, KvmStreamError, StreamClosed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Packet", "PacketHub", "Subscription", "check_process"]

_MAX_CAPACITY = 4096  # packets


class Packet(bytes):
    """One H.264 access unit (Annex B); SPS and PPS stand before every keyframe."""

    keyframe: bool
    pts: int
    generation: int
    width: int
    height: int
    refinement: bool
    damaged_ns: int
    captured_ns: int
    converted_ns: int
    encoded_ns: int

    def __repr__(self) -> str:
        kind = "keyframe " if self.keyframe else "refinement " if self.refinement else ""
        return (
            f"<kvmstream Packet {kind}{len(self)} bytes, pts {self.pts} us, "
            f"{self.width}x{self.height}, generation {self.generation}>"
        )

    __str__ = __repr__


class QueueState(NamedTuple):
    """A look at one consumer's queue."""

    size: int
    capacity: int
    dropped: int
    oldest_ms: float


def check_process(owner_pid: int) -> None:
    """Raises :exc:`StreamClosed` in a forked child, where the threads and locks of the parent are dead."""
    if os.getpid() != owner_pid:
        raise StreamClosed("this stream belongs to the parent process; open one of your own")


class Subscription:
    """One consumer's bounded queue of packets. All methods are safe from any thread."""

    def __init__(self, hub: PacketHub, capacity: int) -> None:
        self._hub = hub
        self._pid = os.getpid()
        self.capacity = capacity
        # All guarded by the hub's lock.
        self.packets: deque[Packet] = deque()
        self.needs_keyframe = True
        # Wiped, and has not asked since: a consumer that does not read costs nobody a keyframe.
        self.asleep = False
        self.closed = False
        self.lost = 0

    def next(self, timeout: float | None = None) -> Packet | None:
        """The next packet; None after `timeout` seconds (None = no limit).

        Raises :exc:`StreamClosed` once the pipeline has stopped and the queue is empty, or the error that ended it.
        """
        check_process(self._pid)
        return self._hub.take(self, timeout)

    def close(self) -> None:
        """Idempotent; ends a blocked :meth:`next` with :exc:`StreamClosed`."""
        if os.getpid() == self._pid:
            self._hub.remove(self)

    @property
    def dropped(self) -> int:
        """Packets wiped because this consumer alone was full."""
        return self.lost

    @property
    def queued(self) -> int:
        """Packets waiting now."""
        return len(self.packets)


class PacketHub:
    """Hands each packet to every consumer.

    `lock` is the pipeline's one lock (re-entrant); `on_demand` is called without it whenever a consumer
    comes, goes or makes room.
    """

    def __init__(self, lock: threading.RLock, on_demand: Callable[[], None]) -> None:
        self._lock = lock
        self._arrived = threading.Condition(lock)
        self._on_demand = on_demand
        self._consumers: list[Subscription] = []
        self._ended = False
        self._error: KvmStreamError | None = None

    # -- consumers ----------------------------------------------------------------------------------------------------

    def subscribe(self, capacity: int) -> Subscription:
        """A new consumer; one that comes after the end finds its queue closed."""
        if not 1 <= capacity <= _MAX_CAPACITY:
            raise ConfigError(f"capacity = {capacity}: must be from 1 to {_MAX_CAPACITY} packets")
        consumer = Subscription(self, capacity)
        with self._lock:
            if not self._ended:
                self._consumers.append(consumer)
        self._on_demand()
        return consumer

    def remove(self, consumer: Subscription) -> None:
        """Closes one consumer."""
        with self._lock:
            if consumer.closed:
                return
            consumer.closed = True
            consumer.packets.clear()
            if consumer in self._consumers:
                self._consumers.remove(consumer)
            self._arrived.notify_all()
        self._on_demand()

    def take(self, consumer: Subscription, timeout: float | None) -> Packet | None:
        """See :meth:`Subscription.next`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            woke_up, consumer.asleep = consumer.asleep, False
        if woke_up:
            self._on_demand()
        with self._lock:
            while not consumer.packets and not consumer.closed and not self._ended:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._arrived.wait(left)
            if consumer.closed:
                raise StreamClosed("this subscription is closed")
            if not consumer.packets:
                raise self._end_error()
            made_room = len(consumer.packets) == consumer.capacity
            packet = consumer.packets.popleft()
        if made_room:
            self._on_demand()
        return packet

    def _end_error(self) -> KvmStreamError:
        if self._error is None:
            return StreamClosed("the stream has ended")
        # A fresh one for each caller: a shared exception would collect every raiser's traceback.
        return type(self._error)(*self._error.args)

    # -- the pipeline's side; the lock is held -------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether anybody can take a packet."""
        return any(not c.asleep and len(c.packets) < c.capacity for c in self._consumers)

    def wants_keyframe(self) -> bool:
        """Whether anybody waits for a keyframe to begin with."""
        return any(c.needs_keyframe and not c.asleep for c in self._consumers)

    def only_keyframes(self) -> bool:
        """Whether no one could use anything but a keyframe."""
        return all(c.needs_keyframe for c in self._consumers)

    def publish(self, packet: Packet) -> None:
        """Queues the packet for everyone whose chain it continues or begins; wipes who is full."""
        for consumer in self._consumers:
            if consumer.asleep or (consumer.needs_keyframe and not packet.keyframe):
                continue
            if len(consumer.packets) == consumer.capacity:
                # The chain is broken for this consumer whatever is dropped, so the stale packets go too.
                consumer.lost += consumer.capacity + 1
                consumer.packets.clear()
                consumer.needs_keyframe = consumer.asleep = True
                continue
            consumer.needs_keyframe = False
            consumer.packets.append(packet)
        self._arrived.notify_all()

    def states(self) -> list[QueueState]:
        """One entry per consumer."""
        now = time.perf_counter_ns()
        return [
            QueueState(
                len(c.packets),
                c.capacity,
                c.lost,
                (now - c.packets[0].encoded_ns) / 1e6 if c.packets else 0.0,
            )
            for c in self._consumers
        ]

    def end(self, error: KvmStreamError | None) -> None:
        """No more packets; what is queued can still be read. The first call decides the error."""
        if not self._ended:
            self._ended = True
            self._error = error
        self._arrived.notify_all()

    @property
    def ended(self) -> bool:
        """Whether :meth:`end` was called."""
        return self._ended

    @property
    def error(self) -> KvmStreamError | None:
        """What ended the stream, unless it was stopped."""
        return self._error
