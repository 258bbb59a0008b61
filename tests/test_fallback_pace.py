"""The fallback's pace: what cpp/tests/test_pace.cpp asks of the native core's."""

from __future__ import annotations

import itertools
import random

import pytest

from kvmstream._fallback.pace import Pace

PERIOD = 1_000_000_000 // 60
MS = 1_000_000


def follow(changes):
    """Captures what has changed as soon as the pace allows: (times of captures, how long each change waited)."""
    pace, captured, waited, i = Pace(), [], [], 0
    while i < len(changes):
        at = max(changes[i], pace.not_before(PERIOD))
        captured.append(at)
        waited.append(at - changes[i])
        pace.captured(at, PERIOD)
        while i < len(changes) and changes[i] <= at:
            i += 1
    assert len(captured) <= (captured[-1] - captured[0]) // PERIOD + 3
    assert all(b - a >= PERIOD * 3 // 4 for a, b in itertools.pairwise(captured))
    return captured, waited


def changes_every(interval, count, jitter=0):
    chance = random.Random(7)
    start = 1_000_000_000
    return [start] + [
        start + 6 * MS + i * interval + chance.randint(0, jitter) for i in range(count)
    ]


def test_a_screen_that_changes_at_fps_is_soon_captured_at_once() -> None:
    captured, waited = follow(changes_every(PERIOD, 300))
    assert waited[1] > 5 * MS
    assert max(waited[20:]) < MS / 10
    assert len(captured) >= 298


@pytest.mark.parametrize("rate", [61, 90, 1000])
def test_a_screen_that_changes_faster_is_captured_fps_times_a_second(rate) -> None:
    captured, _ = follow(changes_every(1_000_000_000 // rate, 5 * rate))
    assert len(captured) >= 295


def test_after_a_pause_a_change_is_captured_at_once() -> None:
    changes = changes_every(5 * MS, 400)
    later = changes[-1] + 500 * MS
    captured, _ = follow(changes + [later + i * 5 * MS for i in range(400)])
    assert later in captured
