"""Starts and ends the two threads, and answers the callers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from kvmstream.errors import ConfigError, StreamClosed

from .capture_loop import CaptureLoop
from .encode_loop import EncodeLoop
from .shared import Promise, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cursor import CursorTuple
    from .ladder import Ladder
    from .packets import Subscription
    from .settings import Settings
    from .source import MakeSource

__all__ = ["Engine"]

# Seconds. A thread that hangs in an X server or a driver is left behind (it is a daemon).
_JOIN_TIMEOUT = {"kvmstream-capture": 1.5, "kvmstream-encode": 10.0}
_THUMBNAIL_PATIENCE = 0.5  # seconds


class Engine:
    """All methods are safe from any thread."""

    def __init__(
        self,
        settings: Settings,
        make_source: MakeSource,
        make_ladder: Callable[[Settings], Ladder],
    ) -> None:
        self.shared = Shared(settings)
        self._lifecycle = threading.Lock()
        self._loops = {
            "kvmstream-capture": CaptureLoop(self.shared, make_source).run,
            "kvmstream-encode": EncodeLoop(self.shared, make_ladder).run,
        }
        self._threads: list[threading.Thread] = []
        self._left_behind: set[threading.Thread] = set()  # nobody waits for them again

    def start(self) -> None:
        """Opens capture, then the encoder; each on the thread that will own it."""
        with self._lifecycle:
            with self.shared.lock:
                if self.shared.started or self.shared.stopping:
                    raise StreamClosed("a pipeline can be started once; make a new one")
                self.shared.started = True
            try:
                for name, loop in self._loops.items():
                    opened = Promise()
                    thread = threading.Thread(target=loop, args=(opened,), name=name, daemon=True)
                    self._threads.append(thread)
                    thread.start()
                    opened.wait()
            except BaseException:
                self.stop()
                self._join_threads()
                raise

    def stop(self) -> None:
        """Idempotent."""
        self.shared.end(None)

    def join(self) -> None:
        """Idempotent; from one of the engine's own threads it does nothing."""
        if threading.current_thread() not in self._threads:
            with self._lifecycle:
                self._join_threads()

    def _join_threads(self) -> None:
        for thread in self._threads:
            if thread in self._left_behind:
                continue
            thread.join(_JOIN_TIMEOUT[thread.name])
            if thread.is_alive():
                self._left_behind.add(thread)
                self.shared.log(40, "pipeline", f"{thread.name} hangs and is left behind")

    def subscribe(self, capacity: int) -> Subscription:
        """A new consumer."""
        return self.shared.hub.subscribe(capacity)

    def request_keyframe(self) -> None:
        """At most one per 0.5 s comes of it."""
        with self.shared.lock:
            self.shared.keyframe_wanted = True
            self.shared.work.notify_all()

    def update(self, change: Callable[[Settings], Settings]) -> None:
        """Live changes. A display or region that does not exist raises, and the stream goes on as before."""
        shared = self.shared
        opened: Promise | None = None
        with shared.lock:
            if shared.hub.ended:
                raise StreamClosed("the stream has ended")
            before, after = shared.settings, change(shared.settings)
            after.validate()
            if shared.started and (after.display, after.region) != (before.display, before.region):
                if shared.reconfigure is not None:
                    raise ConfigError("another change of display or region is under way; try again")
                opened = Promise()
                shared.reconfigure = (after, opened)
            else:
                shared.settings = shared.new_rate = after
        shared.demand_changed()
        if opened is not None:
            opened.wait()

    def cursor(self) -> CursorTuple | None:
        """The latest; None before the first."""
        with self.shared.lock:
            return self.shared.cursor

    def next_cursor(self, after: int, timeout: float | None) -> CursorTuple | None:
        """The cursor once its serial is past `after`; None at the time-out."""
        shared = self.shared
        deadline = None if timeout is None else time.monotonic() + timeout
        with shared.lock:
            while shared.cursor is None or shared.cursor[0] <= after:
                if shared.hub.ended:
                    raise StreamClosed("the stream has ended")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                shared.changed.wait(left)
            return shared.cursor

    def thumbnail(self, max_width: int) -> bytes:
        """JPEG of the newest picture; b"" before the first."""
        if not 16 <= max_width <= 4096:
            raise ConfigError(f"max_width = {max_width}: must be from 16 to 4096 pixels")
        shared = self.shared
        with shared.lock:
            source = shared.source
            if source is None:
                return b""
            if not shared.hub.ended and not shared.hub.has_room():
                self._await_refresh()
        picture = source.snapshot()
        if picture is None:
            return b""
        from .convert import encode_jpeg

        return encode_jpeg(picture, max_width)

    def _await_refresh(self) -> None:
        """Nobody watches, so nothing was read lately; lock held."""
        shared = self.shared
        shared.ask_for_refresh()
        limit = time.monotonic() + _THUMBNAIL_PATIENCE
        while shared.refresh_since and not shared.hub.ended:
            left = limit - time.monotonic()
            if left <= 0:
                return
            shared.changed.wait(left)

    def stats(self) -> dict[str, object]:
        """See docs/architecture.md."""
        shared = self.shared
        with shared.lock:
            return {
                **shared.stats.snapshot(),
                "generation": shared.generation,
                "encoder": shared.encoder_name,
                "capture": shared.capture_name,
                "width": shared.width,
                "height": shared.height,
                "notes": list(shared.notes),
                "queue": [state._asdict() for state in shared.hub.states()],
            }
