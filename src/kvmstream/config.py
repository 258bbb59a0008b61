"""StreamConfig: everything a stream can be asked for."""

from __future__ import annotations

import math
import numbers
from typing import Any

from .errors import ConfigError

__all__ = ["StreamConfig"]

_DEFAULT_SIZE = (1920, 1080)

FPS = (0.1, 1000.0)
BITRATE = (10_000, 2_000_000_000)  # bit/s
CRF = (0.0, 51.0)
SIDE = (2, 8192)  # pixels; H.264 level 6.2 and common texture limits
KEYFRAME_INTERVAL = (0.0, 86_400.0)  # seconds

_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)
_TUNES = ("zerolatency", "film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode")
_CHOICES = {
    "preset": _PRESETS,
    "tune": _TUNES,
    "chroma": ("420", "444"),
    "cursor": ("embedded", "metadata", "hidden"),
    "source": ("screen", "pattern"),
}


class StreamConfig:
    """Settings of a stream: plain attributes, checked when a stream uses them (ConfigError) or by validate().

        config = kvmstream.StreamConfig(fps=30)
        config.bitrate = 2_000_000

    display: "" is the primary monitor of $DISPLAY; a monitor's name "HDMI-1"; an index "1"; another X server ":7" or
        ":7/HDMI-1".
    region: (x, y, width, height) inside the display, in its pixels; None is all of it.
    width, height: size of the picture that is sent; setting them scales. Left alone they follow the display; they read
        1920 × 1080 until the stream has started and the display's own size from then on.
    fps: an upper bound; an unchanged screen sends nothing.
    bitrate: a ceiling in bit/s.
    crf: quality aimed at below that ceiling, on x264's scale from 0 (lossless) to 51.
    preset, tune: on x264's scale; every other encoder gets its nearest counterpart. Whatever the tune, no encoder
        delays or reorders frames.
    use_hardware_encoder: try the GPU's encoders before those on the CPU.
    encoder: "auto", or one name out of kvmstream.encoders() and no other.
    chroma: "420", or "444" for sharp coloured text where the encoder can and the viewer decodes it.
    cursor: "embedded" draws the pointer into the picture, "metadata" sends it beside (Stream.cursor), "hidden"
        leaves it out.
    keyframe_interval: seconds between keyframes; None only sends them on demand.
    source: "screen", or "pattern" for a synthetic moving picture that needs no display.
    """

    __slots__ = (
        "_followed",
        "_height",
        "_width",
        "bitrate",
        "chroma",
        "crf",
        "cursor",
        "display",
        "encoder",
        "fps",
        "keyframe_interval",
        "preset",
        "region",
        "source",
        "tune",
        "use_hardware_encoder",
    )

    def __init__(
        self,
        *,
        display: str = "",
        region: tuple[int, int, int, int] | None = None,
        width: int | None = None,
        height: int | None = None,
        fps: float = 60,
        bitrate: int = 6_000_000,
        crf: float = 23,
        preset: str = "ultrafast",
        tune: str = "zerolatency",
        use_hardware_encoder: bool = True,
        encoder: str = "auto",
        chroma: str = "420",
        cursor: str = "embedded",
        keyframe_interval: float | None = None,
        source: str = "screen",
    ) -> None:
        self.display = display
        self.region = region
        self._width = width
        self._height = height
        self._followed = _DEFAULT_SIZE
        self.fps = fps
        self.bitrate = bitrate
        self.crf = crf
        self.preset = preset
        self.tune = tune
        self.use_hardware_encoder = use_hardware_encoder
        self.encoder = encoder
        self.chroma = chroma
        self.cursor = cursor
        self.keyframe_interval = keyframe_interval
        self.source = source

    @classmethod
    def max_fps(cls, **settings: Any) -> StreamConfig:
        """Return the recipe for the most frames: 120 a second, each as cheap as can be. `settings` go on top."""
        return cls(
            **{"fps": 120, "bitrate": 12_000_000, "crf": 28, "preset": "ultrafast", **settings}
        )

    @classmethod
    def best_quality(cls, **settings: Any) -> StreamConfig:
        """Return the recipe for the sharpest picture: full chroma, high bitrate, a slower search. `settings` go on top.

        Full chroma rules out most hardware encoders and most browsers; pass chroma="420" for those.
        """
        recipe = {
            "fps": 30,
            "bitrate": 40_000_000,
            "crf": 16,
            "preset": "veryfast",
            "chroma": "444",
        }
        return cls(**{**recipe, **settings})

    @classmethod
    def low_latency(cls, **settings: Any) -> StreamConfig:
        """Return the recipe for the shortest delay: changes are taken after 8 ms at the most, and small frames leave
        sooner. `settings` go on top.
        """
        return cls(
            **{"fps": 120, "bitrate": 8_000_000, "crf": 26, "preset": "ultrafast", **settings}
        )

    @property
    def width(self) -> int:
        """Width of the picture in pixels."""
        return self._followed[0] if self._width is None else self._width

    @width.setter
    def width(self, value: int | None) -> None:
        self._width = value

    @property
    def height(self) -> int:
        """Height of the picture in pixels."""
        return self._followed[1] if self._height is None else self._height

    @height.setter
    def height(self, value: int | None) -> None:
        self._height = value

    def validate(self) -> None:
        """Raise ConfigError, naming field, value and limit, unless every setting can be used."""
        self.seam_arguments()

    def seam_arguments(self) -> dict[str, Any]:
        """Return the checked settings as the keyword arguments of a backend's Pipeline."""
        arguments: dict[str, Any] = {
            "display": _text("display", self.display),
            "region": None if self.region is None else check_region(self.region),
            "fps": check_number("fps", self.fps, FPS),
            "bitrate": check_integer("bitrate", self.bitrate, BITRATE),
            "crf": check_number("crf", self.crf, CRF),
            "encoder": _text("encoder", self.encoder),
        }
        if (self._width is None) != (self._height is None):
            field = "height" if self._height is None else "width"
            raise ConfigError(f"{field} = None: width and height must be set together, or neither")
        arguments["width"] = 0 if self._width is None else check_integer("width", self._width, SIDE)
        arguments["height"] = (
            0 if self._height is None else check_integer("height", self._height, SIDE)
        )
        for field, allowed in _CHOICES.items():
            value = _text(field, getattr(self, field))
            if value not in allowed:
                raise ConfigError(f"{field} = {value!r}: must be one of {', '.join(allowed)}")
            arguments[field] = value
        if not arguments["encoder"]:
            raise ConfigError(
                "encoder = '': must be \"auto\" or a name out of kvmstream.encoders()"
            )
        if not isinstance(self.use_hardware_encoder, bool):
            raise ConfigError(
                f"use_hardware_encoder = {self.use_hardware_encoder!r}: must be True or False"
            )
        arguments["use_hardware_encoder"] = self.use_hardware_encoder
        arguments["keyframe_interval"] = (
            0.0
            if self.keyframe_interval is None
            else check_number("keyframe_interval", self.keyframe_interval, KEYFRAME_INTERVAL)
        )
        return arguments

    def follow(self, width: int, height: int) -> None:
        """Take the size that a stream found, where none was asked for."""
        self._followed = (width, height)

    def copy(self) -> StreamConfig:
        """Return an independent copy."""
        twin = StreamConfig()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StreamConfig):
            return NotImplemented
        fields = [name for name in self.__slots__ if name != "_followed"]
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        names = [name for name in self.__slots__ if not name.startswith("_")]
        fields = [f"{name}={getattr(self, name)!r}" for name in sorted([*names, "width", "height"])]
        return f"StreamConfig({', '.join(fields)})"


