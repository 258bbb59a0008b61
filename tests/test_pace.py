"""The pace of a line, on simulated lines."""

from __future__ import annotations

import heapq
import random

import pytest

from kvmstream.hub.pace import CEILING, Pace


def simulate(bandwidth, one_way, seconds=30.0, *, fps=60.0, ceiling=6_000_000, jitter=0.0, seed=1):
    """An encoder under credit and the pace's bitrate, behind a line: (unit's age when decoded, when) and the pace."""
    chance = random.Random(seed)
    pace = Pace()
    now, free_at, sequence, frame_at = 0.0, 0.0, 0, 0.0
    acks: list[tuple[float, int]] = []
    ages = []
    while now < seconds:
        if acks and acks[0][0] <= frame_at:
            now, acknowledged = heapq.heappop(acks)
            pace.acknowledged(acknowledged, now)
            continue
        now = frame_at
        frame_at += 1 / fps
        if pace.in_flight >= pace.window:
            continue  # no credit: the change waits and merges
        size = int(min(pace.bitrate, ceiling) / fps / 8 * chance.uniform(0.6, 1.4)) + 100
        sequence += 1
        pace.sent(sequence, size, now)
        free_at = max(free_at, now) + size * 8 / bandwidth
        arrives = free_at + one_way + chance.uniform(0, jitter)
        ages.append((arrives - now, now))
        heapq.heappush(acks, (arrives + one_way, sequence))
    return ages, pace


def late(ages, after=5.0):
    return sorted(age for age, when in ages if when > after)


def test_a_fast_line_is_left_alone() -> None:
    ages, pace = simulate(1e9, 0.0005)
    assert pace.bitrate == CEILING
    assert len(late(ages)) > 0.99 * 25 * 60
    assert late(ages)[-1] < 0.01


@pytest.mark.parametrize("bandwidth", [0.5e6, 1e6, 3e6])
def test_a_slow_line_gets_less_and_not_later(bandwidth: float) -> None:
    ages, pace = simulate(bandwidth, 0.050)
    assert 0.4 * bandwidth < pace.bitrate < 1.25 * bandwidth
    assert late(ages)[int(len(late(ages)) * 0.95)] < 0.25
    assert late(ages)[-1] < 0.5
    assert len(late(ages)) > 25 * 5


def test_a_distant_line_with_room_keeps_its_rate() -> None:
    ages, pace = simulate(100e6, 0.060, jitter=0.005)
    assert min(pace.bitrate, 6_000_000) == 6_000_000
    assert len(late(ages)) > 25 * 40
    assert pace.window == 8


def test_it_finds_back_after_a_bad_time() -> None:
    _, pace = simulate(1e6, 0.02, seconds=10)
    low = pace.bitrate
    now = 1000.0
    sequence = 10_000_000
    for _ in range(60 * 60):
        sequence += 1
        pace.sent(sequence, int(min(pace.bitrate, 6_000_000) / 60 / 8), now)
        pace.acknowledged(sequence, now + 0.005)
        now += 1 / 60
    assert pace.bitrate > min(6_000_000, 5 * low)


def test_acknowledging_every_second_unit_is_enough() -> None:
    pace = Pace()
    now = 0.0
    for sequence in range(1, 2000):
        pace.sent(sequence, 10_000, now)
        if sequence % 2 == 0:
            pace.acknowledged(sequence, now + 0.003)
        now += 1 / 60
    assert pace.in_flight <= 2
    assert pace.bitrate == CEILING
