"""The console's first moments on a bad line: what does not arrive is said and asked for again; no page stays empty."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from browser import CHROMIUM, browser
from house import house

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@contextlib.asynccontextmanager
async def _page(it, pattern, lost):
    """The console where the first `lost` requests for what matches are cut off."""
    async with browser() as context:
        asked = 0

        async def cut(route):
            nonlocal asked
            asked += 1
            if asked <= lost:
                await route.abort("connectionreset")
            else:
                await route.continue_()

        await context.route(pattern, cut)
        page = await context.new_page()
        yield page, f"https://127.0.0.1:{it.hub.web_port}/", lambda: asked


@pytest.mark.parametrize(
    "pattern", ["**/api/v1/session", "**/console/grid.js", "**/console/main.js"]
)
def test_the_page_asks_again(house, pattern) -> None:
    async def main() -> None:
        async with house() as it, _page(it, pattern, lost=2) as (page, address, asked):
            await page.goto(address)
            await page.get_by_role("alert").get_by_text("trying again").wait_for()
            await page.get_by_label("User").wait_for()
            assert asked() == 3

    asyncio.run(main())


def test_keys_that_arrive_late_are_waited_for(house) -> None:
    async def main() -> None:
        async with (
            house() as it,
            _page(it, "**/console/keys.json", lost=1) as (page, address, asked),
        ):
            await page.goto(address)
            await page.get_by_label("User").fill("control")
            await page.get_by_label("Password").fill("password of control")
            await page.get_by_role("button", name="Log in").click()
            await page.get_by_role("heading", name="Sources").wait_for()
            assert asked() == 2

    asyncio.run(main())


def test_a_page_that_never_arrives_stops_trying_and_says_so(house) -> None:
    async def main() -> None:
        async with (
            house() as it,
            _page(it, "**/console/view.js", lost=100) as (page, address, asked),
        ):
            await page.add_init_script("sessionStorage.setItem('kvmstream.reloads', '5')")
            await page.goto(address)
            await page.get_by_role("alert").get_by_text("Check the way to the hub").wait_for()
            await asyncio.sleep(2.0)
            assert asked() == 1

    asyncio.run(main())
