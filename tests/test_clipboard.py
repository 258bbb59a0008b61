"""The clipboard against xclip, which speaks INCR: texts of any size, both ways."""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import threading
import time

import pytest

from kvmstream.agent.clipboard import Clipboard
from kvmstream.errors import CaptureError
from kvmstream.wire.limits import CLIPBOARD_BYTES

_numbers = itertools.count()
_SIZES = [1, 1000, 65_536, 65_537, 200_000, CLIPBOARD_BYTES]


@pytest.fixture
def texts():
    return queue.Queue()


@pytest.fixture
def clipboard(screen, texts):
    before = f"there before {next(_numbers)}"
    copy(screen, before)
    assert pasted(screen, before)  # xclip returns before it owns anything
    opened = Clipboard(screen.display, lambda text, too_long: texts.put((text, too_long)))
    assert texts.get(timeout=10) == (before, 0)
    yield opened
    opened.close()


def copy(screen, text: str) -> None:
    subprocess.run(
        ["xclip", "-selection", "clipboard", "-i"],
        input=text.encode(),
        env=screen.env,
        check=True,
        timeout=20,
    )


def paste(screen, target: str = "UTF8_STRING") -> str:
    result = subprocess.run(
        ["xclip", "-selection", "clipboard", "-o", "-t", target],
        env=screen.env, check=True, timeout=20, capture_output=True,
    )  # fmt: skip
    return result.stdout.decode("latin-1" if target == "STRING" else "utf-8")


def pasted(screen, text: str) -> bool:
    """Whether this can be pasted soon."""
    for _ in range(100):
        with contextlib.suppress(
            subprocess.CalledProcessError
        ):  # the owner before has no such target
            if paste(screen) == text:
                return True
        time.sleep(0.05)
    return False


def of_size(size: int) -> str:
    return (
        ("0123456789 ä漢🙂\n" * (size // 18 + 1))
        .encode()[:size]
        .decode("utf-8", "ignore")
        .ljust(1, "x")
    )


@pytest.mark.parametrize("size", _SIZES)
def test_what_others_copy_is_reported(screen, clipboard, texts, size: int) -> None:
    copy(screen, of_size(size))
    assert texts.get(timeout=10) == (of_size(size), 0)


@pytest.mark.parametrize("size", _SIZES)
def test_what_we_write_can_be_pasted(screen, clipboard, texts, size: int) -> None:
    clipboard.write(of_size(size))
    assert pasted(screen, of_size(size))
    assert texts.empty(), "our own text came back"


def test_other_targets(screen, clipboard) -> None:
    clipboard.write("Grüße")
    time.sleep(0.1)
    assert paste(screen, "STRING") == "Grüße"
    assert paste(screen, "text/plain;charset=utf-8") == "Grüße"
    assert {"TARGETS", "UTF8_STRING", "STRING"} <= set(paste(screen, "TARGETS").split())


def test_echo_is_suppressed(screen, clipboard, texts) -> None:
    copy(screen, "one")
    assert texts.get(timeout=10) == ("one", 0)
    copy(screen, "one")  # a clipboard manager that takes over what is there
    time.sleep(0.3)  # xclip returns a moment before it owns the selection
    clipboard.write("two")
    time.sleep(0.2)
    copy(screen, "two")
    copy(screen, "three")
    assert texts.get(timeout=10) == ("three", 0)
    assert texts.empty()


def test_too_long_is_said_and_not_handed_on(screen, clipboard, texts) -> None:
    copy(screen, "x" * (CLIPBOARD_BYTES + 1))
    text, too_long = texts.get(timeout=10)
    assert text == ""
    assert too_long > CLIPBOARD_BYTES
    with pytest.raises(ValueError, match="at most"):
        clipboard.write("x" * (CLIPBOARD_BYTES + 1))
    copy(screen, "short again")
    assert texts.get(timeout=10) == ("short again", 0)


def test_a_program_that_never_takes_its_pieces_stops_nobody(screen, clipboard) -> None:
    clipboard.write(of_size(200_000))
    time.sleep(0.1)
    stuck = subprocess.Popen(
        ["xclip", "-selection", "clipboard", "-o"], env=screen.env, stdout=subprocess.PIPE
    )
    time.sleep(0.2)
    stuck.send_signal(
        19
    )  # SIGSTOP: xclip waits on its pipe or is stopped, either way it takes nothing
    assert paste(screen) == of_size(200_000)
    stuck.kill()
    stuck.wait()
    stuck.stdout.close()
    assert paste(screen) == of_size(200_000)


def test_what_is_there_at_the_start_is_reported(screen, texts) -> None:
    copy(screen, "was there before")
    opened = Clipboard(screen.display, lambda text, too_long: texts.put((text, too_long)))
    assert texts.get(timeout=10) == ("was there before", 0)
    opened.close()
    opened.close()


def test_it_ends_with_its_server(make_xvfb) -> None:
    server = make_xvfb("320x240")
    opened = Clipboard(server.display, lambda text, too_long: None)
    server.kill()
    deadline = time.monotonic() + 5
    while any(t.name == "kvmstream-clipboard" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    opened.write("for nobody")
    opened.close()
    with pytest.raises(CaptureError):
        Clipboard(server.display, lambda text, too_long: None)


def test_who_copies_at_the_same_time_does_not_leave_it_empty(screen, clipboard) -> None:
    for number in range(40):
        theirs = threading.Thread(target=copy, args=(screen, f"theirs {number}"))
        theirs.start()
        time.sleep(number % 8 / 1000)
        clipboard.write(f"ours {number}")
        theirs.join()
        time.sleep(0.02)
        assert paste(screen) in (f"theirs {number}", f"ours {number}")
