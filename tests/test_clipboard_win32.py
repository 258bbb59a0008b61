"""The Windows clipboard's rules, on a desk of our own; on a real Windows, for real."""

from __future__ import annotations

import queue
import sys
import threading
import time

import pytest

from kvmstream.agent._clipboard_win32 import Clipboard, from_clipboard, to_clipboard
from kvmstream.errors import CaptureError
from kvmstream.wire.limits import CLIPBOARD_BYTES


class Made:
    """A clipboard that others use, too."""

    def __init__(self) -> None:
        self.events: queue.Queue[str] = queue.Queue()
        self.text = ""
        self.mine = False
        self.busy = 0  # for so many more attempts
        self.timer = False
        self.attempts = 0
        self.closed = False
        self.opens = True
        self.refuses = ""
        self.thread: threading.Thread | None = None

    def open(self):
        if not self.opens:
            raise CaptureError("the clipboard cannot be watched")
        self.thread = threading.current_thread()

    def next(self):
        assert threading.current_thread() is self.thread
        while True:
            try:
                return self.events.get(timeout=0.001 if self.timer else 10)
            except queue.Empty:
                return "timer"

    def wake(self):
        self.events.put("woken")

    def set_timer(self, on):
        self.timer = on

    def ours(self):
        return self.mine

    def _held(self):
        self.attempts += 1
        if self.busy:
            self.busy -= 1
            return True
        return False

    def read(self):
        return None if self._held() else self.text

    def write(self, text):
        if self._held():
            return False
        if self.refuses:
            raise OSError(self.refuses)
        self.text, self.mine = text, True
        self.events.put("update")
        return True

    def close(self):
        assert threading.current_thread() is self.thread
        self.closed = True

    def copy(self, text):
        """As another program."""
        self.text, self.mine = text, False
        self.events.put("update")


@pytest.fixture
def desk():
    return Made()


@pytest.fixture
def texts():
    return queue.Queue()


@pytest.fixture
def clipboard(desk, texts):
    desk.text = "there before"
    opened = Clipboard("", lambda text, too_long: texts.put((text, too_long)), desk)
    assert texts.get(timeout=5) == ("there before", 0)
    yield opened
    opened.close()
    assert desk.closed
    assert opened.ended


def silent(texts) -> bool:
    try:
        texts.get(timeout=0.15)
    except queue.Empty:
        return True
    return False


def test_line_ends() -> None:
    assert to_clipboard("a\nb\r\nc\rd\n") == "a\r\nb\r\nc\rd\r\n"
    assert from_clipboard("a\r\nb\nc\rd\r\n") == "a\nb\nc\rd\n"


def test_what_others_copy_is_reported(desk, clipboard, texts) -> None:
    for text in ("one", "Grüße\r\n漢🙂", "x" * CLIPBOARD_BYTES):
        desk.copy(text)
        assert texts.get(timeout=5) == (text.replace("\r\n", "\n"), 0)
    desk.copy("")  # a picture
    assert silent(texts)


def test_what_we_write_does_not_come_back(desk, clipboard, texts) -> None:
    clipboard.write("a\nb")
    assert silent(texts)
    assert desk.text == "a\r\nb"
    desk.copy("a\r\nb")  # a clipboard manager that takes over what is there
    assert silent(texts)
    desk.copy("theirs")
    assert texts.get(timeout=5) == ("theirs", 0)


def test_too_long_is_said_and_not_handed_on(desk, clipboard, texts) -> None:
    desk.copy("ä" * CLIPBOARD_BYTES)
    assert texts.get(timeout=5) == ("", 2 * CLIPBOARD_BYTES)
    with pytest.raises(ValueError, match="at most"):
        clipboard.write("x" * (CLIPBOARD_BYTES + 1))


def test_a_clipboard_that_is_held_is_tried_again_and_not_for_ever(desk, clipboard, texts) -> None:
    desk.busy = 20
    desk.copy("patient")
    assert texts.get(timeout=5) == ("patient", 0)
    desk.busy = 20
    clipboard.write("ours")
    deadline = time.monotonic() + 5
    while desk.text != "ours" and time.monotonic() < deadline:
        assert silent(texts)
    assert silent(texts)
    assert desk.text == "ours"
    desk.busy, desk.attempts = 1_000_000, 0
    clipboard.write("in vain")
    deadline = time.monotonic() + 20
    while desk.attempts < 100 and time.monotonic() < deadline:
        assert silent(texts)
    assert silent(texts)
    assert desk.attempts == 100
    assert not desk.timer
    desk.busy = 0
    clipboard.write("again")
    assert silent(texts)
    assert desk.text == "again"


def test_a_text_that_cannot_be_written_is_said_once(desk, clipboard, texts, caplog) -> None:
    desk.refuses = "no memory for the clipboard"
    clipboard.write("lost")
    assert silent(texts)
    desk.refuses, desk.busy = "", 1_000_000
    clipboard.write("in vain, too")
    assert silent(texts)
    assert silent(texts)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "a text of 4 characters did not get into the clipboard: no memory for the clipboard; copy it again",
        "a text of 12 characters did not get into the clipboard: another program holds the clipboard; copy it again",
    ]


def test_after_leaving_nothing_is_reported_and_what_was_written_stays(
    desk, clipboard, texts
) -> None:
    clipboard.write("stays")
    clipboard.leave()
    clipboard.close()
    assert clipboard.ended
    assert desk.text == "stays"
    desk.copy("for nobody")
    assert silent(texts)


def test_no_desktop_is_a_reason(desk) -> None:
    desk.opens = False
    with pytest.raises(CaptureError, match="cannot be watched"):
        Clipboard("", lambda text, too_long: None, desk)
    if sys.platform != "win32":
        with pytest.raises(CaptureError, match="part of Windows"):
            Clipboard("", lambda text, too_long: None)


@pytest.mark.windows
@pytest.mark.skipif(sys.platform != "win32", reason="needs a real Windows")
def test_on_a_real_windows(texts) -> None:
    """Two of them: each hears of the other's texts, and not of its own."""
    others: queue.Queue[tuple[str, int]] = queue.Queue()
    first = Clipboard("", lambda text, too_long: texts.put((text, too_long)))
    second = Clipboard("", lambda text, too_long: others.put((text, too_long)))
    try:
        while not silent(texts) or not silent(others):
            pass  # what was there before
        for text in ("Grüße\n漢🙂", "x" * CLIPBOARD_BYTES):
            first.write(text)
            assert others.get(timeout=10) == (text, 0)
            assert silent(texts)
    finally:
        first.close()
        second.close()
