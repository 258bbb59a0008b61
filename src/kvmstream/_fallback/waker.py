"""Sleeping on descriptors and a clock at once, with a way to end the sleep from another thread."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

__all__ = ["FOREVER", "Waker"]

FOREVER = 1 << 62  # nanoseconds; later than any perf_counter_ns()
_MAX_SLEEP_NS = 3_600_000_000_000  # an hour, so that no platform's timeout type overflows


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
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(mine, select.POLLIN)
            if fd >= 0:
                poll.register(fd, select.POLLIN)
            woken = any(ready == mine for ready, _ in poll.poll(-(-left // 1_000_000)))
        else:  # Windows, where only sockets can be waited for and there is no limit on their numbers
            woken = mine in select.select([mine, *([fd] if fd >= 0 else [])], [], [], left / 1e9)[0]
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
