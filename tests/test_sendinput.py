"""SendInput from Python: tables, structures, and what is sent to a Windows of our own; on a real one, for real."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmstream.agent._scan_codes import SCAN_CODES, VIRTUAL_KEYS
from kvmstream.agent._sendinput import SendInputInjector, to_absolute
from kvmstream.agent._win32 import HardwareInput, Input, KeyboardInput, MouseInput
from kvmstream.errors import CaptureError
from kvmstream.wire import messages as m
from kvmstream.wire.keys import BUTTONS, KEYS

_HEADER = Path(__file__).parents[1] / "cpp" / "input" / "scan_codes.hpp"
_EXTENDED, _UP, _UNICODE, _SCAN = 1, 2, 4, 8


class Made:
    """Stands in for Windows: remembers the events."""

    def __init__(self) -> None:
        self.sent: list[Input] = []
        self.all = (0, 0, 1920, 1080)
        self.takes = 10_000
        self.elevated = self.swapped = False
        self.on: set[int] = set()
        self.repeat = (1, 31)

    def send(self, events):
        taken = events[: self.takes]
        if not self.elevated:  # UIPI keeps events back without a word
            self.sent += [Input.from_buffer_copy(event) for event in taken]
        return len(taken)

    def virtual_key(self, scan):
        return 0

    def bounds(self):
        return self.all

    def locked_on(self, virtual_key):
        return virtual_key in self.on

    def buttons_swapped(self):
        return self.swapped

    def key_repeat(self):
        return self.repeat

    def out_of_reach(self, pointer):
        return self.elevated

    def strokes(self):
        """Virtual key, scan code and flags of all; forgets them."""
        found = [(e.ki.virtual_key, e.ki.scan, e.ki.flags) for e in self.sent if e.kind == 1]
        self.sent.clear()
        return found

    def mouse(self):
        found = [(e.mi.flags, e.mi.dx, e.mi.dy, e.mi.data) for e in self.sent if e.kind == 0]
        self.sent.clear()
        return found


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def hands(made):
    injector = SendInputInjector(lambda x, y, generation: (x, y) if generation == 1 else None, made)
    yield injector
    made.elevated = False
    injector.close()
    assert injector._watchdog.returncode is not None


def test_the_tables_of_both_languages_are_the_same() -> None:
    rows = re.findall(r"\{(\d+), (0x[0-9a-f]+)(?:, (0x[0-9a-f]+))?\}", _HEADER.read_text())
    assert {int(code): int(scan, 16) for code, scan, _ in rows} == SCAN_CODES
    assert {int(code): int(key, 16) for code, _, key in rows if key} == VIRTUAL_KEYS
    assert len(rows) == len(SCAN_CODES)


def test_every_key_of_the_wire_has_a_scan_code_or_is_known_to_have_none() -> None:
    lacking = {name for name, code in KEYS.items() if code not in SCAN_CODES}
    assert lacking == {"Again", "Select", "Open", "Find"}
    assert set(SCAN_CODES) <= set(KEYS.values()) | {84}
    # No two keys are one to Windows, but for the pairs that really share a scan code.
    shared: dict[int, set[str]] = {}
    for name, code in KEYS.items():
        shared.setdefault(SCAN_CODES.get(code, -1), set()).add(name)
    del shared[-1]
    assert sorted(map(sorted, (names for names in shared.values() if len(names) > 1))) == [
        ["F24", "Lang5"],
        ["NumLock", "Pause"],
    ]


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the sizes are those of 64 bits")
def test_structures_have_the_sizes_of_winuser_h() -> None:
    assert ctypes.sizeof(MouseInput) == 32
    assert ctypes.sizeof(KeyboardInput) == 24
    assert ctypes.sizeof(HardwareInput) == 8
    assert ctypes.sizeof(Input) == 40
    assert Input.any.offset == 8
    assert KeyboardInput.extra.offset == 16
    assert MouseInput.extra.offset == 24


@pytest.mark.parametrize("size", [1, 2, 3, 640, 1023, 1366, 1920, 3840, 11520, 32768])
@pytest.mark.parametrize("origin", [0, -1920, 77])
def test_the_place_that_windows_makes_of_it_is_the_one_that_was_meant(
    size: int, origin: int
) -> None:
    for pixel in range(size):
        value = to_absolute(origin + pixel, origin, size)
        assert 0 <= value <= 65535
        assert value * size // 65536 == pixel
        assert value * (size - 1) // 65535 == pixel
        assert (2 * value * (size - 1) + 65535) // (2 * 65535) == pixel
    assert to_absolute(origin - 1, origin, size) == 0
    assert to_absolute(origin + size, origin, size) == (65535 if size > 1 else 0)


def test_keys_are_scan_codes(hands, made) -> None:
    assert hands.apply(m.Key(KEYS["KeyA"], True)) == ""
    assert hands.apply(m.Key(KEYS["ArrowUp"], True)) == ""
    assert hands.apply(m.Key(KEYS["ArrowUp"], False)) == ""
    assert hands.apply(m.ReleaseAll()) == ""
    assert made.strokes() == [
        (0, 0x1E, _SCAN), (0, 0x48, _SCAN | _EXTENDED), (0, 0x48, _SCAN | _EXTENDED | _UP), (0, 0x1E, _SCAN | _UP),
    ]  # fmt: skip
    assert "129" in hands.key(129, True)
    assert "0x115" in hands.button(0x115, True)
    assert not hands.held


def test_pause_and_print_screen(hands, made) -> None:
    pause, control = KEYS["Pause"], KEYS["ControlRight"]
    for down in (True, False):
        hands.key(pause, down)
    assert made.strokes() == [(0x13, 0x45, 0), (0x13, 0x45, _UP)]
    for code, down in ((control, True), (pause, True), (control, False), (pause, False)):
        hands.key(code, down)
    sent = made.strokes()
    assert sent[1] == (0x03, 0x46, _SCAN | _EXTENDED)
    assert sent[3] == (0x03, 0x46, _SCAN | _EXTENDED | _UP)  # that which was pressed
    for code, down in ((KEYS["PrintScreen"], True), (KEYS["PrintScreen"], False)):
        hands.key(code, down)
    assert made.strokes()[0] == (0x2C, 0x37, _SCAN | _EXTENDED)
    hands.key(KEYS["AltLeft"], True)
    hands.key(KEYS["PrintScreen"], True)
    assert made.strokes()[1] == (0x2C, 0x54, _SCAN)


def test_texts(hands, made) -> None:
    hands.key(KEYS["ShiftLeft"], True)
    made.strokes()
    assert hands.apply(m.Text("é\r\n🙂")) == ""
    assert made.strokes() == [
        (0, 0x2A, _SCAN | _UP),
        (0, 0xE9, _UNICODE), (0, 0xE9, _UNICODE | _UP),
        (0, 0x1C, _SCAN), (0, 0x1C, _SCAN | _UP),
        (0, 0xD83D, _UNICODE), (0, 0xD83D, _UNICODE | _UP), (0, 0xDE42, _UNICODE), (0, 0xDE42, _UNICODE | _UP),
        (0, 0x2A, _SCAN),
    ]  # fmt: skip


def test_pointer(hands, made) -> None:
    made.all = (-3840, -540, 5760, 2160)
    assert hands.apply(m.Motion(-3840, 1619, 1)) == ""
    ((flags, dx, dy, _),) = made.mouse()
    assert flags == 0x0001 | 0x8000 | 0x4000
    assert (dx * 5760 // 65536 - 3840, dy * 2160 // 65536 - 540) == (-3840, 1619)
    assert "generation 2" in hands.apply(m.Motion(0, 0, 2))
    assert hands.apply(m.RelativeMotion(-3, 7)) == ""
    assert made.mouse() == [(0x0001, -3, 7, 0)]
    assert hands.apply(m.Wheel(-30, 240)) == ""
    assert made.mouse() == [
        (0x0800, 0, 0, (-240) & 0xFFFF_FFFF),
        (0x1000, 0, 0, (-30) & 0xFFFF_FFFF),
    ]
    for name, down, up, data in (
        ("left", 0x2, 0x4, 0), ("right", 0x8, 0x10, 0), ("middle", 0x20, 0x40, 0), ("back", 0x80, 0x100, 1),
        ("forward", 0x80, 0x100, 2),
    ):  # fmt: skip
        hands.apply(m.Button(BUTTONS[name], True))
        hands.apply(m.Button(BUTTONS[name], False))
        assert made.mouse() == [(down, 0, 0, data), (up, 0, 0, data)]
    made.swapped = True
    hands.apply(m.Button(BUTTONS["left"], True))
    made.swapped = False
    hands.apply(m.Button(BUTTONS["left"], False))
    assert [event[0] for event in made.mouse()] == [0x8, 0x10]


def test_locks(hands, made) -> None:
    made.on = {0x90}
    assert hands.apply(m.Locks(caps=True, num=True)) == ""
    assert [scan for _, scan, _ in made.strokes()] == [0x3A, 0x3A]
    assert hands.apply(m.Locks(caps=None, num=False)) == ""
    assert [scan for _, scan, _ in made.strokes()] == [0x45, 0x45]


def test_an_elevated_window_is_reported_and_what_it_kept_down_goes_up_after_it(hands, made) -> None:
    hands.key(KEYS["KeyA"], True)
    made.elevated = True
    assert "administrator" in hands.key(KEYS["KeyB"], True)
    assert "administrator" in hands.button(BUTTONS["left"], True)
    assert "administrator" in hands.text("x")
    hands.release_all()
    assert not hands.held
    assert 0 < hands.due() <= 0.25
    made.strokes()
    made.elevated = False
    hands.tick()
    assert hands.due() is None
    ups = [event for event in made.sent if event.kind == 1]
    assert {event.ki.scan for event in ups} == {0x1E, 0x30}
    assert all(event.ki.flags & _UP for event in ups)
    assert made.mouse() == [(0x4, 0, 0, 0)]
    made.takes = 0
    assert "0 of 1" in hands.move(1, 1)


def test_the_key_that_went_down_last_repeats(hands, made) -> None:
    made.repeat = (0, 31)  # 250 ms, 30 a second
    hands.key(KEYS["KeyA"], True)
    hands.key(KEYS["ShiftLeft"], True)
    assert 0.2 < hands.due() <= 0.25
    hands.tick()
    made.strokes()
    time.sleep(hands.due() + 0.01)
    hands.tick()
    assert made.strokes() == [(0, 0x1E, _SCAN)]
    assert hands.due() <= 0.034
    hands.key(KEYS["KeyA"], False)
    assert hands.due() is None


def test_a_lease_ends(hands, made, monkeypatch) -> None:
    hands.key(KEYS["KeyA"], True)
    hands.apply(m.Held([KEYS["KeyA"]]))
    assert hands.expire() == []
    monkeypatch.setattr("kvmstream.agent._held.LEASE_SECONDS", -1.0)
    assert hands.expire() == [KEYS["KeyA"]]
    assert made.strokes()[-1] == (0, 0x1E, _SCAN | _UP)


def test_the_agents_modules_load_without_the_kernels_calls_of_unix() -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from kvmstream.agent import _clipboard_win32, _hands, _pocket, _sendinput, _watchdog, injector"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="this is one")
def test_elsewhere_it_says_where_it_belongs() -> None:
    with pytest.raises(CaptureError, match="part of Windows"):
        SendInputInjector(lambda x, y, _: (x, y))


@pytest.mark.windows
@pytest.mark.skipif(sys.platform != "win32", reason="needs a real Windows")
def test_on_a_real_windows() -> None:
    """The pointer to every corner, and nothing down at the end."""
    hands = SendInputInjector(lambda x, y, _: (x, y))
    user = hands._send._windows._user
    try:
        x, y, width, height = hands._send._windows.bounds()
        point = (ctypes.c_int32 * 2)()
        for place in ((x, y), (x + width - 1, y), (x + width // 3, y + height // 3)):
            assert hands.move(*place) == ""
            user.GetCursorPos(point)
            assert tuple(point) == place
        assert hands.key(KEYS["ShiftLeft"], True) == ""
        assert user.GetAsyncKeyState(0xA0) & 0x8000
        assert hands.locks(caps=True, num=None) == ""
        assert hands.locks(caps=False, num=None) == ""
    finally:
        hands.close()
    assert not any(user.GetAsyncKeyState(key) & 0x8000 for key in range(1, 255))
