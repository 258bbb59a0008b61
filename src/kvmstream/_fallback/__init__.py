"""The pure-Python backend: mss reads the screen, PyAV encodes it. The names are those of ``kvmstream._core``.

Nothing heavy is imported before it is used: numpy, av and mss come with the first pipeline or screenshot.
"""

from __future__ import annotations

from .ladder import encoders
from .monitors import captures, displays
from .packets import Packet, Subscription
from .pipeline import Pipeline
from .screenshots import screenshot

__all__ = [
    "BACKEND",
    "Packet",
    "Pipeline",
    "Subscription",
    "build_info",
    "captures",
    "displays",
    "encoders",
    "screenshot",
    "waiting_calls",
]

BACKEND = "python"


def waiting_calls() -> int:
    """Calls that the interpreter's exit must wait for: none, as CPython ends its own daemon threads safely."""
    return 0


def build_info() -> dict[str, str]:
    """Facts for ``doctor``."""
    import av
    import mss
    import numpy as np
    from av._core import library_meta

    codec = library_meta["libavcodec"]
    version = av.library_versions.get("libavcodec", ())
    return {
        "ffmpeg": av.ffmpeg_version_info,
        "ffmpeg_license": str(codec["license"]),
        "libavcodec": ".".join(str(part) for part in version),
        "pyav": av.__version__,
        "mss": mss.__version__,
        "numpy": np.__version__,
        "simd": "those of FFmpeg (libswscale, x264) and numpy",
    }
