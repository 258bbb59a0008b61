"""kill -9 of hub, agent, the agent's worker and a viewer in random order, while keys are down.

    python tests/soak_kill.py COUNT

After each: no key stays down at the source, everything is back within 3 s of the restart and shows a picture, no
worker and no watchdog is left over, and the database is whole. Then a fifth as many of each kind but the hub: what
lives on has as many descriptors and threads as before.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import kvmstream.agent
from kvmstream.agent._xtest import XTest

PORTS = {"control": 38080, "video": 38081, "web": 38443}
BACK_SECONDS = 3.0
PATIENCE = 20.0  # how long the test waits before it gives up, to tell how late it was
BUTTONS = 0x1F00
VICTIMS = ("hub", "agent", "worker", "viewer")
# Threads of pools are started when they are first needed.
FEW_DESCRIPTORS, FEW_THREADS = 2, 2


class Viewer:
    """kill_viewer.py, and what it is told."""

    def __init__(self, access: dict[str, str]) -> None:
        program = str(Path(__file__).with_name("kill_viewer.py"))
        self.process = subprocess.Popen(
            [sys.executable, program, access["url"], access["token"]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip

    def do(self, *words: str) -> None:
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        answered = select.select([self.process.stdout], [], [], PATIENCE)[0]
        assert answered, f"the viewer did not {words[0]} within {PATIENCE} s"
        assert self.process.stdout.readline() == b"ok\n"

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class House:
    """The processes, as an administrator's supervisor would start them."""

    def __init__(self, folder: Path, display: str) -> None:
        self.folder = folder
        self.display = display
        self.command = [sys.executable, "-m", "kvmstream"]
        self.hub: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.viewer: Viewer | None = None
        self.access: dict[str, str] = {}

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

    def kill(self, victim: str) -> None:
        if victim == "worker":
            (worker,) = self.ours("worker")
            worker.kill()
            return
        process = self.viewer.process if victim == "viewer" else getattr(self, victim)
        process.kill()
        process.wait()

    def restart(self, victim: str) -> None:
        if victim == "hub":
            self.start_hub()
        elif victim == "agent":
            self.start_agent()
        elif victim == "viewer":
            for pipe in (self.viewer.process.stdin, self.viewer.process.stdout):
                pipe.close()
            self.viewer = Viewer(self.access)

    def ours(self, what: str) -> list[psutil.Process]:
        """Workers or watchdogs of this house, whoever their parent is by now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if f"kvmstream.agent._{what}" in process.cmdline() and process.environ().get(
                    "XDG_CONFIG_HOME"
                ) == str(self.folder):
                    found.append(process)
        return found

    def check_database(self, at_least: int) -> int:
        """It is whole beside the running hub; how many entries its audit has."""
        path = self.folder / "hub" / "hub.sqlite"
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT count(*) FROM sources").fetchone() == (1,)
            entries = db.execute("SELECT count(*) FROM audit").fetchone()[0]
        assert entries >= at_least, (entries, at_least)
        return entries

    def footprints(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Descriptors and threads of every process of the house."""
        processes = {
            "hub": psutil.Process(self.hub.pid),
            "agent": psutil.Process(self.agent.pid),
            "viewer": psutil.Process(self.viewer.process.pid),
            "worker": self.ours("worker")[0],
        }
        return {
            (name, process.pid): (process.num_fds(), process.num_threads())
            for name, process in processes.items()
        }


def settled(condition, seconds: float, what: str) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} never came true"
        time.sleep(0.02)
    return time.monotonic() - began


