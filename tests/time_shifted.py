"""Runs a command in a time namespace whose clock is ahead: python tests/time_shifted.py NANOSECONDS COMMAND …

Everything that the command starts lives there, so its clocks agree with each other, as on another machine. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_CLONE_NEWTIME = 0x80
_NANOSECONDS = 1_000_000_000


def main() -> int:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWTIME):
        print(f"unshare: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return 77
    seconds, rest = divmod(int(sys.argv[1]), _NANOSECONDS)
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} {rest}\n")
    # Only children live in the namespace.
    with subprocess.Popen(sys.argv[2:]) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: process.send_signal(number))
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
