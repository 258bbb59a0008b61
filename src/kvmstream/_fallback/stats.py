"""Counters and per-stage times of one pipeline."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .packets import Packet

__all__ = ["Stats"]

_WINDOW = 256  # new-content frames that the percentiles look back on
_SECOND_NS = 1_000_000_000
_STAGES = ("capture", "convert", "encode", "latency")


class Stats:
    """Not thread-safe: the pipeline's lock guards it."""

    def __init__(self) -> None:
        self.frames = 0
        self.keyframes = 0
        self.refinements = 0
        self.bytes = 0
        self.captured = 0
        self.dropped = 0
        self._times: dict[str, deque[int]] = {stage: deque(maxlen=_WINDOW) for stage in _STAGES}
        self._sent: deque[tuple[int, int, bool]] = deque()  # encoded_ns, bytes, is new content

    def add_captured(self, *, replaced: bool) -> None:
        """A frame reached the slot, perhaps over one that nobody took."""
        self.captured += 1
        self.dropped += replaced

    def add_packet(self, packet: Packet, taken_ns: int) -> None:
        """`taken_ns`: when the encode thread took the frame out of the slot."""
        self.frames += 1
        self.keyframes += packet.keyframe
        self.refinements += packet.refinement
        self.bytes += len(packet)
        self._sent.append((packet.encoded_ns, len(packet), not packet.refinement))
        self._forget(packet.encoded_ns)
        if packet.refinement:
            return
        self._times["capture"].append(packet.captured_ns - packet.damaged_ns)
        self._times["convert"].append(packet.converted_ns - taken_ns)
        self._times["encode"].append(packet.encoded_ns - packet.converted_ns)
        self._times["latency"].append(packet.encoded_ns - packet.damaged_ns)

    def _forget(self, now: int) -> None:
        while self._sent and self._sent[0][0] < now - _SECOND_NS:
            self._sent.popleft()

    def snapshot(self) -> dict[str, object]:
        """The keys of ``Pipeline.stats()`` that are about rates and times."""
        self._forget(time.perf_counter_ns())
        result: dict[str, object] = {
            "fps": float(sum(fresh for _, _, fresh in self._sent)),
            "bitrate": 8.0 * sum(size for _, size, _ in self._sent),
            "frames": self.frames,
            "keyframes": self.keyframes,
            "refinements": self.refinements,
            "bytes": self.bytes,
            "captured": self.captured,
            "dropped": self.dropped,
        }
        for stage, values in self._times.items():
            result[f"{stage}_ms_p50"], result[f"{stage}_ms_p95"] = _percentiles(values)
        return result


def _percentiles(values: Iterable[int]) -> tuple[float, float]:
    ordered = sorted(values)
    if not ordered:
        return 0.0, 0.0
    last = len(ordered) - 1
    return ordered[last * 50 // 100] / 1e6, ordered[last * 95 // 100] / 1e6
