"""What viewers ask of a hub is answered in any case: done, or refused with a reason that both sides know."""

from __future__ import annotations

import asyncio
import logging

import pytest
from house import eventually, house

from kvmstream.agent._xtest import XTest
from kvmstream.errors import AuthenticationFailed, CaptureError, KvmStreamError
from kvmstream.wire import messages as m

__all__ = ["house"]  # a fixture


@pytest.fixture
def two_monitors(make_xvfb):
    """A server with a red monitor on the left and a blue one on the right."""
    server = make_xvfb("1280x480")
    server.run("xrandr", "--setmonitor", "left", "640/200x480/150+0+0", "screen")
    server.run("xrandr", "--setmonitor", "right", "640/200x480/150+640+0", "none")
    server.fill(0, 0, 640, 480, (255, 0, 0))
    server.fill(640, 0, 640, 480, (0, 0, 255))
    return server


async def _colour(source) -> str:
    red, _, blue = (await asyncio.wait_for(source.screenshot(), 10))[240, 320].tolist()
    return "red" if red > blue else "blue"


def test_another_monitor(house, two_monitors) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(two_monitors.display)
            async with it.viewer() as hub, it.viewer("admin") as other:
                source = hub.sources["office-pc"]
                await eventually(lambda: len(source.info.displays) == 2, what="both monitors")
                assert source.info.shown == "left"
                assert await _colour(source) == "red"
                # The pointer follows, whether anybody watches or not.
                await source.show("right")
                assert await _colour(source) == "blue"
                await eventually(lambda: source.info.shown == "right", what="the news of it")
                await source.mouse.move(10, 20)
                test = XTest(two_monitors.display)
                assert test.pointer()[:2] == (650, 20)
                test.close()
                async with source.frames() as frames:
                    await anext(frames)
                    await source.show("")
                    while (await asyncio.wait_for(anext(frames), 10))[240, 320, 0] < 200:
                        pass
                with pytest.raises(CaptureError, match="no monitor 'attic': there are left, right"):
                    await source.show("attic")
                with pytest.raises(CaptureError, match="control drives office-pc"):
                    await other.sources["office-pc"].show("right")
                await source.give_back()
                await other.sources["office-pc"].show("right")
                assert await _colour(source) == "blue"

    asyncio.run(main())


def test_who_may_only_watch_hears_so_and_the_hub_notes_it(house, screen, caplog) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer("view") as hub:
                source = hub.sources["office-pc"]
                with pytest.raises(AuthenticationFailed, match="may only watch"):
                    await source.show("")
                # Not the viewer's good will: the hub itself refuses.
                with pytest.raises(CaptureError, match="may only watch"):
                    await hub._show("office-pc", "")
                assert "wants to drive office-pc: user 'view' may only watch" in caplog.text
                caplog.clear()
                with pytest.raises(AuthenticationFailed, match="may only watch"):
                    await source.request_control()
                assert "wants to drive office-pc: user 'view' may only watch" in caplog.text
                hub._check().post(m.ShowDisplay("", "office-pc"))
                await eventually(
                    lambda: any("kvmstream.remote" in record.name for record in caplog.records),
                    what="the problem in the viewer's log",
                )

    caplog.set_level(logging.WARNING)
    asyncio.run(main())


def test_requests_for_a_source_that_has_vanished(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                packets = source.packets()
                await anext(packets)
                it.hub.store.forget("office-pc")
                await eventually(lambda: "office-pc" not in hub.sources, what="the news of it")
                for request in (
                    source.request_control(),
                    source.give_back(),
                    source.show(""),
                    source.wait_online(),
                    _drained(packets),
                ):
                    with pytest.raises(KvmStreamError, match="no source 'office-pc'"):
                        await asyncio.wait_for(request, 5)
                hub._check()

    asyncio.run(main())


async def _drained(packets) -> None:
    async for _ in packets:
        pass


def test_a_request_that_was_given_up_harms_nothing(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                for _ in range(3):
                    given_up = asyncio.create_task(source.request_control())
                    await asyncio.sleep(0)  # it is sent
                    given_up.cancel()
                await source.keyboard.press("a")
                await source.give_back()
                assert not source.controlled
                assert hub._answers == {}

    asyncio.run(main())


def test_news_of_a_take_over_answer_no_request(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer("control") as first, it.viewer("admin") as second:
                ours, theirs = first.sources["office-pc"], second.sources["office-pc"]
                await ours.request_control()
                (session,) = (v for v in it.hub.viewers if v.user.name == "control")
                late = []
                session.on_message = late.append
                asking = asyncio.create_task(ours.request_control())
                await eventually(lambda: late, what="the request at the hub")
                await theirs.request_control(take=True)
                await eventually(lambda: not ours.controlled, what="the news of the take-over")
                assert not asking.done()
                del session.on_message
                session.on_message(late[0])
                with pytest.raises(AuthenticationFailed, match="admin drives office-pc"):
                    await asyncio.wait_for(asking, 5)

    asyncio.run(main())
