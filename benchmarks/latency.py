"""Delay from the screen of one process to the decoder of another, by way of agent, hub and viewer, stage by stage.

    python benchmarks/latency.py                        # scrolling text and typing; about a minute
    python benchmarks/latency.py --seconds 30 --plot latency.png
    python benchmarks/latency.py --workloads scroll --spin   # each also beside a spinning Python thread of the agent

Starts its own X server, clients, hub and agent; nothing on your screen is touched. Let nothing else run beside it. All
times are of one machine's clock, but travel through the protocol's clock synchronisation as between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from _desktop import Desktop, end, spawn, wait_for
from _hub import Agent, Hub
from _report import machine
from _workloads import WORKLOADS

import kvmstream

if TYPE_CHECKING:
    from kvmstream.remote import RemotePacket, RemoteSource

_STAGES = ("capture", "encode", "agent", "to hub", "to viewer", "decode")
_IDLE_LIMIT = 15.0  # per cent; below it the machine itself is the queue


@dataclass
class Result:
    """Milliseconds: each stage of each unit, and from the change on the screen to the decoded picture."""

    workload: str
    spinning: bool = False
    stages: list[tuple[float, ...]] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    keys: list[float] = field(
        default_factory=list
    )  # key sent by the viewer → changed picture decoded
    fps: float = 0.0
    idle: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)  # per cent of a core

    @property
    def valid(self) -> bool:
        """Whether the machine had time to spare."""
        return self.spinning or self.idle >= _IDLE_LIMIT

    @property
    def title(self) -> str:
        """What it is called in tables and plots."""
        return f"{self.workload}, a Python thread spinning" if self.spinning else self.workload


def percentile(values: list[float], share: float) -> float:
    """The value that so many of 100 lie below."""
    return float(np.percentile(values, share)) if values else float("nan")


def stages_of(packet: RemotePacket, decoded_ns: int) -> tuple[float, ...]:
    """Milliseconds of each stage."""
    times = (
        packet.damaged_ns, packet.captured_ns, packet.encoded_ns, packet.sent_ns, packet.relayed_ns,
        packet.received_ns, decoded_ns,
    )  # fmt: skip
    return tuple((b - a) / 1e6 for a, b in itertools.pairwise(times))


class Consumer:
    """Decodes every unit, before RGB, in a thread of its own."""

    def __init__(self, source: RemoteSource) -> None:
        self._packets = source.packets()
        self._decoder = kvmstream.Decoder()
        self._pool = ThreadPoolExecutor(1)

    async def next(self) -> tuple[RemotePacket, int]:
        """The next unit and when its picture was there."""
        packet = await anext(self._packets)
        await asyncio.get_running_loop().run_in_executor(
            self._pool, self._decoder.decode_picture, packet
        )
        return packet, time.perf_counter_ns()

    def close(self) -> None:
        self._packets.close()
        self._pool.shutdown()


async def flow(consumer: Consumer, seconds: float, result: Result) -> None:
    """Whatever comes for so long."""
    warm = time.monotonic() + 2.0
    while time.monotonic() < warm:
        await consumer.next()
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        try:
            async with asyncio.timeout(began + seconds - now):
                packet, decoded = await consumer.next()
        except TimeoutError:
            break
        if not packet.refinement:
            result.stages.append(stages_of(packet, decoded))
            result.total.append((decoded - packet.damaged_ns) / 1e6)
    result.fps = len(result.total) / seconds


async def keys(source: RemoteSource, consumer: Consumer, seconds: float, result: Result) -> None:
    """A key, its picture, a pause; 15 a second at the most, each at a random moment of the frame."""
    await source.request_control()
    await source.keyboard.press("a")
    quiet = asyncio.create_task(consumer.next())

    async def drain() -> None:
        nonlocal quiet
        while True:
            done, _ = await asyncio.wait({quiet}, timeout=0.3)
            if not done:
                return
            quiet = asyncio.create_task(consumer.next())

    chance = np.random.default_rng(1)
    await drain()
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        sent = time.perf_counter_ns()
        press = asyncio.create_task(source.keyboard.press("a" if number % 60 else "Enter"))
        while True:
            packet, decoded = await quiet
            quiet = asyncio.create_task(consumer.next())
            if not packet.refinement and packet.damaged_ns >= sent:
                break
        await press
        result.keys.append((decoded - sent) / 1e6)
        result.stages.append(stages_of(packet, decoded))
        result.total.append((decoded - packet.damaged_ns) / 1e6)
        # Refinement follows; a key that comes upon it is as real as any other.
        await asyncio.sleep(1 / 15 + float(chance.uniform(0, 1 / 60)))
    quiet.cancel()
    result.fps = number / seconds


async def measure(
    hub: Hub, agent: Agent, desktop: Desktop, options: argparse.Namespace
) -> list[Result]:
    """Watches each workload in turn."""
    results = []
    processes = {
        "agent": psutil.Process(agent.worker), "hub": psutil.Process(hub.pid), "viewer": psutil.Process(),
        "X server": psutil.Process(desktop.server_pid),
    }  # fmt: skip
    async with kvmstream.connect(hub.access["url"], token=hub.access["token"]) as remote:
        source = remote.sources["bench"]
        await source.wait_online(10)
        for name in options.workloads.split(","):
            for spin in (False, True) if options.spin else (False,):
                agent.spin(spin)
                result = Result(name, spin)
                if name == "keys":
                    with terminal(desktop):
                        await watched(source, processes, options.seconds, result)
                else:
                    with WORKLOADS[name](desktop) as workload:
                        workload.rewind()
                        await watched(source, processes, options.seconds, result)
                results.append(result)
                print_result(result)
    return results


async def watched(
    source: RemoteSource, processes: dict[str, psutil.Process], seconds: float, result: Result
) -> None:
    """One workload, with what it costs."""
    consumer = Consumer(source)
    try:
        await consumer.next()
        before = {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}
        psutil.cpu_percent()
        began = time.monotonic()
        if result.workload == "keys":
            await keys(source, consumer, seconds, result)
        else:
            await flow(consumer, seconds, result)
        took = time.monotonic() - began
        result.idle = 100.0 - psutil.cpu_percent()
        result.cpu = {
            name: 100 * (sum(p.cpu_times()[:2]) - before[name]) / took
            for name, p in processes.items()
        }
    finally:
        consumer.close()


class terminal:  # noqa: N801 - used like a function
    """An xterm that shows what is typed."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop

    def __enter__(self) -> None:
        self._process = spawn(
            [
                "xterm",
                "+bc",
                "-uc",
                "-geometry",
                "100x40+40+40",
                "-e",
                "sh",
                "-c",
                "cat > /dev/null",
            ],
            self._desktop.env,
        )
        wait_for(lambda: bool(self._desktop.search("--class", "xterm")), "the terminal")
        time.sleep(1.0)

    def __exit__(self, *_: object) -> None:
        end(self._process)


