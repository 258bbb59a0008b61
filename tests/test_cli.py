"""The kvmstream command, run as its users run it: a process with pipes, signals and a private X server."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

import kvmstream

if TYPE_CHECKING:
    from pathlib import Path

_COMMANDS = ["doctor", "displays", "encoders", "screenshot", "record", "bench"]

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="needs ffprobe and ffmpeg"
)


def _environment(display: str = "") -> dict[str, str]:
    """No screen but the one that a test names: never the user's own."""
    removed = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "KVMSTREAM_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    if display:
        environment["DISPLAY"] = display
    return environment


def _run(*arguments: object, display: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmstream", *map(str, arguments)],
        env=_environment(display),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _start(*arguments: object, display: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kvmstream", *map(str, arguments)],
        env=_environment(display),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _assert_one_clear_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("kvmstream")
    for word in words:
        assert word in line


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


# ---- the command itself


def test_version() -> None:
    result = _run("--version")
    assert (result.stdout, result.returncode) == (f"kvmstream {kvmstream.__version__}\n", 0)


@pytest.mark.parametrize("command", [None, *_COMMANDS])
def test_help_has_examples(command: str | None) -> None:
    result = _run(*([command] if command else []), "--help")
    assert result.returncode == 0
    assert "examples:" in result.stdout
    assert f"kvmstream {command or 'record'}" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["recrod"], ["recrod"]),
        (["record"], ["OUT.mp4"]),
        (["record", "--size", "big", "out.mp4"], ["'big'", "1280x720"]),
        (["record", "--seconds", "-1", "out.mp4"], ["'-1'", "above 0"]),
        (["record", "--region", "1,2", "out.mp4"], ["'1,2'", "X,Y,WIDTH,HEIGHT"]),
        (["record", "--size", "1x1", "--source", "pattern", "out.mp4"], ["width = 1", "2 to 8192"]),
        (["record", "--fps", "0", "--source", "pattern", "out.mp4"], ["fps = 0.0", "0.1 to 1000"]),
        (["record", "--encoder", "x265", "--source", "pattern", "out.mp4"], ["x265"]),
        (
            ["record", "--source", "pattern", "/nowhere/out.mp4"],
            ["/nowhere/out.mp4", "No such file"],
        ),
        (["record", "--source", "pattern", "out.avi"], ["out.avi", ".mp4"]),
        (["record", "--display", ":250", "out.mp4"], [":250"]),
        (["record", "out.mp4"], ["DISPLAY"]),
        (["screenshot", "out.jpg"], ["out.jpg", ".png"]),
        (["screenshot", "--display", ":250", "out.png"], [":250"]),
        (["displays", "--server", ":250"], [":250"]),
        (["bench", "--size", "1920"], ["'1920'"]),
    ],
)
def test_a_wrong_request_is_one_clear_line(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    placed = [tmp_path / word if word.startswith("out.") else word for word in arguments]
    _assert_one_clear_line(_run(*placed), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_cannot_be_had_is_one_clear_line() -> None:
    code = (
        "import sys; sys.modules['kvmstream._core'] = None\n"
        "from kvmstream.cli import main; sys.exit(main(['encoders', '--backend', 'native']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    _assert_one_clear_line(result, "KVMSTREAM_BACKEND", "pure Python", "pip install")


def test_a_reader_that_leaves_is_no_error() -> None:
    process = _start("encoders", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) in (0, 1)
    assert process.stderr.read() == ""
    process.stderr.close()


# ---- doctor, displays, encoders


def test_doctor_without_a_screen() -> None:
    result = _run("doctor")
    assert result.returncode == 1
    assert "Streaming would not work here" in result.stdout
    assert "DISPLAY is not set" in result.stdout
    assert result.stderr == ""


def test_doctor_with_a_screen(xvfb: str) -> None:
    result = _run("doctor", display=xvfb)
    assert (result.returncode, result.stderr) == (0, "")
    assert "x11: will be used" in result.stdout
    assert "Streaming works here: x11 capture" in result.stdout
    assert kvmstream.backend in result.stdout


def test_doctor_json(xvfb: str) -> None:
    result = _run("doctor", "--json", display=xvfb)
    findings = json.loads(result.stdout)
    assert findings["ok"] is True
    assert findings["problems"] == []
    assert findings["backend"] == kvmstream.backend
    assert bool(findings["backend_reason"]) == (findings["backend"] != "native")
    assert findings["capture"] == "x11"
    assert findings["session"]["type"] == "x11"
    assert findings["build"]["ffmpeg"]
    assert findings["build"]["ffmpeg_license"]
    for found in findings["encoders"]:
        assert bool(found["reason"]) != found["available"], found
    used = [found for found in findings["encoders"] if found["name"] == findings["encoder"]]
    assert used[0]["available"]


def test_doctor_on_wayland(xvfb: str) -> None:
    environment = {
        **_environment(xvfb),
        "XDG_SESSION_TYPE": "wayland",
        "WAYLAND_DISPLAY": "wayland-0",
    }
    command = [sys.executable, "-m", "kvmstream", "doctor", "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    findings = json.loads(result.stdout)
    assert findings["session"]["type"] == "wayland"
    assert "Wayland" in " ".join([*findings["notes"], *findings["problems"]])


def test_doctor_when_no_backend_loads() -> None:
    environment = {**_environment(), "KVMSTREAM_BACKEND": "bogus"}
    command = [sys.executable, "-m", "kvmstream", "doctor", "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    findings = json.loads(result.stdout)
    assert result.returncode == 1
    assert "KVMSTREAM_BACKEND = 'bogus'" in findings["problems"][0]
    assert findings["backend"] is None


def test_displays(xvfb: str) -> None:
    found = json.loads(_run("displays", "--json", display=xvfb).stdout)
    assert found == json.loads(_run("displays", "--json", "--server", xvfb).stdout)
    assert found[0]["width"] > 0
    text = _run("displays", display=xvfb).stdout
    assert text.startswith("ID ")
    assert f"{found[0]['width']}x{found[0]['height']}" in text


def test_encoders() -> None:
    found = json.loads(_run("encoders", "--json").stdout)
    lines = _run("encoders").stdout.splitlines()
    assert len(lines) == len(found) + 1
    for encoder, line in zip(found, lines[1:], strict=True):
        assert line.startswith(encoder["name"])
        assert encoder["reason"] in line


# ---- screenshot


@needs_ffmpeg
def test_screenshot(xvfb: str, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    result = _run("screenshot", "--no-cursor", "--region", "3,5,101,67", path, display=xvfb)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    with av.open(path) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    expected = kvmstream.screenshot(display=xvfb, region=(3, 5, 101, 67), cursor="hidden")
    assert np.array_equal(decoded, expected)


def test_png_is_exact() -> None:
    import io

    from kvmstream.cli.screenshot import png

    rng = np.random.default_rng(5)
    for shape in [(1, 1, 3), (2, 1, 3), (37, 53, 3)]:
        picture = rng.integers(0, 256, shape, np.uint8)
        with av.open(io.BytesIO(png(picture)), format="png_pipe") as container:
            decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert np.array_equal(decoded, picture)


# ---- record


@needs_ffmpeg
@pytest.mark.parametrize("backend", ["native", "python"])
def test_record_a_screen_for_some_seconds(backend: str, xvfb: str, tmp_path: Path) -> None:
    if backend == "native" and kvmstream.backend != "native":
        pytest.skip("no native core")
    path = tmp_path / "out.mp4"
    result = _run(
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
    result = _run("record", *options, "--bitrate", "1e6", "--seconds", 1, path, "--display", xvfb)
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
    process = _start("record", path, display=xvfb)
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
    process = _start("record", "--source", source, "--display", shown, path)
    _wait_for_size(path, 500)
    time.sleep(2)
    process.kill()
    process.communicate()
    assert _duration(path) > 1.0


@needs_ffmpeg
def test_an_x_server_that_dies_leaves_a_file_and_an_error(make_xvfb: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    server = make_xvfb("320x240")
    process = _start("record", path, display=server.display)
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
        env=_environment(),
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
    _assert_one_clear_line(_run("record", "--display", ":250", path), ":250")
    assert path.read_bytes() == b"precious"


# ---- bench


def test_bench() -> None:
    result = _run("bench", "--seconds", 1.5, "--size", "320x200", "--json")
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["backend"] == kvmstream.backend
    fast, paced = report["runs"]["unthrottled"], report["runs"]["60 fps"]
    assert fast["fps"] > 30
    assert 20 < paced["fps"] < 75
    for figures in (fast, paced):
        assert figures["latency_ms_p95"] >= figures["latency_ms_p50"] > 0
        assert figures["cpu_ms_per_frame"] > 0
    table = _run("bench", "--seconds", 1, "--size", "64x48").stdout
    assert "UNTHROTTLED" in table
    assert "latency ms, p50 / p95" in table
