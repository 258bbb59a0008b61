"""The console in a real browser, against a real hub and a real X screen."""

from __future__ import annotations

import asyncio

import pytest
from browser import (
    CHROMIUM,
    browser,
    console,
    eventually_async,
    opened,
    place,
    shows,
    take_control,
    type_keys,
)
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

XCLIP = ("xclip", "-selection", "clipboard")


async def changed(image, before):
    return await image.get_attribute("src") != before


async def said(box, text):
    return await box.input_value() == text


def test_seeing_typing_and_clicking(house, screen, tmp_path) -> None:
    text = "Hello, World 42!"

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it) as page:
                    await page.get_by_role("button", name="Open office-pc").click()
                    await page.locator(".stage").click(position={"x": 300, "y": 300})
                    screen.fill(500, 400, 100, 60, (255, 0, 0))
                    await shows(page, 550, 430, (255, 0, 0))
                    await type_keys(page, text + "\n")
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == text + "\n", what="the text"
                    )
                    assert await page.get_by_text("You drive").is_visible()
            test = XTest(screen.display)
            await eventually(lambda: not test.pressed_keycodes(), what="all keys up")
            test.close()

    asyncio.run(main())


def test_the_grid_shows_what_is_there(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            agent = await it.agent(screen.display)
            it.hub.store.pair(it.hub.store.new_code(), "asleep")
            it.hub.read_sources()
            async with console(it) as page:
                card = page.locator('li[data-source="office-pc"]')
                await card.get_by_text("online").wait_for()
                image = card.locator("img")
                await image.wait_for(state="visible")
                first = await image.get_attribute("src")
                screen.fill(0, 0, 640, 480, (0, 200, 0))
                await eventually_async(lambda: changed(image, first), 5, "another small picture")
                assert not it.hub.held["office-pc"].relays[0].channels, "no video for the grid"
                await (
                    page.locator("li[data-source=asleep]").get_by_text("no picture yet").wait_for()
                )
                assert await page.get_by_text("offline, last seen never").is_visible()
                await page.get_by_label("Search sources").fill("asl")
                assert await page.locator(".cards li").count() == 1
                await page.get_by_label("Search sources").fill("zzz")
                await page.get_by_text("No source matches").wait_for()
                await page.get_by_label("Search sources").fill("")
                await asyncio.to_thread(agent.stop)
                await card.get_by_text("offline, last seen just now").wait_for()
                assert await image.is_visible(), "the last picture stays"
            # Nobody looks at the grid any more.
            await eventually(lambda: it.hub.held["office-pc"].thumbnails_per_minute == 1)

    asyncio.run(main())


@pytest.mark.parametrize(("mode", "ratio"), [("fit", 1), ("fill", 1), ("actual", 2)])
def test_the_pointer_lands_where_it_is_seen(house, screen, mode: str, ratio: int) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with console(it, device_scale_factor=ratio) as page:
                await opened(page)
                await page.get_by_label("Size").select_option(mode)
                test = XTest(screen.display)
                spots = [(0, 0), (639, 479), (123, 321), (320, 240)]
                if mode == "fill":
                    spots = [(0, 0), (123, 100)]  # the rest is to be scrolled to
                await take_control(page)
                for spot in spots:
                    await page.mouse.move(*await place(page, *spot))
                    await eventually(lambda spot=spot: test.pointer()[:2] == spot, 3, f"{spot}")
                for button, bit in (("left", 0x100), ("middle", 0x200), ("right", 0x400)):
                    await page.mouse.down(button=button)
                    await eventually(lambda bit=bit: test.modifiers() & bit, 3, f"{button} down")
                    await page.mouse.up(button=button)
                    await eventually(lambda bit=bit: not test.modifiers() & bit, 3, f"{button} up")
                test.close()

    asyncio.run(main())


def test_nothing_stays_down(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            await it.agent(name="pattern-host", source="pattern", width=640, height=360, fps=30)
            test = XTest(screen.display)

            async def hold(page):
                await page.locator(".stage").click(position={"x": 400, "y": 300})
                for key in ("Shift", "a", "F5"):
                    await page.keyboard.down(key)
                await eventually(lambda: len(test.pressed_keycodes()) == 3, 5, "three keys down")

            async def is_free(why):
                await eventually(lambda: not test.pressed_keycodes(), 5, f"all up after {why}")

            async with console(it) as page:
                await opened(page)
                await hold(page)
                await page.locator(".stage").evaluate("stage => stage.blur()")
                await is_free("blur")
                for key in ("Shift", "a", "F5"):
                    await page.keyboard.up(key)
                await hold(page)
                for key in ("Shift", "a", "F5"):  # the last hand lets go of what it holds by itself
                    await page.keyboard.up(key)
                await is_free("key up")
                await hold(page)
                await page.evaluate("location.hash = '#/source/pattern-host'")
                await is_free("switch")
                await page.evaluate("location.hash = '#/source/office-pc'")
                for key in ("Shift", "a", "F5"):
                    await page.keyboard.up(key)
                await page.locator(".message").wait_for(state="hidden")
                await hold(page)
                await page.close()
                await is_free("closing the page")
            test.close()

    asyncio.run(main())


def test_switching_by_keys_and_buttons(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            await it.agent(name="pattern-host", source="pattern", width=1280, height=720, fps=30)
            screen.fill(0, 0, 640, 480, (200, 0, 0))
            async with console(it) as page:
                await opened(page)
                await shows(page, 20, 400, (200, 0, 0))
                for way in ("keys", "button", "next", "last", "last key"):
                    if way == "keys":
                        await page.keyboard.press("Control")
                        await page.keyboard.down("Control")
                        await page.keyboard.press("2")
                        await page.keyboard.up("Control")
                    elif way == "button":
                        await page.get_by_role("button", name="Previous source").click()
                    elif way == "next":
                        await page.get_by_role("button", name="Next source").click()
                    elif way == "last":
                        await page.get_by_role("button", name="The source before").click()
                    else:
                        await page.keyboard.press("Control")
                        await page.keyboard.press("Control")
                        await page.keyboard.press("Backspace")
                    name = "office-pc" if way in ("button", "last") else "pattern-host"
                    await page.get_by_role("heading", name=name).wait_for()
                    await page.locator(".message").wait_for(state="hidden")
                await page.get_by_role("button", name="All sources").click()
                await page.get_by_role("heading", name="Sources").wait_for()
            test = XTest(screen.display)
            await eventually(lambda: not test.pressed_keycodes(), 5, "all keys up")
            test.close()

    asyncio.run(main())


def test_who_drives(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with (
                console(it, "control") as one,
                console(it, "view") as two,
                console(it, "admin") as three,
            ):
                for page in (one, two, three):
                    await opened(page)
                await take_control(one)
                await two.get_by_text("control drives").wait_for()
                assert not await two.get_by_role("button", name="Take").is_visible()
                await three.get_by_role("button", name="Take over").click()
                await three.get_by_text("You drive").wait_for()
                await one.get_by_text("admin took over").wait_for()
                await one.get_by_role("button", name="Take over").click()
                await one.get_by_text("Refused: admin drives").wait_for()
                await three.get_by_role("button", name="Give back").click()
                await one.get_by_text("Nobody drives").wait_for()
                assert await two.get_by_text("You may only watch").is_visible()

    asyncio.run(main())


def test_texts_and_the_clipboard(house, screen, tmp_path) -> None:
    text = "Grüße, жук, 漢字 €!"

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with console(it) as page:
                    await opened(page)
                    await page.get_by_role("button", name="Type text").click()
                    await page.get_by_role("textbox", name="Type text").fill(text + "\n")
                    await page.get_by_role("button", name="Type", exact=True).click()
                    await page.get_by_text(
                        f"{len(text) + 1} of {len(text) + 1} characters"
                    ).wait_for()
                    await eventually(
                        lambda: typed.exists() and typed.read_text() == text + "\n", what="the text"
                    )
                    await page.keyboard.press("Escape")
                    await page.get_by_role("button", name="Clipboard").click()
                    await page.get_by_role("textbox", name="Clipboard").fill("from the page")
                    await page.get_by_role("button", name="Send to the source").click()
                    await eventually(
                        lambda: screen.run(*XCLIP, "-o", check=False).stdout == "from the page",
                        what="the page's text at the source",
                    )
                    copied = tmp_path / "copied"
                    copied.write_text("from the source")
                    with screen.client(*XCLIP, "-i", "-quiet", str(copied)):
                        box = page.get_by_role("textbox", name="Clipboard")
                        await eventually_async(
                            lambda: said(box, "from the source"),
                            10,
                            "the source's text on the page",
                        )

    asyncio.run(main())


def test_a_screen_of_another_size_and_a_hub_that_restarts(house, make_xvnc) -> None:
    server = make_xvnc("800x600")

    async def main() -> None:
        async with house() as it:
            await it.agent(server.display)
            server.solid("#c80000")
            complaints = []
            async with browser() as context:
                page = await context.new_page()
                page.on("pageerror", lambda error: complaints.append(str(error)))
                # A link that logs in; its token does not stay in the address.
                await page.goto(it.hub.console_url(it.hub.store.new_token("control"), "127.0.0.1"))
                await opened(page)
                assert "token" not in page.url
                await shows(page, 790, 590, (200, 0, 0))
                server.run("xrandr", "-s", "1280x720")
                server.solid("#0000c8")
                await shows(page, 1279, 719, (0, 0, 200))
                size = "[document.querySelector('.box canvas').width, document.querySelector('.box canvas').height]"
                assert await page.evaluate(size) == [1280, 720]
                port = it.hub.web_port
                await it.hub.stop()
                await page.get_by_text("connection to the hub is lost").wait_for()
                assert it.hub.web_port == port
                await it.hub.start()
                # Sessions end with the hub.
                await page.get_by_role("button", name="Log in").wait_for()
                await page.get_by_label("User").fill("control")
                await page.get_by_label("Password").fill("password of control")
                await page.get_by_role("button", name="Log in").click()
                await page.locator(".box canvas").first.wait_for(state="visible")
                server.solid("#00c800")
                await shows(page, 1279, 719, (0, 200, 0), 15)
            assert complaints == []

    asyncio.run(main())


def test_figures_and_a_screenshot(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            screen.fill(0, 0, 640, 480, (10, 20, 30))
            async with console(it) as page:
                await opened(page)
                await page.get_by_role("button", name="Figures").click()
                await page.mouse.click(*await place(page, 300, 400))
                for step in range(40):
                    screen.fill(step * 10, 100, 8, 200, (250, 250, 250))
                    await asyncio.sleep(0.05)
                table = page.get_by_role("complementary", name="Figures")
                await table.get_by_text("screen → drawn").wait_for()
                rows = await table.locator("tr").all_inner_texts()
                delays = {row.split("\t")[0]: float(row.split("\t")[1]) for row in rows[1:]}
                assert set(delays) == {
                    "capture", "encode", "agent", "to hub", "to here", "decode", "draw", "screen → drawn",
                    "input → drawn",
                }  # fmt: skip
                assert 0 < delays["screen → drawn"] < 250
                assert 0 < delays.pop("input → drawn") < 500
                assert all(-1 < delay < 200 for delay in delays.values()), "one clock for all"
                await table.get_by_text("encoder screen (h264_").wait_for()  # why no better one
                await table.get_by_text("capture x11 (").wait_for()
                await table.get_by_text("at the source, 0 at the hub, 0 here").wait_for()
                channel = next(iter(it.hub.held["office-pc"].relays[0].channels))
                channel.dropped += 7
                screen.fill(0, 0, 8, 8, (1, 2, 3))
                await table.get_by_text("at the source, 7 at the hub, 0 here").wait_for()
                async with page.expect_download() as download:
                    await page.get_by_role("button", name="Screenshot").click()
                await (await download.value).save_as(tmp_path / "shot.png")
            data = (tmp_path / "shot.png").read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (640, 480)

    asyncio.run(main())


def test_the_page_keeps_its_promises(house, screen) -> None:
    """No script but our own files, nothing from elsewhere, a policy that says so, names for everything that acts."""

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            asked = []
            async with console(it, "admin") as page:
                page.on("request", lambda request: asked.append(request.url))
                await page.get_by_role("heading", name="Sources").wait_for()
                response = await page.reload()
                policy = response.headers["content-security-policy"]
                assert "default-src 'self'" in policy
                assert "unsafe" not in policy
                await opened(page)
                nameless = await page.evaluate(
                    """() => [...document.querySelectorAll("button, select, input, textarea, [tabindex]")]
                        .filter((e) => !(e.ariaLabel || e.innerText?.trim() || e.labels?.length))
                        .map((e) => e.outerHTML)"""
                )
                assert nameless == []
                # Everything can be reached without a mouse, and is seen to be.
                await page.get_by_role("button", name="All sources").focus()
                for _ in range(5):
                    await page.keyboard.press("Tab")
                    outline = "getComputedStyle(document.activeElement)"
                    style, shadow = await page.evaluate(
                        f"[{outline}.outlineStyle, {outline}.boxShadow]"
                    )
                    assert style != "none" or shadow != "none"
            home = f"https://127.0.0.1:{it.hub.web_port}/"
            assert [
                url for url in asked if not url.startswith((home, "blob:" + home, "data:"))
            ] == []

    asyncio.run(main())
