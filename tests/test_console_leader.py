"""Control twice, then a key: what the browser keeps, and the way out; who does not drive keeps the page's keys."""

from __future__ import annotations

import asyncio

import pytest
from browser import CHROMIUM, console, eventually_async, opened, take_control
from house import eventually, house

from kvmstream.agent._xtest import XTest
from kvmstream.wire import messages as m
from kvmstream.wire.keys import KEYS

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_NAMES = {code: name for name, code in KEYS.items()}


class Keys:
    """Keys that reach the hub, as "Tab" when down and "-Tab" when up."""

    def __init__(self, source) -> None:
        self.seen: list[str] = []
        real = source.inject

        def inject(viewer, message) -> None:
            for event in message.events:
                if isinstance(event, m.Key):
                    self.seen.append(("" if event.down else "-") + _NAMES[event.code])
                elif isinstance(event, m.ReleaseAll):
                    self.seen.append("all up")
            real(viewer, message)

        source.inject = inject

    def chord(self, *names) -> list[str]:
        return [*names, *(f"-{name}" for name in reversed(names))]


async def lead(page, key) -> None:
    for name in ("Control", "Control", key):
        await page.keyboard.press(name)


def test_the_leader_sends_what_the_browser_keeps(house, make_xvfb) -> None:
    server = make_xvfb("640x480")

    async def main() -> None:
        async with house() as it:
            await it.agent(server.display)
            keys = Keys(it.hub.held["office-pc"])
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                control = ["ControlLeft", "-ControlLeft"]
                for key, names in {
                    "KeyW": ("ControlLeft", "KeyW"),
                    "KeyT": ("ControlLeft", "KeyT"),
                    "KeyN": ("ControlLeft", "KeyN"),
                    "Tab": ("AltLeft", "Tab"),
                    "Delete": ("ControlLeft", "AltLeft", "Delete"),
                    "F4": ("AltLeft", "F4"),
                    "F11": ("F11",),
                    "Space": ("MetaLeft",),
                    "KeyP": ("PrintScreen",),
                }.items():
                    keys.seen.clear()
                    await lead(page, key)
                    wanted = [*control, *control, *keys.chord(*names)]
                    await eventually(lambda w=wanted: keys.seen == w, 3, f"{key}: {keys.seen}")
                    await asyncio.sleep(0.5)  # longer than between two Controls
                # With the second Control still down, it goes up before the combination.
                keys.seen.clear()
                await page.keyboard.press("Control")
                await page.keyboard.down("Control")
                await page.keyboard.press("Tab")
                await page.keyboard.up("Control")
                wanted = [*control, "ControlLeft", "all up", *keys.chord("AltLeft", "Tab")]
                await eventually(lambda: keys.seen == wanted, 3, f"{keys.seen}")
                # Slowly, or with another key between, Control leads nothing.
                keys.seen.clear()
                await page.keyboard.press("Control")
                await asyncio.sleep(0.6)
                await page.keyboard.press("Control")
                await page.keyboard.press("KeyW")
                await eventually(lambda: keys.seen == [*control, *control, "KeyW", "-KeyW"], 3)
                await lead(page, "Slash")
                await page.get_by_role("heading", name="Control twice").wait_for()
                await page.keyboard.press("Escape")
                test = XTest(server.display)
                await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
                test.close()
                await lead(page, "Escape")
                await page.get_by_role("heading", name="Sources").wait_for()

    asyncio.run(main())


def test_sysrq_asks_before_it_ends_everything(house, make_xvfb) -> None:
    server = make_xvfb("640x480")

    async def main() -> None:
        async with house() as it:
            await it.agent(server.display)
            keys = Keys(it.hub.held["office-pc"])
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                await page.get_by_role("button", name="Keys", exact=True).click()
                choice = page.get_by_label("Letter after Alt + SysRq")
                send = page.get_by_role("button", name="Send", exact=True)
                await choice.select_option("S")
                await send.click()
                sync = keys.chord("AltLeft", "PrintScreen", "KeyS")
                await eventually(lambda: keys.seen == sync, 3, "what does no harm, at once")
                for letter in "BOC":
                    keys.seen.clear()
                    await choice.select_option(letter)
                    await send.click()
                    await page.get_by_role("heading", name=f"Alt + SysRq + {letter}").wait_for()
                    await page.get_by_role("button", name="Cancel").click()
                    await asyncio.sleep(0.2)
                    assert keys.seen == []
                    await send.click()
                    await page.get_by_role("button", name="Do it").click()
                    wanted = keys.chord("AltLeft", "PrintScreen", f"Key{letter}")
                    await eventually(lambda w=wanted: keys.seen == w, 3, f"{letter}, once sure")

    asyncio.run(main())


async def focused(page):
    return await page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    )


