"""From one source to another: never black, whatever the line is doing."""

from __future__ import annotations

import asyncio

import pytest
from browser import CHROMIUM, console, eventually_async, shows
from house import eventually, house

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# What stands in for the picture: its colour at a share of its size, null while it is not seen.
_STILL = """([x, y]) => {
    const still = document.querySelector(".still");
    if (still === null) return null;
    const { width, height } = still.getBoundingClientRect();
    if (!width || !height || getComputedStyle(still).visibility !== "visible") return null;
    return [...still.getContext("2d").getImageData(x * still.width, y * still.height, 1, 1).data].slice(0, 3);
}"""


async def stands_in(page, x, y, colour):
    async def seen():
        found = await page.evaluate(_STILL, [x, y])
        return found is not None and all(
            abs(a - b) < 30 for a, b in zip(found, colour, strict=True)
        )

    await eventually_async(seen, 5, f"{colour} in the picture's place")


class Stalled:
    """A source whose video reaches nobody until this ends."""

    def __init__(self, source) -> None:
        self._relay = source.relays[0]

    def __enter__(self):
        def lose(header, _payload) -> None:
            self._relay._owed.append(header.sequence)
            self._relay.credit()

        self._relay.pass_on = lose

    def __exit__(self, *_):
        del self._relay.pass_on
        for channel in self._relay.channels:
            channel.ask_keyframe()


def test_the_last_picture_stands_in(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            screen.fill(0, 0, 640, 480, (200, 0, 0))
            await it.agent(screen.display)
            await it.agent(name="pattern-host", source="pattern", width=640, height=360, fps=30)
            source = it.hub.held["office-pc"]
            await eventually(lambda: source.thumbnail, 10, "a small picture")
            async with console(it) as page:
                await page.get_by_role("heading", name="Sources").wait_for()
                await page.locator("li").first.wait_for()
                # Directly, where the page has seen nothing of it yet: the hub's small picture.
                with Stalled(source):
                    await page.goto(f"https://127.0.0.1:{it.hub.web_port}/#/source/office-pc")
                    await page.reload()
                    await stands_in(page, 0.5, 0.5, (200, 0, 0))
                    box = await page.locator(".still").bounding_box()
                    assert box["width"] > 600, "scaled up to the stage"
                await page.locator(".message").wait_for(state="hidden")
                await page.locator(".still").wait_for(state="hidden")
                screen.fill(0, 0, 640, 480, (0, 0, 200))
                screen.fill(0, 0, 64, 480, (0, 200, 0))
                await shows(page, 20, 400, (0, 200, 0))
                # Back again: what was last seen of it, newer than any small picture of the hub's.
                await page.evaluate("location.hash = '#/source/pattern-host'")
                await page.locator(".message").wait_for(state="hidden")
                with Stalled(source):
                    await page.evaluate("location.hash = '#/source/office-pc'")
                    await stands_in(page, 0.5, 0.5, (0, 0, 200))
                    await stands_in(page, 0.05, 0.5, (0, 200, 0))
                    await page.evaluate("location.hash = '#/source/pattern-host'")
                    await page.locator(".message").wait_for(state="hidden")
                    # By way of the grid it is kept as well.
                    await page.evaluate("location.hash = '#/'")
                    await page.get_by_role("heading", name="Sources").wait_for()
                    await page.evaluate("location.hash = '#/source/pattern-host'")
                    await page.locator(".message").wait_for(state="hidden")
                    await page.evaluate("location.hash = '#/source/office-pc'")
                    await stands_in(page, 0.5, 0.5, (0, 0, 200))
                await page.locator(".still").wait_for(state="hidden")
                await shows(page, 20, 400, (0, 200, 0))

    asyncio.run(main())
