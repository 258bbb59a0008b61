"""Two thousand characters from five layouts, typed in the page key by key; and lines that are cut meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from browser import CHROMIUM, console, opened, take_control
from house import eventually, house, terminal

from kvmstream.agent._xtest import XKeyboard, XTest
from kvmstream.wire.keys import KEYS

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_LEVEL3_SHIFT = 0xFE03
_COUNT = 400  # of each layout
_LINE = 50
# Columns of the core keyboard map: plain, Shift, AltGr, both.
_COLUMNS = ((0, ()), (1, ("ShiftLeft",)), (4, ("AltRight",)), (5, ("ShiftLeft", "AltRight")))


def characters(display: str) -> dict[str, tuple[str, ...]]:
    """What the server's layout makes: character → the keys that a hand presses for it, as the page names them."""
    names = {code: name for name, code in KEYS.items()}
    keyboard = XKeyboard(display)
    keymap = keyboard.keymap()
    keyboard.close()
    altgr = keymap[KEYS["AltRight"] + 8][0] == _LEVEL3_SHIFT  # else it is a plain Alt
    found: dict[str, tuple[str, ...]] = {}
    for column, modifiers in _COLUMNS if altgr else _COLUMNS[:2]:
        for keycode, symbols in keymap.items():
            name = names.get(keycode - 8, "")
            symbol = symbols[column] if column < len(symbols) else 0
            character = _LEGACY.get(symbol, "")
            if 0x100_0100 <= symbol <= 0x110_FFFF:
                character = chr(symbol - 0x100_0000)
            elif 0x20 <= symbol <= 0x7E or 0xA0 <= symbol <= 0xFF:
                character = chr(symbol)
            if character and character not in found and not name.startswith("Numpad") and name:
                found[character] = (*modifiers, name)
    return found


# Keysyms that are older than Unicode's: Cyrillic and the euro.
_CYRILLIC = "ђѓёєѕіїјљњћќґўџ№ЂЃЁЄЅІЇЈЉЊЋЌҐЎЏюабцдефгхийклмнопярстужвьызшэщчъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ"
_LEGACY = {0x20AC: "€", **{0x6A1 + i: letter for i, letter in enumerate(_CYRILLIC)}}


def strokes(session, keys: tuple[str, ...]) -> list:
    """By the protocol of the browser's own tools: the page's driver does not know all keys of other layouts."""
    return [
        session.send("Input.dispatchKeyEvent", {"type": kind, "code": key, "key": "Unidentified"})
        for kind, order in (("rawKeyDown", keys), ("keyUp", keys[::-1]))
        for key in order
    ]


@pytest.mark.parametrize("layout", ["us", "de", "fr", "ru", "us -variant dvorak"])
def test_every_key_of_a_layout(house, make_xvfb, tmp_path, layout: str) -> None:
    async def main() -> None:
        server = make_xvfb("640x480")
        server.run("setxkbmap", "-layout", *layout.split())
        keys = characters(server.display)
        assert len(keys) > 90
        chance = random.Random(layout)
        lines = ["".join(chance.choices(list(keys), k=_LINE)) for _ in range(_COUNT // _LINE)]
        async with house() as it:
            await it.agent(server.display)
            typed = tmp_path / "typed"
            with terminal(server, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    session = await page.context.new_cdp_session(page)
                    for line in lines:  # each as fast as the browser takes it
                        hands = [strokes(session, keys[character]) for character in line]
                        hands.append(strokes(session, ("Enter",)))
                        await asyncio.gather(*itertools.chain.from_iterable(hands))
                    await eventually(
                        lambda: typed.exists() and typed.read_text().count("\n") == len(lines),
                        10, "all lines",
                    )  # fmt: skip
                    test = XTest(server.display)
                    await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
                    test.close()
            assert typed.read_text().splitlines() == lines

    asyncio.run(main())


def test_a_line_that_is_cut_types_nothing_twice(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            chance = random.Random(7)
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    sent = []
                    for number in range(12):
                        await take_control(page)
                        word = f"{number:02d}abcdefghij"
                        cut = chance.randrange(3, len(word))
                        for index, character in enumerate(word):
                            if index == cut:
                                # The hub loses the browser with a key on its way down.
                                await page.keyboard.down("Shift")
                                (viewer,) = [v for v in it.hub.viewers if v.user.name == "control"]
                                viewer.control.abort("cut by the test")
                            await page.keyboard.press(character)
                        await page.keyboard.up("Shift")
                        sent.append(word)
                        await page.locator(".banner").wait_for(state="hidden")
                        test = XTest(screen.display)
                        await eventually(lambda test=test: not test.pressed_keycodes(), 5, "all up")
                        test.close()
                        await take_control(page)
                        await page.keyboard.press("Enter")
                        await page.get_by_role("button", name="Give back").click()
                        await page.get_by_text("Nobody drives").wait_for()
                    await eventually(
                        lambda: typed.exists() and typed.read_text().count("\n") == len(sent),
                        10,
                        "lines",
                    )
            for word, line in zip(sent, typed.read_text().splitlines(), strict=True):
                # What was typed before the cut is there once and in order; of the rest at most the end.
                left = iter(word)
                assert all(character in left for character in line.lower()), (word, line)
                assert len(line) >= 3

    asyncio.run(main())
