"""One picture, now."""

from __future__ import annotations

import time

from kvmstream.errors import CaptureError

from .pipeline import make_source
from .settings import Region, Settings, picture_size

__all__ = ["screenshot"]

_PATIENCE_NS = 5_000_000_000


def screenshot(
    *,
    display: str = "",
    region: Region | None = None,
    width: int = 0,
    height: int = 0,
    cursor: str = "embedded",
    source: str = "screen",
) -> tuple[int, int, bytes]:
    """(width, height, BGRX bytes row by row). Raises :exc:`CaptureError` or :exc:`ConfigError`."""
    settings = Settings(
        display=display, region=region, width=width, height=height, cursor=cursor, source=source
    )
    settings.validate()
    screen = make_source(settings, lambda _: None, lambda *_: None)
    try:
        screen.open()
        deadline = time.perf_counter_ns() + _PATIENCE_NS
        while screen.wait(0, deadline) is None:
            if time.perf_counter_ns() >= deadline:
                raise CaptureError("the screen gave no picture within 5 s")
        picture = screen.snapshot()
    finally:
        screen.close()
    assert picture is not None
    size = picture_size(settings, picture.shape[1], picture.shape[0])
    if size != (picture.shape[1], picture.shape[0]):
        from .convert import scale_bgra

        picture = scale_bgra(picture, *size)
    return (*size, picture.tobytes())
