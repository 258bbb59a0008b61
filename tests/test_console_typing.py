"""Two thousand characters from five layouts, typed in the page key by key; and lines that are cut meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
import unicodedata

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
_CUTS = 5  # of each layout
# Columns of the core keyboard map: plain, Shift, AltGr, both.
_COLUMNS = ((0, ()), (1, ("ShiftLeft",)), (4, ("AltRight",)), (5, ("ShiftLeft", "AltRight")))


Chord = tuple[str, ...]  # keys as the page names them, the modifiers first


def symbols(display: str) -> list[tuple[int, Chord]]:
    """What the server's layout has: keysym, and the keys that a hand presses for it."""
    names = {code: name for name, code in KEYS.items()}
    keyboard = XKeyboard(display)
    keymap = keyboard.keymap()
    keyboard.close()
    altgr = keymap[KEYS["AltRight"] + 8][0] == _LEVEL3_SHIFT  # else it is a plain Alt
    return [
        (row[column], (*modifiers, names[keycode - 8]))
        for column, modifiers in (_COLUMNS if altgr else _COLUMNS[:2])
        for keycode, row in keymap.items()
        if column < len(row) and not names.get(keycode - 8, "Numpad").startswith("Numpad")
    ]


def character(symbol: int) -> str:
    """What a keysym stands for; "" for none."""
    if 0x100_0100 <= symbol <= 0x110_FFFF:
        return chr(symbol - 0x100_0000)
    if 0x20 <= symbol <= 0x7E or 0xA0 <= symbol <= 0xFF:
        return chr(symbol)
    return _LEGACY.get(symbol, "")


def characters(display: str) -> dict[str, list[Chord]]:
    """What the server's layout makes: character → the key that is pressed for it."""
    found: dict[str, list[Chord]] = {}
    for symbol, chord in symbols(display):
        if character(symbol):
            found.setdefault(character(symbol), [chord])
    return found


def composed(display: str) -> dict[str, list[Chord]]:
    """What its dead keys make: character → the dead key, and the letter after it."""
    letters = {text: chord for text, (chord,) in characters(display).items() if text.isalpha()}
    found: dict[str, list[Chord]] = {}
    for symbol, chord in symbols(display):
        for letter, after in letters.items():
            text = unicodedata.normalize("NFC", letter + _DEAD.get(symbol, "?"))
            if len(text) == 1 and ord(text) < 0x180:
                found.setdefault(text, [chord, after])
    return found


# grave, acute, circumflex, tilde, diaeresis: keysym → the mark that Unicode puts after a letter
_DEAD = {0xFE50: "\u0300", 0xFE51: "\u0301", 0xFE52: "\u0302", 0xFE53: "\u0303", 0xFE57: "\u0308"}
# Keysyms that are older than Unicode's: Cyrillic and the euro.
_CYRILLIC = "ђѓёєѕіїјљњћќґўџ№ЂЃЁЄЅІЇЈЉЊЋЌҐЎЏюабцдефгхийклмнопярстужвьызшэщчъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ"
_LEGACY = {0x20AC: "€", **{0x6A1 + i: letter for i, letter in enumerate(_CYRILLIC)}}


def events(keys: Chord) -> list[tuple[str, str]]:
    """Down in order, up the other way round."""
    return [("rawKeyDown", key) for key in keys] + [("keyUp", key) for key in keys[::-1]]


def strokes(session, keys: Chord) -> list:
    """By the protocol of the browser's own tools: the page's driver does not know all keys of other layouts."""
    return [
        session.send("Input.dispatchKeyEvent", {"type": kind, "code": key, "key": "Unidentified"})
        for kind, key in events(keys)
    ]


@pytest.mark.parametrize("layout", ["us", "de", "fr", "ru", "us -variant dvorak"])
def test_every_key_of_a_layout(house, make_xvfb, tmp_path, layout: str) -> None:
    async def main() -> None:
        server = make_xvfb("640x480")
        server.run("setxkbmap", "-layout", *layout.split())
        keys = characters(server.display)
        assert len(keys) > 90
        dead = composed(server.display)
        assert (len(dead) > 15) == (layout in ("de", "fr")), "who has dead keys"
        chance = random.Random(layout)
        lines = [
            "".join(
                chance.choices(list(keys), k=_LINE - 5) + chance.choices(list(dead or keys), k=5)
            )
            for _ in range(_COUNT // _LINE)
        ]
        lines = ["".join(chance.sample(line, _LINE)) for line in lines]
        keys = dead | keys
        async with house() as it:
            await it.agent(server.display)
            typed = tmp_path / "typed"
            with terminal(server, typed):
                async with console(it) as page:
                    await opened(page)
                    await take_control(page)
                    session = await page.context.new_cdp_session(page)
                    for line in lines:  # each as fast as the browser takes it
                        hands = [strokes(session, chord) for text in line for chord in keys[text]]
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


@pytest.mark.parametrize("layout", ["us", "de", "fr", "ru"])
def test_a_line_that_is_cut_types_nothing_twice(house, make_xvfb, tmp_path, layout: str) -> None:
    async def main() -> None:
        server = make_xvfb("640x480")
        server.run("setxkbmap", "-layout", layout)
        found = symbols(server.display)
        # A lost modifier may make another character of a key: it is known by all of them, and none may be dead.
        dead = {chord[-1] for symbol, chord in found if 0xFE50 <= symbol <= 0xFE93}
        keys_of: dict[str, set[str]] = {}
        by_key: dict[str, list[Chord]] = {}
        for symbol, chord in found:
            if character(symbol) and chord[-1] not in dead | {"Space"}:
                keys_of.setdefault(character(symbol), set()).add(chord[-1])
                by_key.setdefault(chord[-1], []).append(chord)
        chance = random.Random(layout)
        async with house() as it:
            await it.agent(server.display)
            typed = tmp_path / "typed"
            sent: list[list[str]] = []
            with terminal(server, typed):
                async with console(it) as page:
                    await opened(page)
                    session = await page.context.new_cdp_session(page)
                    test = XTest(server.display)
                    for _ in range(_CUTS):
                        await take_control(page)
                        word = chance.sample(sorted(by_key), 12)  # each key once
                        moves = [
                            move for key in word for move in events(chance.choice(by_key[key]))
                        ]
                        cut = chance.randrange(4, len(moves) - 2)
                        for index, (kind, key) in enumerate(moves):
                            if index == cut:  # often with a key on its way down
                                (viewer,) = [v for v in it.hub.viewers if v.user.name == "control"]
                                viewer.control.abort("cut by the test")
                            event = {"type": kind, "code": key, "key": "Unidentified"}
                            await session.send("Input.dispatchKeyEvent", event)
                            await asyncio.sleep(chance.choice((0, 0, 0.02, 0.05)))
                        sent.append(word)
                        await page.locator(".banner").wait_for(state="hidden")
                        await eventually(lambda: not test.pressed_keycodes(), 5, "all up")
                        if not await page.get_by_text("You drive").is_visible():
                            await take_control(page)
                        await page.keyboard.press("Enter")
                        await page.get_by_role("button", name="Give back").click()
                        await page.get_by_text("Nobody drives").wait_for()
                    test.close()
                    await eventually(
                        lambda: typed.exists() and typed.read_text().count("\n") == len(sent),
                        10,
                        "lines",
                    )
            for word, line in zip(sent, typed.read_text().splitlines(), strict=True):
                # In order and once each; what was on its way when the line was cut may be missing.
                left = iter(word)
                assert all(any(key in keys_of[text] for key in left) for text in line), (word, line)
                assert line

    asyncio.run(main())
