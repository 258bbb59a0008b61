"""The picture pixel by pixel: sharp at every ratio of page to screen, never black; the page at every width."""

from __future__ import annotations

import asyncio
import base64
import io

import av
import numpy as np
import pytest
from browser import CHROMIUM, console, eventually_async, opened, shows, take_control
from house import eventually, house

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def pixels(image: bytes) -> np.ndarray:
    """Height × width × 3 of a PNG or a JPEG."""
    with av.open(io.BytesIO(image)) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


async def in_stage(page, ratio) -> np.ndarray:
    """What is seen of the picture, by device pixels."""
    box = await page.locator(".box").bounding_box()
    image = pixels(await page.screenshot())
    left, top, right, bottom = (
        round(edge * ratio)
        for edge in (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
    )
    return image[top:bottom, left:right]


@pytest.mark.parametrize("ratio", [1, 1.25, 1.5, 2])
def test_each_pixel_is_one_of_the_screen(house, screen, ratio: float) -> None:
    with Lines(screen):

        async def main() -> None:
            async with house() as it:
                await it.agent(screen.display, crf=1.0)
                # A real ratio: the one that the browser's tools make up still lays out by whole CSS pixels.
                flags = (f"--force-device-scale-factor={ratio}", "--window-size=1280,900")
                async with console(it, flags=flags, no_viewport=True) as page:
                    assert await page.evaluate("devicePixelRatio") == ratio
                    await opened(page)
                    await page.get_by_label("Size").select_option("actual")
                    await page.mouse.move(2, 2)

                    async def exact():
                        seen = (await in_stage(page, ratio)).astype(int).mean(axis=2)
                        if seen.shape != (480, 640):
                            return False
                        lines = seen[100:380, 100:540]
                        return lines[:, 0::2].max() < 60 and lines[:, 1::2].min() > 195

                    await eventually_async(exact, 10, f"lines of one pixel at {ratio}")
                    # Beside it nothing is smeared either: fitted, it covers whole pixels.
                    await page.get_by_label("Size").select_option("fit")
                    edges = await page.evaluate(
                        """() => { const box = document.querySelector(".box").getBoundingClientRect();
                            return [box.x, box.y, box.width, box.height].map((edge) => edge * devicePixelRatio); }"""
                    )
                    assert np.abs(np.array(edges) - np.round(edges)).max() < 0.1, edges

        asyncio.run(main())


class Lines:
    """Columns of one pixel, black and white by turns."""

    def __init__(self, server) -> None:
        self._server = server

    def __enter__(self):
        for x in range(0, 640, 2):
            self._server.fill(x, 0, 1, 480, (0, 0, 0))
            self._server.fill(x + 1, 0, 1, 480, (255, 255, 255))

    def __exit__(self, *_):
        self._server.solid("#808080")


def test_another_ratio_is_followed(house, screen) -> None:
    """The browser's tools change the ratio, but tell the page nothing, as a window that is moved would."""
    told = """globalThis.asked = [];
        globalThis.matchMedia = (query) => {
            const made = new EventTarget();
            asked.push({ query, made });
            return made;
        };"""

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it) as page:
                await page.get_by_role("heading", name="Sources").wait_for()
                await page.add_init_script(told)
                await page.reload()
                await opened(page)
                await page.get_by_label("Size").select_option("actual")
                session = await page.context.new_cdp_session(page)
                for before, ratio in ((1, 2), (2, 1.5), (1.5, 1)):
                    size = {"width": 1280, "height": 800, "mobile": False}
                    await session.send(
                        "Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": ratio}
                    )
                    await eventually_async(
                        lambda r=ratio: page.evaluate(f"devicePixelRatio === {r}"), 5, "the ratio"
                    )
                    query = await page.evaluate("asked.at(-1).query")
                    assert query == f"(resolution: {before}dppx)"
                    await page.evaluate("asked.at(-1).made.dispatchEvent(new Event('change'))")
                    box = await page.locator(".box").bounding_box()
                    assert abs(box["width"] - 640 / ratio) < 0.1

    asyncio.run(main())


