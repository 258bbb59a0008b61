"""Hands from afar: keys, pointer, texts and the clipboard arrive at a real X server, and nothing stays down."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time

import pytest
from house import eventually, house, terminal

from kvmstream.agent._xtest import XTest
from kvmstream.errors import AuthenticationFailed, ConfigError
from kvmstream.wire import messages as m
from kvmstream.wire.limits import LEASE_SECONDS

__all__ = ["house"]  # a fixture


def test_typing_arrives_character_by_character(house, screen, tmp_path) -> None:
    text = "Hello, World! ~^`|\\ ÄÖÜßé €ñ жλ 漢字 0123456789"

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with it.viewer() as hub:
                    source = hub.sources["office-pc"]
                    await source.keyboard.type(text + "\n")
                    await source.keyboard.press("shift", "a")
                    await source.keyboard.press("Enter")
                    await eventually(
                        lambda: typed.exists() and typed.read_text().endswith("A\n"),
                        what="the last line",
                    )
                    assert typed.read_text() == f"{text}\nA\n"
            # What was borrowed for it is given back with the control.
            test = XTest(screen.display)
            borrowed = 0x0100_0000 | ord("漢")
            await eventually(
                lambda: not any(borrowed in symbols for symbols in test.keymap().values()),
                what="the keyboard's own map",
            )
            test.close()

    asyncio.run(main())


def test_pointer_and_buttons_land_where_they_should(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                test = XTest(screen.display)
                for place in ((0, 0), (639, 479), (123, 321), (320, 240)):
                    await source.mouse.move(*place)
                    assert test.pointer()[:2] == place
                await source.mouse.move_by(-20, 7)
                assert test.pointer()[:2] == (300, 247)
                await source.mouse.down("left")
                assert test.modifiers() & 0x100
                await source.mouse.up("left")
                assert not test.modifiers() & 0x100
                with pytest.raises(ConfigError, match="640 × 480"):
                    await source.mouse.move(640, 0)
                with pytest.raises(ConfigError, match="KeyboardEvent"):
                    await source.keyboard.press("Hyper")
                for refused, reason in (
                    (source.mouse.wheel(dy=100.1), r"dy = 100\.1: must be -100 … 100; turn it"),
                    (source.mouse.wheel(dx=float("nan")), "dx = nan: must be"),
                    (source.mouse.move_by(0, -32768), "dy = -32768: must be -32767"),
                    (source.mouse.click(count=101), "count = 101: must be 1 … 100"),
                    (source.keyboard.press(*["a"] * 129), "129: must be 1 … 128"),
                ):
                    with pytest.raises(ConfigError, match=reason):
                        await refused
                # The largest ones arrive, and the connection is the same.
                await source.mouse.wheel(-100, 100)
                await source.mouse.move_by(32767, -32767)
                assert test.pointer()[:2] == (639, 0)
                test.close()

    asyncio.run(main())


@pytest.mark.parametrize("end", ["viewer", "hub", "worker", "control"])
def test_no_key_stays_down(house, screen, end: str) -> None:
    async def main() -> None:
        async with house() as it:
            agent = await it.agent(screen.display)
            test = XTest(screen.display)
            viewer = it.viewer()
            async with viewer as hub:
                source = hub.sources["office-pc"]
                await source.keyboard.down("ctrl")
                await source.keyboard.down("a")
                await source.mouse.down("right")
                assert test.pressed_keycodes() == {29 + 8, 30 + 8}
                if end == "viewer":
                    hub._control.abort("pulled")
                elif end == "hub":
                    it.hub.held["office-pc"].control.abort("pulled")
                elif end == "worker":
                    os.kill(agent._process.pid, signal.SIGKILL)
                else:
                    await source.give_back()
                began = time.monotonic()
                await eventually(lambda: not test.pressed_keycodes(), 3, "the keys' release")
                await eventually(lambda: not test.modifiers() & 0x1F00, 3, "the button's release")
                assert time.monotonic() - began < 3
            test.close()

    asyncio.run(main())


def test_a_lost_lease_releases(house, screen) -> None:
    """A viewer that lives but renews nothing."""

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            test = XTest(screen.display)
            async with it.viewer() as hub:
                source = hub.sources["office-pc"]
                await source.keyboard.down("shift")
                await asyncio.sleep(4.5)
                assert test.pressed_keycodes() == {42 + 8}, "a renewed lease must hold"
                source._held.clear()
                await eventually(lambda: not test.pressed_keycodes(), 5, "the release")
            test.close()

    asyncio.run(main())


def test_one_drives_at_a_time(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with (
                it.viewer("control") as first,
                it.viewer("admin") as second,
                it.viewer("view") as third,
            ):
                await first.sources["office-pc"].request_control()
                with pytest.raises(AuthenticationFailed, match="control drives office-pc"):
                    await second.sources["office-pc"].keyboard.press("a")
                with pytest.raises(AuthenticationFailed, match="may only watch"):
                    await third.sources["office-pc"].keyboard.press("a")
                await second.sources["office-pc"].request_control(take=True)
                await eventually(
                    lambda: not first.sources["office-pc"].controlled, what="the news of it"
                )
                assert [(e.who, e.what) for e in it.hub.store.audit(3)][::-1] == [
                    ("control", "took control"),
                    ("control", "control was taken over by admin"),
                    ("admin", "took control"),
                ]

    asyncio.run(main())


def test_who_does_nothing_drives_no_more(house, screen, monkeypatch) -> None:
    monkeypatch.setattr("kvmstream.hub.source._IDLE_SECONDS", 1.5)
    # Often enough that a second in which this machine does something else ends no control.
    monkeypatch.setattr("kvmstream.remote._RENEW_SECONDS", 0.2)
    monkeypatch.setattr("kvmstream._remote_input._WAITING_SECONDS", 0.2)

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer("control") as first, it.viewer("view") as second:
                source = first.sources["office-pc"]
                test = XTest(screen.display)
                await source.keyboard.down("a")
                # A key that is held down is input, too.
                await asyncio.sleep(2.5)
                assert source.controlled
                assert len(test.pressed_keycodes()) == 1
                await source.keyboard.up("a")
                await source.mouse.down("right")
                lease_ends = time.monotonic() + LEASE_SECONDS
                source._held.clear()  # its lease is renewed no more
                await eventually(lambda: not source.controlled, 5, "the end of its control")
                left = (
                    lease_ends - time.monotonic()
                )  # it goes up before the agent does it by itself
                await eventually(
                    lambda: not test.modifiers() & 0x1F00, left, "the button's release"
                )
                test.close()
                seen = second.sources["office-pc"]
                await eventually(lambda: not seen.info.controller, what="the news of it")
                assert [(e.who, e.what) for e in it.hub.store.audit(2)][::-1] == [
                    ("control", "took control"),
                    ("control", "control ended: no input for 2 s"),
                ]
                await source.keyboard.press("a")
                with pytest.raises(TimeoutError):
                    await source.clipboard.wait_change(3)
                assert source.controlled, "who waits for the clipboard is there"

    asyncio.run(main())


def test_view_only_agent_refuses(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display, view_only=True)
            async with it.viewer("admin") as hub:
                with pytest.raises(AuthenticationFailed, match="--view-only"):
                    await hub.sources["office-pc"].keyboard.press("a")

    asyncio.run(main())


def test_the_watchdog_outlives_its_parent_group(screen) -> None:
    """Ctrl-C at a terminal reaches the whole process group; the keys must go up all the same."""
    code = (
        "from kvmstream.agent.injector import Injector\n"
        f"i = Injector({screen.display!r}, lambda x, y, g: (x, y))\n"
        "i.key(42, True); i._test.sync(); print('down', flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    import sys

    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    test = XTest(screen.display)
    try:
        assert process.stdout.readline() == "down\n"
        assert test.pressed_keycodes() == {50}
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for _ in range(100):
            if not test.pressed_keycodes():
                break
            time.sleep(0.03)
        assert not test.pressed_keycodes()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        test.close()


@pytest.mark.parametrize(
    "layout", ["de", "fr", "ru", "us -variant dvorak", "us,ru -option grp:shifts_toggle"]
)
def test_texts_through_the_layouts_of_sources(house, make_xvfb, tmp_path, layout: str) -> None:
    text = 'The quick (brown) fox: {a[0]} = "x"; @home #1 €5 ~/é ü ß ñ | съешь ещё ÀÉ'

    async def main() -> None:
        server = make_xvfb("640x480")
        server.run("setxkbmap", "-layout", *layout.split())
        async with house() as it:
            await it.agent(server.display)
            typed = tmp_path / "typed"
            with terminal(server, typed):
                async with it.viewer() as hub:
                    source = hub.sources["office-pc"]
                    for _ in range(3):
                        await source.keyboard.type(text + "\n")
                    await eventually(
                        lambda: typed.exists() and typed.read_text().count("\n") == 3,
                        10,
                        "three lines",
                    )
            assert typed.read_text().splitlines() == [text] * 3

    asyncio.run(main())


def test_caps_lock_does_not_turn_texts_around(house, screen, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                async with it.viewer() as hub:
                    source = hub.sources["office-pc"]
                    await source.keyboard.press("CapsLock")
                    try:
                        await source.keyboard.type("Straße 7 äÖ\n")
                        await eventually(lambda: typed.read_text().endswith("\n"), what="the line")
                    finally:
                        await source.keyboard.press("CapsLock")
            assert typed.read_text() == "Straße 7 äÖ\n"

    asyncio.run(main())


def test_locks_become_those_of_whoever_drives(house, screen) -> None:
    caps, num = 0x02, 0x10

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub:
                await hub.sources["office-pc"].request_control()
                test = XTest(screen.display)
                for locks, bits in (
                    (m.Locks(True, None), caps),
                    (m.Locks(True, True), caps | num),
                    (m.Locks(True, True), caps | num),
                    (m.Locks(None, False), caps),
                    (m.Locks(False, False), 0),
                ):
                    await hub._input("office-pc", [locks])
                    assert test.modifiers() & (caps | num) == bits
                assert not test.pressed_keycodes()
                # Somebody at the source has switched it meanwhile: the state counts, not what was sent before.
                screen.run("xdotool", "key", "Caps_Lock")
                await hub._input("office-pc", [m.Locks(False, None)])
                assert not test.modifiers() & caps
                # A key that makes something else is not pressed for it.
                screen.run("setxkbmap", "-option", "ctrl:nocaps")
                try:
                    await hub._input("office-pc", [m.Locks(True, None)])
                    assert not test.modifiers()
                finally:
                    screen.run("setxkbmap", "-option", "")
                test.close()

    asyncio.run(main())


def test_the_clipboard_travels_both_ways(house, screen) -> None:
    def paste() -> str:
        command = ["xclip", "-selection", "clipboard", "-o"]
        result = subprocess.run(
            command, env=screen.env, capture_output=True, text=True, timeout=10, check=False
        )
        return result.stdout

    def copy(text: str) -> None:
        command = ["xclip", "-selection", "clipboard", "-i"]
        subprocess.run(command, env=screen.env, input=text, text=True, timeout=10, check=True)

    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with it.viewer() as hub, it.viewer("admin") as other:
                clipboard = hub.sources["office-pc"].clipboard
                copy("was there")
                await hub.sources["office-pc"].request_control()
                await eventually(lambda: clipboard.text == "was there", what="what was there")
                await clipboard.write("漢字 from afar")
                await eventually(lambda: paste() == "漢字 from afar", what="the text over there")
                change = asyncio.create_task(clipboard.wait_change(10))
                await asyncio.sleep(0.1)
                copy("x" * 200_000)
                assert await change == "x" * 200_000
                with pytest.raises(ConfigError, match="at most"):
                    await clipboard.write("x" * 300_000)
                with pytest.raises(AuthenticationFailed, match="control drives"):
                    await other.sources["office-pc"].clipboard.write("no")
                source = hub.sources["office-pc"]
                it.hub.store.set_clipboard("office-pc", "to_source")
                await eventually(lambda: source.info.clipboard == "to_source", 5, "the policy")
                await clipboard.write("one way")
                await eventually(lambda: paste() == "one way", what="the text over there")
                copy("stays there")
                with pytest.raises(ConfigError, match="policy of office-pc is to_source"):
                    await clipboard.wait_change(1)
                it.hub.store.set_clipboard("office-pc", "from_source")
                await eventually(lambda: source.info.clipboard == "from_source", 5, "the policy")
                assert clipboard.text == "one way"
                with pytest.raises(ConfigError, match="from_source"):
                    await clipboard.write("no")
                # Not the viewer's good will: the hub itself passes nothing on.
                hub._check().post(m.ClipboardText("forced", source="office-pc"))
                copy("comes out")
                await eventually(lambda: clipboard.text == "comes out", 5, "what was copied")
                assert paste() == "comes out"
                it.hub.store.set_clipboard("office-pc", "both")
                await eventually(lambda: source.info.clipboard == "both", 5, "the policy")
                await clipboard.write("pasted later")
                await eventually(lambda: paste() == "pasted later", what="the text over there")
                await hub.sources["office-pc"].give_back()
                await asyncio.sleep(0.5)
                assert paste() == "pasted later", "it stays when the control ends"
                copy("a secret of whoever sits there")
                await asyncio.sleep(0.5)
                assert "secret" not in clipboard.text
                assert other.sources["office-pc"].clipboard.text == ""

    asyncio.run(main())
