"""Reading pixels: through mss, or over our own X11 connection where mss cannot."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kvmstream.errors import CaptureError

from .x11 import XError

if TYPE_CHECKING:
    from .frames import Pixels, Rect
    from .x11 import XConnection

__all__ = ["MssReader", "Reader", "WireReader", "open_reader"]

_MSS_MINIMUM = (10, 2)  # the first whose X11 backend survives the server's death
_BAND_BYTES = 4 << 20  # of one GetImage reply; the server holds it in memory


class Reader(Protocol):
    """Belongs to the capture thread."""

    name: str

    def read(self, rect: Rect) -> Pixels:
        """A fresh, writable array of that part of the desktop. Raises :exc:`CaptureError`."""

    def close(self) -> None:
        """Idempotent."""


def _mss_errors() -> tuple[type[Exception], ...]:
    try:
        from mss.exception import ScreenShotError
    except ImportError:
        return (ImportError,)
    # mss 10.2 asserts (or with -O trips over a NULL pointer) when the server dies under a request.
    return (ScreenShotError, AssertionError, ValueError, OSError, ImportError)


class MssReader:
    """By shared memory on X11; GDI on Windows, CoreGraphics on macOS."""

    name = "mss"

    def __init__(self, display: str | None) -> None:
        self._errors = _mss_errors()
        self._grabber: Any = None
        try:
            import mss

            version = tuple(int(part) for part in mss.__version__.split(".")[:2])
            if display is not None and version < _MSS_MINIMUM:
                raise CaptureError(
                    f"mss {mss.__version__} ends the whole process when the X server goes away; "
                    "10.2 or newer is needed: pip install --upgrade mss"
                )
            self._grabber = mss.MSS(display=display) if display is not None else mss.MSS()
        except self._errors as error:
            raise CaptureError(f"mss cannot open the screen: {error}") from None

    def read(self, rect: Rect) -> Pixels:
        """See :class:`Reader`."""
        x, y, width, height = rect
        try:
            shot = self._grabber.grab({"left": x, "top": y, "width": width, "height": height})
        except self._errors as error:
            raise CaptureError(
                f"mss could not read {width}x{height}+{x}+{y}: {str(error) or type(error).__name__}"
            ) from None
        return np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)

    def close(self) -> None:
        """Idempotent."""
        if self._grabber is not None:
            # With the server gone there is nothing left to free.
            with contextlib.suppress(*self._errors):
                self._grabber.close()
            self._grabber = None


class WireReader:
    """Plain GetImage: slower, but it needs nothing and works through ssh -X."""

    name = "GetImage"

    def __init__(self, connection: XConnection) -> None:
        self._connection = connection

    def read(self, rect: Rect) -> Pixels:
        """See :class:`Reader`."""
        x, y, width, height = rect
        pixels = np.empty((height, width, 4), np.uint8)
        rows = max(1, _BAND_BYTES // (width * 4))
        for top in range(0, height, rows):
            band = pixels[top : top + rows]
            try:
                data = self._connection.get_image(x, y + top, width, len(band))
            except XError as error:
                raise CaptureError(
                    f"the X server refused to read {width}x{height}+{x}+{y}: {error}"
                ) from None
            band[...] = np.frombuffer(data, np.uint8).reshape(band.shape)
        return pixels

    def close(self) -> None:
        """The connection is the caller's."""


def open_reader(connection: XConnection | None) -> tuple[Reader, str]:
    """The best reader, and why it is not mss ("" when it is). Raises :exc:`CaptureError`."""
    if connection is None:
        return MssReader(None), ""
    try:
        return MssReader(connection.display), ""
    except CaptureError as error:
        return WireReader(connection), str(error)
