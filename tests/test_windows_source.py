"""A Windows source from the screen to a decoder: the crossed core under Wine, decoded here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest

import kvmstream

_BUILD = os.environ.get("KVMSTREAM_WINDOWS_BUILD", "")
pytestmark = pytest.mark.skipif(not _BUILD, reason="scripts/test_windows.sh runs it")


def _pixels(width: int, height: int, seed: int) -> np.ndarray:
    """What cpp/tests/windows/window.hpp shows, as red, green, blue."""
    y, x = np.mgrid[:height, :width].astype(np.uint32)
    hash_ = (
        x * np.uint32(0x9E3779B1)
        ^ y * np.uint32(0x85EBCA77)
        ^ np.uint32(seed * 0xC2B2AE3D & 0xFFFFFFFF)
    )
    hash_ ^= hash_ >> 15
    value = hash_ * np.uint32(0x2C1B3C6D) >> 7
    return np.stack([value >> 16 & 255, value >> 8 & 255, value & 255], axis=2).astype(float)


def _luma(rgb: np.ndarray) -> np.ndarray:
    """BT.709, limited."""
    return 16 + (rgb @ np.array([0.2126, 0.7152, 0.0722])) * 219 / 255


def _seen_from_linux(display: str, process: subprocess.Popen[str]) -> str:
    """The same region of the same X server by the native core of this platform, while the window moves."""
    config = kvmstream.StreamConfig(
        display=display, region=(16, 32, 640, 480), crf=12, bitrate=60_000_000, cursor="hidden"
    )
    with kvmstream.Stream(config) as stream, stream.subscribe() as packets:
        deadline = time.monotonic() + 60
        moved = 0
        while moved < 10:
            packet = packets.next(timeout=0.5)
            moved += packet is not None and not packet.refinement
            if process.poll() is not None or time.monotonic() > deadline:
                return "nothing moved"
        began, cpu, frames = time.monotonic(), time.process_time(), 0
        while time.monotonic() < began + 2:
            frames += packets.next(timeout=0.5) is not None
        cpu = time.process_time() - cpu
    if not frames:
        return "nothing moved"
    return f"{frames / 2:.1f} fps, {1000 * cpu / frames:.2f} ms"


def test_from_the_desktop_to_the_decoder(xvfb: str, tmp_path: Path) -> None:
    path = tmp_path / "desktop.h264"
    with subprocess.Popen(
        ["wine", Path(_BUILD) / "cpp/tests/windows/record_desktop.exe", f"Z:{path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DISPLAY": xvfb},
    ) as process:
        linux = _seen_from_linux(xvfb, process)
        stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    told = json.loads(stdout)
    assert told["capture"].startswith("gdi")
    assert told["encoder"] == "screen"
    probe = ["ffmpeg", "-v", "warning", "-err_detect", "explode", "-i", path, "-f", "null", "-"]
    checked = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    with av.open(path) as container:
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
        assert [container.streams.video[0].width, container.streams.video[0].height] == told["size"]
    assert len(pictures) == told["packets"] > 60
    width, height = told["size"]
    last = pictures[-1][:height].astype(float)  # I420's luma comes first
    x, y, columns, rows = told["window"]
    shown = last[y : y + rows, x : x + columns]
    error = np.mean((shown - _luma(_pixels(columns, rows, told["seed"]))) ** 2)
    assert 10 * np.log10(255**2 / error) > 42, "the window, sharpened"
    around = np.concatenate([last[:y].ravel(), last[y + rows :].ravel()])
    assert np.ptp(around) <= 8, "the bare desktop is of one colour, and nothing was left behind"
    # The line that docs/verification.md quotes.
    wine = f"{told['fps']:.1f} fps, {told['cpu_ms']:.2f} ms"
    print(f"CPU a frame at {width}x{height}, both at once: GDI under Wine {wine}; X11 {linux}")
