"""Lets go of every key when the agent's worker dies: `python -m kvmstream.agent._watchdog DISPLAY`. On Windows
DISPLAY is empty.

The worker writes "+CODE" before a key or button goes down, "-CODE" after it went up, "=KEYCODE SYM SYM …" before a
spare key of the map is borrowed and "/KEYCODE" after it was given back. When its end of the pipe closes, for whatever
reason, what is still down goes up and the map becomes what it was. A signal that ends the worker's whole process group
leaves this process alone: it has a session of its own.
"""

from __future__ import annotations

import contextlib
import signal
import sys


def main() -> int:
    """Read to the end of standard input, then clean up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):  # not every platform has every one
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    down: dict[int, None] = {}
    borrowed: dict[int, list[int]] = {}
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):
            break  # the worker died in the middle of it
        kind, *numbers = line[:1], *map(int, line[1:].split())
        if kind == b"+":
            down[numbers[0]] = None
        elif kind == b"-":
            down.pop(numbers[0], None)
        elif kind == b"=":
            borrowed[numbers[0]] = numbers[1:]
        elif kind == b"/":
            borrowed.pop(numbers[0], None)
    if not down and not borrowed:
        return 0
    if sys.platform == "win32":
        from ._sendinput import SendInput

        hand = SendInput()
        for code in reversed(down):
            hand.release(code)
        return 0
    from kvmstream._fallback.x11_wire import XServerGone

    from ._xtest import XKeyboard, XTest

    with contextlib.suppress(
        XServerGone
    ):  # no server: its keys went with it; no XTEST: the kernel let go of them
        test = XTest(sys.argv[1])
        for code in reversed(down):
            test.release(code)
        test.sync()
        test.close()
    with contextlib.suppress(XServerGone):
        keyboard = XKeyboard(sys.argv[1])
        for keycode, symbols in borrowed.items():
            keyboard.set_symbols(keycode, symbols)
        keyboard.sync()
        keyboard.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
