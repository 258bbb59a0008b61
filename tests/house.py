"""A hub, its agents and its viewers for the tests that need all three, on loopback with real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import kvmstream
from kvmstream.agent import pair

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["House", "eventually", "house"]


async def eventually(condition, seconds=10.0, what="the condition"):
    """Wait until it holds."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


class House:
    """One hub in a folder of its own. Everything that was opened here is closed with it."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.hub = kvmstream.Hub(folder, host=host, control_port=0, video_port=0, web_port=0)
        self._agents: list[kvmstream.SourceAgentClient] = []

    async def __aenter__(self):
        await self.hub.start()
        for role in ("admin", "control", "view"):
            self.hub.store.set_user(role, role, f"password of {role}")
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in self._agents:
            await asyncio.to_thread(agent.stop)
        await self.hub.stop()

    @property
    def url(self) -> str:
        return self.hub.address("127.0.0.1").url

    async def agent(self, display: str = "", *, name: str = "office-pc", **settings):
        """A paired agent that is connected."""
        await asyncio.to_thread(pair, str(self.hub.pairing_line("127.0.0.1")), name)
        view_only = settings.pop("view_only", False)
        config = kvmstream.StreamConfig(display=display, cursor="metadata", **settings)
        agent = kvmstream.SourceAgentClient(config, name=name, view_only=view_only)
        self._agents.append(agent)
        agent.start("127.0.0.1", self.hub.control_port, self.hub.video_port)
        assert await asyncio.to_thread(agent.wait_connected, 20), agent.problem
        await eventually(lambda: self.hub.held[name].online, what="the source's coming online")
        return agent

    def viewer(self, role: str = "control") -> kvmstream.RemoteHub:
        return kvmstream.connect(self.url, token=self.hub.store.new_token(role))


@pytest.fixture
def house(tmp_path, monkeypatch):
    """async with house() as it: …; nothing of whoever runs the tests is read or written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("KVMSTREAM_TOKEN", raising=False)
    return lambda host="127.0.0.1": House(tmp_path / "hub", host)


@contextlib.contextmanager
def terminal(server, file: Path):
    """An xterm that writes what is typed into a file, with the keyboard's focus."""
    program = f"cat > {file}"
    with server.client(
        "xterm",
        "-geometry",
        "80x24+0+0",
        "-u8",
        "-xrm",
        "XTerm*eightBitInput: false",
        "-e",
        "sh",
        "-c",
        program,
    ):
        found = subprocess.run(
            ["xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm"],
            env=server.env, capture_output=True, text=True, timeout=20, check=True,
        ).stdout.split()  # fmt: skip
        server.run("xdotool", "windowfocus", "--sync", found[-1])
        yield


def python(*arguments, env=None, **options):
    """Runs the installed kvmstream's command line."""
    return subprocess.run(
        [sys.executable, "-m", "kvmstream", *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}, check=False, **options,
    )  # fmt: skip