def test_another_size_comes_without_a_black_frame(house, make_xvnc) -> None:
    server = make_xvnc("800x600")
    size = "document.querySelector('.box canvas').width"

    async def main() -> None:
        async with house() as it:
            server.solid("#c8c8c8")
            await it.agent(server.display)
            async with console(it) as page:
                await opened(page)
                await shows(page, 400, 300, (200, 200, 200))
                session = await page.context.new_cdp_session(page)
                frames: list[bytes] = []
                session.on("Page.screencastFrame", lambda frame: taken.put_nowait(frame))
                taken: asyncio.Queue = asyncio.Queue()

                async def take() -> None:
                    while True:
                        frame = await taken.get()
                        frames.append(base64.b64decode(frame["data"]))
                        await session.send(
                            "Page.screencastFrameAck", {"sessionId": frame["sessionId"]}
                        )

                taking = asyncio.ensure_future(take())
                await session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
                for width, height in ((1024, 768), (1280, 720), (800, 600)):
                    await asyncio.to_thread(server.run, "xrandr", "-s", f"{width}x{height}")

                    async def there(width=width):
                        return await page.evaluate(size) == width

                    await eventually_async(there, 10, f"{width} wide")
                    await asyncio.sleep(0.3)
                await session.send("Page.stopScreencast")
                taking.cancel()
                stage = await page.locator(".stage").bounding_box()
                # Between the cursor in the middle and the edges.
                x = round(stage["x"] + stage["width"] * 0.4)
                y = round(stage["y"] + stage["height"] * 0.3)
                seen = [pixels(frame)[y, x].tolist() for frame in frames]
                assert len(seen) >= 4, "one for each size, at least"
                assert min(min(colour) for colour in seen) > 150, seen

    asyncio.run(main())


# In place of WebCodecs' decoder: one whose queue is long whenever the page says so.
_BACKED_UP = """
const Real = VideoDecoder;
const channel_ = new BroadcastChannel("test");
let long_ = 0;
channel_.onmessage = ({ data }) => { long_ = data; };
globalThis.VideoDecoder = class extends Real {
  get decodeQueueSize() { return long_-- > 0 ? 9 : 0; }
};
"""


