"""``Pipeline`` of the backend seam: argument checks and lifetime around :class:`Engine`."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from .engine import Engine
from .packets import Subscription, check_process
from .settings import Region, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cursor import CursorTuple
    from .ladder import Ladder
    from .source import Source

__all__ = ["Pipeline", "make_source"]


def make_source(
    settings: Settings,
    on_cursor: Callable[[CursorTuple], None],
    log: Callable[[int, str, str], None],
) -> Source:
    """The capture that `settings` ask for, not yet open."""
    if settings.source == "pattern":
        from .pattern import PatternSource

        return PatternSource(settings)
    from .capture import ScreenSource

    return ScreenSource(settings, on_cursor, log)


def make_ladder(settings: Settings) -> Ladder:
    """The encoders of this machine."""
    from .ladder import Ladder, default_candidates

    return Ladder(default_candidates(settings.cache_dir))


def _shut_down(engine: Engine, owner_pid: int) -> None:
    """When the last reference goes, and at the interpreter's exit."""
    if os.getpid() == owner_pid:
        engine.stop()
        engine.join()


class Pipeline:
    """Capture, convert, encode, in threads of its own. docs/architecture.md describes every argument and method."""

    def __init__(
        self,
        *,
        display: str = "",
        region: Region | None = None,
        width: int = 0,
        height: int = 0,
        fps: float = 60.0,
        bitrate: int = 6_000_000,
        crf: float = 23.0,
        preset: str = "ultrafast",
        tune: str = "zerolatency",
        use_hardware_encoder: bool = True,
        encoder: str = "auto",
        chroma: str = "420",
        cursor: str = "embedded",
        keyframe_interval: float = 0.0,
        source: str = "screen",
        probe_path: str = "",
        cache_dir: str = "",
    ) -> None:
        del probe_path  # the native core's; here the child process is this Python
        settings = Settings(
            display=display,
            region=region,
            width=width,
            height=height,
            fps=fps,
            bitrate=bitrate,
            crf=crf,
            preset=preset,
            tune=tune,
            use_hardware_encoder=use_hardware_encoder,
            encoder=encoder,
            chroma=chroma,
            cursor=cursor,
            keyframe_interval=keyframe_interval,
            source=source,
            cache_dir=cache_dir,
        )
        settings.validate()
        self._pid = os.getpid()
        self._engine = Engine(settings, make_source, make_ladder)
        # The threads hold the engine, never this object: dropping it ends them.
        weakref.finalize(self, _shut_down, self._engine, self._pid)

    def _own(self) -> Engine:
        check_process(self._pid)
        return self._engine

    def start(self) -> None:
        """Opens capture and encoder and starts the threads.

        Raises :exc:`CaptureError`, :exc:`ConfigError` or :exc:`EncoderUnavailable`.
        """
        self._own().start()

    def stop(self) -> None:
        """Asks the threads to end; idempotent, from any thread."""
        if os.getpid() == self._pid:
            self._engine.stop()

    def join(self) -> None:
        """Waits for the threads; idempotent."""
        if os.getpid() == self._pid:
            self._engine.join()

    def subscribe(self, capacity: int = 8) -> Subscription:
        """A queue of at most `capacity` packets, the first of them a keyframe."""
        return self._own().subscribe(capacity)

    def update(
        self,
        *,
        bitrate: int | None = None,
        fps: float | None = None,
        crf: float | None = None,
        display: str | None = None,
        region: Region | None = None,
    ) -> None:
        """Live changes; None leaves as is, region (0, 0, 0, 0) is the whole display."""
        wanted = {"bitrate": bitrate, "fps": fps, "crf": crf, "display": display, "region": region}
        changes: dict[str, object] = {
            field: value for field, value in wanted.items() if value is not None
        }
        if region is not None and (region[2] <= 0 or region[3] <= 0):
            changes["region"] = None
        self._own().update(lambda settings: replace(settings, **changes))  # type: ignore[arg-type]

    def request_keyframe(self) -> None:
        """At most one keyframe per 0.5 s comes of it."""
        self._own().request_keyframe()

    def stats(self) -> dict[str, object]:
        """Rates, totals, per-stage times and queues."""
        return self._own().stats()

    def cursor(self) -> CursorTuple | None:
        """The latest cursor; only with cursor="metadata"."""
        return self._own().cursor()

    def next_cursor(self, after: int, timeout: float | None = None) -> CursorTuple | None:
        """Waits for a cursor of a serial above `after`. Raises :exc:`StreamClosed` when stopped."""
        return self._own().next_cursor(after, timeout)

    def thumbnail(self, max_width: int = 320) -> bytes:
        """JPEG of the newest picture; b"" before the first."""
        return self._own().thumbnail(max_width)

    def drain_logs(self) -> list[tuple[int, str, str]]:
        """(logging level, component, message) since the last call."""
        return self._own().shared.drain_logs()

    @property
    def width(self) -> int:
        """Of the picture being sent, in pixels."""
        return self._engine.shared.width

    @property
    def height(self) -> int:
        """Of the picture being sent, in pixels."""
        return self._engine.shared.height

    @property
    def generation(self) -> int:
        """Of the picture being sent; 0 before start()."""
        return self._engine.shared.generation
