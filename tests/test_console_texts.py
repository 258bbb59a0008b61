"""Texts on their way to the source: long, refused and cut ones; the clipboard's limit; what input methods compose."""

from __future__ import annotations

import asyncio

import pytest
from browser import CHROMIUM, console, eventually_async, opened, take_control
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest
from kvmstream.wire import messages as m
from kvmstream.wire.limits import CLIPBOARD_BYTES

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


async def start(page, text):
    """The dialog, with this text on its way."""
    await page.get_by_role("button", name="Type text").click()
    await page.get_by_role("textbox", name="Type text").fill(text)
    await page.get_by_role("button", name="Type", exact=True).click()


def typed_in(file):
    return file.read_text() if file.exists() else ""


class Texts:
    """The texts that reach the hub, each held up until `go`."""

    def __init__(self, source) -> None:
        self.seen: list[str] = []
        self.held: list = []
        self.hold = False
        self._real = source.inject
        source.inject = self._inject

    def _inject(self, viewer, message) -> None:
        texts = [event.text for event in message.events if isinstance(event, m.Text)]
        self.seen += texts
        if texts and self.hold:
            self.held.append((viewer, message))
        else:
            self._real(viewer, message)

    def go(self) -> None:
        for viewer, message in self.held:
            self._real(viewer, message)
        self.held.clear()


def test_a_long_text_and_one_that_is_cancelled(house, screen, tmp_path) -> None:
    line = "The quick brown fox jumps over the lazy dog 1234\n"
    text = line * 6

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            texts = Texts(it.hub.held["office-pc"])
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    await start(page, text)
                    await page.get_by_text(f"{len(text)} of {len(text)} characters").wait_for()
                    await eventually(lambda: typed_in(typed) == text, 10, "all of it")
                    assert [len(part) for part in texts.seen] == [100, 100, len(text) - 200]
                    await page.get_by_role("button", name="Cancel").click()
                    texts.seen.clear()
                    texts.hold = True
                    await start(page, text)
                    await eventually(lambda: len(texts.seen) == 1, 5, "the first part")
                    await page.get_by_role("button", name="Cancel").click()
                    await page.locator("dialog").wait_for(state="detached")
                    texts.go()
                    await asyncio.sleep(0.5)
                    assert len(texts.seen) == 1, "what was not on its way stays here"
            test = XTest(screen.display)
            await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
            test.close()

    asyncio.run(main())


