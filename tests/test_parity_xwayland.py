"""A Wayland session's X server shows nothing of the screen: both backends say so. Real weston, real Xwayland."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest
from conftest import XServer

from kvmstream import errors

pytestmark = pytest.mark.skipif(
    not (shutil.which("weston") and shutil.which("Xwayland")),
    reason="needs weston and Xwayland: apt-get install weston xwayland",
)


@pytest.fixture
def xwayland(tmp_path, monkeypatch):
    """An Xwayland inside a headless compositor."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "kvmstream-test")
    compositor = subprocess.Popen(
        [
            "weston",
            "--backend=headless-backend.so",
            "--no-config",
            "--idle-time=0",
            "--socket=kvmstream-test",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "kvmstream-test").exists():
            assert compositor.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server = XServer(["Xwayland", "-noreset"])
        try:
            yield server
        finally:
            server.end()
    finally:
        compositor.terminate()
        compositor.wait(timeout=20)


def test_xwayland_is_refused_with_the_reason_and_the_next_step(backend, xwayland):
    with pytest.raises(errors.CaptureError, match=r"is Xwayland.*log in to an X11"):
        backend.Pipeline(display=xwayland.display).start()
    with pytest.raises(errors.CaptureError, match="is Xwayland"):
        backend.screenshot(display=xwayland.display)
