"""The screen as deltas: mss reads the pixels, the X11 client says when and where."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from kvmstream.errors import CaptureError

from .cursor import Cursor, CursorTuple
from .frames import Delta, Patch, Rect, coalesce, even, intersect, next_epoch
from .monitors import (
    choose_area,
    connect,
    list_monitors,
    mss_monitors,
    parse_display,
    uses_x11,
)
from .reader import open_reader
from .waker import FOREVER, Waker
from .x11 import XServerGone

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from .frames import Pixels
    from .reader import Reader
    from .settings import Settings
    from .x11 import XConnection

__all__ = ["ScreenSource"]

_MS = 1_000_000  # nanoseconds
# After the first change of a burst: programs draw a line in several requests, and half of it is not worth a frame.
_SETTLE_NS = 1 * _MS
_CURSOR_ACTIVE_NS = 16 * _MS  # between two looks at a pointer that moved within the last second
_CURSOR_IDLE_NS = 40 * _MS
_POLL_IDLE_NS = (
    50 * _MS
)  # without DAMAGE: between two reads of a screen that was still for a second
_ACTIVE_FOR_NS = 1_000 * _MS


class ScreenSource:
    """A monitor, or a part of one."""

    unthrottled = False

    def __init__(
        self,
        settings: Settings,
        on_cursor: Callable[[CursorTuple], None],
        log: Callable[[int, str, str], None],
    ) -> None:
        self._settings = settings
        self._on_cursor = on_cursor
        self._log = log
        self._server, self._wanted = parse_display(settings.display)
        self._waker = Waker()
        self._lock = threading.Lock()  # guards _screen against snapshot()
        self._connection: XConnection | None = None
        self._reader: Reader | None = None
        self._area: Rect = (0, 0, 0, 0)
        self._opened_before = False
        self._reset()
        self.width = self.height = self.epoch = 0

    def _reset(self) -> None:
        self._cursor = Cursor()
        self._drawn: Rect = (0, 0, 0, 0)  # of the picture: where the cursor was put last
        self._cursor_moved = False
        self._shape_dirty = True
        self._cursor_ns = 0  # when to look again
        self._moved_ns = 0
        self._has_damage = False
        self._pending: list[Rect] = []  # of the picture: to be read whatever the server says
        self._server_damage = False
        self._damaged_ns = 0
        self._changed_ns = 0
        self._polled_ns = 0
        self._geometry_dirty = False
        self._fresh = True  # nothing was read since open()
        self._screen: npt.NDArray[np.uint32] = np.zeros((0, 0), np.uint32)

    @property
    def description(self) -> str:
        """What is really in use."""
        reader = self._reader.name if self._reader is not None else ""
        if self._connection is None:
            return f"{reader} (polling)"
        watch = "XDamage" if self._has_damage else "polling: no DAMAGE extension"
        return f"x11 ({reader}, {watch})"

    # -- opening ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Also opens again after a change of geometry or a lost server."""
        self._release()
        try:
            self._open()
        except XServerGone as error:
            self._release()
            raise CaptureError(str(error)) from None
        except BaseException:
            self._release()
            raise
        self._opened_before = True

    def _open(self) -> None:
        region = self._settings.region
        self._reset()
        if uses_x11():
            connection = self._connection = connect(self._server)
            self._has_damage = connection.watch(cursor=self._settings.cursor != "hidden")
            found = list_monitors(connection)
            where = f"X server {connection.display}"
        else:
            found = mss_monitors()
            where = "this computer"
        self._area = choose_area(found, where, self._wanted, region, lenient=self._opened_before)
        self._reader, why = open_reader(self._connection)
        if why:
            self._log(30, "capture", f"reading over the X connection, which is slower: {why}")
        first = self._grab((0, 0, self._area[2], self._area[3]))
        self.height, self.width = first.shape[:2]  # macOS gives more pixels than points
        with self._lock:
            self._screen = np.zeros((self.height, self.width), np.uint32)
        self.epoch = next_epoch()
        self._pending = [(0, 0, self.width, self.height)]
        self._damaged_ns = time.perf_counter_ns()

    def _release(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Idempotent."""
        self._release()
        self._waker.close()

    def wake(self) -> None:
        """Ends a :meth:`wait` early. From any thread."""
        self._waker.wake()

    def snapshot(self) -> Pixels | None:
        """A copy of the newest picture, cursor included where it is embedded. From any thread."""
        with self._lock:
            if self._fresh or not self._screen.size:
                return None
            picture = self._screen.copy().view(np.uint8).reshape(*self._screen.shape, 4)
            if self._settings.cursor == "embedded":
                self._cursor.draw(picture, (0, 0), self._area)
        return picture

    def whole(self, damaged_ns: int) -> Delta:
        """The picture of the last delta, complete."""
        picture = self.snapshot()
        assert picture is not None
        return self._delta([Patch(0, 0, picture)], damaged_ns, time.perf_counter_ns())

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, not_before_ns: int, deadline_ns: int) -> Delta | None:
        """The first change after `not_before_ns`; None after a wake or at `deadline_ns`.

        Raises :exc:`CaptureError` when the server went away.
        """
        try:
            return self._wait(not_before_ns, deadline_ns)
        except XServerGone as error:
            raise CaptureError(str(error)) from None

    def _wait(self, not_before_ns: int, deadline_ns: int) -> Delta | None:
        while True:
            self._drain_events()
            if self._geometry_dirty:
                self._follow_geometry()
            now = time.perf_counter_ns()
            self._look_at_cursor(now, wanted=not_before_ns < FOREVER)
            until = deadline_ns
            if self._damaged_ns:
                ready = max(not_before_ns, self._damaged_ns + _SETTLE_NS)
                if now >= ready:
                    delta = self._capture()
                    if delta is not None:
                        return delta
                    continue
                until = min(until, ready)
            elif not self._has_damage and not_before_ns < FOREVER:
                idle = now - self._changed_ns > _ACTIVE_FOR_NS
                due = max(not_before_ns, self._polled_ns + (_POLL_IDLE_NS if idle else 0))
                if now >= due:
                    self._polled_ns = self._damaged_ns = now
                    self._pending = [(0, 0, self.width, self.height)]
                    continue
                until = min(until, due)
            if now >= deadline_ns:
                return None
            if self._follows_cursor(not_before_ns < FOREVER):
                until = min(until, self._cursor_ns)
            descriptor = self._connection.fileno() if self._connection is not None else -1
            if self._waker.wait(until, descriptor):
                return None

    def _drain_events(self) -> None:
        if self._connection is None:
            return
        events = self._connection.poll()
        if events.damaged:
            self._server_damage = True
            self._damaged_ns = self._damaged_ns or time.perf_counter_ns()
        if events.cursor_shape:
            self._shape_dirty = True
            self._cursor_ns = 0
        self._geometry_dirty |= events.geometry

    def _follow_geometry(self) -> None:
        self._geometry_dirty = False
        assert self._connection is not None
        found = list_monitors(self._connection)
        area = choose_area(
            found, self._connection.display, self._wanted, self._settings.region, lenient=True
        )
        if area != self._area:
            self.open()

    def _follows_cursor(self, wanted: bool) -> bool:
        if self._connection is None or self._settings.cursor == "hidden":
            return False
        return wanted or self._settings.cursor == "metadata"

    def _look_at_cursor(self, now: int, *, wanted: bool) -> None:
        if now < self._cursor_ns or not self._follows_cursor(wanted):
            return
        assert self._connection is not None
        with self._lock:
            moved = self._cursor.refresh(self._connection, shape=self._shape_dirty)
        self._shape_dirty = False
        if moved:
            self._moved_ns = now
            if self._settings.cursor == "metadata":
                self._on_cursor(self._cursor.state(self._area))
            elif self._cursor.rect(self._area)[2:] != (0, 0) or self._drawn[2:] != (0, 0):
                self._cursor_moved = True
                self._damaged_ns = self._damaged_ns or now
        active = now - self._moved_ns < _ACTIVE_FOR_NS
        self._cursor_ns = now + (_CURSOR_ACTIVE_NS if active else _CURSOR_IDLE_NS)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _grab(self, rect: Rect) -> Pixels:
        """Reads a rectangle of the picture. Raises :exc:`CaptureError`."""
        assert self._reader is not None
        x, y, width, height = rect
        try:
            return self._reader.read((self._area[0] + x, self._area[1] + y, width, height))
        except CaptureError:
            if self._connection is not None:
                self._connection.poll()  # raises when the server is gone, which is then the better reason
            raise

    def _capture(self) -> Delta | None:
        damaged, self._damaged_ns = self._damaged_ns, 0
        wanted, self._pending = self._pending, []
        if self._server_damage and self._connection is not None:
            self._server_damage = False
            left, top, width, height = self._area
            for x, y, w, h in self._connection.take_damage():
                part = intersect((x - left, y - top, w, h), (0, 0, width, height))
                if part[2] and part[3]:
                    wanted.append(part)
        patches = []
        for rect in coalesce([even(r, self.width, self.height) for r in wanted]):
            try:
                patch = self._update(rect, self._grab(rect))
            except CaptureError:
                if not self._geometry_is_new():
                    raise
                self.open()  # the screen shrank between the event and the read
                return None
            if patch is not None:
                patches.append(patch)
        captured = time.perf_counter_ns()
        if patches:
            self._changed_ns = captured
        if self._settings.cursor == "embedded":
            patches += self._cursor_patches()
            for patch in patches:
                self._cursor.draw(patch.pixels, (patch.x, patch.y), self._area)
        self._fresh = False
        return self._delta(patches, damaged, captured) if patches else None

    def _geometry_is_new(self) -> bool:
        if self._connection is None:
            return False
        time.sleep(0.01)  # the event may still be on its way
        self._drain_events()
        return self._geometry_dirty

    def _update(self, rect: Rect, pixels: Pixels) -> Patch | None:
        """Keeps the pixels; what really changed among them, or None (XDamage reports more than it should)."""
        x, y, width, height = rect
        new = pixels.view(np.uint32)[..., 0]
        old = self._screen[y : y + height, x : x + width]
        if not self._fresh:
            differs = new != old
            rows = np.flatnonzero(differs.any(axis=1))
            if not rows.size:
                return None
            columns = np.flatnonzero(differs[rows[0] : rows[-1] + 1].any(axis=0))
            found = (
                x + int(columns[0]),
                y + int(rows[0]),
                int(columns[-1] - columns[0]) + 1,
                int(rows[-1] - rows[0]) + 1,
            )
            left, top, width, height = even(found, self.width, self.height)
            pixels = pixels[top - y : top - y + height, left - x : left - x + width]
            new = new[top - y : top - y + height, left - x : left - x + width]
            x, y = left, top
        with self._lock:
            self._screen[y : y + height, x : x + width] = new
        return Patch(x, y, pixels)

    def _cursor_patches(self) -> list[Patch]:
        if not self._cursor_moved:
            self._drawn = self._cursor.rect(self._area)
            return []
        self._cursor_moved = False
        before, self._drawn = self._drawn, self._cursor.rect(self._area)
        patches = []
        for rect in coalesce([r for r in (before, self._drawn) if r[2] and r[3]]):
            x, y, width, height = even(rect, self.width, self.height)
            clean = self._screen[y : y + height, x : x + width].copy()
            patches.append(Patch(x, y, clean.view(np.uint8).reshape(height, width, 4)))
        return patches

    def _delta(self, patches: list[Patch], damaged_ns: int, captured_ns: int) -> Delta:
        return Delta(self.epoch, self.width, self.height, patches, damaged_ns, captured_ns)
