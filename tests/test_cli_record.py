"""kvmstream record, run as its users run it: a process with pipes, signals and a private X server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import av
import pytest
from command import (
    assert_one_clear_line,
    clean_environment,
    needs_ffmpeg,
    run_command,
    start_command,
)

import kvmstream

if TYPE_CHECKING:
    from pathlib import Path


def _duration(path: Path) -> float:
    """Duration in seconds; FFmpeg reads and decodes the file without a warning."""
    shown = subprocess.run(
        ["ffprobe", "-v", "warning", "-of", "json", "-show_format", path],
        capture_output=True,
        text=True,
        check=True,
    )
    played = subprocess.run(
        ["ffmpeg", "-v", "warning", "-xerror", "-i", path, "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.stderr, played.stderr, played.returncode) == ("", "", 0)
    return float(json.loads(shown.stdout)["format"]["duration"])


def _wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, "nothing is being recorded"
        time.sleep(0.05)


@needs_ffmpeg
@pytest.mark.parametrize("backend", ["native", "python"])
def test_record_a_screen_for_some_seconds(backend: str, xvfb: str, tmp_path: Path) -> None:
    if backend == "native" and kvmstream.backend != "native":
        pytest.skip("no native core")
    path = tmp_path / "out.mp4"
    result = run_command(
        "record", "--backend", backend, "--seconds", 2, "--cursor", "hidden", path, display=xvfb
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr.startswith(f"{path}: 2.0 s, ")
    assert _duration(path) == pytest.approx(2.0, abs=0.05), (
        "a still screen lasts as long as a moving one"
    )


@needs_ffmpeg
def test_record_options(xvfb: str, tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    options = ["--region", "0,0,200,100", "--size", "100x50", "--fps", "20", "--crf", "30"]
    result = run_command(
        "record", *options, "--bitrate", "1e6", "--seconds", 1, path, "--display", xvfb
    )
    assert result.returncode == 0, result.stderr
    with av.open(path) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (100, 50)
    assert _duration(path) == pytest.approx(1.0, abs=0.05)


@needs_ffmpeg
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_cleanly(
    number: signal.Signals, xvfb: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.mp4"
    process = start_command("record", path, display=xvfb)
    _wait_for_size(path, 500)
    time.sleep(1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.startswith(f"{path}: ")
    assert "Traceback" not in stderr
    assert _duration(path) > 0.9


@needs_ffmpeg
@pytest.mark.parametrize("source", ["screen", "pattern"])
def test_kill_9_leaves_a_file_that_plays(source: str, xvfb: str, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    shown = xvfb if source == "screen" else "640x360"
    process = start_command("record", "--source", source, "--display", shown, path)
    _wait_for_size(path, 500)
    time.sleep(2)
    process.kill()
    process.communicate()
    assert _duration(path) > 1.0


@needs_ffmpeg
def test_an_x_server_that_dies_leaves_a_file_and_an_error(make_xvfb: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    server = make_xvfb("320x240")
    process = start_command("record", path, display=server.display)
    _wait_for_size(path, 500)
    time.sleep(0.5)
    server.kill()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    summary, error = stderr.splitlines()
    assert summary.startswith(f"{path}: ")
    assert error.startswith("kvmstream record: error: ")
    assert _duration(path) > 0.4


@needs_ffmpeg
def test_live_figures_on_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    master, slave = pty.openpty()
    arguments = [
        "record",
        "--source",
        "pattern",
        "--display",
        "64x48",
        "--seconds",
        "1.5",
        str(path),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "kvmstream", *arguments],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # how Linux says that the other side has closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(master)
    text = shown.decode()
    for figure in ("fps", "kbit/s", "latency", "MB", "64x48"):
        assert figure in text
    assert text.count("\r") >= 3
    assert _duration(path) == pytest.approx(1.5, abs=0.25)


def test_an_existing_recording_survives_a_wrong_request(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    assert_one_clear_line(run_command("record", "--display", ":250", path), ":250")
    assert path.read_bytes() == b"precious"
