"""A real browser for the tests of the console: pages of somebody logged in, and what their picture shows."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

import pytest

playwright = pytest.importorskip("playwright.async_api")

__all__ = [
    "CHROMIUM",
    "browser",
    "console",
    "eventually_async",
    "opened",
    "place",
    "shows",
    "take_control",
    "type_keys",
]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@contextlib.asynccontextmanager
async def browser(*, flags=(), **options):
    """A browser of its own, with nothing of whoever runs the tests."""
    size = {} if "no_viewport" in options else {"viewport": {"width": 1280, "height": 800}}
    async with playwright.async_playwright() as pw:
        made = await pw.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
        try:
            context = await made.new_context(ignore_https_errors=True, **{**size, **options})
            yield context
        finally:
            await made.close()


@contextlib.asynccontextmanager
async def console(it, role="control", *, platform="", without=(), before=None, **options):
    """The console with somebody logged in; whatever it complains about is an error.

    `platform` is what the page takes the system for; `without` names parts of the browser that it shall lack;
    `before` is an address and what stands in for it, as for Playwright's `route`.
    """
    complaints = []
    async with browser(**options) as context:
        page = await context.new_page()
        if platform:
            await page.add_init_script(
                f"Object.defineProperty(navigator, 'platform', {{ get: () => {platform!r} }})"
            )
        if before is not None:
            await context.route(*before)
        for name in without:
            await page.add_init_script(f"delete globalThis.{name}")

        def hear(said):
            # A browser writes of every refusal, also of those that the page is made to answer.
            refusal = "the server responded with a status of 4" in said.text
            if said.type == "error" and not refusal:
                complaints.append(said.text)

        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"https://127.0.0.1:{it.hub.web_port}/")
        await page.get_by_label("User").fill(role)
        await page.get_by_label("Password").fill(f"password of {role}")
        await page.get_by_role("button", name="Log in").click()
        yield page
        assert complaints == []


async def pixel(page, x, y):
    """A pixel of the picture as it is drawn now: [red, green, blue]."""
    return await page.evaluate(
        """async ([x, y]) => {
            const canvas = document.querySelector(".box canvas");
            const bitmap = await createImageBitmap(canvas);
            const copy = new OffscreenCanvas(bitmap.width, bitmap.height);
            const context = copy.getContext("2d");
            context.drawImage(bitmap, 0, 0);
            return [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
        }""",
        [x, y],
    )


async def shows(page, x, y, colour, seconds=10):
    """Wait until the picture has this colour there."""
    seen = None
    for _ in range(int(seconds / 0.05)):
        seen = await pixel(page, x, y)
        if all(abs(a - b) < 25 for a, b in zip(seen, colour, strict=True)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"({x}, {y}) is {seen}, not {colour}")


async def type_keys(page, text):
    """As a hand on a us keyboard would."""
    for character in text:
        shifted = '!@#$%^&*()_+{}|:"<>?~'.find(character)
        if shifted >= 0:
            await page.keyboard.press("Shift+" + "1234567890-=[]\\;',./`"[shifted])
        elif character.isupper():
            await page.keyboard.press("Shift+" + character.lower())
        else:
            await page.keyboard.press({"\n": "Enter", " ": "Space"}.get(character, character))


async def opened(page, name="office-pc"):
    """A source's page, with its first picture drawn."""
    await page.get_by_role("button", name=f"Open {name}").click()
    await page.locator(".box canvas").first.wait_for(state="visible")
    await page.locator(".message").wait_for(state="hidden")


async def take_control(page):
    """Keys and pointer go to the source from now on."""
    await page.get_by_role("button", name="Take control").click()
    await page.get_by_text("You drive").wait_for()


async def place(page, x, y, width=640, height=480):
    """Where a pixel of the picture is on the page."""
    box = await page.locator(".box").bounding_box()
    return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box[
        "height"
    ] / height


async def eventually_async(condition, seconds, what):
    for _ in range(int(seconds / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")
