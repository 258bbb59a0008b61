"""The pointer: where it is, what it looks like, and drawing it into a picture."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from .frames import Rect, intersect

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frames import Pixels
    from .x11 import CursorImage, XConnection

__all__ = ["Cursor", "CursorTuple"]

# serial, x, y, visible, shape_serial, shape_width, shape_height, hot_x, hot_y, shape_bgra
CursorTuple = tuple[int, int, int, bool, int, int, int, int, int, bytes]


# No two shapes of a process have the same one: consumers keep shapes by it, over every stream and every
# source that opens again.
_serials = itertools.count(1)


class Cursor:
    """Belongs to the capture thread."""

    def __init__(self) -> None:
        self._x = 0
        self._y = 0
        self._on_screen = False
        self._image: CursorImage | None = None
        self._shape_serial = 0
        self._straight = b""
        self._pixels: npt.NDArray[np.uint8] = np.zeros((0, 0, 4), np.uint8)

    def refresh(self, connection: XConnection, *, shape: bool) -> bool:
        """Asks the server; True when position or shape is another than before. `shape`: it may have changed."""
        changed = False
        if shape:
            image = connection.cursor_image()
            if image is not None and image.width and image.height and image != self._image:
                self._image = image
                self._shape_serial = next(_serials)
                self._pixels = np.frombuffer(image.bgra, np.uint8).reshape(
                    image.height, image.width, 4
                )
                self._straight = _straight_alpha(self._pixels)
                changed = True
        position = connection.pointer()
        if position != (self._x, self._y, self._on_screen):
            self._x, self._y, self._on_screen = position
            changed = True
        return changed

    def rect(self, area: Rect) -> Rect:
        """The part of `area` (of the root window) that the cursor covers, relative to it."""
        if self._image is None or not self._on_screen:
            return (0, 0, 0, 0)
        image = self._image
        placed = (self._x - image.hot_x, self._y - image.hot_y, image.width, image.height)
        x, y, width, height = intersect(placed, area)
        return (x - area[0], y - area[1], width, height)

    def draw(self, pixels: Pixels, at: tuple[int, int], area: Rect) -> None:
        """Blends the cursor into `pixels`, whose first one is at `at` of the picture of `area`."""
        image = self._image
        if image is None:
            return
        height, width = pixels.shape[:2]
        x, y, w, h = intersect(self.rect(area), (at[0], at[1], width, height))
        if not w or not h:
            return
        left = x - (self._x - image.hot_x - area[0])
        top = y - (self._y - image.hot_y - area[1])
        source = self._pixels[top : top + h, left : left + w]
        target = pixels[y - at[1] : y - at[1] + h, x - at[0] : x - at[0] + w, :3]
        through = 255 - source[..., 3:].astype(np.uint16)
        blended = source[..., :3] + (target * through + 127) // 255
        target[...] = np.minimum(blended, 255)

    def state(self, area: Rect) -> CursorTuple:
        """For cursor="metadata"; the serial is the pipeline's to fill in."""
        image = self._image
        x, y = self._x - area[0], self._y - area[1]
        if image is None:
            return (0, x, y, False, 0, 0, 0, 0, 0, b"")
        _, _, width, height = self.rect(area)
        return (
            0,
            x,
            y,
            bool(width and height),
            self._shape_serial,
            image.width,
            image.height,
            image.hot_x,
            image.hot_y,
            self._straight,
        )


def _straight_alpha(premultiplied: Pixels) -> bytes:
    """X cursors carry colours already multiplied by alpha; browsers and PNG want them plain."""
    alpha = premultiplied[..., 3:].astype(np.uint16)
    colour = (premultiplied[..., :3].astype(np.uint16) * 255 + alpha // 2) // np.maximum(alpha, 1)
    result = premultiplied.copy()
    result[..., :3] = np.where(alpha == 0, 0, np.minimum(colour, 255))
    return result.tobytes()
