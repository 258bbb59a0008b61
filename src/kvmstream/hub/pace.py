"""How much one viewer's line carries, from its acknowledgements alone: a window of units and a bitrate.

After TCP Vegas (Brakmo and Peterson, 1995): what a unit takes longer than the quickest one of late it has spent in
queues.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["CEILING", "Pace"]

CEILING: Final = 100_000_000  # bit/s; an agent's own setting lies below
_FLOOR: Final = 100_000  # bit/s
_SMALLEST_WINDOW, _FIRST_WINDOW, _LARGEST_WINDOW = 1, 4, 8  # units
_TOO_LONG: Final = 0.050  # seconds in queues
_SHORT: Final = 0.025
_BASE_SECONDS: Final = 10.0  # how long the quickest round trip counts
_EVERY: Final = 0.25  # seconds between two looks at the bitrate
_DOWN: Final = 0.85
_UP: Final = 1.0125  # a look: 5 % a second
_MEASURE_SECONDS: Final = 1.0


class Pace:
    """All times are seconds of one monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self.window = _FIRST_WINDOW
        self.bitrate = CEILING
        self.queue_delay = 0.0  # smoothed
        self._flying: deque[tuple[int, float, int, bool]] = (
            deque()
        )  # sequence, sent, bytes, window was full
        self._trips: deque[tuple[float, float]] = (
            deque()
        )  # falling out of the window: (when, round trip), rising
        self._delivered: deque[tuple[float, int]] = deque()  # when, bytes
        self._delivered_bytes = 0
        self._window_mark = 0  # the window moves once for the units that were under way
        self._looked = 0.0

    @property
    def in_flight(self) -> int:
        """Units that are not acknowledged."""
        return len(self._flying)

    def sent(self, sequence: int, size: int, now: float) -> None:
        """A unit leaves."""
        self._flying.append((sequence, now, size, len(self._flying) + 1 >= self.window))

    def acknowledged(self, sequence: int, now: float) -> None:
        """Everything up to this unit has been decoded."""
        newest = None
        while self._flying and self._flying[0][0] <= sequence:
            newest = self._flying.popleft()
            self._delivered.append((now, newest[2]))
            self._delivered_bytes += newest[2]
        if newest is None:
            return
        trip = now - newest[1]
        while self._trips and self._trips[-1][1] >= trip:
            self._trips.pop()
        self._trips.append((now, trip))
        while self._trips[0][0] < now - _BASE_SECONDS:
            self._trips.popleft()
        delay = trip - self._trips[0][1]
        self.queue_delay += (delay - self.queue_delay) / 4
        if newest[0] > self._window_mark:
            self._move_window(delay, was_full=newest[3])
            self._window_mark = self._flying[-1][0] if self._flying else newest[0]
        if now - self._looked >= _EVERY:
            self._looked = now
            self._move_bitrate(now)

    def rate(self, now: float) -> float:
        """Delivered bit/s of the last second."""
        while self._delivered and self._delivered[0][0] < now - _MEASURE_SECONDS:
            self._delivered_bytes -= self._delivered.popleft()[1]
        return self._delivered_bytes * 8 / _MEASURE_SECONDS

    def _move_window(self, delay: float, *, was_full: bool) -> None:
        if delay > _TOO_LONG:
            self.window = max(_SMALLEST_WINDOW, self.window - 1)
        elif delay < _SHORT and was_full:
            self.window = min(_LARGEST_WINDOW, self.window + 1)

    def _move_bitrate(self, now: float) -> None:
        rate = self.rate(now)
        if self.queue_delay > _TOO_LONG:
            self.bitrate = max(_FLOOR, int(min(self.bitrate, rate) * _DOWN))
        elif rate > 0.7 * self.bitrate:
            # Only what has been tried can be known to fit.
            self.bitrate = min(CEILING, int(self.bitrate * _UP))
