"""The plain data that the public API hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Packet(Protocol):
    """One H.264 access unit in Annex B form, with SPS and PPS in front of every keyframe.

    ``memoryview(packet)`` sees the bytes without a copy; they stay valid as long as anyone holds the packet,
    also after its stream has ended. Both backends have their own class; this is what they share.
    """

    @property
    def keyframe(self) -> bool:
        """An IDR: a decoder may start here."""

    @property
    def pts(self) -> int:
        """Microseconds since the stream's start; strictly rising."""

    @property
    def generation(self) -> int:
        """Counts from 1; grows with every new size or new encoder, and begins with a keyframe."""

    @property
    def width(self) -> int:
        """Width of the picture in pixels; may be odd, the coded width is rounded up to even."""

    @property
    def height(self) -> int:
        """Height of the picture in pixels; may be odd, the coded height is rounded up to even."""

    @property
    def refinement(self) -> bool:
        """The same content once more at better quality."""

    @property
    def damaged_ns(self) -> int:
        """When the change on the screen was seen, as time.perf_counter_ns()."""

    @property
    def captured_ns(self) -> int:
        """When the picture had been read, as time.perf_counter_ns()."""

    @property
    def converted_ns(self) -> int:
        """When the picture had been converted to YUV, as time.perf_counter_ns()."""

    @property
    def encoded_ns(self) -> int:
        """When the packet was complete, as time.perf_counter_ns()."""

    def __len__(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class Display:
    """A monitor; coordinates and sizes are pixels of the whole desktop."""

    id: str
    name: str
    x: int
    y: int
    width: int
    height: int
    scale: float
    refresh_hz: float
    primary: bool


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """An encoder on the ladder; ``reason`` says why it is not available ("" when it is)."""

    name: str
    hardware: bool
    available: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CursorState:
    """Where the pointer is and what it looks like.

    ``serial`` grows by one per change, ``shape_serial`` when the shape changes. ``x`` and ``y`` are picture pixels
    of the hot spot, which lies at (hot_x, hot_y) inside the shape.
    """

    serial: int
    x: int
    y: int
    visible: bool
    shape_serial: int
    shape_width: int
    shape_height: int
    hot_x: int
    hot_y: int
    shape_bgra: bytes

    def shape(self) -> NDArray[np.uint8]:
        """The cursor's picture: shape_height × shape_width × 4, uint8, BGRA with straight alpha, read-only."""
        import numpy as np

        pixels = np.frombuffer(self.shape_bgra, np.uint8)
        return pixels.reshape(self.shape_height, self.shape_width, 4)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One consumer's queue: packets in it, its capacity, packets it lost, age of its oldest packet in ms."""

    size: int
    capacity: int
    dropped: int
    oldest_ms: float


@dataclass(frozen=True, slots=True)
class StreamStats:
    """Figures of a running stream.

    ``fps`` and ``bitrate`` (bit/s) cover the last second; counts run since the start. Times are milliseconds over the
    last 256 frames with new content: capture = damage seen → picture read, latency = damage seen → packet.
    ``dropped`` counts pictures replaced by a newer one before the encoder took them. ``notes`` names settings
    without counterpart in the encoder and every step down the encoder ladder.
    """

    fps: float
    bitrate: float
    frames: int
    keyframes: int
    refinements: int
    bytes: int
    captured: int
    dropped: int
    generation: int
    encoder: str
    capture: str
    width: int
    height: int
    notes: tuple[str, ...]
    capture_ms_p50: float
    capture_ms_p95: float
    convert_ms_p50: float
    convert_ms_p95: float
    encode_ms_p50: float
    encode_ms_p95: float
    latency_ms_p50: float
    latency_ms_p95: float
    queue: tuple[QueueStats, ...]

    @classmethod
    def from_seam(cls, figures: dict[str, Any]) -> StreamStats:
        """Build from the dictionary that a backend's Pipeline.stats() returns."""
        values = {name: figures[name] for name in cls.__slots__}
        values["notes"] = tuple(values["notes"])
        values["queue"] = tuple(QueueStats(**queue) for queue in values["queue"])
        return cls(**values)
