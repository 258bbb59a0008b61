"""A browser without WebCodecs: the same picture by Media Source Extensions."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from browser import CHROMIUM, console, place
from house import eventually, house

from kvmstream.agent._xtest import XTest

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_PIXEL = """([x, y]) => {
    const video = document.querySelector(".box video");
    const copy = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = copy.getContext("2d");
    context.drawImage(video, 0, 0);
    return [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
}"""


async def shows(page, x, y, colour, seconds=10):
    seen = None
    for _ in range(int(seconds / 0.05)):
        seen = await page.evaluate(_PIXEL, [x, y])
        if all(abs(a - b) < 25 for a, b in zip(seen, colour, strict=True)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"({x}, {y}) is {seen}, not {colour}")


async def opened(page):
    await page.get_by_role("button", name="Open office-pc").click()
    await page.locator(".box video").wait_for(state="visible")
    await page.locator(".message").wait_for(state="hidden")


@contextlib.asynccontextmanager
async def playing(house, screen):
    """A page that shows the screen, which is red."""
    async with house() as it:
        await it.agent(screen.display)
        screen.fill(0, 0, 640, 480, (200, 0, 0))
        async with console(it, without=("VideoDecoder",)) as page:
            await opened(page)
            await shows(page, 20, 400, (200, 0, 0))
            yield page


def test_the_picture_follows_the_screen(house, screen) -> None:
    async def main() -> None:
        async with playing(house, screen) as page:
            delays = []
            loop = asyncio.get_running_loop()
            for step in range(12):  # single pictures, with rests in which the clock stands
                colour = ((0, 200, 0), (0, 0, 200), (200, 200, 200))[step % 3]
                await asyncio.sleep(0.3)
                begin = loop.time()
                screen.fill(0, 0, 640, 480, colour)
                await shows(page, 20, 400, colour)
                delays.append(loop.time() - begin)
            assert sorted(delays)[6] < 0.3, delays
            for step in range(60):  # a stream of them: the newest is seen soon after
                screen.fill(step * 8, 100, 8, 200, (250, 250, 250))
                await asyncio.sleep(1 / 60)
            begin = loop.time()
            screen.fill(0, 0, 640, 480, (10, 120, 240))
            await shows(page, 20, 400, (10, 120, 240))
            assert loop.time() - begin < 0.5
            await page.mouse.click(*await place(page, 300, 400))
            await page.get_by_text("You drive").wait_for()
            test = XTest(screen.display)
            await eventually(lambda: test.pointer()[:2] == (300, 400), 5, "the click")
            test.close()
            await page.get_by_role("button", name="Figures").click()
            screen.fill(0, 0, 320, 480, (0, 0, 0))
            await page.get_by_text("Media Source").wait_for()

    asyncio.run(main())


def test_an_element_that_is_stuck_begins_anew(house, screen) -> None:
    """Browsers' players get stuck now and then on a busy machine: this one's clock stands, whatever is asked."""

    async def main() -> None:
        async with playing(house, screen) as page:
            await asyncio.sleep(0.7)  # the picture is refined: then nothing comes by itself
            await page.locator(".box video").evaluate("""video => {
                video.play = () => Promise.reject(new Error("stuck"));
                video.pause();
                video.currentTime = 0;
                const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
                Object.defineProperty(video, "currentTime", {get: () => time.get.call(video), set: () => {}});
            }""")
            screen.fill(0, 0, 640, 480, (0, 200, 0))
            await shows(page, 20, 400, (0, 200, 0), seconds=4)

    asyncio.run(main())


def test_other_sizes_odd_ones_too(house, make_xvnc) -> None:
    async def main() -> None:
        server = make_xvnc("801x601")
        async with house() as it:
            await it.agent(server.display)
            async with console(it, without=("VideoDecoder",)) as page:
                for width, height, colour in (
                    (801, 601, (0, 150, 0)),
                    (1280, 720, (150, 0, 150)),
                    (800, 600, (200, 100, 0)),
                ):
                    if width != 801:
                        server.run("xrandr", "-s", f"{width}x{height}")
                    server.solid("#" + bytes(colour).hex())
                    if width == 801:
                        await opened(page)
                    await shows(page, width - 3, height - 3, colour)
                    size = await page.locator(".box video").evaluate(
                        "video => [video.videoWidth, video.videoHeight]"
                    )
                    assert size == [width + width % 2, height + height % 2]
                    box = await page.locator(".box").bounding_box()
                    assert abs(box["width"] / box["height"] - width / height) < 0.01

    asyncio.run(main())
