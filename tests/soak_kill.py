"""kill -9 of hub, agent, the agent's worker and viewers in random order, while keys are down.

    python tests/soak_kill.py COUNT

After each: no key stays down at the source, everything is back within 3 s of the restart and shows a picture, and at
the end the database is whole and nothing has leaked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import kvmstream
import kvmstream.agent
from kvmstream.agent._xtest import XTest
from kvmstream.errors import KvmStreamError

PORTS = {"control": 38080, "video": 38081, "web": 38443}
BACK_SECONDS = 3.0
PATIENCE = 20.0  # how long the test waits before it gives up, to tell how late it was


class House:
    """The processes, as an administrator's supervisor would start them."""

    def __init__(self, folder: Path, display: str) -> None:
        self.folder = folder
        self.display = display
        self.command = [sys.executable, "-m", "kvmstream"]
        self.hub: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    def run(self, *words: str, said: bytes = b"") -> bytes:
        full = [*self.command, *words, "--folder", str(self.folder / "hub")]
        return subprocess.run(full, input=said, check=True, capture_output=True).stdout

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            return subprocess.Popen([*self.command, *words], stdout=log, stderr=log)

    def start_hub(self) -> None:
        self.hub = self._start(
            "hub", "--host", "127.0.0.1", "--folder", str(self.folder / "hub"), "--port", str(PORTS["control"]),
            "--video-port", str(PORTS["video"]), "--web-port", str(PORTS["web"]),
        )  # fmt: skip

    def start_agent(self) -> None:
        self.agent = self._start(
            "agent", "127.0.0.1", "--port", str(PORTS["control"]), "--video-port", str(PORTS["video"]),
            "--display", self.display,
        )  # fmt: skip

    def worker(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.agent.pid).children():
                if "kvmstream.agent._worker" in child.cmdline():
                    return child
        return None


async def settled(condition, seconds: float) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def see(
    access: dict[str, str], deadline: float
) -> tuple[kvmstream.RemoteHub, kvmstream.RemoteSource]:
    """A viewer that has a picture."""
    while True:
        hub = kvmstream.connect(access["url"], token=access["token"])
        try:
            async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                await hub.__aenter__()
                source = hub.sources["pc"]
                await source.wait_online()
                await source.screenshot()
                return hub, source
        except (KvmStreamError, TimeoutError):
            await hub.close()
            assert time.monotonic() < deadline, "no picture came back"
            await asyncio.sleep(0.05)


async def storm(count: int, house: House, access: dict[str, str]) -> None:
    chance = random.Random(7)
    test = XTest(house.display)
    worst = {"hub": 0.0, "agent": 0.0, "worker": 0.0, "viewer": 0.0}
    released = 0.0
    hub, source = await see(access, time.monotonic() + PATIENCE)
    here = psutil.Process()
    before = here.num_fds(), here.num_threads()
    for number in range(count):
        for key in chance.sample(["ctrl", "shift", "a", "F5", "Enter"], 3):
            await source.keyboard.down(key)
        await source.mouse.down("right")
        assert len(test.pressed_keycodes()) == 3
        victim = chance.choice(list(worst))
        began = time.monotonic()
        if victim == "hub":
            house.hub.send_signal(signal.SIGKILL)
            house.hub.wait()
        elif victim == "agent":
            house.agent.send_signal(signal.SIGKILL)
            house.agent.wait()
        elif victim == "worker":
            house.worker().send_signal(signal.SIGKILL)
        else:
            hub._control.abort("killed")
            hub._video.abort("killed")
        await settled(
            lambda: not test.pressed_keycodes() and not test.modifiers() & 0x1F00, PATIENCE
        )
        released = max(released, time.monotonic() - began)
        began = time.monotonic()
        if victim == "hub":
            house.start_hub()
        elif victim == "agent":
            house.start_agent()
        await hub.close()
        hub, source = await see(access, time.monotonic() + PATIENCE)
        worst[victim] = max(worst[victim], time.monotonic() - began)
        print(f"{number + 1}: {victim}, back after {time.monotonic() - began:.2f} s", flush=True)
    await asyncio.sleep(1)
    after = here.num_fds(), here.num_threads()
    await hub.close()
    test.close()
    figures = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in worst.items())
    print(
        f"soak: {count} kills; keys up after at most {released:.1f} s; back at the latest after: {figures}"
    )
    assert after[0] <= before[0] + 2, (before, after)
    assert after[1] <= before[1] + 1, (before, after)
    assert released < BACK_SECONDS
    assert max(worst.values()) < BACK_SECONDS


async def main(count: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CONFIG_HOME"] = name
        read_end, write_end = os.pipe()
        server = subprocess.Popen(  # noqa: ASYNC220
            ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        house = House(folder, ":" + os.read(read_end, 16).decode().strip())
        try:
            house.run("users", "add", "anna", "--role", "admin", said=b"long enough")
            house.start_hub()
            await settled(lambda: b"Ctrl-C" in (folder / "hub.log").read_bytes(), PATIENCE)
            access = json.loads(
                house.run("users", "token", "anna", "--json", "--address", "127.0.0.1")
            )
            printed = house.run("hub", "--pair", "--address", "127.0.0.1").decode()
            await asyncio.to_thread(kvmstream.agent.pair, printed.split("'")[1], "pc")
            house.start_agent()
            await storm(count, house, access)
            strays = [
                process.info["cmdline"]
                for process in psutil.process_iter(["cmdline", "ppid"])
                if "kvmstream.agent._worker" in (process.info["cmdline"] or [])
                and process.info["ppid"] == 1
            ]
            assert strays == []
        finally:
            for process in (house.agent, house.hub):
                if process is not None:
                    process.terminate()
                    process.wait(10)
            server.terminate()
            server.wait()
        with sqlite3.connect(folder / "hub" / "hub.sqlite") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM sources").fetchone() == (1,)
            assert db.execute("SELECT count(*) FROM audit").fetchone()[0] >= count
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]))))
