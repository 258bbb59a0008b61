"""Stream: a screen as H.264 packets, frames and cursor changes, for `with` and `async with`."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from . import _backend
from ._feed import Feed
from ._lifetime import EngineObject
from ._types import CursorState, Packet, StreamStats
from .config import (
    BITRATE,
    CRF,
    FPS,
    StreamConfig,
    check_integer,
    check_number,
    check_region,
)
from .errors import ConfigError, ProtocolError, StreamClosed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from ._backend import SeamPipeline, SeamSubscription
    from .decode import Decoder

__all__ = ["CursorUpdates", "Frames", "Stream", "Subscription"]

_CAPACITY = (1, 1024)  # packets; beyond that a queue is a memory leak with a limit
_LOG_PERIOD = 0.5  # seconds between two looks into the engine's log

_engine_log = logging.getLogger("kvmstream.native")
_log = logging.getLogger("kvmstream.stream")

# A library stays quiet until the program asks for its log.
logging.getLogger("kvmstream").addHandler(logging.NullHandler())


class Subscription(Feed[Packet]):
    """One consumer of a stream's packets, with a bounded queue of its own; the first packet is a keyframe.

    When every consumer's queue is full the encoder waits, and changes of the screen gather: nothing is lost. When this
    one alone is full it is emptied and goes on at the next keyframe (`dropped` counts what went).
    """

    def __init__(self, stream: Stream, inner: SeamSubscription) -> None:
        self._stream = stream
        super().__init__(inner, inner.next, stream._housekeep, inline=True)

    @property
    def dropped(self) -> int:
        """Packets taken away from this consumer because it alone was too slow."""
        return self._queue.dropped

    @property
    def queued(self) -> int:
        """Packets waiting now."""
        return self._queue.queued

    def close(self) -> None:
        """Give the queue back; idempotent, from any thread. A blocked next() raises StreamClosed."""
        super().close()
        if not self._inherited:
            self._queue.close()

    @property
    def _queue(self) -> SeamSubscription:
        return cast("SeamSubscription", self._engine)


class Frames(Feed["NDArray[np.uint8]"]):
    """Decoded pictures, newest first in line: arrays of height × width × 3, uint8, RGB.

    Every packet is decoded, but only the newest picture is converted to RGB and returned.
    """

    def __init__(self, stream: Stream, subscription: Subscription) -> None:
        from .decode import Decoder

        self._stream = stream
        self._subscription = subscription
        newest = _NewestFrame(stream._engine, subscription._queue, Decoder())
        super().__init__(subscription._queue, newest, stream._housekeep)

    def close(self) -> None:
        """Stop decoding; idempotent, from any thread."""
        super().close()
        self._subscription.close()


class _NewestFrame:
    """The blocking call behind Frames: decodes what waits, converts the last of it."""

    def __init__(self, pipeline: SeamPipeline, queue: SeamSubscription, decoder: Decoder) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._decoder = decoder

    def __call__(self, timeout: float) -> NDArray[np.uint8] | None:
        packet = self._queue.next(timeout)
        picture = None
        while packet is not None:
            try:
                picture = self._decoder.decode_picture(packet) or picture
            except ProtocolError as error:
                _log.warning("%s", error)
                self._pipeline.request_keyframe()
            packet = self._queue.next(0.0) if self._queue.queued else None
        return None if picture is None else picture.to_rgb()


class CursorUpdates(Feed[CursorState]):
    """Changes of the pointer's place or shape; a slow reader gets the latest state, not the whole history."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        pipeline = stream._engine
        super().__init__(pipeline, _NextCursor(pipeline), stream._housekeep)


class _NextCursor:
    """The blocking call behind CursorUpdates."""

    def __init__(self, pipeline: SeamPipeline) -> None:
        self._pipeline = pipeline
        self._serial = 0

    def __call__(self, timeout: float) -> CursorState | None:
        found = self._pipeline.next_cursor(self._serial, timeout)
        if found is None:
            return None
        state = CursorState(*found)
        self._serial = state.serial
        return state