class Storm:
    """Kills, and what they showed."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.test = XTest(house.display)
        self.chance = random.Random(7)
        self.back = dict.fromkeys(VICTIMS, 0.0)
        self.released = 0.0
        self.kills = self.audit = 0

    def one(self, victim: str) -> None:
        house = self.house
        house.viewer.do("hold", *self.chance.sample(["ctrl", "shift", "a", "F5", "Enter"], 3))
        assert len(self.test.pressed_keycodes()) == 3
        began = time.monotonic()
        house.kill(victim)
        settled(
            lambda: not self.test.pressed_keycodes() and not self.test.modifiers() & BUTTONS,
            PATIENCE, "the keys' release",
        )  # fmt: skip
        self.released = max(self.released, time.monotonic() - began)
        began = time.monotonic()
        house.restart(victim)
        house.viewer.do("look")
        took = time.monotonic() - began
        self.back[victim] = max(self.back[victim], took)
        self.kills += 1
        print(f"{self.kills}: {victim}, back after {took:.2f} s", flush=True)
        self.audit = house.check_database(self.audit)
        settled(lambda: len(house.ours("worker")) == 1, 5, "a single worker")
        settled(lambda: len(house.ours("watchdog")) <= 1, 5, "the end of old watchdogs")

    def leaks(self, victim: str, count: int) -> str:
        """Kill one kind again and again: what the others have open stays as it was."""
        self.one(victim)
        before = self.house.footprints()
        for _ in range(count):
            self.one(victim)

        def flat() -> bool:
            after = self.house.footprints()
            return all(
                after[which][0] <= before[which][0] + FEW_DESCRIPTORS
                and after[which][1] <= before[which][1] + FEW_THREADS
                for which in before.keys() & after.keys()
            )

        with contextlib.suppress(AssertionError):
            settled(flat, 10, "flat")
        after = self.house.footprints()
        lived = sorted(before.keys() & after.keys())
        assert len(lived) >= 2, (before, after)
        assert flat(), (victim, before, after)
        return f"{victim}: " + ", ".join(
            f"{name} {before[name, pid][0]}/{before[name, pid][1]} → {after[name, pid][0]}/{after[name, pid][1]}"
            for name, pid in lived
        )


def storm(count: int, house: House) -> int:
    chaos = Storm(house)
    house.viewer = Viewer(house.access)
    house.viewer.do("look")
    for _ in range(count):
        chaos.one(chaos.chance.choice(VICTIMS))
    figures = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in chaos.back.items())
    print(
        f"soak: {count} kills; keys up after at most {chaos.released:.1f} s; back at the latest after: {figures}; "
        f"{chaos.audit} entries of the audit after {count} checks of the database"
    )
    told = [chaos.leaks(victim, max(2, count // 5)) for victim in ("viewer", "worker", "agent")]
    print(
        f"soak: descriptors/threads while one kind is killed {max(2, count // 5)} times: "
        + "; ".join(told)
    )
    chaos.test.close()
    assert chaos.released < BACK_SECONDS
    assert max(chaos.back.values()) < BACK_SECONDS
    return chaos.audit


def main(count: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CONFIG_HOME"] = name
        read_end, write_end = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        house = House(folder, ":" + os.read(read_end, 16).decode().strip())
        try:
            house.run("users", "add", "anna", "--role", "admin", said=b"long enough")
            house.start_hub()
            settled(lambda: b"Ctrl-C" in (folder / "hub.log").read_bytes(), PATIENCE, "the hub")
            house.access = json.loads(
                house.run("users", "token", "anna", "--json", "--address", "127.0.0.1")
            )
            printed = house.run("hub", "--pair", "--address", "127.0.0.1").decode()
            kvmstream.agent.pair(printed.split("'")[1], "pc")
            house.start_agent()
            audit = storm(count, house)
            house.viewer.end()
            house.agent.send_signal(signal.SIGTERM)
            house.agent.wait(10)
            for what in ("worker", "watchdog"):
                settled(lambda what=what: not house.ours(what), 10, f"the end of every {what}")
        finally:
            for process in (house.agent, house.hub):
                if process is not None:
                    process.terminate()
                    process.wait(10)
            server.terminate()
            server.wait()
        house.check_database(audit)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
