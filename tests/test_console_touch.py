"""Fingers instead of a mouse, and keys on the screen instead of a keyboard."""

from __future__ import annotations

import asyncio

import pytest
from browser import CHROMIUM, console, opened, place, take_control
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Fingers:
    """Touches of the browser's own protocol."""

    def __init__(self, session) -> None:
        self._session = session

    async def put(self, *points) -> None:
        await self._send("touchStart", points)

    async def move(self, *points) -> None:
        await self._send("touchMove", points)

    async def lift(self) -> None:
        await self._send("touchEnd", ())

    async def _send(self, kind, points) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        await self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


async def events(server, file, seconds=3):
    """What xev has seen: (name, detail) of buttons."""
    await asyncio.sleep(seconds)
    found, name = [], ""
    for line in file.read_text().splitlines():
        if line.startswith("Button"):
            name = line.split()[0]
        elif "button" in line and name:
            found.append((name, int(line.split("button ")[1].split(",")[0])))
            name = ""
    return found


def test_taps_drags_and_two_fingers(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            seen = tmp_path / "seen"
            watch = ("sh", "-c", f"exec xev -geometry 640x480+0+0 -event button > {seen}")
            async with console(it, has_touch=True) as page:
                await opened(page)
                await take_control(page)
                test = XTest(screen.display)
                fingers = Fingers(await page.context.new_cdp_session(page))
                with screen.client(*watch):
                    await asyncio.sleep(1)
                    await fingers.put(await place(page, 200, 100))
                    await fingers.lift()
                    assert await events(screen, seen, 1) == [
                        ("ButtonPress", 1),
                        ("ButtonRelease", 1),
                    ]
                    assert test.pointer()[:2] == (200, 100)
                    await fingers.put(await place(page, 300, 200))
                    await asyncio.sleep(0.8)
                    await fingers.lift()
                    assert (await events(screen, seen, 1))[2:] == [
                        ("ButtonPress", 3),
                        ("ButtonRelease", 3),
                    ]
                    await fingers.put(await place(page, 100, 100))
                    await fingers.move(await place(page, 150, 150))
                    await eventually(lambda: test.modifiers() & 0x100, 3, "the drag's button")
                    await fingers.move(await place(page, 400, 300))
                    await eventually(lambda: test.pointer()[:2] == (400, 300), 3, "the drag's end")
                    await fingers.lift()
                    await eventually(lambda: not test.modifiers() & 0x100, 3, "its release")
                    before = len(await events(screen, seen, 1))
                    one, two = await place(page, 200, 300), await place(page, 260, 300)
                    await fingers.put(one, two)
                    for step in range(1, 9):
                        up = step * 20
                        await fingers.move((one[0], one[1] - up), (two[0], two[1] - up))
                    await fingers.lift()
                    wheel = (await events(screen, seen, 1))[before:]
                    assert len(wheel) >= 2
                    assert {button for _, button in wheel} == {5}, (
                        "the picture's content follows the fingers"
                    )
                test.close()

    asyncio.run(main())


def test_keys_on_the_screen(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    await page.get_by_role("button", name="On-screen keyboard").click()
                    board = page.get_by_role("group", name="On-screen keyboard")
                    for key in ("Shift", "h", "i", "Space", "Shift", "1", "⏎"):
                        await board.get_by_role("button", name=key, exact=True).click()
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == "Hi !\n", what="the text"
                    )
                    # A real keyboard goes on working beside it.
                    await page.keyboard.press("x")
                    await page.keyboard.press("Enter")
                    await eventually(lambda: typed.read_text() == "Hi !\nx\n", what="the key")

    asyncio.run(main())