def test_a_refused_text_stops_with_one_notice(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            texts = Texts(it.hub.held["office-pc"])
            async with console(it) as page, console(it, "admin") as other:
                await opened(page)
                await opened(other)
                # Somebody else drives: nothing is typed at all.
                await take_control(other)
                await page.get_by_text("admin drives").wait_for()
                await start(page, "x" * 500)
                await page.get_by_text("Refused: admin drives").wait_for()
                start_again = page.get_by_role("button", name="Type", exact=True)
                await eventually_async(start_again.is_enabled, 5, "the end of it")
                assert texts.seen == []
                # Somebody takes over in the middle.
                await other.get_by_role("button", name="Give back").click()
                await page.get_by_text("Nobody drives").wait_for()
                texts.hold = True
                await start_again.click()
                await eventually(lambda: len(texts.seen) == 1, 5, "the first part")
                await other.get_by_role("button", name="Take over").click()
                await other.get_by_text("You drive").wait_for()
                texts.go()
                said = page.locator("dialog").get_by_role("status")
                await said.get_by_text("Stopped after 0 of 500 characters").wait_for()
                await asyncio.sleep(0.3)
                assert len(texts.seen) == 1

    asyncio.run(main())


def test_a_lost_line_ends_the_text(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            texts = Texts(it.hub.held["office-pc"])
            async with console(it) as page:
                await opened(page)
                texts.hold = True
                await start(page, "x" * 500)
                await eventually(lambda: len(texts.seen) == 1, 5, "the first part")
                (viewer,) = [v for v in it.hub.viewers if v.user.name == "control"]
                viewer.control.abort("cut by the test")
                await page.get_by_text(
                    "Stopped after 0 of 500 characters: the connection"
                ).wait_for()
                texts.hold = False
                await page.locator(".banner").wait_for(state="hidden")
                await page.get_by_role("button", name="Type", exact=True).click()
                await page.get_by_text("500 of 500 characters").wait_for()

    asyncio.run(main())


def test_the_clipboard_has_a_limit(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            got = []
            source = it.hub.held["office-pc"]
            real = source.write_clipboard
            source.write_clipboard = lambda viewer, message: (
                got.append(message.text), real(viewer, message),
            )  # fmt: skip
            async with console(it) as page:
                await opened(page)
                await take_control(page)
                await page.get_by_role("button", name="Clipboard").click()
                box = page.get_by_role("textbox", name="Clipboard")
                news = page.locator("#news")
                send = page.get_by_role("button", name="Send to the source")
                for text, size in (
                    (f"'x'.repeat({CLIPBOARD_BYTES + 1})", "262,145"),
                    (f"'€'.repeat({CLIPBOARD_BYTES // 3 + 1})", "262,146"),  # bytes, not characters
                    ("'\\x01'.repeat(200_000)", "1,200,"),  # written in six characters each
                ):
                    await box.evaluate(f"box => {{ box.value = {text}; }}")
                    await send.click()
                    await news.get_by_text(f"The text has {size}").wait_for()
                assert got == []
                for number, text in enumerate(
                    (
                        f"'x'.repeat({CLIPBOARD_BYTES})",
                        f"'€'.repeat({CLIPBOARD_BYTES // 3})",
                        "'half \\ud83d'",
                    ),
                    1,
                ):
                    await box.evaluate(f"box => {{ box.value = {text}; }}")
                    await send.click()
                    await eventually(lambda n=number: len(got) == n, 5, text)
                await news.get_by_text("Sent to the source's clipboard").wait_for()
                assert [len(text) for text in got] == [CLIPBOARD_BYTES, CLIPBOARD_BYTES // 3, 6]
                assert got[2].endswith("\ufffd")
                assert await page.locator(".banner").is_hidden(), "the line is still there"
                on_top = "document.getElementById('news').matches(':popover-open')"
                assert await page.evaluate(on_top), "on top of the dialog"

    asyncio.run(main())


def test_what_an_input_method_composes_is_typed(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            texts = Texts(it.hub.held["office-pc"])
            with terminal(screen, typed):
                async with console(it, has_touch=True) as page:
                    await opened(page)
                    await take_control(page)
                    await page.get_by_role("button", name="System keyboard").click()
                    session = await page.context.new_cdp_session(page)

                    async def composed(text) -> None:
                        state = {
                            "text": text,
                            "selectionStart": len(text),
                            "selectionEnd": len(text),
                        }
                        await session.send("Input.imeSetComposition", state)

                    for text in ("k", "か", "かn", "かん"):
                        await composed(text)
                    await session.send("Input.insertText", {"text": "漢字"})
                    await eventually(lambda: texts.seen == ["漢字"], 5, "what was chosen, once")
                    await composed("ぁ")
                    await composed("")  # given up
                    # A phone's keyboard tells texts instead of keys.
                    await session.send("Input.insertText", {"text": "ok "})
                    await session.send("Input.insertText", {"text": "x"})
                    for name in ("deleteBackward", "insertLineBreak"):
                        event = {"type": "keyDown", "windowsVirtualKeyCode": 229}
                        await session.send(
                            "Input.dispatchKeyEvent",
                            {**event, "key": "Unidentified", "commands": [name]},
                        )
                    await eventually(lambda: typed_in(typed) == "漢字ok \n", 5, "the line")
                    # Keys of a real keyboard are keys as before.
                    await page.locator(".stage").click(position={"x": 300, "y": 300})
                    assert await page.evaluate("document.activeElement.tagName") == "TEXTAREA"
                    await page.keyboard.press("y")
                    await page.keyboard.press("Enter")
                    await eventually(lambda: typed_in(typed) == "漢字ok \ny\n", 5, "the keys")
                    assert texts.seen == ["漢字", "ok ", "x"]
                    await page.get_by_role("button", name="System keyboard").click()
                    assert await page.evaluate("document.activeElement.className") == "stage"

    asyncio.run(main())
