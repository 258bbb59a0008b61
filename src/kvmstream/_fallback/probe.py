"""The child process of a test encode: ``python -m kvmstream._fallback.probe h264_nvenc`` exits 0 when it works.

A driver that crashes or hangs takes this process with it and not the stream.
"""

from __future__ import annotations

import sys

from kvmstream.errors import EncoderError

_WIDTH, _HEIGHT = 1280, 720
_FRAMES = 3


def main(arguments: list[str]) -> str | None:
    """The reason of a failure, or None."""
    import numpy as np

    from .codec import PIXEL_FORMATS, SPECS, PyavEncoder
    from .convert import YuvPicture
    from .frames import Patch
    from .settings import Settings

    spec = next((s for s in SPECS if [s.name] == arguments), None)
    if spec is None:
        return f"usage: probe {'|'.join(s.name for s in SPECS)}"
    size = (_WIDTH, _HEIGHT)
    try:
        encoder = PyavEncoder(spec, size, Settings(), [])
        picture = YuvPicture(size, size, PIXEL_FORMATS["420"])
        units = []
        for index in range(_FRAMES):
            pixels = np.full((_HEIGHT, _WIDTH, 4), 40 * index, np.uint8)
            picture.apply([Patch(0, 0, pixels)])
            units += encoder.encode(picture.frame, index * 16_667, keyframe=index == 0)
        encoder.close()
    except EncoderError as error:
        return str(error)
    if not units:
        return f"took {_FRAMES} pictures and gave no packet"
    if not units[0].keyframe:
        return "the first packet is no keyframe"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
