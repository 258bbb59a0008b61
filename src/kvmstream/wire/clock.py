"""How far a peer's clock is from ours, from pings that ride on the control connection."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

__all__ = ["ClockEstimate"]

_WINDOW_NS: Final = 120_000_000_000
_SAMPLES: Final = 256
_DRIFT: Final = (
    100e-6  # between two crystals: what an exchange loses in worth per second of its age
)
_LARGEST_DRIFT: Final = 200e-6
_DRIFT_SPAN_NS: Final = 20_000_000_000  # below that two exchanges say nothing about drift


class _Exchange(NamedTuple):
    when: int
    trip: int  # round trip
    offset: int  # peer's clock minus ours


class ClockEstimate:
    """Peer's clock minus ours, by the exchange with the shortest round trip, and how fast it drifts, by two such.

    A ping that waited nowhere saw the line alone: its midpoint is wrong by at most half of what the two directions
    differ. Averages would take in every queue on the way.
    """

    def __init__(self) -> None:
        self._exchanges: deque[_Exchange] = deque(maxlen=_SAMPLES)
        self._offset = self._trip = 0

    def add(self, sent_ns: int, peer_received_ns: int, peer_sent_ns: int, received_ns: int) -> None:
        """One exchange: our clock at both ends, the peer's in the middle. One that cannot be true is ignored."""
        trip = (received_ns - sent_ns) - (peer_sent_ns - peer_received_ns)
        if trip < 0 or peer_sent_ns < peer_received_ns:
            return
        offset = ((peer_received_ns - sent_ns) + (peer_sent_ns - received_ns)) // 2
        self._exchanges.append(_Exchange(received_ns, trip, offset))
        while self._exchanges[0].when < received_ns - _WINDOW_NS:
            self._exchanges.popleft()
        best = min(self._exchanges, key=lambda e: e.trip / 2 + _DRIFT * (received_ns - e.when))
        self._offset = best.offset + round(self._drift() * (received_ns - best.when))
        self._trip = best.trip

    @property
    def known(self) -> bool:
        """Whether there was an exchange at all."""
        return bool(self._exchanges)

    @property
    def offset_ns(self) -> int:
        """Peer's clock minus ours; 0 before the first exchange."""
        return self._offset

    @property
    def round_trip_ns(self) -> int:
        """The shortest round trip of late; 0 before the first exchange."""
        return self._trip

    def _drift(self) -> float:
        """How fast the offset grows, by the best exchanges of the window's two halves; 0 when they do not tell."""
        first, last = self._exchanges[0].when, self._exchanges[-1].when
        middle = (first + last) // 2
        old = min((e for e in self._exchanges if e.when <= middle), key=lambda e: e.trip)
        new = min(
            (e for e in self._exchanges if e.when >= middle), key=lambda e: e.trip, default=old
        )
        span = new.when - old.when
        if span < _DRIFT_SPAN_NS:
            return 0.0
        # A queue that one of them has seen and the other has not looks like drift.
        doubt = abs(new.trip - old.trip) / 2 / span
        drift = (new.offset - old.offset) / span
        return drift if doubt < _DRIFT / 2 and abs(drift) < _LARGEST_DRIFT else 0.0
