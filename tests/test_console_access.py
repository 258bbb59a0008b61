"""axe-core finds nothing serious on any of the console's pages, light and dark, wide and narrow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from browser import CHROMIUM, console, opened
from house import house

axe = pytest.importorskip("axe_playwright_python")

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_AXE = Path(axe.__file__).with_name("axe.min.js").read_text()


async def clean(page, what: str) -> None:
    await page.evaluate(_AXE + "; true")
    found = (await page.evaluate("axe.run()"))["violations"]
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], what


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page(house, scheme: str, width: int) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(source="pattern", width=640, height=360, fps=30)
            it.hub.store.pair(it.hub.store.new_code(), "asleep")
            it.hub.read_sources()
            size = {"width": width, "height": 800}
            async with console(it, "admin", color_scheme=scheme, viewport=size) as page:
                await page.locator('li[data-source="office-pc"] img').wait_for(state="visible")
                await clean(page, "grid")
                await opened(page)
                await page.get_by_role("button", name="Figures").click()
                await page.get_by_text("screen → drawn").wait_for()
                await clean(page, "view")
                await page.get_by_role("button", name="On-screen keyboard").click()
                await clean(page, "on-screen keyboard")
                await page.get_by_role("button", name="On-screen keyboard").click()
                for name in ("Keys", "Macros", "Type text", "Clipboard"):
                    await page.get_by_role("button", name=name, exact=True).click()
                    await page.locator("dialog").wait_for()
                    await clean(page, name)
                    await page.keyboard.press("Escape")
                    await page.locator("dialog").wait_for(state="detached")
                await page.get_by_role("button", name="All sources").click()
                await page.get_by_role("button", name="Manage").click()
                await page.get_by_role("region", name="Users").get_by_role("row").nth(1).wait_for()
                await clean(page, "manage")
                await page.get_by_role("button", name="Add a machine").click()
                await page.locator("dialog img.qr").wait_for()
                await clean(page, "pairing")
                await page.keyboard.press("Escape")
                await page.get_by_role("button", name="All sources").click()
                await page.get_by_role("button", name="Log out").click()
                await page.get_by_role("button", name="Log in").wait_for()
                await clean(page, "log-in")

    asyncio.run(main())