def test_a_decoder_that_cannot_keep_up_starts_anew(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            screen.fill(0, 0, 640, 480, (0, 150, 0))

            async def slow(route):
                answer = await route.fetch()
                lines = (await answer.text()).split("\n")
                after = max(i for i, line in enumerate(lines) if line.startswith("import ")) + 1
                lines.insert(after, _BACKED_UP)
                await route.fulfill(response=answer, body="\n".join(lines))

            async with console(it, before=("**/video-worker.js", slow)) as page:
                await opened(page)
                await shows(page, 300, 200, (0, 150, 0))
                (channel,) = it.hub.held["office-pc"].relays[0].channels
                asked = []
                real = channel.ask_keyframe
                channel.ask_keyframe = lambda: (asked.append(channel.sent), real())
                await page.evaluate("new BroadcastChannel('test').postMessage(1)")
                await asyncio.sleep(0.3)
                screen.fill(0, 0, 640, 240, (150, 0, 150))
                await eventually(lambda: len(asked) == 1, 5, "a keyframe is wanted")
                screen.fill(0, 240, 640, 240, (200, 100, 0))
                await shows(page, 300, 200, (150, 0, 150))
                await shows(page, 300, 400, (200, 100, 0))
                await asyncio.sleep(0.3)
                assert len(asked) == 1, "once is enough"
                await page.get_by_role("button", name="Figures").click()
                screen.fill(0, 0, 64, 64, (0, 0, 0))
                await page.get_by_text("1 here").wait_for()

    asyncio.run(main())


def test_figures_of_the_stream_at_a_glance(house) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(name="pattern-host", source="pattern", width=640, height=360, fps=30)
            async with console(it) as page, console(it, "admin") as other:
                await opened(page, "pattern-host")
                await take_control(page)
                card = other.locator('li[data-source="pattern-host"]')
                await card.get_by_text("control drives").wait_for()
                await card.get_by_text("1 viewer").wait_for()

                async def at_a_glance():
                    words = (await card.locator(".facts").inner_text()).split(" · ")
                    fps = [int(word[:-4]) for word in words if word.endswith(" fps")]
                    delay = [float(word[:-3]) for word in words if word.endswith(" ms")]
                    return len(fps) == len(delay) == 1 and 20 <= fps[0] <= 32 and 0 < delay[0] < 250

                await eventually_async(at_a_glance, 10, "frames per second and delay")
                await page.get_by_role("button", name="Figures").click()
                table = page.get_by_role("complementary", name="Figures")

                async def rates():
                    words = (await table.locator("p").inner_text()).split(" · ")[0].split(", ")
                    found = {
                        word.split()[-1]: int(word.split()[0])
                        for word in words
                        if word[:1].isdigit()
                    }
                    return set(found) == {"sent", "received", "decoded", "drawn"} and all(
                        15 <= rate <= 40 for rate in found.values()
                    )  # fmt: skip

                await eventually_async(rates, 10, "what became of the pictures")
                await table.get_by_text("encoder screen").wait_for()
                await table.get_by_text("capture pattern").wait_for()
                await page.get_by_role("button", name="Give back").click()
                await card.get_by_text("control drives").wait_for(state="detached")

    asyncio.run(main())


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800), (3840, 2160)])
def test_the_page_at_every_width(house, screen, tmp_path, width: int, height: int) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            it.hub.store.pair(it.hub.store.new_code(), "asleep")
            it.hub.read_sources()
            size = {"width": width, "height": height}
            async with console(it, "admin", viewport=size, has_touch=width < 600) as page:

                async def looks(name) -> None:
                    await page.screenshot(path=tmp_path / f"{name}-{width}.png")
                    wide, inside, outside = await page.evaluate(
                        """() => [document.documentElement.scrollWidth,
                            [...document.querySelectorAll("dialog")].every((box) => box.scrollWidth <= box.clientWidth),
                            [...document.querySelectorAll("header.bar, main, dialog, .stage, .cards li")]
                                .map((part) => [part.className || part.tagName, part.getBoundingClientRect()])
                                .filter(([, box]) => box.left < -1 || box.right > innerWidth + 1 || !box.width)
                                .map(([part]) => part)]"""
                    )
                    assert wide <= width, f"{name} scrolls sideways"
                    assert inside, f"the dialog {name} scrolls sideways"
                    assert outside == [], f"{name} reaches beyond the page"

                await page.locator('li[data-source="office-pc"] img').wait_for(state="visible")
                await looks("grid")
                await opened(page)
                await take_control(page)
                await looks("view")
                bar = await page.locator(".view > .bar").bounding_box()
                stage = await page.locator(".stage").bounding_box()
                assert bar["height"] < 0.25 * height
                assert stage["y"] >= bar["y"] + bar["height"] - 1
                assert stage["height"] > 0.5 * height, "most of the page is the picture's"
                for button in await page.locator(".view > .bar button:visible").all():
                    await button.scroll_into_view_if_needed()
                    box = await button.bounding_box()
                    assert -1 <= box["x"] <= width - box["width"] + 1, "within reach"
                await page.get_by_role("button", name="Figures").click()
                await page.get_by_role("button", name="On-screen keyboard").click()
                screen.fill(0, 0, 64, 64, (0, 0, 0))
                await page.get_by_text("screen → drawn").wait_for()
                await looks("keyboard")
                await page.get_by_role("button", name="Figures").click()
                await page.get_by_role("button", name="On-screen keyboard").click()
                for name in ("Keys", "Type text", "Clipboard"):
                    await page.get_by_role("button", name=name, exact=True).click()
                    await page.locator("dialog").wait_for()
                    await looks(name)
                    await page.keyboard.press("Escape")
                await page.get_by_role("button", name="All sources").click()
                await page.get_by_role("button", name="Manage").click()
                await page.get_by_role("region", name="Users").get_by_role("row").nth(1).wait_for()
                await looks("manage")

    asyncio.run(main())
