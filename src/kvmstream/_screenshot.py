"""screenshot(): one picture, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _backend
from .config import StreamConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def screenshot(
    *,
    display: str = "",
    region: tuple[int, int, int, int] | None = None,
    width: int | None = None,
    height: int | None = None,
    cursor: str = "embedded",
    source: str = "screen",
) -> NDArray[np.uint8]:
    """Return the screen as an array: height × width × 3, uint8, RGB, C-contiguous and the caller's own.

    The arguments mean what they mean in StreamConfig; width and height scale the picture. Raises ConfigError for a bad
    value and CaptureError when the display is unknown or cannot be read.

        from PIL import Image
        Image.fromarray(kvmstream.screenshot(region=(0, 0, 640, 480))).save("corner.png")
    """
    import numpy as np

    config = StreamConfig(
        display=display, region=region, width=width, height=height, cursor=cursor, source=source
    )
    wanted = config.seam_arguments()
    columns, rows, bgra = _backend.module().screenshot(
        display=wanted["display"],
        region=wanted["region"],
        width=wanted["width"],
        height=wanted["height"],
        # Without a picture to follow, "metadata" has nowhere to send the pointer.
        cursor="hidden" if wanted["cursor"] == "metadata" else wanted["cursor"],
        source=wanted["source"],
    )
    pixels = np.frombuffer(bgra, np.uint8).reshape(rows, columns, 4)
    return np.ascontiguousarray(pixels[:, :, 2::-1])
