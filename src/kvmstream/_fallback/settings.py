"""What a pipeline can be asked for, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvmstream.errors import ConfigError

__all__ = ["MAX_SIDE", "Region", "Settings", "picture_size"]

MAX_SIDE = 8192  # pixels; H.264 level 6.2 and common texture limits

Region = tuple[int, int, int, int]  # x, y, width, height

_CHOICES = {
    "chroma": ("420", "444"),
    "cursor": ("embedded", "metadata", "hidden"),
    "source": ("screen", "pattern"),
}
_RANGES = {
    "fps": (0.1, 1000.0),
    "bitrate": (10_000, 2_000_000_000),
    "crf": (0.0, 51.0),
    "keyframe_interval": (0.0, 86_400.0),
}


@dataclass(frozen=True)
class Settings:
    """The keyword arguments of ``Pipeline``; see docs/architecture.md for their meaning."""

    display: str = ""
    region: Region | None = None
    width: int = 0
    height: int = 0
    fps: float = 60.0
    bitrate: int = 6_000_000
    crf: float = 23.0
    preset: str = "ultrafast"
    tune: str = "zerolatency"
    use_hardware_encoder: bool = True
    encoder: str = "auto"
    chroma: str = "420"
    cursor: str = "embedded"
    keyframe_interval: float = 0.0
    source: str = "screen"
    cache_dir: str = ""

    def validate(self) -> None:
        """Raises :exc:`ConfigError` naming the field, its value and the limit."""
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            if not math.isfinite(value) or not low <= value <= high:
                raise ConfigError(f"{field} = {value}: must be from {low} to {high}")
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise ConfigError(f"{field} = {value!r}: must be one of {', '.join(choices)}")
        for field in ("width", "height"):
            value = getattr(self, field)
            if value and not 2 <= value <= MAX_SIDE:
                raise ConfigError(f"{field} = {value}: must be 0 or from 2 to {MAX_SIDE}")
        if self.region is not None:
            x, y, width, height = self.region
            if x < 0 or y < 0 or width < 1 or height < 1:
                raise ConfigError(
                    f"region = {self.region}: x and y must be at least 0, width and height at least 1"
                )


def picture_size(settings: Settings, source_width: int, source_height: int) -> tuple[int, int]:
    """Size of the picture that is sent; one side alone keeps the shape."""
    width, height = settings.width, settings.height
    if not width and not height:
        width, height = source_width, source_height
    elif not width:
        width = _clamp(round(height * source_width / source_height))
    elif not height:
        height = _clamp(round(width * source_height / source_width))
    if width > MAX_SIDE or height > MAX_SIDE:
        raise ConfigError(
            f"the picture is {width}x{height}; H.264 ends at {MAX_SIDE} pixels a side: "
            "set width/height or a region"
        )
    return width, height


def _clamp(side: int) -> int:
    return max(2, min(side, MAX_SIDE))
