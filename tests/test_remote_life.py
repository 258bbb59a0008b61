"""What ends and comes back: hubs, workers, screens, lines and machines that slept."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from house import eventually, house

import kvmstream
from kvmstream.agent._xtest import XTest
from kvmstream.errors import CaptureError, ConnectionLost

__all__ = ["house"]  # a fixture


def test_agent_comes_back_after_a_hub_restart(house, screen) -> None:
    async def main() -> None:
        it = house()
        async with it:
            agent = await it.agent(screen.display)
            worker = agent._process.pid
            async with it.viewer() as hub, hub.sources["office-pc"].packets() as packets:
                generation = (await anext(packets)).generation
                began = time.monotonic()
                await asyncio.sleep(1.5)
            ports = it.hub.control_port, it.hub.video_port
            await it.hub.stop()
            it.hub = kvmstream.Hub(
                it.folder, host="127.0.0.1", control_port=ports[0], video_port=ports[1], web_port=0
            )
            await it.hub.start()
            await eventually(lambda: it.hub.held["office-pc"].online, 4, "the agent's return")
            async with it.viewer() as hub, hub.sources["office-pc"].frames() as frames:
                assert (await asyncio.wait_for(anext(frames), 10)).shape == (480, 640, 3)
                assert_went_on(frames.packet, generation, began)
            assert agent._process.pid == worker

    asyncio.run(main())


def assert_went_on(packet, generation: int, began: float) -> None:
    """A packet of the capture that was seen to run at `began`: one opened anew begins its times at 0."""
    assert packet.generation == generation
    assert packet.pts / 1e6 > time.monotonic() - began - 1.0


def test_worker_that_dies_is_started_anew(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            agent = await it.agent(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                async with source.frames() as frames:
                    await anext(frames)
                    os.kill(agent._process.pid, signal.SIGKILL)
                    await eventually(lambda: not source.online, what="the news of its death")
                    await source.wait_online(5)
                    screen.fill(0, 0, 100, 100, (0, 255, 0))
                    assert (await asyncio.wait_for(anext(frames), 10)).shape == (480, 640, 3)

    asyncio.run(main())


def test_a_machine_that_slept_is_back_at_once(house, screen, monkeypatch) -> None:
    """The hub has given it up meanwhile; it finds a dead connection when it wakes."""
    monkeypatch.setattr("kvmstream.wire.connection.SILENCE_SECONDS", 1.5)

    async def main() -> None:
        async with house() as it:
            agent = await it.agent(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                async with source.frames() as frames:
                    await anext(frames)
                    generation, began = frames.packet.generation, time.monotonic()
                    await source.request_control()
                    await source.keyboard.down("KeyA")
                    worker = agent._process.pid
                    os.kill(worker, signal.SIGSTOP)
                    try:
                        await eventually(lambda: not source.online, what="the hub's giving up")
                        screen.fill(0, 0, 100, 100, (0, 0, 255))
                    finally:
                        os.kill(worker, signal.SIGCONT)
                    woke = time.monotonic()
                    await source.wait_online(5)
                    blue = False
                    while not blue:
                        red, green, level = (await asyncio.wait_for(anext(frames), 5))[
                            50, 50
                        ].tolist()
                        blue = max(red, green) < 20 and level > 235
                    assert time.monotonic() - woke < 3
                    assert_went_on(frames.packet, generation, began)
                    assert agent._process.pid == worker
                test = XTest(screen.display)
                await eventually(lambda: not test.pressed_keycodes(), what="the key's release")
                test.close()

    asyncio.run(main())


def test_a_screen_that_goes_away_is_a_problem_not_an_end(house, make_xvfb) -> None:
    async def main() -> None:
        server = make_xvfb("320x240")
        async with house() as it:
            await it.agent(server.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                async with source.frames() as frames:
                    await anext(frames)
                    server.kill()
                    await eventually(lambda: source.info.problem, 10, "the news")
                    assert source.online
                with pytest.raises(CaptureError):
                    await source.keyboard.press("a")

    asyncio.run(main())


def test_an_unreachable_hub_is_a_state(house, tmp_path) -> None:
    async def main() -> None:
        it = house()
        async with it:
            from kvmstream.agent import pair

            await asyncio.to_thread(pair, str(it.hub.pairing_line("127.0.0.1")), "office-pc")
            ports = it.hub.control_port, it.hub.video_port
        agent = kvmstream.SourceAgentClient()
        try:
            agent.start("127.0.0.1", *ports)
            assert not agent.wait_connected(1.0)
            await eventually(lambda: "cannot reach a hub" in agent.problem, 5, "the reason")
        finally:
            await asyncio.to_thread(agent.stop)
        assert agent.state == "stopped"

    asyncio.run(main())


def test_connection_lost_reaches_every_waiter(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub:
                packets = hub.sources["office-pc"].packets()
                await anext(packets)
                await it.hub.stop()

                async def drain() -> None:
                    async for _ in packets:
                        pass

                with pytest.raises(ConnectionLost):
                    await asyncio.wait_for(drain(), 10)
                with pytest.raises(ConnectionLost):
                    await hub.sources["office-pc"].keyboard.press("a")

    asyncio.run(main())
