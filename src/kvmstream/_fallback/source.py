"""The seam between the capture thread and what it reads from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cursor import CursorTuple
    from .frames import Delta, Pixels
    from .settings import Settings

__all__ = ["MakeSource", "Source"]


class Source(Protocol):
    """What the capture thread reads from. All but wake() and snapshot() belong to that thread."""

    width: int
    height: int
    epoch: int  # a new one whenever the picture's coordinates mean something else
    unthrottled: bool  # every frame counts: none is made before the last one was taken

    @property
    def description(self) -> str:
        """What is really in use."""

    def open(self) -> None:
        """Raises :exc:`CaptureError` or :exc:`ConfigError`; the first :meth:`wait` gives a whole picture."""

    def wait(self, not_before_ns: int, deadline_ns: int) -> Delta | None:
        """The first change that may be captured; None at the deadline or after a wake."""

    def whole(self, damaged_ns: int) -> Delta:
        """The picture of the last delta, complete."""

    def snapshot(self) -> Pixels | None:
        """A copy of the newest picture, from any thread."""

    def wake(self) -> None:
        """Ends a wait early, from any thread."""

    def close(self) -> None:
        """Idempotent."""


class MakeSource(Protocol):
    """Makes a source that is not yet open."""

    def __call__(
        self,
        settings: Settings,
        on_cursor: Callable[[CursorTuple], None],
        log: Callable[[int, str, str], None],
        /,
    ) -> Source: ...
