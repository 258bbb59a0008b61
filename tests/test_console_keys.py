"""Macros, and the keyboards of other systems as their browsers report them."""

from __future__ import annotations

import asyncio
import time

import pytest
from browser import CHROMIUM, console, opened, take_control, type_keys
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest
from kvmstream.wire.keys import KEYS

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


async def key(session, kind, code, **more):
    """By the protocol of the browser's own tools: a system's own habits, event by event."""
    await session.send(
        "Input.dispatchKeyEvent", {"type": kind, "code": code, "key": "Unidentified", **more}
    )


def test_macros_are_recorded_kept_and_played(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    await page.get_by_role("button", name="Macros").click()
                    await page.get_by_text("No macro yet").wait_for()
                    await page.get_by_role("button", name="Record a macro").click()
                    await type_keys(page, "Hi!\n")
                    await page.get_by_text("6 keys").wait_for()
                    await page.get_by_role("button", name="Finish the macro").click()
                    await page.get_by_role("textbox", name="Name").fill("greet / 1")
                    await page.get_by_role("button", name="Save").click()
                    await page.locator("dialog").wait_for(state="detached")
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == "Hi!\n", 5, "what was typed"
                    )
                    await page.reload()
                    await page.locator(".box canvas").first.wait_for(state="visible")
                    await page.get_by_role("button", name="Macros").click()
                    await page.get_by_role("button", name="greet / 1", exact=True).click()
                    await eventually(
                        lambda: typed.read_text() == "Hi!\nHi!\n", 10, "what was played"
                    )
                    test = XTest(screen.display)
                    await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
                    test.close()
                    assert list(it.hub.store.macros("control")) == ["greet / 1"]
                    await page.get_by_role("button", name="Macros").click()
                    await page.get_by_role("button", name="Remove the macro greet / 1").click()
                    await eventually(lambda: not it.hub.store.macros("control"), 5, "its end")

    asyncio.run(main())


def test_windows_altgr_is_no_control(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it, platform="Win32") as page:
                await opened(page)
                await take_control(page)
                session = await page.context.new_cdp_session(page)
                test = XTest(screen.display)

                async def down(*names) -> None:
                    codes = {KEYS[name] + 8 for name in names}
                    await eventually(
                        lambda: set(test.pressed_keycodes()) == codes, 5, f"{names} alone"
                    )

                # Windows puts a Control of its own just before AltGr, and lifts it first.
                for page_is_late in (0, 0.2):
                    now = time.time()
                    await key(session, "rawKeyDown", "ControlLeft", timestamp=now)
                    await asyncio.sleep(page_is_late)
                    await key(session, "rawKeyDown", "AltRight", timestamp=now)
                    await down("AltRight")
                    await key(session, "keyUp", "ControlLeft")
                    await key(session, "keyUp", "AltRight")
                    await down()
                await key(session, "rawKeyDown", "ControlLeft")
                await down("ControlLeft")
                await key(session, "rawKeyDown", "KeyC")
                await down("ControlLeft", "KeyC")
                await key(session, "keyUp", "KeyC")
                await key(session, "keyUp", "ControlLeft")
                await down()
                test.close()

    asyncio.run(main())


def test_macos_meta_and_caps_lock(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it, platform="MacIntel") as page:
                await opened(page)
                await take_control(page)
                session = await page.context.new_cdp_session(page)
                test = XTest(screen.display)
                await key(session, "rawKeyDown", "MetaLeft", modifiers=4)
                await key(session, "rawKeyDown", "KeyC", modifiers=4)
                # No release of C is told while Meta is down: it must not stay.
                await eventually(
                    lambda: list(test.pressed_keycodes()) == [KEYS["MetaLeft"] + 8], 5, "Meta alone"
                )
                await key(session, "keyUp", "MetaLeft")
                await eventually(lambda: not test.pressed_keycodes(), 5, "nothing down")
                # A press of Caps Lock is told as down when it locks, and as up when it unlocks.
                await key(session, "rawKeyDown", "CapsLock")
                await eventually(lambda: test.modifiers() & 2, 5, "the lock")
                await key(session, "keyUp", "CapsLock")
                await eventually(lambda: not test.modifiers() & 2, 5, "its end")
                test.close()

    asyncio.run(main())


# A key of a keyboard whose locks are so; the browser's own tools know no locks.
_LOCKED_KEY = """(locks) => {
  const stage = document.querySelector(".stage");
  for (const kind of ["keydown", "keyup"]) {
    stage.dispatchEvent(new KeyboardEvent(kind, {
      code: "KeyA", key: "a", bubbles: true, cancelable: true,
      modifierCapsLock: locks.caps, modifierNumLock: locks.num,
    }));
  }
}"""


@pytest.mark.parametrize("platform", ["Linux x86_64", "MacIntel"])
def test_caps_lock_and_num_lock_follow_the_console(house, screen, tmp_path, platform: str) -> None:
    caps, num = 0x02, 0x10
    mac = platform == "MacIntel"

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it, platform=platform) as page:
                    await opened(page)
                    await take_control(page)
                    test = XTest(screen.display)

                    async def press(bits, **locks) -> None:
                        await page.evaluate(_LOCKED_KEY, locks)
                        await eventually(
                            lambda: test.modifiers() & (caps | num) == bits, 5, f"locks {bits}"
                        )

                    await press(caps, caps=True, num=False)
                    await press(caps if mac else caps | num, caps=True, num=True)
                    await press(0, caps=False, num=False)
                    await page.keyboard.press("Enter")
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == "AAa\n",
                        5,
                        "the letters",
                    )
                    # Switched at the source: put right with the first key after the focus was away.
                    screen.run("xdotool", "key", "Caps_Lock")
                    await page.evaluate("document.querySelector('.stage').blur()")
                    await press(0, caps=False, num=False)
                    test.close()

    asyncio.run(main())


def test_dead_keys_and_input_methods(house, make_xvfb, tmp_path) -> None:
    """A dead key goes out as the key that it is; what an input method composes here is not typed there half."""

    async def main() -> None:
        server = make_xvfb("640x480")
        server.run("setxkbmap", "-layout", "de")
        server.env["LC_ALL"] = "C.UTF-8"
        async with house() as it:
            await it.agent(server.display)
            typed = tmp_path / "typed"
            with terminal(server, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    session = await page.context.new_cdp_session(page)
                    for code, name in (("Equal", "Dead"), ("KeyE", "e")):  # ´ and e
                        await key(session, "rawKeyDown", code, key=name)
                        await key(session, "keyUp", code, key=name)
                    for code in ("KeyN", "KeyI"):  # to an input method: the page sees Process, 229
                        await key(
                            session, "rawKeyDown", code, key="Process", windowsVirtualKeyCode=229
                        )
                        await key(session, "keyUp", code)
                    await page.keyboard.press("Enter")
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == "é\n", 5, "the letter"
                    )

    asyncio.run(main())
