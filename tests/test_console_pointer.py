"""The pointer's shape, buttons that are lost on their way up, and pictures that are larger than the page."""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np
import pytest
from browser import CHROMIUM, console, eventually_async, opened, place, take_control
from house import eventually, house
from test_console_touch import Fingers

from kvmstream._fallback.x11 import XConnection
from kvmstream.agent._xtest import XTest

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_LEFT, _MIDDLE, _RIGHT = 0x100, 0x200, 0x400  # as the server counts buttons that are down

_DRAWN = """() => {
    const cursor = document.querySelector(".cursor");
    if (cursor.hidden) return null;
    const { width, height } = cursor;
    const box = cursor.getBoundingClientRect();
    return { width, height, x: box.x, y: box.y,
        rgba: [...cursor.getContext("2d").getImageData(0, 0, width, height).data] };
}"""


def shape(display):
    """The server's own word: size, hot spot and RGBA with plain alpha."""
    connection = XConnection(display)
    image = connection.cursor_image()
    connection.close()
    pixels = np.frombuffer(image.bgra, np.uint8).reshape(-1, 4).astype(int)
    alpha = pixels[:, 3:]
    colours = np.where(
        alpha > 0, np.minimum(255, pixels[:, 2::-1] * 255 // np.maximum(alpha, 1)), 0
    )
    return (image.width, image.height), (image.hot_x, image.hot_y), np.hstack((colours, alpha))


async def drawn(page, server, x, y):
    """Wait until the page draws the server's shape, with its hot spot at this pixel of the picture."""
    seen = None
    for _ in range(100):
        size, hot, pixels = shape(server.display)
        seen = await page.evaluate(_DRAWN)
        if seen is not None and (seen["width"], seen["height"]) == size:
            difference = np.abs(np.array(seen["rgba"]).reshape(-1, 4) - pixels)
            box = await page.locator(".box").bounding_box()
            scale = box["width"] / 640
            there = [box["x"] + (x - hot[0]) * scale, box["y"] + (y - hot[1]) * scale]
            off = np.subtract([seen["x"], seen["y"]], there) / scale
            if difference.max() <= 3 and np.abs(off).max() < 1:
                return
            seen = f"colours differ by {difference.max()}, the place by {off}"
        await asyncio.sleep(0.05)
    raise AssertionError(f"not the cursor: {seen}")


async def cursor_style(page):
    return await page.evaluate("document.querySelector('.stage').style.cursor")


@contextlib.contextmanager
def windows(server):
    """Two, each with a cursor of its own: one around (60, 60), the other around (360, 60)."""
    with contextlib.ExitStack() as stack:
        for x, name in ((0, "crosshair"), (300, "fleur")):
            look = ("-geometry", f"20x10+{x}+0", "-xrm", f"XTerm*pointerShape: {name}")
            stack.enter_context(server.client("xterm", *look, "-e", "sleep", "100"))
        for _ in range(100):
            search = ("xdotool", "search", "--onlyvisible", "--class", "xterm")
            if len(server.run(*search, check=False).stdout.split()) == 2:
                break
            time.sleep(0.1)
        yield


def test_the_cursor_is_that_of_the_source(house, make_xvfb) -> None:
    server = make_xvfb("640x480")

    async def main() -> None:
        async with house() as it:
            server.move_pointer(60, 60)
            await it.agent(server.display)
            async with console(it, has_touch=True) as page:
                await opened(page)
                await drawn(page, server, 60, 60)
                server.move_pointer(361, 57)
                await drawn(page, server, 361, 57)
                assert await cursor_style(page) == ""
                # Whoever drives with a mouse has the shape at the hand.
                await take_control(page)
                styles = set()
                test = XTest(server.display)
                for x in (60, 360):
                    await page.mouse.move(*await place(page, x, 60))
                    # Before it is there, the shape is that of where it was.
                    await eventually(lambda x=x: abs(test.pointer()[0] - x) < 3, 5, "the pointer")
                    await page.locator(".cursor").wait_for(state="hidden")

                    async def is_it():
                        _, hot, _ = shape(server.display)
                        style = await cursor_style(page)
                        return (
                            style.startswith('url("data:image/png')
                            and f'") {hot[0]} {hot[1]}, default' in style
                            and style not in styles
                        )

                    await eventually_async(is_it, 5, "the shape under the hand")
                    styles.add(await cursor_style(page))
                # A locked pointer has none, so it is drawn where the source has it.
                await page.get_by_role("button", name="Lock pointer").click()
                await page.locator(".cursor").wait_for(state="visible")
                await asyncio.sleep(0.3)
                await drawn(page, server, *test.pointer()[:2])
                await page.mouse.down()
                await eventually(lambda: test.modifiers() & _LEFT, 3, "a locked pointer's button")
                await page.mouse.up()
                await eventually(lambda: not test.modifiers() & _LEFT, 3, "its release")
                await page.evaluate("document.exitPointerLock()")
                await page.locator(".cursor").wait_for(state="hidden")
                # Neither has a finger.
                fingers = Fingers(await page.context.new_cdp_session(page))
                await fingers.put(await place(page, 350, 65))
                await fingers.lift()
                await page.locator(".cursor").wait_for(state="visible")
                await drawn(page, server, 350, 65)
                test.close()

    with windows(server):
        asyncio.run(main())


def test_a_cursor_on_another_monitor_is_hidden(house, make_xvfb) -> None:
    server = make_xvfb("640x480")
    server.run("xrandr", "--setmonitor", "left", "320/80x480/120+0+0", "screen")
    server.run("xrandr", "--setmonitor", "right", "320/80x480/120+320+0", "none")

    async def main() -> None:
        async with house() as it:
            server.move_pointer(100, 200)
            await it.agent(f"{server.display}/left")
            async with console(it) as page:
                await opened(page)
                await page.locator(".cursor").wait_for(state="visible")
                server.move_pointer(500, 200)
                await page.locator(".cursor").wait_for(state="hidden")
                await take_control(page)

                async def hidden():
                    return await cursor_style(page) == "none"

                await eventually_async(hidden, 5, "no cursor over the picture either")

    asyncio.run(main())


def test_buttons_whose_end_is_not_told_go_up(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            test = XTest(screen.display)
            async with console(it, has_touch=True) as page:
                await opened(page)
                await take_control(page)
                session = await page.context.new_cdp_session(page)
                fingers = Fingers(session)

                async def drag():
                    await fingers.put(await place(page, 100, 100))
                    await fingers.move(await place(page, 200, 200))
                    await eventually(lambda: test.modifiers() & _LEFT, 3, "the drag's button")

                async def is_up(why):
                    await eventually(lambda: not test.modifiers() & _LEFT, 2, f"up after {why}")
                    held = await page.evaluate("kvmstream.view.keyboard.held.size")
                    assert held == 0, f"the lease after {why}"

                await drag()
                await fingers._send("touchCancel", ())
                await is_up("a cancelled touch")
                await drag()
                await fingers.put(await place(page, 200, 200), await place(page, 300, 200))
                await is_up("a second finger")
                await fingers.lift()
                await page.mouse.move(*await place(page, 300, 300))
                await page.mouse.down()
                await eventually(lambda: test.modifiers() & _LEFT, 3, "the mouse's button")
                await page.locator(".stage").dispatch_event(
                    "pointercancel", {"pointerId": 1, "pointerType": "mouse"}
                )
                await is_up("a cancelled mouse")
                await page.mouse.up()
                # The second of two buttons is told as a move.
                await page.mouse.down()
                await page.mouse.down(button="right")
                await eventually(
                    lambda: test.modifiers() & (_LEFT | _RIGHT) == _LEFT | _RIGHT, 3, "both"
                )
                await page.mouse.up(button="right")
                await eventually(
                    lambda: test.modifiers() & (_LEFT | _RIGHT) == _LEFT, 3, "the left one alone"
                )
                await page.mouse.up()
                await is_up("both")
            test.close()

    asyncio.run(main())


def test_everything_goes_up_when_the_page_is_hidden(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            test = XTest(screen.display)
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                await page.mouse.move(*await place(page, 300, 300))
                await page.mouse.down(button="middle")
                for key in ("Shift", "a"):
                    await page.keyboard.down(key)
                await eventually(
                    lambda: len(test.pressed_keycodes()) == 2 and test.modifiers() & _MIDDLE,
                    5, "two keys and a button",
                )  # fmt: skip
                await page.evaluate(
                    """() => {
                        Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
                        document.dispatchEvent(new Event("visibilitychange"));
                    }"""
                )
                await eventually(
                    lambda: not test.pressed_keycodes() and not test.modifiers() & _MIDDLE,
                    2, "all up",
                )  # fmt: skip
            test.close()

    asyncio.run(main())


async def scrolled(page):
    return await page.evaluate(
        "(stage => [stage.scrollLeft, stage.scrollTop])(document.querySelector('.stage'))"
    )


async def edges(page):
    """Of what is seen of the picture: left, top, right, bottom."""
    box = await page.locator(".stage").bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


@pytest.mark.parametrize("mode", ["actual", "fill"])
def test_a_picture_larger_than_the_page_follows_the_pointer(house, screen, mode: str) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            test = XTest(screen.display)
            size = {"width": 600, "height": 360}
            async with console(it, viewport=size) as page:
                await opened(page)
                await page.get_by_label("Size").select_option(mode)
                await take_control(page)
                await page.mouse.move(*await place(page, 200, 150))
                await eventually(lambda: test.pointer()[:2] == (200, 150), 3, "a plain move")
                assert await scrolled(page) == [0, 0]
                _, _, right, bottom = await edges(page)
                await page.mouse.move(right - 2, bottom - 2)
                await eventually(lambda: test.pointer()[1] >= 476, 5, "the bottom of the picture")
                if mode == "actual":
                    await eventually(lambda: test.pointer()[0] >= 636, 5, "its right side")
                await page.mouse.move(right - 200, bottom - 100)
                await asyncio.sleep(0.2)
                there = await scrolled(page)
                assert there[1] > 40
                # Where one sees a pixel one hits it, in the middle of a scroll too.
                await page.mouse.move(*await place(page, 400, 400))
                await eventually(lambda: test.pointer()[:2] == (400, 400), 3, "the same pixel")
                await page.mouse.down()
                await eventually(lambda: test.modifiers() & _LEFT, 3, "a press")
                left, top, _, _ = await edges(page)
                await page.mouse.move(left + 50, top - 20)  # dragged over the edge, it goes on
                await eventually(lambda: test.pointer()[1] <= 3, 5, "the top of the picture")

                async def at_the_top():
                    return (await scrolled(page))[1] == 0

                await eventually_async(at_the_top, 3, "the end of the scroll")
                await page.mouse.up()
                await eventually(lambda: not test.modifiers() & _LEFT, 3, "its release")
            test.close()

    asyncio.run(main())


def test_a_press_beside_the_picture_is_none(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it, has_touch=True) as page:
                await opened(page)
                sent = []
                real = it.hub.held["office-pc"].inject
                it.hub.held["office-pc"].inject = lambda viewer, message: (
                    sent.extend(message.events), real(viewer, message),
                )  # fmt: skip
                box = await page.locator(".stage").bounding_box()
                beside = (box["x"] + 20, box["y"] + 200)
                fingers = Fingers(await page.context.new_cdp_session(page))
                await page.mouse.click(*beside)
                await fingers.put(beside)
                await fingers.lift()
                await asyncio.sleep(0.3)
                assert await page.get_by_role("button", name="Take control").is_visible()
                await take_control(page)
                await page.mouse.click(*beside)
                await fingers.put(beside)
                await fingers.move((beside[0] + 30, beside[1]))
                await fingers.lift()
                await asyncio.sleep(0.3)
                assert "Button" not in {type(event).__name__ for event in sent}
                await page.mouse.click(*await place(page, 5, 5))
                await eventually(lambda: "Button" in {type(event).__name__ for event in sent})

    asyncio.run(main())


def test_two_fingers_pan_and_three_turn_the_wheel(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            sent = []
            real = it.hub.held["office-pc"].inject
            it.hub.held["office-pc"].inject = lambda viewer, message: (
                sent.extend(type(event).__name__ for event in message.events),
                real(viewer, message),
            )  # fmt: skip
            async with console(it, has_touch=True, viewport={"width": 390, "height": 360}) as page:
                await opened(page)
                await page.get_by_label("Size").select_option("actual")
                await take_control(page)
                fingers = Fingers(await page.context.new_cdp_session(page))
                one, two, three = (200, 250), (260, 250), (300, 250)

                async def drag(*points):
                    await fingers.put(*points)
                    for step in range(1, 7):
                        await fingers.move(*((x - step * 10, y - step * 10) for x, y in points))
                    await fingers.lift()

                await drag(one, two)
                left, top = await scrolled(page)
                assert left == pytest.approx(60, abs=10)
                assert top == pytest.approx(60, abs=10)
                assert "Wheel" not in sent
                assert "Button" not in sent
                await drag(one, two, three)
                assert await scrolled(page) == [left, top]
                await eventually(lambda: "Wheel" in sent, 3, "the wheel")

    asyncio.run(main())
