"""A slow, distant or lossy line to a network namespace: two TUN devices and a process between them.

    with Line(bandwidth=1e6, delay=0.05, loss=0.0) as line:
        line.run("python", …)          # a program at the far end; this machine is line.near there

Real TCP on both sides. Needs root, ip and /dev/net/tun.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_QUEUE_BYTES = 64 << 10  # of a cheap router
_MTU = 1500


def available() -> bool:
    """Whether this machine may make one."""
    return os.geteuid() == 0 and Path("/dev/net/tun").exists() and shutil.which("ip") is not None


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(
        descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    )
    return descriptor


class Line:
    """`bandwidth` in bit/s and `delay` in seconds hold for each direction, `loss` is a share of the packets."""

    def __init__(self, bandwidth: float = 1e9, delay: float = 0.0, loss: float = 0.0) -> None:
        number = os.getpid() % 50_000
        self._settings = (bandwidth, delay, loss)
        self._names = f"kl{number}a", f"kl{number}b"
        self.namespace = f"kvml{number}"
        self.near = f"10.{98 + number % 2}.{number // 256 % 256}.1"
        self._far = self.near[:-1] + "2"

    def __enter__(self):
        self._descriptors = [_tun(name) for name in self._names]
        near, far = self._names
        for command in (
            f"ip netns add {self.namespace}",
            f"ip addr add {self.near}/30 dev {near}",
            f"ip link set {near} up mtu {_MTU}",
            f"ip link set {far} netns {self.namespace}",
            f"ip -n {self.namespace} addr add {self._far}/30 dev {far}",
            f"ip -n {self.namespace} link set {far} up mtu {_MTU}",
            f"ip -n {self.namespace} link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        settings = [str(value) for value in (*self._settings, *self._descriptors)]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *settings], pass_fds=self._descriptors
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        for descriptor in self._descriptors:
            os.close(descriptor)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)

    def run(self, *command: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """A program at the far end."""
        full = ["ip", "netns", "exec", self.namespace, *command]
        return subprocess.run(full, capture_output=True, text=True, timeout=timeout, check=False)


def _forward(bandwidth: float, delay: float, loss: float, one: int, other: int) -> None:
    chance = random.Random(1)
    to = {one: other, other: one}
    free_at = dict.fromkeys(to, 0.0)
    flying: dict[int, collections.deque[tuple[float, bytes]]] = {
        end: collections.deque() for end in to
    }
    poll = select.poll()
    for end in to:
        poll.register(end, select.POLLIN)
    while True:
        due = min((queue[0][0] for queue in flying.values() if queue), default=None)
        now = time.monotonic()
        poll.poll(None if due is None else max(0.0, (due - now) * 1000))
        now = time.monotonic()
        for end, far in to.items():
            with contextlib.suppress(BlockingIOError):
                while packet := os.read(end, 65536):
                    waiting = max(0.0, free_at[end] - now) * bandwidth / 8
                    if chance.random() < loss or waiting > _QUEUE_BYTES:
                        continue
                    free_at[end] = max(now, free_at[end]) + len(packet) * 8 / bandwidth
                    flying[end].append((free_at[end] + delay, packet))
            queue = flying[end]
            while queue and queue[0][0] <= now:
                with contextlib.suppress(BlockingIOError):
                    os.write(far, queue[0][1])
                queue.popleft()


if __name__ == "__main__":
    with contextlib.suppress(OSError, KeyboardInterrupt):
        _forward(*map(float, sys.argv[1:4]), *map(int, sys.argv[4:6]))
