"""The kvmstream command, run as its users run it: a process with pipes, signals and a private X server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import av
import numpy as np
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

_COMMANDS = ["doctor", "displays", "encoders", "screenshot", "record", "bench"]


# ---- the command itself


def test_version() -> None:
    result = run_command("--version")
    assert (result.stdout, result.returncode) == (f"kvmstream {kvmstream.__version__}\n", 0)


@pytest.mark.parametrize("command", [None, *_COMMANDS])
def test_help_has_examples(command: str | None) -> None:
    result = run_command(*([command] if command else []), "--help")
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
    assert_one_clear_line(run_command(*placed), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_cannot_be_had_is_one_clear_line() -> None:
    code = (
        "import sys; sys.modules['kvmstream._core'] = None\n"
        "from kvmstream.cli import main; sys.exit(main(['encoders', '--backend', 'native']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_clear_line(result, "KVMSTREAM_BACKEND", "pure Python", "pip install")


def test_a_reader_that_leaves_is_no_error() -> None:
    process = start_command("encoders", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) in (0, 1)
    assert process.stderr.read() == ""
    process.stderr.close()


# ---- doctor, displays, encoders


def test_doctor_without_a_screen() -> None:
    result = run_command("doctor")
    assert result.returncode == 1
    assert "Streaming would not work here" in result.stdout
    assert "DISPLAY is not set" in result.stdout
    assert result.stderr == ""


def test_doctor_with_a_screen(xvfb: str) -> None:
    result = run_command("doctor", display=xvfb)
    assert (result.returncode, result.stderr) == (0, "")
    assert "x11: will be used" in result.stdout
    assert "Streaming works here: x11 capture" in result.stdout
    assert kvmstream.backend in result.stdout


def test_doctor_json(xvfb: str) -> None:
    result = run_command("doctor", "--json", display=xvfb)
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
        **clean_environment(xvfb),
        "XDG_SESSION_TYPE": "wayland",
        "WAYLAND_DISPLAY": "wayland-0",
    }
    command = [sys.executable, "-m", "kvmstream", "doctor", "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    findings = json.loads(result.stdout)
    assert findings["session"]["type"] == "wayland"
    assert "Wayland" in " ".join([*findings["notes"], *findings["problems"]])


def test_doctor_when_no_backend_loads() -> None:
    environment = {**clean_environment(), "KVMSTREAM_BACKEND": "bogus"}
    command = [sys.executable, "-m", "kvmstream", "doctor", "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    findings = json.loads(result.stdout)
    assert result.returncode == 1
    assert "KVMSTREAM_BACKEND = 'bogus'" in findings["problems"][0]
    assert findings["backend"] is None


def test_displays(xvfb: str) -> None:
    found = json.loads(run_command("displays", "--json", display=xvfb).stdout)
    assert found == json.loads(run_command("displays", "--json", "--server", xvfb).stdout)
    assert found[0]["width"] > 0
    text = run_command("displays", display=xvfb).stdout
    assert text.startswith("ID ")
    assert f"{found[0]['width']}x{found[0]['height']}" in text


def test_encoders() -> None:
    found = json.loads(run_command("encoders", "--json").stdout)
    lines = run_command("encoders").stdout.splitlines()
    assert len(lines) == len(found) + 1
    for encoder, line in zip(found, lines[1:], strict=True):
        assert line.startswith(encoder["name"])
        assert encoder["reason"] in line


# ---- screenshot


@needs_ffmpeg
def test_screenshot(xvfb: str, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    result = run_command("screenshot", "--no-cursor", "--region", "3,5,101,67", path, display=xvfb)
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


# ---- bench


def test_bench() -> None:
    result = run_command("bench", "--seconds", 1.5, "--size", "320x200", "--json")
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["backend"] == kvmstream.backend
    fast, paced = report["runs"]["unthrottled"], report["runs"]["60 fps"]
    assert fast["fps"] > 30
    assert 20 < paced["fps"] < 75
    for figures in (fast, paced):
        assert figures["latency_ms_p95"] >= figures["latency_ms_p50"] > 0
        assert figures["cpu_ms_per_frame"] > 0
    table = run_command("bench", "--seconds", 1, "--size", "64x48").stdout
    assert "UNTHROTTLED" in table
    assert "latency ms, p50 / p95" in table
