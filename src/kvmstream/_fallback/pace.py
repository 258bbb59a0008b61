"""When the next picture may be captured: the twin of cpp/pipeline/pace.hpp."""

from __future__ import annotations

_STEP = 8  # parts of a period


class Pace:
    """fps pictures a second at most, yet a change is seldom kept waiting. Times are perf_counter_ns().

    A screen that changes exactly fps times a second would, on a fixed grid, wait for the same part of a
    period every time. What was saved while nothing changed (a period at most) is spent in small steps: the
    grid moves until it meets the changes, and on average keeps to fps.
    """

    def __init__(self) -> None:
        self._next = 0
        self._saved = 0

    def not_before(self, period: int) -> int:
        """The earliest time for the next picture."""
        return self._next - min(period // _STEP, self._saved)

    def captured(self, at: int, period: int) -> None:
        """A picture was captured."""
        if at < self._next:
            self._saved -= self._next - at
            self._next = at + period
            return
        # On the grid while changes keep coming, from now after a pause: no burst to catch up.
        late = at - self._next
        self._saved = min(period, self._saved + late)
        self._next = (self._next if late < period else at) + period