class Stream(EngineObject["SeamPipeline"]):
    """A screen that is captured and encoded in the engine's own threads.

        with kvmstream.Stream(kvmstream.StreamConfig(fps=30)) as stream:
            for packet in stream:
                sink.write(memoryview(packet))

    ``async with`` and ``async for`` do the same in an event loop. Every iteration is a consumer of its own, and so is
    every subscribe(); they share one encode. All methods may be called from any thread. The interpreter's exit stops a
    stream that is still running; after a fork the child can only stop using it (StreamClosed).

    Raises ConfigError for a bad setting, and on start CaptureError when the screen cannot be read and
    EncoderUnavailable when no encoder fits the request.
    """

    def __init__(self, config: StreamConfig | None = None) -> None:
        self.config = StreamConfig() if config is None else config
        arguments = self.config.seam_arguments()
        super().__init__(
            _backend.module().Pipeline(
                **arguments, probe_path=_backend.probe_path(), cache_dir=_backend.cache_dir()
            )
        )
        self._lifecycle = threading.Lock()  # one start or join at a time
        self._log_lock = threading.Lock()
        self._next_log_look = 0.0
        self._started = False
        self._stopped = False

    # ---- lifecycle

    def start(self) -> None:
        """Open capture and encoder and start the threads; does nothing when they run. `with` calls it."""
        pipeline = self._engine
        with self._lifecycle:
            if self._stopped:
                raise StreamClosed(
                    "the stream was stopped and cannot start again: make a new Stream"
                )
            if self._started:
                return
            try:
                pipeline.start()
            finally:
                self._drain_logs()
            self._started = True
            self.config.follow(pipeline.width, pipeline.height)

    def stop(self) -> None:
        """Stop and wait for the threads; idempotent, from any thread. Blocked iterations end."""
        if self._inherited:
            return
        self._stopped = True
        pipeline = self._engine
        pipeline.stop()
        with self._lifecycle:
            pipeline.join()
        self._drain_logs()

    def close(self) -> None:
        """Do what stop() does."""
        self.stop()

    def _end(self) -> None:
        self.stop()

    def __enter__(self) -> Self:
        self._start_or_stop()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        import asyncio

        # Opening may test-drive encoders, which takes seconds the first time.
        await asyncio.to_thread(self._start_or_stop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.stop)

    def _start_or_stop(self) -> None:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    # ---- consumers

    def subscribe(self, capacity: int = 8) -> Subscription:
        """Return a consumer of its own; `capacity` packets (1 to 1024) are its credit. Before or after start()."""
        size = check_integer("capacity", capacity, _CAPACITY)
        return Subscription(self, self._engine.subscribe(size))

    def __iter__(self) -> Subscription:
        self._check_started()
        return self.subscribe()

    def __aiter__(self) -> Subscription:
        self._check_started()
        return self.subscribe()

    def frames(self) -> Frames:
        """Decode everything and iterate over the newest picture each time: height × width × 3, uint8, RGB."""
        self._check_started()
        return Frames(self, self.subscribe())

    def cursor_updates(self) -> CursorUpdates:
        """Iterate over the pointer's changes, beginning with its state now. Needs cursor="metadata" (ConfigError)."""
        self._check_started()
        self._check_cursor()
        return CursorUpdates(self)

    @property
    def cursor(self) -> CursorState | None:
        """The pointer now; None before the first report. Needs cursor="metadata" (ConfigError)."""
        self._check_cursor()
        found = self._engine.cursor()
        return None if found is None else CursorState(*found)

    # ---- control

    def update(
        self,
        *,
        bitrate: int | None = None,
        fps: float | None = None,
        crf: float | None = None,
        display: str | None = None,
        region: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Change settings while streaming; None leaves one as it is. All are checked before any is applied.

        Another display or region starts a new generation; region (0, 0, 0, 0) means the whole display.
        """
        pipeline = self._engine
        changes: dict[str, Any] = {}
        if bitrate is not None:
            changes["bitrate"] = check_integer("bitrate", bitrate, BITRATE)
        if fps is not None:
            changes["fps"] = check_number("fps", fps, FPS)
        if crf is not None:
            changes["crf"] = check_number("crf", crf, CRF)
        if display is not None:
            if not isinstance(display, str):
                raise ConfigError(f"display = {display!r}: must be a string")
            changes["display"] = display
        if region is not None:
            whole = (0, 0, 0, 0)
            changes["region"] = whole if tuple(region) == whole else check_region(region)
        if changes:
            pipeline.update(**changes)

    def request_keyframe(self) -> None:
        """Ask for a keyframe soon; requests within half a second become one."""
        self._engine.request_keyframe()

    def stats(self) -> StreamStats:
        """Return the figures of this moment."""
        pipeline = self._engine
        self._drain_logs()
        return StreamStats.from_seam(pipeline.stats())

    def thumbnail(self, max_width: int = 320) -> bytes:
        """Return the newest picture as a JPEG of at most `max_width` (16 to 320) pixels; b"" before the first one."""
        return self._engine.thumbnail(check_integer("max_width", max_width, (16, 320)))

    # ---- inside

    def _check_started(self) -> None:
        _ = self._engine
        if not self._started and not self._stopped:
            raise StreamClosed(
                "the stream has not been started: use `with stream:` or call start()"
            )

    def _check_cursor(self) -> None:
        if self.config.cursor != "metadata":
            raise ConfigError(
                f"cursor = {self.config.cursor!r}: the pointer is only reported with cursor = 'metadata'"
            )

    def _housekeep(self) -> None:
        """Called by whoever waits for packets: look after the engine's log now and then."""
        if time.monotonic() >= self._next_log_look:
            self._drain_logs()

    def _drain_logs(self) -> None:
        # Someone else at it is as good; waiting for them is not needed.
        if not self._log_lock.acquire(blocking=False):
            return
        try:
            self._next_log_look = time.monotonic() + _LOG_PERIOD
            lines = self._inner.drain_logs()
        finally:
            self._log_lock.release()
        for level, component, message in lines:
            _engine_log.log(level, "%s: %s", component, message)

    def __del__(self) -> None:
        if hasattr(self, "_stopped") and self._started:  # forgotten while running
            self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "running" if self._started else "not started"
        return f"<Stream {state}, {self.config.width}×{self.config.height}>"
