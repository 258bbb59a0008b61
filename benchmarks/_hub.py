"""A hub of its own for a benchmark, and agents that are paired with it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kvmstream.agent import pair
from kvmstream.wire.address import HubAddress

if TYPE_CHECKING:
    from types import TracebackType


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


PORTS = tuple(_free_port() for _ in range(3))  # control, video, https
_NAMESPACE = "kvmbench"


class Hub:
    """`kvmstream hub` in a folder of its own, with its sources paired; with `veth` in a network namespace."""

    def __init__(self, folder: Path, names: list[str], *, veth: bool = False) -> None:
        self.folder = folder
        self.names = names
        self._veth = veth
        self.host = "10.99.0.1" if veth else "127.0.0.1"
        self._within = ["ip", "netns", "exec", _NAMESPACE] if veth else []

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        os.environ["XDG_CONFIG_HOME"] = str(self.folder)
        if self._veth:
            for command in (
                f"ip netns add {_NAMESPACE}",
                f"ip link add kvmb0 type veth peer name kvmb1 netns {_NAMESPACE}",
                "ip addr add 10.99.0.2/24 dev kvmb0",
                "ip link set kvmb0 up",
                f"ip -n {_NAMESPACE} addr add 10.99.0.1/24 dev kvmb1",
                f"ip -n {_NAMESPACE} link set kvmb1 up",
                f"ip -n {_NAMESPACE} link set lo up",
            ):
                subprocess.run(command.split(), check=True)
        self._cli("users", "add", "bench", "--role", "admin", said=b"only for this run")
        control, video, web = map(str, PORTS)
        log = (self.folder / "hub.log").open("wb")
        self.process = subprocess.Popen(
            [*self._within, sys.executable, "-m", "kvmstream", "hub", "--folder", str(self.folder / "hub"), "--host",
             self.host, "--port", control, "--video-port", video, "--web-port", web],
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        while b"Ctrl-C" not in (self.folder / "hub.log").read_bytes():
            assert self.process.poll() is None, (self.folder / "hub.log").read_text()
            time.sleep(0.05)
        self.access = json.loads(
            self._cli("users", "token", "bench", "--json", "--address", self.host)
        )
        self.address = asdict(HubAddress.parse(self.access["url"]))
        self.sources = []
        for name in self.names:
            line = re.search(
                r"'(kvmstream://[^']+)'",
                self._cli("hub", "--pair", "--address", self.host).decode(),
            )
            assert line is not None
            os.environ["XDG_CONFIG_HOME"] = str(self.folder / name)  # a machine of its own
            credential = pair(line[1], name)
            self.sources.append(
                {
                    "hub": self.address,
                    "identity": credential.identity,
                    "secret": credential.secret,
                    "name": name,
                }
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        if self._veth:
            subprocess.run(["ip", "netns", "del", _NAMESPACE], check=False)

    def _cli(self, *words: str, said: bytes = b"") -> bytes:
        full = [sys.executable, "-m", "kvmstream", *words, "--folder", str(self.folder / "hub")]
        return subprocess.run(full, input=said, check=True, capture_output=True).stdout

    @property
    def pid(self) -> int:
        """Of the hub itself, not of `ip netns exec`, which becomes it."""
        return self.process.pid


class Agent:
    """An agent in a process of its own, which can also be made to spin (_agent.py). `display` "pattern" is made up."""

    def __init__(self, hub: Hub, display: str, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("_agent.py")), display, name, *map(str, PORTS[:2])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "XDG_CONFIG_HOME": str(hub.folder / name)},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.worker = int(self._process.stdout.readline())  # its process id

    def spin(self, on: bool) -> None:
        """Let a Python thread of its process spin, or rest."""
        assert self._process.stdin is not None
        self._process.stdin.write("spin\n" if on else "rest\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()
