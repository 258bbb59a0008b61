"""Administration in the console: machines come by a line, users and roles change, and the audit tells of it."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
from browser import CHROMIUM, console, opened, take_control
from house import eventually, house

from kvmstream.agent import pair

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def test_sources_are_added_renamed_and_revoked(house) -> None:
    async def main() -> None:
        async with house() as it, console(it, "admin") as page:
            await page.get_by_role("button", name="Manage").click()
            await page.get_by_role("button", name="Add a machine").click()
            shown = await page.locator("dialog pre").inner_text()
            line = re.search(r"'(kvmstream://[^']+)'", shown)[1]
            assert "kvmstream agent 127.0.0.1" in shown
            picture = page.locator("dialog img.qr")
            assert await picture.evaluate("image => image.complete && image.naturalWidth > 100")
            await page.keyboard.press("Escape")
            await asyncio.to_thread(pair, line, "lab-1")
            row = (
                page.get_by_role("region", name="Sources")
                .get_by_role("row")
                .filter(has_text="lab-1")
            )
            await row.get_by_text("offline").wait_for()
            await row.get_by_role("button", name="Rename").click()
            await page.get_by_label("New name").fill("")
            await page.get_by_label("New name").fill("lab-2")
            await page.get_by_role("button", name="Save").click()
            row = (
                page.get_by_role("region", name="Sources")
                .get_by_role("row")
                .filter(has_text="lab-2")
            )
            await row.wait_for()
            await row.get_by_label("Clipboard: lab-2").select_option("off")
            await page.get_by_text("Done").wait_for()
            assert [record.clipboard for record in it.hub.store.sources()] == ["none"]
            await row.get_by_role("button", name="Revoke").click()
            await page.locator("dialog").get_by_role("button", name="Revoke").click()
            await row.wait_for(state="detached")
            assert [bool(record.revoked) for record in it.hub.store.sources()] == [True]

    asyncio.run(main())


def test_users_and_the_audit(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            turns, late, answered = itertools.count(), asyncio.Event(), asyncio.Event()

            async def overtaken(route):
                """The first list of users comes after the second one."""
                turn = next(turns)
                answer = await route.fetch()
                if turn == 0:
                    await late.wait()
                await route.fulfill(response=answer)
                if turn == 0:
                    answered.set()

            async with (
                console(it, "admin", before=("**/api/v1/users", overtaken)) as page,
                console(it, "control") as other,
            ):
                await opened(other)
                assert not await other.get_by_role("button", name="Manage").is_visible()
                await take_control(other)
                await page.get_by_role("button", name="Manage").click()
                users = page.get_by_role("region", name="Users")
                await users.get_by_role("button", name="Add a user").click()
                form = page.locator("dialog")
                await form.get_by_label("Name").fill("anna")
                await form.get_by_label("Role").select_option("view")
                await form.get_by_label("Password").fill("short")
                await form.get_by_role("button", name="Save").click()
                await form.get_by_role("alert").get_by_text("must have 8 to 1024").wait_for()
                await form.get_by_label("Password").fill("long enough for anna")
                await form.get_by_role("button", name="Save").click()
                await users.get_by_role("row").filter(has_text="anna").wait_for()
                late.set()
                await answered.wait()
                await asyncio.sleep(0.2)  # it may be drawn
                assert await users.get_by_role("row").filter(has_text="anna").is_visible()
                await users.get_by_label("Role: anna").select_option("control")
                await page.get_by_text("Done").wait_for()  # maybe still that of the user added

                def role():
                    return next(user.role for user in it.hub.store.users() if user.name == "anna")

                await eventually(lambda: role() == "control", 5, "anna's new role")
                assert await it.hub.user_of_password("::1", "anna", "long enough for anna")
                audit = page.get_by_role("region", name="Who did what")
                await audit.get_by_role("row").filter(has_text="took control").wait_for()
                # Whoever loses the role loses the connection with it.
                await users.get_by_label("Role: control").select_option("view")
                await eventually(
                    lambda: it.hub.held["office-pc"].controller is None, 5, "no driver"
                )
                await other.get_by_text("You may only watch").wait_for()

    asyncio.run(main())
