"""The kvmstream command as a process, for the tests of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="needs ffprobe and ffmpeg"
)


def clean_environment(display: str = "") -> dict[str, str]:
    """No screen but the one that a test names: never the user's own."""
    removed = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "KVMSTREAM_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    if display:
        environment["DISPLAY"] = display
    return environment


def run_command(*arguments: object, display: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmstream", *map(str, arguments)],
        env=clean_environment(display),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start_command(*arguments: object, display: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kvmstream", *map(str, arguments)],
        env=clean_environment(display),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_one_clear_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("kvmstream")
    for word in words:
        assert word in line
