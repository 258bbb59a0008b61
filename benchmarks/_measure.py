"""Figures taken from outside: CPU time, memory and idle time out of /proc; one timed sample."""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from _desktop import Desktop, end, spawn

if TYPE_CHECKING:
    from types import TracebackType

    from _workloads import Workload

_RUNNER = Path(__file__).with_name("_runner.py")
_TICK = os.sysconf("SC_CLK_TCK")
_ANSWER_SECONDS = 40.0
IDLE_LIMIT = 15.0  # per cent of the machine; below it the scheduler decides the result


class ToolError(RuntimeError):
    """A tool did not start, or ended while it was measured."""


@dataclass(frozen=True)
class Settings:
    """What every tool is asked for, and how long it is watched."""

    fps: float = 60.0
    crf: float = 23.0
    bitrate: int = 60_000_000
    seconds: float = 6.0
    warm_up: float = 2.0


@dataclass
class Sample:
    """One tool on one workload in one round. CPU figures are per cent of one core."""

    workload: str
    tool: str
    round: int
    seconds: float
    process_cpu: float
    server_cpu: float
    server_baseline: float
    idle: float
    packets: int
    refinements: int
    bytes: int
    peak_memory_mb: float
    about: str = ""
    rate: float = 0.0  # changes a second that the workload makes
    latency_ms: tuple[float, float] | None = None  # p50, p95; from damage, or from capture
    latency_from: str = "damage"
    key_ms: tuple[float, float] | None = None  # p50, p95; from a typed key to its packet
    score: float = field(init=False)
    packets_s: float = field(init=False)
    fps: float = field(init=False)
    kbit_s: float = field(init=False)
    cpu_ms_per_frame: float | None = field(init=False)
    valid: bool = field(init=False)

    def __post_init__(self) -> None:
        self.score = self.process_cpu + self.server_cpu - self.server_baseline
        self.packets_s = self.packets / self.seconds
        # A packet without a change behind it brings nothing new, whatever its sender calls it.
        self.fps = min(self.packets_s, self.rate)
        self.kbit_s = self.bytes * 8 / 1000 / self.seconds
        self.cpu_ms_per_frame = self.score * 10 / self.fps if self.fps else None
        self.valid = self.idle >= IDLE_LIMIT


def cpu_ns(pid: int) -> int:
    """CPU time of a process with all its threads, ended ones too, in nanoseconds.

    This is the clock that clock_getcpuclockid(3) names; its number is ABI on Linux.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def _family(pid: int) -> list[int]:
    """The process and its living descendants."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # a thread that ended while we looked
    return found


def _reaped_ns(pid: int) -> int:
    """CPU time of a process's children that have ended, in nanoseconds (10 ms steps)."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[13]) + int(values[14])) * 1_000_000_000 // _TICK


def family_cpu_ns(pids: list[int]) -> int:
    """CPU time of the processes and all their descendants, in nanoseconds."""
    return sum(cpu_ns(member) + _reaped_ns(member) for pid in pids for member in _family(pid))


def peak_memory_mb(pids: list[int]) -> float:
    """Sum of the peak resident sizes (VmHWM) of the processes and their descendants."""
    total = 0
    for pid in pids:
        for member in _family(pid):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / 1024


def _machine_ticks() -> tuple[int, int]:
    """(idle, all) clock ticks of all CPUs together; time stolen by a hypervisor is not idle."""
    with Path("/proc/stat").open() as file:
        values = [int(value) for value in file.readline().split()[1:9]]
    return values[3] + values[4], sum(values)


class Runner:
    """One tool in a child process of its own; `peer` is the desktop that it records."""

    def __init__(
        self, tool: str, desktop: Desktop, settings: Settings, record: Path | None = None
    ) -> None:
        argv = [
            sys.executable, str(_RUNNER), tool, "--display", desktop.display,
            "--fps", f"{settings.fps:g}", "--crf", f"{settings.crf:g}",
            "--bitrate", str(settings.bitrate),
        ]  # fmt: skip
        if record is not None:
            argv += ["--record", str(record)]
        self._unread = b""
        self._errors = desktop.directory / f"{tool}.err"
        with self._errors.open("wb") as errors:
            self._process = spawn(
                argv,
                desktop.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors.fileno(),
            )
        try:
            ready = self._answer()
        except BaseException:
            self.close()
            raise
        self.pids: list[int] = ready["pids"]
        self.about: str = ready["about"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self) -> bytes:
        """The next line; b"" when the runner has ended. Raises ToolError when none comes."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], _ANSWER_SECONDS)[0]:
                raise ToolError(f"no answer within {_ANSWER_SECONDS:g} s")
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b""
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line or b"\n"

    def _answer(self) -> dict[str, Any]:
        while line := self._line():
            if line.startswith(b"{"):  # anything else is a tool's own chatter
                answer: dict[str, Any] = json.loads(line)
                if answer.get("event") == "error":
                    raise ToolError(answer["message"])
                return answer
        tail = self._errors.read_text(errors="replace").strip().splitlines()[-3:]
        raise ToolError("ended without an answer: " + " | ".join(tail))

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command (see `_runner`) and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # the runner ends in good order
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.stdout.close()
        end(self._process)


