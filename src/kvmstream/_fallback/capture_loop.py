"""The capture thread: keeps the latest-wins slot filled while somebody wants pictures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kvmstream.errors import CaptureError, KvmStreamError

from .waker import FOREVER

if TYPE_CHECKING:
    from .cursor import CursorTuple
    from .frames import Delta
    from .settings import Settings
    from .shared import Promise, Shared
    from .source import MakeSource, Source

__all__ = ["CaptureLoop"]

_MS = 1_000_000  # nanoseconds
_REOPEN_FOR_NS = 1_000 * _MS  # a mode change or a server restart is over by then, or it is not
_REOPEN_PAUSE = 0.05  # seconds
_REFRESH_NS = 2 * _MS  # how long a look for newer damage may take


class CaptureLoop:
    """Owns the source. :meth:`run` is the thread's body."""

    def __init__(
        self,
        shared: Shared,
        make_source: MakeSource,
    ) -> None:
        self._shared = shared
        self._make_source = make_source

    def run(self, opened: Promise) -> None:
        """Settles `opened` once the source is open, or with its error."""
        shared = self._shared
        try:
            self._install(self._open(shared.settings))
            opened.settle()
            self._loop()
        except KvmStreamError as error:
            opened.settle(error)
            shared.end(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the consumers must hear of it
            failure = CaptureError(f"capture failed inside: {type(error).__name__}: {error}")
            opened.settle(failure)
            shared.end(failure)
        finally:
            if shared.source is not None:
                shared.source.close()

    def _open(self, settings: Settings) -> Source:
        source = self._make_source(settings, self._publish_cursor, self._shared.log)
        try:
            source.open()
        except BaseException:
            source.close()
            raise
        return source

    def _install(self, source: Source) -> None:
        shared = self._shared
        with shared.lock:
            old, shared.source = shared.source, source
            shared.capture_name = source.description
            if not shared.generation:
                shared.width, shared.height = source.width, source.height
        if old is not None:
            old.close()

    def _loop(self) -> None:
        shared = self._shared
        next_ns = 0
        while True:
            with shared.lock:
                source = shared.source
                if shared.stopping:
                    return
                assert source is not None
                request, refresh = shared.reconfigure, shared.refresh_since
                taken = not source.unthrottled or shared.slot is None
                wanted = taken and shared.hub.has_room()
                period = int(1e9 / shared.settings.fps)
            if request is not None:
                self._change_source(*request)
                next_ns = 0
                continue
            try:
                if refresh:
                    limit = max(time.perf_counter_ns(), next_ns) + _REFRESH_NS
                    delta = source.wait(next_ns, limit)
                else:
                    # Without a consumer that has room nothing is read, but events still come off the wire.
                    delta = source.wait(next_ns if wanted else FOREVER, FOREVER)
            except CaptureError as error:
                if not self._reopen(source, error):
                    return
                delta = None
            if delta is not None:
                # On a grid while changes keep coming (no drift), from now after a pause (no burst to catch up).
                late = time.perf_counter_ns() - next_ns
                next_ns = (next_ns if late < period else delta.captured_ns) + period
                self._publish(source, delta)
            if refresh:
                with shared.lock:
                    shared.refresh_since = 0
                    shared.work.notify_all()
                    shared.changed.notify_all()

    def _publish(self, source: Source, delta: Delta) -> None:
        from .frames import merge

        shared = self._shared
        with shared.lock:
            before = shared.slot
        merged = merge(before, delta)
        if merged.pixels > 2 * merged.width * merged.height:
            merged = source.whole(merged.damaged_ns)  # cheaper than all those patches
        with shared.lock:
            replaced = before is not None and shared.slot is before
            # Taken meanwhile: what it held is with the encoder, so only the new part goes on.
            shared.slot = merged if replaced or before is None else delta
            shared.stats.add_captured(replaced=replaced)
            shared.capture_name = source.description
            shared.work.notify_all()

    def _publish_cursor(self, cursor: CursorTuple) -> None:
        shared = self._shared
        with shared.lock:
            serial = shared.cursor[0] + 1 if shared.cursor is not None else 1
            shared.cursor = (serial, *cursor[1:])
            shared.changed.notify_all()

    def _change_source(self, settings: Settings, done: Promise) -> None:
        """Tries the new source before it lets go of the old one: a display that does not exist changes nothing."""
        shared = self._shared
        try:
            source = self._open(settings)
        except KvmStreamError as error:
            with shared.lock:
                shared.reconfigure = None
            done.settle(error)
            return
        with shared.lock:
            shared.reconfigure = None
            shared.settings = shared.new_rate = settings
        self._install(source)
        done.settle()

    def _reopen(self, source: Source, error: CaptureError) -> bool:
        """False when the stream was stopped meanwhile. Raises :exc:`CaptureError` when it did not help."""
        shared = self._shared
        shared.log(20, "capture", f"reopening: {error}")
        give_up = time.perf_counter_ns() + _REOPEN_FOR_NS
        while True:
            with shared.lock:
                if shared.stopping:
                    return False
            try:
                source.open()
            except KvmStreamError as again:
                if time.perf_counter_ns() >= give_up:
                    raise CaptureError(f"{error}; it did not come back: {again}") from None
            else:
                return True
            time.sleep(_REOPEN_PAUSE)
