"""What capture hands to the encode side: the parts of the picture that changed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # height × width × 4, BGRX

__all__ = ["Delta", "Patch", "Rect", "coalesce", "even", "intersect", "merge", "next_epoch"]

Rect = tuple[int, int, int, int]  # x, y, width, height

_MAX_PATCHES = 4  # each costs a round trip to the X server
_MERGE_WASTE = 64 * 64  # pixels that are cheaper to read than another round trip
_epochs = itertools.count(1)


def next_epoch() -> int:
    """A number for each new meaning of the picture's coordinates, unique in this process."""
    return next(_epochs)


@dataclass
class Patch:
    """New pixels at (x, y) of the picture. Even position and size, but for the picture's own odd edges."""

    x: int
    y: int
    pixels: Pixels

    @property
    def rect(self) -> Rect:
        """Where it belongs."""
        height, width = self.pixels.shape[:2]
        return (self.x, self.y, width, height)


@dataclass
class Delta:
    """Everything that changed since the delta before. The first of an epoch covers the whole picture."""

    epoch: int
    width: int
    height: int
    patches: list[Patch]
    damaged_ns: int  # when the oldest change in it was noticed
    captured_ns: int

    @property
    def pixels(self) -> int:
        """Area of all patches."""
        return sum(patch.pixels.shape[0] * patch.pixels.shape[1] for patch in self.patches)


def merge(old: Delta | None, new: Delta) -> Delta:
    """`new` on top of an `old` one that nobody took."""
    if old is None or old.epoch != new.epoch:
        return new
    kept = [p for p in old.patches if not any(_covers(n.rect, p.rect) for n in new.patches)]
    return Delta(
        new.epoch,
        new.width,
        new.height,
        kept + new.patches,
        min(old.damaged_ns, new.damaged_ns),
        new.captured_ns,
    )


def intersect(a: Rect, b: Rect) -> Rect:
    """The common part; zero width or height when there is none."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    return (left, top, max(0, right - left), max(0, bottom - top))


def even(rect: Rect, width: int, height: int) -> Rect:
    """Grown to whole chroma samples, cut to the picture: the 2×2 blocks of 4:2:0 never span two patches."""
    x, y, w, h = rect
    left, top = x & ~1, y & ~1
    right, bottom = min((x + w + 1) & ~1, width), min((y + h + 1) & ~1, height)
    return (left, top, right - left, bottom - top)


def coalesce(rects: list[Rect]) -> list[Rect]:
    """At most four rectangles that cover all, merged where that wastes little."""
    if len(rects) > 32:
        return [_union_all(rects)]
    merged = list(rects)
    while len(merged) > 1:
        waste, i, j = min(
            (_area(_union(a, b)) - _area(a) - _area(b), i, j)
            for (i, a), (j, b) in itertools.combinations(enumerate(merged), 2)
        )
        if waste > _MERGE_WASTE and len(merged) <= _MAX_PATCHES:
            break
        merged[i] = _union(merged[i], merged.pop(j))
    return merged


def _area(rect: Rect) -> int:
    return rect[2] * rect[3]


def _union(a: Rect, b: Rect) -> Rect:
    left, top = min(a[0], b[0]), min(a[1], b[1])
    right, bottom = max(a[0] + a[2], b[0] + b[2]), max(a[1] + a[3], b[1] + b[3])
    return (left, top, right - left, bottom - top)


def _union_all(rects: list[Rect]) -> Rect:
    x, y, w, h = np.asarray(rects, dtype=np.int64).T
    left, top = int(x.min()), int(y.min())
    return (left, top, int((x + w).max()) - left, int((y + h).max()) - top)


def _covers(outer: Rect, inner: Rect) -> bool:
    return intersect(outer, inner) == inner
