"""Sleeping on descriptors and a clock at once, with a way to end the sleep from another thread."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import time

__all__ = ["FOREVER", "Waker", "readable"]

FOREVER = 1 << 62  # nanoseconds; later than any perf_counter_ns()
_MAX_SLEEP_NS = 3_600_000_000_000  # an hour, so that no platform's timeout type overflows


def readable(descriptors: list[int], nanoseconds: int) -> list[int]:
    """Which of them have something to read, or have ended; waits so long for the first."""
    if sys.platform == "win32":
        # Only sockets can be waited for there, and there is no limit on their numbers.
        return select.select(descriptors, [], [], nanoseconds / 1e9)[0]
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(-(-nanoseconds // 1_000_000))]


class Waker:
    """One thread waits, any thread wakes. A wake that comes before the wait ends it at once."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._lock = threading.RLock()  # a finalizer may wake in the midst of a wake
        self._closed = False

    def wake(self) -> None:
        """Ends the present or the next :meth:`wait`."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(BlockingIOError):  # full of wake-ups already
                self._sender.send(b"\0")

    def wait(self, until_ns: int, fd: int = -1) -> bool:
        """Sleeps until `until_ns` (perf_counter_ns), `fd` is readable, or a wake. True after a wake."""
        left = max(0, min(until_ns - time.perf_counter_ns(), _MAX_SLEEP_NS))
        mine = self._receiver.fileno()
        woken = mine in readable([mine, *([fd] if fd >= 0 else [])], left)
        if woken:
            with contextlib.suppress(BlockingIOError):
                while self._receiver.recv(64):
                    pass
        return woken

    def close(self) -> None:
        """Idempotent; only once nobody waits any more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._receiver.close()
                self._sender.close()
