"""A moving synthetic picture, the same one that the native core draws: no display needed, every frame differs."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from kvmstream.errors import ConfigError

from .frames import Delta, Patch, Rect, even, next_epoch
from .settings import MAX_SIDE
from .waker import FOREVER, Waker

if TYPE_CHECKING:
    from .frames import Pixels
    from .settings import Settings

__all__ = ["PatternSource"]

_BOX_SIDE = 128  # pixels
_COUNTER_BIT = 16  # pixels per bit, so that a bit survives any encoder
_COUNTER_BITS = 24
_SIZE = re.compile(r"^(\d{1,5})x(\d{1,5})$")


class PatternSource:
    """A bouncing box over a still background, and the frame number as black and white cells at the top left."""

    description = "pattern"

    def __init__(self, settings: Settings) -> None:
        width, height = (settings.region or (0, 0, 1920, 1080))[2:]
        self.unthrottled = settings.display == "fast"
        if settings.display and not self.unthrottled:
            match = _SIZE.match(settings.display)
            if match is None:
                raise ConfigError(
                    f"display = {settings.display!r}: the pattern source takes '', 'fast' or a size such as '1280x720'"
                )
            width, height = int(match[1]), int(match[2])
        if not 1 <= width <= MAX_SIDE or not 1 <= height <= MAX_SIDE:
            raise ConfigError(
                f"pattern size {width}x{height}: each side must be from 1 to {MAX_SIDE}"
            )
        self.width, self.height = width, height
        self._waker = Waker()
        self._lock = threading.Lock()
        self._index = 0
        self.epoch = next_epoch()
        self._background = _background(width, height)
        self._picture = self._background.copy()

    def open(self) -> None:
        """Nothing can fail here."""

    def wait(self, not_before_ns: int, deadline_ns: int) -> Delta | None:
        """The next frame at `not_before_ns`; None after a wake or at `deadline_ns`."""
        if self.unthrottled and not_before_ns < FOREVER:
            not_before_ns = 0
        until = min(not_before_ns, deadline_ns)
        if until > time.perf_counter_ns() and self._waker.wait(until):
            return None
        if not_before_ns > deadline_ns:
            return None
        damaged = time.perf_counter_ns()
        with self._lock:
            patches = self._paint(self._index)
            self._index += 1
        return Delta(self.epoch, self.width, self.height, patches, damaged, time.perf_counter_ns())

    def _paint(self, index: int) -> list[Patch]:
        counter = even((0, 0, _COUNTER_BIT * _COUNTER_BITS, _COUNTER_BIT), self.width, self.height)
        box = self._box(index)
        changed = [box, counter]
        if index:
            before = self._box(index - 1)
            changed.append(before)
            x, y, w, h = before
            self._picture[y : y + h, x : x + w] = self._background[y : y + h, x : x + w]
        else:
            changed = [(0, 0, self.width, self.height)]
        _paint_box(self._picture, box, index)
        _paint_counter(self._picture, index)
        patches = []
        for rect in changed:
            x, y, w, h = even(rect, self.width, self.height)
            patches.append(Patch(x, y, self._picture[y : y + h, x : x + w].copy()))
        return patches

    def _box(self, index: int) -> Rect:
        side = max(1, min(_BOX_SIDE, self.width // 2, self.height // 2))
        return (
            _bounce(index * 7, self.width - side),
            _bounce(index * 5, self.height - side),
            side,
            side,
        )

    def snapshot(self) -> Pixels | None:
        """A copy of the newest picture; None before the first. From any thread."""
        with self._lock:
            return self._picture.copy() if self._index else None

    def whole(self, damaged_ns: int) -> Delta:
        """The present picture as one patch."""
        with self._lock:
            patch = Patch(0, 0, self._picture.copy())
        return Delta(
            self.epoch, self.width, self.height, [patch], damaged_ns, time.perf_counter_ns()
        )

    def wake(self) -> None:
        """Ends a :meth:`wait` early. From any thread."""
        self._waker.wake()

    def close(self) -> None:
        """Idempotent."""
        self._waker.close()


def _bounce(step: int, room: int) -> int:
    if room <= 0:
        return 0
    phase = step % (2 * room)
    return phase if phase <= room else 2 * room - phase


def _background(width: int, height: int) -> Pixels:
    x = np.arange(width)[None, :]
    y = np.arange(height)[:, None]
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., 0] = 64 + x * 128 // width
    picture[..., 1] = 64 + y * 128 // height
    picture[..., 2] = ((x // 32 + y // 32) & 1) * 48 + 80
    return picture


def _paint_box(picture: Pixels, box: Rect, index: int) -> None:
    left, top, width, height = box
    across = np.abs(2 * np.arange(width) - width)[None, :]
    down = np.abs(2 * np.arange(height) - height)[:, None]
    shade = (np.maximum(across, down) + (index % 256) * 2) & 255
    target = picture[top : top + height, left : left + width]
    target[..., 0] = 255 - shade
    target[..., 1] = 128
    target[..., 2] = shade


def _paint_counter(picture: Pixels, index: int) -> None:
    bits = (index >> np.arange(_COUNTER_BITS)) & 1
    row = np.repeat(np.where(bits == 1, 240, 16).astype(np.uint8), _COUNTER_BIT)[: picture.shape[1]]
    picture[:_COUNTER_BIT, : len(row), :3] = row[None, :, None]
