"""The native core on Windows, as its module gives it.

On a real Windows, and by scripts/test_windows_agent.sh under Wine.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import queue
import subprocess
import sys
import time

import numpy as np
import pytest

from kvmstream.agent import injector
from kvmstream.agent._native_win32 import NativeClipboard, NativeInjector
from kvmstream.agent._pocket import open_clipboard
from kvmstream.errors import ConfigError
from kvmstream.wire import messages as m
from kvmstream.wire.keys import KEYS
from kvmstream.wire.limits import CLIPBOARD_BYTES

pytestmark = [
    pytest.mark.windows,
    pytest.mark.skipif(sys.platform != "win32", reason="needs a real Windows"),
    pytest.mark.usefixtures("native"),
]


def _decoded(config, wanted):
    """The first packets of a stream, and the pictures that they decode to."""
    import kvmstream

    decoder, packets, pictures = kvmstream.Decoder(), [], []
    deadline = time.monotonic() + 30
    with kvmstream.Stream(config) as stream, stream.subscribe() as queue:
        while len(packets) < wanted:
            assert time.monotonic() < deadline, f"{len(packets)} packets of {wanted} within 30 s"
            packet = queue.next(timeout=1.0)
            if packet is not None:
                packets.append(packet)
                pictures.append(decoder.decode(packet))
        thumbnail, stats = stream.thumbnail(64), stream.stats()
    assert all(picture is not None for picture in pictures)
    return packets, pictures, thumbnail, stats


def test_the_native_core_is_what_a_user_gets() -> None:
    import kvmstream

    assert (kvmstream.backend, kvmstream.backend_reason) == ("native", "")


def test_encoders_and_captures_are_those_of_windows(native) -> None:
    rows = native.encoders()
    assert ("screen", False, True, "") in rows
    hardware = [name for name, is_hardware, _, _ in rows if is_hardware]
    assert not hardware or sorted(hardware[:3]) == ["h264_amf", "h264_nvenc", "h264_qsv"]
    assert hardware[3:] in ([], ["h264_mf"])
    assert all(available != bool(reason) for _, _, available, reason in rows)
    captures = {name: available for name, available, _ in native.captures()}
    assert list(captures) == ["dxgi", "gdi", "pattern"]
    assert captures["gdi"]
    assert captures["pattern"]


def test_a_pattern_streams_and_decodes() -> None:
    import kvmstream

    config = kvmstream.StreamConfig(source="pattern", display="640x358", fps=60)
    began = time.perf_counter_ns()
    packets, pictures, thumbnail, stats = _decoded(config, 30)
    assert stats.encoder == "screen"
    assert {picture.shape for picture in pictures} == {(358, 640, 3)}
    assert packets[0].keyframe
    stamps = [packet.encoded_ns for packet in packets]
    assert began < stamps[0] <= stamps[-1] < time.perf_counter_ns(), "one clock with Python's"
    assert _jpeg(thumbnail).shape == (36, 64, 3)


def test_the_screen_streams_as_a_screenshot_shows_it() -> None:
    import kvmstream

    (primary,) = [display for display in kvmstream.displays() if display.primary]
    shot = kvmstream.screenshot()
    assert shot.shape == (primary.height, primary.width, 3)
    config = kvmstream.StreamConfig(crf=10, cursor="hidden")
    _, pictures, thumbnail, stats = _decoded(config, 1)
    assert stats.capture.startswith(("dxgi", "gdi"))
    assert pictures[-1].shape == shot.shape
    # Something may have moved between the two; most of a desktop has not.
    assert np.median(np.abs(pictures[-1].astype(int) - shot)) <= 4
    small = _jpeg(thumbnail)
    assert small.shape[1] == 64
    assert np.abs(small.mean(axis=(0, 1)) - shot.mean(axis=(0, 1))).max() <= 6


def test_a_monitor_that_is_not_there_is_named() -> None:
    import kvmstream

    with pytest.raises(kvmstream.KvmStreamError, match="NoSuchMonitor"):
        kvmstream.screenshot(display="NoSuchMonitor")


def test_doctor_finds_that_streaming_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvmstream", "doctor"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "native backend" in " ".join(done.stdout.split())


def test_the_native_hands_leave_nothing_down() -> None:
    """The pointer to every corner, a key that is down for as long as it is held, locks, words for what cannot be."""
    hands = injector.open_injector("", lambda x, y, _: (x, y))
    assert isinstance(hands, NativeInjector)
    user = ctypes.WinDLL("user32")
    try:
        x, y, width, height = (user.GetSystemMetrics(which) for which in (76, 77, 78, 79))
        point = (ctypes.c_int32 * 2)()
        for place in ((x, y), (x + width - 1, y), (x + width // 3, y + height // 3)):
            assert hands.move(*place) == ""
            user.GetCursorPos(point)
            assert tuple(point) == place
        assert hands.move_by(3, 2) == ""
        assert hands.wheel(-30, 120) == ""
        assert hands.due() is None
        for code, virtual in ((KEYS["ShiftLeft"], 0xA0), (KEYS["KeyA"], 0x41)):
            assert hands.key(code, True) == ""
            assert user.GetAsyncKeyState(virtual) & 0x8000
        assert 0 < hands.due() <= 3, "its repeat"
        hands.apply(m.Held([KEYS["ShiftLeft"]]))
        assert not user.GetAsyncKeyState(0x41) & 0x8000
        assert hands.held == {KEYS["ShiftLeft"]}
        assert hands.locks(caps=True, num=None) == ""
        assert hands.locks(caps=False, num=None) == ""
        assert hands.text("Grüße \ud83d 漢🙂\n") == ""
        assert "no scan code" in hands.key(1000, True)
        assert "none of left" in hands.button(0x150, True)
        assert hands.held == {KEYS["ShiftLeft"]}
    finally:
        hands.close()
    assert not any(user.GetAsyncKeyState(key) & 0x8000 for key in range(1, 255))


def test_two_native_clipboards_hear_of_each_other() -> None:
    """And not of themselves; what raises in a listener harms nobody; an end is an end."""
    heard: list[queue.Queue[tuple[str, int]]] = [queue.Queue(), queue.Queue()]
    first, second = (
        open_clipboard("", lambda text, too_long, to=to: to.put((text, too_long))) for to in heard
    )
    assert isinstance(first, NativeClipboard)
    try:
        time.sleep(1.0)  # what was there before
        for to in heard:
            with contextlib.suppress(queue.Empty):
                to.get_nowait()
        for text in ("Grüße\n漢🙂", "x" * CLIPBOARD_BYTES):
            first.write(text)
            assert heard[1].get(timeout=10) == (text, 0)
        with pytest.raises(ValueError, match="at most"):
            first.write("x" * (CLIPBOARD_BYTES + 1))
        second.write("back")
        assert heard[0].get(timeout=10) == ("back", 0)
        time.sleep(0.3)
        assert heard[1].empty()
        second.leave()
        second.close()
        assert second.ended
        first.write("to nobody")
        time.sleep(0.3)
        assert heard[1].empty()
    finally:
        first.close()
        second.close()
    with pytest.raises(ConfigError, match="closed"):
        first.write("late")


def _jpeg(data: bytes) -> np.ndarray:
    import av

    with av.open(io.BytesIO(data), format="image2pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
