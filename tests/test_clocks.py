"""Agents whose clocks are others than ours: what a viewer is told of a unit's times is right on its own clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from house import eventually, house

from kvmstream.agent import pair
from kvmstream.agent.credentials import credential_for
from kvmstream.wire import messages as m
from kvmstream.wire.connection import dial
from kvmstream.wire.video import UNIT, VideoHeader

__all__ = ["house"]  # a fixture

_AHEAD = 7_300_000_000
_DRIFT = 50e-6
_ALLOWED = 1_000_000  # and half of what the two directions differ, which a round trip bounds
_SHIFTED = Path(__file__).with_name("time_shifted.py")


def _can_shift() -> bool:
    command = [sys.executable, str(_SHIFTED), "0", "true"]
    return (
        sys.platform == "linux"
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def _half_trips(it, hub) -> int:
    agent, viewer = it.hub.held["office-pc"].control.clock, hub._control.clock
    return (agent.round_trip_ns + viewer.round_trip_ns) // 2


def test_an_agent_whose_clock_is_ahead_and_drifts(house) -> None:
    """+7.3 s and 50 ppm through dial(clock=…): the agent is made of the protocol alone, hub and viewer are real."""

    def there() -> int:
        return round(time.perf_counter_ns() * (1 + _DRIFT)) + _AHEAD

    async def agent(it, control, video, sent: dict[int, int]) -> None:
        async def read() -> None:
            while True:
                control.answered(await control.receive())

        async def units() -> None:
            for number in range(1, 1_000_000):
                sent[number], now = time.perf_counter_ns(), there()
                header = VideoHeader(
                    UNIT, 4, True, sequence=number, generation=1, width=64, height=64, pts=number,
                    damaged_ns=now, captured_ns=now, encoded_ns=now, sent_ns=now,
                )  # fmt: skip
                video.post_frame(header.pack(), b"unit")
                await asyncio.sleep(0.1)

        await asyncio.gather(read(), units(), control.beat())

    async def main() -> None:
        async with house() as it:
            await asyncio.to_thread(pair, str(it.hub.pairing_line("127.0.0.1")), "office-pc")
            credential = credential_for("127.0.0.1", it.hub.control_port)
            address = it.hub.address("127.0.0.1")
            control = await dial(address, it.hub.control_port, clock=there)
            await control.send(m.AgentHello(credential.identity, credential.secret, "office-pc"))
            welcome = await control.receive_greeted()
            video = await dial(address, it.hub.video_port, clock=there)
            await video.send(m.VideoHello(welcome.video_token))
            sent: dict[int, int] = {}
            running = asyncio.create_task(agent(it, control, video, sent))
            try:
                async with it.viewer() as hub, hub.sources["office-pc"].packets() as packets:
                    await asyncio.sleep(1)  # some pings
                    began = time.monotonic()
                    errors, allowed = [], []
                    while time.monotonic() < began + 5:
                        packet = await asyncio.wait_for(anext(packets), 5)
                        errors.append(abs(packet.captured_ns - sent[packet.pts]))
                        allowed.append(_ALLOWED + _half_trips(it, hub))
                        assert packet.received_ns >= sent[packet.pts]
                    assert len(errors) > 20
                    assert all(a <= b for a, b in zip(errors[10:], allowed[10:], strict=True)), (
                        errors
                    )
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                for connection in (control, video):
                    await connection.close()

    asyncio.run(main())


@pytest.mark.skipif(not _can_shift(), reason="needs root and Linux's time namespaces")
def test_a_whole_agent_in_another_time(house, screen) -> None:
    """The agent's processes live 7.3 s ahead, native core, engine and all."""

    async def main() -> None:
        async with house() as it:
            await asyncio.to_thread(pair, str(it.hub.pairing_line("127.0.0.1")), "office-pc")
            command = [
                sys.executable,
                "-m",
                "kvmstream",
                "agent",
                "127.0.0.1",
                "--display",
                screen.display,
            ]
            command += ["--port", str(it.hub.control_port), "--video-port", str(it.hub.video_port)]
            agent = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, str(_SHIFTED), str(_AHEAD), *command],
                stdout=subprocess.DEVNULL, env={**os.environ},
            )  # fmt: skip
            try:
                source = it.hub.held["office-pc"]
                await eventually(lambda: source.online, 20, "the agent's coming online")
                async with it.viewer() as hub, hub.sources["office-pc"].packets() as packets:
                    await anext(packets)
                    await asyncio.sleep(2)  # pings
                    allowed = _ALLOWED + _half_trips(it, hub)
                    assert abs(source.control.clock.offset_ns - _AHEAD) <= allowed
                    for number in range(5):
                        with contextlib.suppress(TimeoutError):
                            while True:  # until the screen is still
                                await asyncio.wait_for(anext(packets), 0.5)
                        painted = time.perf_counter_ns()
                        screen.fill(40 * number, 40, 30, 30, (255, 40 * number, 0))
                        packet = await asyncio.wait_for(anext(packets), 5)
                        while packet.refinement or packet.received_ns < painted:
                            packet = await asyncio.wait_for(anext(packets), 5)
                        times = (
                            packet.damaged_ns,
                            packet.captured_ns,
                            packet.encoded_ns,
                            packet.sent_ns,
                        )
                        assert list(times) == sorted(times)
                        assert packet.damaged_ns >= painted - allowed
                        assert packet.sent_ns <= packet.received_ns + allowed
            finally:
                agent.terminate()
                assert agent.wait(10) == 0

    asyncio.run(main())
