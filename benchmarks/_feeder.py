"""What makes the screen move: run inside an xterm (scroll, typing) or beside one (drag).

Each mode follows absolute deadlines, so its rate does not depend on the machine's load, and is
deterministic: SIGUSR1 starts it from the beginning. SIGSTOP/SIGCONT freeze and thaw it; the time
lost while frozen is not caught up. With --stepped there are no deadlines: each SIGUSR2 is a step.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_WORDS = [
    "packet", "damage", "encoder", "stream", "frame", "tile", "screen", "keyframe", "queue",
    "latency", "bitrate", "hub", "agent", "source", "viewer", "slice", "motion", "vector",
    "quantiser", "buffer", "deadline", "thread", "lease", "window", "cursor",
]  # fmt: skip


def _text_line(rng: random.Random, number: int, columns: int) -> str:
    """One log-like line in several colours, of varying length."""
    length = rng.randrange(columns // 4, columns - 4)
    parts = [f"\x1b[90m{number:07d}\x1b[0m "]
    used = 8
    while used < length:
        word = rng.choice(_WORDS)
        parts.append(f"\x1b[{rng.choice((31, 32, 33, 34, 35, 36, 37, 97))}m{word}\x1b[0m ")
        used += len(word) + 1
    return "".join(parts)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _paced(rate: float, steps: Callable[[], Iterator[None]]) -> None:
    """Run one step per tick, for ever; `steps()` is called anew after SIGUSR1."""
    restart = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal restart
        restart = True

    signal.signal(signal.SIGUSR1, on_signal)
    interval = 1.0 / rate
    while True:
        restart = False
        deadline = time.monotonic()
        for _ in steps():
            deadline += interval
            pause = deadline - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            elif pause < -0.1:  # frozen meanwhile
                deadline = time.monotonic()
            if restart:
                break


def _stepped(steps: Callable[[], Iterator[None]]) -> None:
    """Run one step for each SIGUSR2; the signals must be blocked already."""
    while True:
        for _ in steps():
            if signal.sigwait({signal.SIGUSR1, signal.SIGUSR2}) == signal.SIGUSR1:
                break


def _scroll(columns: int, rows: int) -> Iterator[None]:
    rng = random.Random(7)
    _write("\x1b[?25l\x1b[2J\x1b[H")
    for number in range(rows):
        _write(_text_line(rng, number, columns) + "\r\n")
    number = rows
    while True:
        _write(_text_line(rng, number, columns) + "\r\n")
        number += 1
        yield


def _typing(columns: int, rows: int, log: TextIO) -> Iterator[None]:
    """One character a step; the time of each goes into the log, in time.perf_counter_ns()."""
    rng = random.Random(11)
    _write("\x1b[2J\x1b[H")
    while True:
        # The terminal is filled line by line and then overwritten from the top: no scrolling.
        for row in range(1, rows):
            _write(f"\x1b[{row};1H")
            text = " ".join(rng.choice(_WORDS) for _ in range(columns))[: columns - 2]
            for character in text:
                log.write(f"{time.perf_counter_ns()}\n")
                _write(character)
                log.flush()
                yield


def _caret(columns: int, rows: int) -> Iterator[None]:
    """A page of text, and a block behind its last word that comes and goes."""
    rng = random.Random(5)
    _write("\x1b[?25l\x1b[2J\x1b[H")
    _write("\r\n".join(_text_line(rng, number, columns) for number in range(rows - 1)))
    while True:
        for block in ("\x1b[7m \x1b[0m", " "):
            _write(block + "\b")
            yield


def _page(columns: int, rows: int) -> None:
    rng = random.Random(3)
    _write("\x1b[?25l\x1b[2J\x1b[H")
    _write("\r\n".join(_text_line(rng, number, columns) for number in range(rows - 1)))
    signal.pause()


def _drag(window: int, area: tuple[int, int, int, int]) -> Callable[[], Iterator[None]]:
    """Move a window by (12, 5) pixels a step, reflected at the edges of `area`."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    x11.XMoveWindow.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_int]
    x11.XFlush.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    if not display:
        raise SystemExit("drag: no X server at $DISPLAY")
    left, top, right, bottom = area

    def steps() -> Iterator[None]:
        x, y, dx, dy = left, top, 12, 5
        while True:
            x, y = x + dx, y + dy
            if not left <= x <= right:
                dx = -dx
                x += 2 * dx
            if not top <= y <= bottom:
                dy = -dy
                y += 2 * dy
            x11.XMoveWindow(display, window, x, y)
            x11.XFlush(display)
            yield

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["scroll", "typing", "caret", "page", "drag"])
    parser.add_argument("--rate", type=float, default=60.0, help="changes a second")
    parser.add_argument("--stepped", action="store_true", help="a step for each SIGUSR2")
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--window", type=int, default=0)
    parser.add_argument("--area", type=int, nargs=4, default=(0, 0, 100, 100))
    options = parser.parse_args()
    if options.stepped:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    else:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def run(steps: Callable[[], Iterator[None]]) -> None:
        if options.stepped:
            _stepped(steps)
        else:
            _paced(options.rate, steps)

    if options.mode == "drag":
        steps = _drag(options.window, tuple(options.area))
        options.pid_file.write_text(str(os.getpid()))
        run(steps)
        return
    columns, rows = os.get_terminal_size()
    options.pid_file.write_text(str(os.getpid()))
    if options.mode == "page":
        _page(columns, rows)
    elif options.mode == "scroll":
        run(lambda: _scroll(columns, rows))
    elif options.mode == "caret":
        run(lambda: _caret(columns, rows))
    else:
        with options.pid_file.with_suffix(".log").open("w") as log:
            run(lambda: _typing(columns, rows, log))


if __name__ == "__main__":
    main()
