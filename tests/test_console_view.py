"""What a browser gives only when asked: pointer lock, full screen, all buttons, downloads; and a decoder that fails."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from browser import CHROMIUM, console, eventually_async, opened, place, shows, take_control
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# In place of WebCodecs' decoder: one that takes nothing as long as it may ask the graphics card.
_NO_HARDWARE = """
const Real = VideoDecoder;
globalThis.VideoDecoder = class {
  constructor(hear) {
    this._hear = hear;
    this._real = new Real(hear);
  }
  configure(config) {
    if (config.hardwareAcceleration !== "prefer-software") {
      queueMicrotask(() => this._hear.error(new DOMException("the card refuses", "EncodingError")));
    }
    this._real.configure(config);
  }
  decode(chunk) { this._real.decode(chunk); }
  close() { this._real.close(); }
  get state() { return this._real.state; }
  get decodeQueueSize() { return this._real.decodeQueueSize; }
};
"""


async def buttons(file, count):
    """The buttons that xev has seen pressed, once there are so many; a wheel's notch is one."""

    def pressed():
        text = file.read_text() if file.exists() else ""
        events = text.split("\n\n")
        return [
            int(event.split("button ")[1].split(",")[0])
            for event in events
            if event.lstrip().startswith("ButtonPress") and "button " in event
        ]

    await eventually(lambda: len(pressed()) >= count, 5, f"{count} buttons")
    await asyncio.sleep(0.3)  # and not more
    return pressed()