def check_number(field: str, value: object, limits: tuple[float, float]) -> float:
    """Return `value` as a float, or raise ConfigError when it is no number within `limits`."""
    low, high = limits
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number) and low <= number <= high:
            return number
    raise ConfigError(f"{field} = {value!r}: must be a number from {low:g} to {high:g}")


def check_integer(field: str, value: object, limits: tuple[int, int]) -> int:
    """Return `value` as an int (6e6 counts as one), or raise ConfigError."""
    low, high = limits
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if number.is_integer() and low <= number <= high:
            return int(number)
    raise ConfigError(f"{field} = {value!r}: must be a whole number from {low} to {high}")


def check_region(value: object) -> tuple[int, int, int, int]:
    """Return `value` as (x, y, width, height), or raise ConfigError."""
    if isinstance(value, (tuple, list)) and len(value) == 4:
        numbers_ok = all(
            not isinstance(part, bool) and isinstance(part, numbers.Integral) for part in value
        )
        if numbers_ok:
            x, y, width, height = (int(part) for part in value)
            if min(x, y) >= 0 and min(width, height) >= 1:
                return x, y, width, height
    raise ConfigError(
        f"region = {value!r}: must be (x, y, width, height) in pixels, x and y at least 0, "
        "width and height at least 1"
    )


def _text(field: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{field} = {value!r}: must be a string, e.g. {str(value)!r}")
