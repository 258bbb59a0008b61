"""Save one picture of the screen as PNG.

examples:
  kvmstream screenshot out.png
  kvmstream screenshot --region 0,0,640,480 --no-cursor corner.png
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream.errors import ConfigError

from . import _common

if TYPE_CHECKING:
    import argparse

    import numpy as np
    from numpy.typing import NDArray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    _common.add_display(parser)
    parser.add_argument("--no-cursor", action="store_true", help="leave the pointer out")
    parser.add_argument(
        "out", type=Path, metavar="OUT.png", help="file to write; replaced when it exists"
    )


def run(arguments: argparse.Namespace) -> int:
    """Take the picture and write the file."""
    if arguments.out.suffix.lower() != ".png":
        raise ConfigError(f"file name {str(arguments.out)!r}: must end in .png")
    from kvmstream import screenshot

    picture = screenshot(
        display=arguments.display,
        region=arguments.region,
        cursor="hidden" if arguments.no_cursor else "embedded",
    )
    arguments.out.write_bytes(png(picture))
    return 0


def png(rgb: NDArray[np.uint8]) -> bytes:
    """Return the height × width × 3 RGB picture as a PNG file."""
    import numpy as np

    height, width, _ = rgb.shape
    lines = np.empty((height, 1 + width * 3), np.uint8)
    flat = rgb.reshape(height, width * 3)
    lines[:, 0] = 2  # filter "Up": a desktop's lines mostly equal the ones above them
    lines[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=lines[1:, 1:])  # modulo 256, as PNG wants it

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    eight_bit_rgb = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", eight_bit_rgb)
        + chunk(b"sRGB", b"\x00")
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 4))
        + chunk(b"IEND", b"")
    )