def baseline(workload: Workload, seconds: float) -> float:
    """CPU of the X server, per cent of a core, while nothing records the workload."""
    workload.rewind()
    time.sleep(1.0)
    server = workload.desktop.server_pid
    start_ns, start = cpu_ns(server), time.perf_counter()
    time.sleep(seconds)
    return (cpu_ns(server) - start_ns) / 1e7 / (time.perf_counter() - start)


def sample(
    tool: str, workload: Workload, settings: Settings, number: int, server_baseline: float
) -> Sample:
    """Run one tool on a running workload and take its figures. Raises ToolError."""
    server = workload.desktop.server_pid
    with Runner(tool, workload.desktop, settings) as runner:
        workload.rewind()
        # A screen at rest is refined for a while first; only then is it the still state.
        time.sleep(settings.warm_up * (2 if not workload.rate else 1))
        runner.ask("begin")
        start = time.perf_counter()
        idle_0, all_0 = _machine_ticks()
        server_0, process_0 = cpu_ns(server), family_cpu_ns(runner.pids)
        time.sleep(settings.seconds)
        server_1, process_1 = cpu_ns(server), family_cpu_ns(runner.pids)
        idle_1, all_1 = _machine_ticks()
        elapsed = time.perf_counter() - start
        counted = runner.ask("end")
        memory = peak_memory_mb(runner.pids)
        runner.ask("quit")
        changes = workload.changes_ns()
        return Sample(
            workload=workload.name,
            tool=tool,
            round=number,
            seconds=elapsed,
            process_cpu=(process_1 - process_0) / 1e7 / elapsed,
            server_cpu=(server_1 - server_0) / 1e7 / elapsed,
            server_baseline=server_baseline,
            idle=100 * (idle_1 - idle_0) / max(1, all_1 - all_0),
            packets=counted["packets"],
            refinements=counted["refinements"],
            bytes=counted["bytes"],
            peak_memory_mb=memory,
            about=runner.about,
            rate=workload.rate,
            latency_ms=_percentiles(counted["latencies_us"]),
            latency_from="capture" if tool.startswith("pixelflux") else "damage",
            # A recorder that sends every picture gives no hint which of them shows the key.
            key_ms=None if tool == "x11grab" else _key_latency(changes, counted["arrivals_ns"]),
        )


def _percentiles(latencies_us: list[int]) -> tuple[float, float] | None:
    if not latencies_us:
        return None
    latencies_us = sorted(latencies_us)
    p95 = latencies_us[min(len(latencies_us) - 1, int(len(latencies_us) * 0.95))]
    return statistics.median(latencies_us) / 1000, p95 / 1000


def _key_latency(changes_ns: list[int], arrivals_ns: list[int]) -> tuple[float, float] | None:
    """From each change to the first packet after it; changes come slower than any tool sends."""
    found = []
    for change in changes_ns:
        place = bisect.bisect_left(arrivals_ns, change)
        if place and place < len(arrivals_ns):  # both neighbours known: not cut off
            found.append((arrivals_ns[place] - change) // 1000)
    return _percentiles(found)