def print_result(result: Result) -> None:
    """One table."""
    print(f"\n{result.title}: {len(result.total)} pictures, {result.fps:.1f} a second, idle {result.idle:.0f} %"
          + ("" if result.valid else "   INVALID: less than 15 % idle"))  # fmt: skip
    print("  CPU: " + ", ".join(f"{name} {value:.0f} %" for name, value in result.cpu.items()))
    rows = [(name, [stage[i] for stage in result.stages]) for i, name in enumerate(_STAGES)]
    rows.append(("screen → decoded", result.total))
    captured = [sum(stage[1:]) for stage in result.stages]
    rows.append(("captured → decoded", captured))
    if result.keys:
        rows.append(("key → decoded", result.keys))
    print(f"  {'':20} {'p50':>8} {'p95':>8} {'p99':>8}  ms")
    for name, values in rows:
        shares = "".join(f"{percentile(values, share):9.2f}" for share in (50, 95, 99))
        print(f"  {name:20}{shares}")


def plot(results: list[Result], path: Path) -> None:
    """Stages stacked at the median, and the distribution of the whole."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for row, result in enumerate(results):
        start = 0.0
        for i, name in enumerate(_STAGES):
            value = percentile([stage[i] for stage in result.stages], 50)
            left.barh(row, value, left=start, color=f"C{i}", label=name if row == 0 else None)
            start += value
        values = np.sort(result.keys or result.total)
        label = f"{result.title}: {'key' if result.keys else 'screen'} → decoded"
        right.plot(values, np.linspace(0, 100, len(values)), label=label)
    left.set_yticks(range(len(results)), [result.title for result in results])
    left.set_xlabel("ms, median of each stage")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=3, frameon=False)
    right.set_xlabel("ms")
    right.set_ylabel("% of the pictures")
    right.set_xlim(left=0)
    right.grid(alpha=0.3)
    right.legend()
    figure.suptitle(machine(), fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each workload (default 15)")
    parser.add_argument("--workloads", default="scroll,keys", help="of scroll, drag, video, keys")
    parser.add_argument(
        "--spin", action="store_true", help="measure each also beside a thread that spins"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with (
        Desktop() as desktop,
        Hub(desktop.directory / "hub", ["bench"]) as hub,
        Agent(hub, desktop.display, "bench") as agent,
    ):
        results = asyncio.run(measure(hub, agent, desktop, options))
    if options.json:
        options.json.write_text(json.dumps([vars(result) for result in results]))
    if options.plot:
        plot(results, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