@pytest.mark.parametrize("role", ["view", "control"])
def test_who_does_not_drive_keeps_the_keys_of_the_page(house, screen, role: str) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            keys = Keys(it.hub.held["office-pc"])
            async with console(it, role) as page:
                await opened(page)
                await page.locator(".stage").focus()
                await page.keyboard.press("Shift+Tab")
                assert await focused(page) == "Full screen", "out of the picture"
                await page.keyboard.press("Tab")
                assert await page.evaluate("document.activeElement.className") == "stage"
                prevented = """() => new Promise((resolve) => document.addEventListener("keydown",
                    (event) => { resolve(event.defaultPrevented); event.preventDefault(); }, { once: true }))"""
                for key in ("F5", *(("a", "ArrowDown") if role == "view" else ())):
                    waiting = asyncio.ensure_future(page.evaluate(prevented))
                    await asyncio.sleep(0.1)
                    await page.keyboard.press(key)
                    assert not await waiting, f"{key} is the browser's"
                assert keys.seen == []
                hint = page.get_by_text("Ctrl Ctrl Esc: out")
                assert await hint.is_hidden()
                if role == "control":
                    await take_control(page)
                    assert await hint.is_visible()
                    description = await page.locator(".stage").get_attribute("aria-description")
                    assert "Control twice, then Escape" in description
                    keys.seen.clear()
                    await page.keyboard.press("Tab")
                    await page.keyboard.press("F5")
                    wanted = [*keys.chord("Tab"), *keys.chord("F5")]
                    await eventually(lambda: keys.seen == wanted, 3, f"all keys: {keys.seen}")
                await lead(page, "Escape")
                await page.get_by_role("heading", name="Sources").wait_for()

    asyncio.run(main())


def test_a_shifted_first_key_brings_its_shift(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            keys = Keys(it.hub.held["office-pc"])
            async with console(it) as page:
                await opened(page)
                await page.locator(".stage").focus()
                await page.keyboard.press("Shift")
                await page.keyboard.press("ControlRight")
                await asyncio.sleep(0.2)
                assert await page.get_by_role("button", name="Take control").is_visible()
                await page.keyboard.press("Shift+a")
                await eventually(lambda: keys.seen == keys.chord("ShiftLeft", "KeyA"), 3, "both")

    asyncio.run(main())


def test_typing_asks_for_control_again_after_an_outage(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it) as page:
                await opened(page)
                await page.locator(".stage").focus()
                await page.keyboard.press("a")
                await page.get_by_text("You drive").wait_for()

                async def known():  # it comes a moment after the control
                    holder = "kvmstream.state.sources.get('office-pc').controller"
                    return await page.evaluate(holder) == "control"

                await eventually_async(known, 5, "who drives")
                connect = "kvmstream.link.connect"
                await page.evaluate(
                    f"globalThis.real = {connect}; {connect} = () => {{}}; undefined"
                )  # it stays away for a while
                (viewer,) = [v for v in it.hub.viewers if v.user.name == "control"]
                viewer.control.abort("cut by the test")
                await page.locator(".banner").wait_for(state="visible")
                await page.get_by_role("button", name="Take over").click()
                await page.keyboard.press("b")
                await page.evaluate(f"{connect} = real; kvmstream.link.connect()")
                await page.locator(".banner").wait_for(state="hidden")
                await page.get_by_role("button", name="Take control").wait_for()
                await page.keyboard.press("c")
                await page.get_by_text("You drive").wait_for()
            test = XTest(screen.display)
            await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
            test.close()

    asyncio.run(main())


def test_a_monitor_is_chosen_in_the_page(house, make_xvfb, monkeypatch) -> None:
    server = make_xvfb("640x480")
    server.run("xrandr", "--setmonitor", "left", "360/90x480/120+0+0", "screen")
    server.run("xrandr", "--setmonitor", "right", "280/70x480/120+360+0", "none")
    monkeypatch.setenv("DISPLAY", server.display)
    size = "document.querySelector('.box canvas').width"

    async def main() -> None:
        async with house() as it:
            server.fill(0, 0, 360, 480, (200, 0, 0))
            server.fill(360, 0, 280, 480, (0, 0, 200))
            await it.agent("left")
            async with console(it) as page, console(it, "view") as watcher:
                await opened(page)
                await opened(watcher)
                choice = page.get_by_label("Monitor")
                assert await watcher.get_by_label("Monitor").is_hidden()
                assert await page.evaluate(size) == 360
                for name, width in (("right", 280), ("left", 360)):
                    (label,) = [
                        text for text in await choice.locator("option").all_inner_texts() if name in text
                    ]  # fmt: skip
                    await choice.select_option(label=label)

                    async def shown(width=width):
                        return await page.evaluate(size) == width

                    await eventually_async(shown, 10, f"the {name} monitor")

                    async def said(label=label):
                        return await choice.evaluate("box => box.selectedOptions[0].text") == label

                    await eventually_async(said, 5, "the choice")

    asyncio.run(main())
