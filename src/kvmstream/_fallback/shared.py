"""What the capture thread, the encode thread and the callers share, under one lock."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from kvmstream.errors import StreamClosed

from .packets import PacketHub
from .stats import Stats

if TYPE_CHECKING:
    from kvmstream.errors import KvmStreamError

    from .cursor import CursorTuple
    from .frames import Delta
    from .settings import Settings
    from .source import Source

__all__ = ["Promise", "Shared"]

_LOG_LINES = 256


class Promise:
    """Hands one result or error from a thread to the one that waits for it."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        """The first call counts."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self) -> None:
        """Raises the error that it was settled with."""
        self._done.wait()
        if self._error is not None:
            raise self._error


class Shared:
    """Attributes are guarded by `lock`; the methods take it themselves."""

    def __init__(self, settings: Settings) -> None:
        # Re-entrant, because the garbage collector may run end() in a thread that holds it.
        self.lock = threading.RLock()
        self.work = threading.Condition(self.lock)  # the encode thread waits here
        self.changed = threading.Condition(self.lock)  # cursor, refresh, end
        self.hub = PacketHub(self.lock, self.demand_changed)
        self.settings = settings
        self.started = False
        self.stopping = False
        self.start_ns = time.perf_counter_ns()
        self.source: Source | None = None
        self.slot: Delta | None = None  # latest wins; what it replaces is merged into it
        self.stats = Stats()
        self.cursor: CursorTuple | None = None
        self.keyframe_wanted = False
        # Capture is to look for newer damage before the slot is taken or a thumbnail is made: since when; 0 = no.
        self.refresh_since = 0
        self.new_rate: Settings | None = None
        self.reconfigure: tuple[Settings, Promise] | None = None
        self.capture_name = ""
        self.encoder_name = ""
        self.notes: list[str] = []
        self.width = 0
        self.height = 0
        self.generation = 0
        self._logs: deque[tuple[int, str, str]] = deque(maxlen=_LOG_LINES)

    def demand_changed(self) -> None:
        """Somebody came, went, has room again, or wants something."""
        with self.lock:
            self.work.notify_all()
            self.changed.notify_all()
            source = self.source
        if source is not None:
            source.wake()

    def ask_for_refresh(self) -> None:
        """The capture thread answers by setting `refresh_since` to 0."""
        with self.lock:
            self.refresh_since = time.perf_counter_ns()
            source = self.source
        if source is not None:
            source.wake()

    def log(self, level: int, component: str, message: str) -> None:
        """A line for drain_logs(); when full the oldest goes."""
        with self.lock:
            self._logs.append((level, component, message))

    def drain_logs(self) -> list[tuple[int, str, str]]:
        """(logging level, component, message) since the last call."""
        with self.lock:
            lines = list(self._logs)
            self._logs.clear()
        return lines

    def end(self, error: KvmStreamError | None) -> None:
        """Stops both threads and tells every consumer; idempotent, the first error stays."""
        with self.lock:
            if error is not None and not self.stopping:
                self.log(40, "pipeline", str(error))
            self.stopping = True
            self.hub.end(error)
            abandoned, self.reconfigure = self.reconfigure, None
        if abandoned is not None:
            abandoned[1].settle(StreamClosed("the stream has ended"))
        self.demand_changed()
