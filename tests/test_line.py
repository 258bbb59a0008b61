"""Viewers behind slow, distant and lossy lines: network namespaces and TUN devices, skipped where there are none."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from house import house as house  # noqa: PLC0414 - a fixture
from link import Line, available

if TYPE_CHECKING:
    from house import House

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="needs root, ip and /dev/net/tun"),
]

_VIEWER = Path(__file__).with_name("far_viewer.py")


async def _watch(it: House, line: Line, seconds: float) -> dict:
    url = it.hub.address(line.near).url
    token = it.hub.store.new_token("view")
    result = await asyncio.to_thread(
        line.run, sys.executable, str(_VIEWER), url, token, str(seconds)
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _after(seen: dict, seconds: float) -> list[float]:
    return sorted(age for when, age in seen["ages"] if when > seconds)


def test_a_slow_distant_viewer_sees_less_and_not_later(house) -> None:
    """1 Mbit/s and 50 ms each way: bounded delay of at most half a second, and it does not grow."""

    async def main() -> None:
        async with house(host="0.0.0.0") as it:
            await it.agent(source="pattern", width=1280, height=720, fps=60)
            with Line(bandwidth=1e6, delay=0.05) as line:
                seen = await _watch(it, line, 25)
        assert abs(seen["offset_ns"]) < 30e6
        settled = _after(seen, 8)
        assert len(settled) > 17 * 4, "at least four pictures a second"
        assert settled[int(len(settled) * 0.95)] < 0.5
        first, last = [age for when, age in seen["ages"] if 8 < when < 14], _after(seen, 19)
        assert sum(last) / len(last) < sum(first) / len(first) + 0.15
        assert seen["bytes"] * 8 / 25 < 1e6

    asyncio.run(main())


def test_loss_does_not_end_the_stream(house) -> None:
    async def main() -> None:
        async with house(host="0.0.0.0") as it:
            await it.agent(source="pattern", width=640, height=360, fps=60)
            with Line(bandwidth=20e6, delay=0.01, loss=0.05) as line:
                seen = await _watch(it, line, 12)
        settled = _after(seen, 3)
        assert len(settled) > 9 * 5
        assert settled[len(settled) // 2] < 0.5

    asyncio.run(main())


def test_one_behind_a_slow_line_slows_nobody(house) -> None:
    async def main() -> None:
        async with house(host="0.0.0.0") as it:
            await it.agent(source="pattern", width=1280, height=720, fps=60)
            with Line(bandwidth=1e6, delay=0.05) as line:
                async with it.viewer() as hub, hub.sources["office-pc"].packets() as packets:
                    far = asyncio.create_task(_watch(it, line, 15))
                    times = []
                    relay = it.hub.held["office-pc"].relays[0]
                    units = relay.units
                    while not far.done():
                        packet = await anext(packets)
                        assert packet.width == 1280
                        times.append(time.monotonic())
                    units = relay.units - units
                    seen = await far
        rate = (len(times) - 1) / (times[-1] - times[0])
        assert rate > 50, "60 a second less what a loaded machine loses"
        assert len(times) > 0.97 * units, "the near viewer gets what the agent sends"
        assert len(seen["ages"]) > 15
        settled = _after(seen, 10)
        assert settled[int(len(settled) * 0.9)] < 1.0

    asyncio.run(main())
