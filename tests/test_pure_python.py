"""Agent, hub and viewer as processes without the native core: picture, keys and clipboard all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from house import house, python, terminal
from test_cli_hub import free_ports, read_until, running

__all__ = ["house"]  # a fixture

_VIEWER = Path(__file__).with_name("pure_viewer.py")


def test_everything_without_the_native_core(house, screen, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KVMSTREAM_BACKEND", "python")
    control, video = map(str, free_ports())
    web = str(free_ports()[0])
    ports = ("--port", control, "--video-port", video)
    assert (
        python("users", "add", "anna", "--role", "control", input="long enough\n").returncode == 0
    )
    screen.fill(0, 0, 640, 480, (0, 0, 255))
    with running(
        "hub", "--host", "127.0.0.1", "--address", "127.0.0.1", *ports, "--web-port", web
    ) as hub:
        line = read_until(hub, r"kvmstream pair '([^']+)'")[1]
        assert python("pair", line, "--name", "office-pc").returncode == 0
        with running("agent", "127.0.0.1", *ports, "--display", screen.display) as agent:
            read_until(agent, "connected")
            made = json.loads(
                python("users", "token", "anna", "--address", "127.0.0.1", "--json").stdout
            )
            typed = tmp_path / "typed"
            with terminal(screen, typed):
                subprocess.run(
                    ["xclip", "-selection", "clipboard", "-i"],
                    env=screen.env, input="from there", text=True, timeout=10, check=True,
                )  # fmt: skip
                viewer = subprocess.run(
                    [sys.executable, str(_VIEWER), made["url"], made["token"]],
                    env={**os.environ, "DISPLAY": screen.display},
                    capture_output=True, text=True, timeout=60, check=False,
                )  # fmt: skip
                assert viewer.returncode == 0, viewer.stderr
                assert typed.read_text() == "typed ß\n"
    saw = json.loads(viewer.stdout)
    assert saw["viewer"] == saw["agent"] == "python"
    assert saw["encoder"] != "screen", "that one is the native core's"
    assert saw["shape"] == [480, 640, 3]
    assert saw["blue"] == pytest.approx([0, 0, 255], abs=12)
    assert saw["clipboard"] == "from there"