def test_the_wheel_and_five_buttons(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            seen = tmp_path / "seen"
            watch = (
                "sh",
                "-c",
                f"exec stdbuf -oL xev -geometry 640x480+0+0 -event button > {seen}",
            )
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                with screen.client(*watch):
                    await asyncio.sleep(1)
                    await page.mouse.move(*await place(page, 300, 200))
                    session = await page.context.new_cdp_session(page)
                    x, y = await place(page, 300, 200)
                    for name in ("left", "middle", "right", "back", "forward"):
                        for kind in ("mousePressed", "mouseReleased"):
                            event = {"type": kind, "x": x, "y": y, "button": name, "clickCount": 1}
                            await session.send("Input.dispatchMouseEvent", event)
                    assert await buttons(seen, 5) == [1, 2, 3, 8, 9]
                    for dx, dy in ((0, 100), (0, -100), (100, 0), (-100, 0)):
                        await page.mouse.wheel(dx, dy)
                        await asyncio.sleep(0.1)
                    assert (await buttons(seen, 9))[5:] == [5, 4, 7, 6]
                    for _ in range(5):  # a touch pad's fifths of a notch are one notch together
                        await page.mouse.wheel(0, 20)
                        await asyncio.sleep(0.05)
                    assert (await buttons(seen, 10))[9:] == [5]

    asyncio.run(main())


def test_a_locked_pointer_moves_from_where_it_is(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            test = XTest(screen.display)
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                await page.mouse.move(*await place(page, 100, 100))
                await eventually(lambda: test.pointer()[:2] == (100, 100), 3, "the absolute move")
                await page.get_by_role("button", name="Lock pointer").click()
                await eventually_async(
                    lambda: page.evaluate("document.pointerLockElement !== null"), 5, "the lock"
                )
                x, y = test.pointer()[:2]
                box = await page.locator(".stage").bounding_box()
                middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                await page.mouse.move(*middle)
                await asyncio.sleep(0.3)
                x, y = test.pointer()[:2]
                await page.mouse.move(middle[0] + 30, middle[1] - 20)
                await eventually(
                    lambda: test.pointer()[:2] == (x + 30, y - 20), 3, "the relative move"
                )
                await page.evaluate("document.exitPointerLock()")
                await page.mouse.move(*await place(page, 200, 150))
                await eventually(lambda: test.pointer()[:2] == (200, 150), 3, "absolute again")
            test.close()

    asyncio.run(main())


def test_full_screen_asks_for_all_keys(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it) as page:
                await opened(page)
                await page.evaluate(
                    "navigator.keyboard.lock = async (...keys) => { globalThis.locked = keys; }"
                )
                await page.get_by_role("button", name="Full screen").click()
                await eventually_async(
                    lambda: page.evaluate("document.fullscreenElement?.tagName === 'MAIN'"),
                    5,
                    "full screen",
                )
                assert await page.evaluate("globalThis.locked") == [], "all keys, Escape too"
                await page.get_by_role("button", name="Full screen").click()
                await eventually_async(
                    lambda: page.evaluate("document.fullscreenElement === null"), 5, "its end"
                )

    asyncio.run(main())


def test_keys_that_the_browser_keeps(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    # The terminal's Control W takes the word away; the browser's would close the page.
                    await page.keyboard.type("gone")
                    await page.get_by_role("button", name="Keys").click()
                    await page.get_by_role("button", name="Control + W", exact=True).click()
                    await page.keyboard.press("Escape")
                    await page.keyboard.type("here")
                    await page.keyboard.press("Enter")
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == "here\n", what="the word"
                    )
                    test = XTest(screen.display)
                    await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
                    test.close()

    asyncio.run(main())


def test_a_hidden_page_gets_no_video(house, screen) -> None:
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            screen.fill(0, 0, 640, 480, (200, 0, 0))
            source = it.hub.held["office-pc"]
            async with console(it) as page:
                await opened(page)
                await shows(page, 300, 200, (200, 0, 0))
                assert source.info().viewers == 1
                await page.evaluate(hide, True)
                await eventually(lambda: source.info().viewers == 0, 5, "the end of the video")
                screen.fill(0, 0, 640, 480, (0, 0, 200))
                await page.evaluate(hide, False)
                await shows(page, 300, 200, (0, 0, 200))

    asyncio.run(main())


def test_a_decoder_that_fails_is_replaced(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            screen.fill(0, 0, 640, 480, (0, 150, 0))

            async def refusing(route):
                answer = await route.fetch()
                lines = (await answer.text()).split("\n")
                after = max(i for i, line in enumerate(lines) if line.startswith("import ")) + 1
                lines.insert(after, _NO_HARDWARE)
                await route.fulfill(response=answer, body="\n".join(lines))

            async with console(it, before=("**/video-worker.js", refusing)) as page:
                await opened(page)
                await shows(page, 300, 200, (0, 150, 0))
                screen.fill(0, 0, 640, 480, (150, 0, 150))
                await shows(page, 300, 200, (150, 0, 150))
                await page.get_by_role("button", name="Figures").click()
                await page.get_by_text("prefer-software").wait_for()

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe on this machine")
def test_a_recording_is_downloaded(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it, "admin") as page:
                await opened(page)
                await page.get_by_role("button", name="Record", exact=True).click()
                await page.get_by_role("button", name="Stop recording").wait_for()
                for step in range(20):
                    screen.fill(step * 20, 100, 16, 200, (250, 250, 250))
                    await asyncio.sleep(0.05)
                async with page.expect_download() as download:
                    await page.get_by_role("button", name="Stop recording").click()
                await (await download.value).save_as(tmp_path / "out.mp4")

    asyncio.run(main())
    said = subprocess.run(
        ["ffprobe", "-v", "warning", "-count_frames", "-show_entries", "stream=codec_name,width,height,nb_read_frames",
         "-of", "csv=p=0", str(tmp_path / "out.mp4")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    codec, width, height, frames = said.stdout.strip().split(",")
    assert (codec, width, height) == ("h264", "640", "480")
    assert int(frames) >= 5
    assert said.stderr == ""


def test_the_clipboard_policy_is_said_and_kept(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                for policy, sends, copies in (
                    ("both", True, True),
                    ("to_source", True, False),
                    ("from_source", False, True),
                ):
                    it.hub.store.set_clipboard("office-pc", policy)
                    await eventually(
                        lambda p=policy: it.hub.held["office-pc"].info().clipboard == p
                    )
                    await asyncio.sleep(0.3)
                    await page.get_by_role("button", name="Clipboard").click()
                    box = page.locator("dialog")
                    send = box.get_by_role("button", name="Send to the source")
                    copy = box.get_by_role("button", name="Copy here")
                    assert (await send.is_visible(), await copy.is_visible()) == (sends, copies)
                    await page.keyboard.press("Escape")
                it.hub.store.set_clipboard("office-pc", "none")
                await page.get_by_role("button", name="Clipboard").wait_for(state="hidden")

    asyncio.run(main())
