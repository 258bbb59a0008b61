"""What the hub's relay costs: sources that send made-up units, viewers that count them, each side in one process.

    python benchmarks/relay.py                                     # 1 source at 60 fps, 1, 5 and 20 viewers
    python benchmarks/relay.py --sources 50 --viewers 50 --fps 10  # one viewer each
    python benchmarks/relay.py --sources 50 --viewers 50 --fps 10 --seconds 600   # does its memory stay as it is?
    python benchmarks/relay.py --viewers 20 --stalled 1            # one of them reads nothing, every other round
    sudo python benchmarks/relay.py --veth                         # hub and peers in two network namespaces

All is TLS 1.3. CPU is in % of one core, that of the hub's process apart from the peers'.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from _hub import Hub
from _report import machine

from kvmstream.wire import messages as m
from kvmstream.wire.address import HubAddress
from kvmstream.wire.connection import dial
from kvmstream.wire.video import ACK, UNIT, VideoHeader

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

_MEMORY_SECONDS = 60.0
_MOST_GROWTH_MB = 3.0  # the highest of the last three minutes over that of the first three
_WARM = 2.0  # seconds before anything counts


@dataclass
class Round:
    """One measurement."""

    sources: int
    viewers: int
    stalled: int
    fps_source: float
    fps_lowest: float  # of the viewers
    fps_median: float
    p50_ms: float  # sent by the source → received by the viewer
    p95_ms: float
    hub_cpu: float  # % of a core
    per_viewer: float
    peers_cpu: float
    hub_mb: float
    grown_mb: float  # from the beginning of the sample to its end
    idle: float
    memory: list[float]  # MB of the hub, once a minute

    def problems(self, fps: float) -> list[str]:
        """What a hub must not do, as sentences."""
        grown = max(self.memory[-3:]) - max(self.memory[:3])
        found = []
        if self.fps_lowest < 0.95 * fps:
            found.append(f"a viewer got {self.fps_lowest:.1f} frames per second of {fps:g}")
        if self.hub_cpu > 100:
            found.append(f"the hub took {self.hub_cpu:.0f} % of a core")
        if grown > _MOST_GROWTH_MB:
            found.append(
                f"the hub grew by {grown:.1f} MB: {' '.join(f'{mb:.1f}' for mb in self.memory)}"
            )
        return found


# ---- the sources' process


async def _source(
    access: dict[str, Any], fps: float, bitrate: float, counts: list[int], index: int
) -> None:
    """An agent that sends units of one size, and keyframes three times that when asked."""
    hub = HubAddress(**access["hub"])
    control = await dial(hub, hub.control_port)
    await control.send(m.AgentHello(access["identity"], access["secret"], access["name"]))
    welcome = await control.receive_greeted()
    assert isinstance(welcome, m.Welcome), welcome
    video = await dial(hub, hub.video_port)
    await video.send(m.VideoHello(welcome.video_token))
    state = {"active": False, "keyframe": True, "acknowledged": 0}
    credit = asyncio.Event()

    async def listen() -> None:
        while True:
            message = await control.receive()
            if control.answered(message):
                continue
            if isinstance(message, m.Watch) and message.rendition == 0:
                state["active"] = message.active
            elif isinstance(message, m.KeyframeWanted) and message.rendition == 0:
                state["keyframe"] = True

    async def acknowledged() -> None:
        while True:
            header, _ = await video.receive_frame()
            state["acknowledged"] = header.sequence
            credit.set()

    size = int(bitrate / fps / 8)
    delta, key = os.urandom(size), os.urandom(3 * size)

    async def send() -> None:
        sequence = 0
        due = time.perf_counter()
        while True:
            due = max(due + 1 / fps, time.perf_counter() - 1 / fps)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if not state["active"]:
                continue
            while sequence - state["acknowledged"] >= 2:
                credit.clear()
                await credit.wait()
            keyframe, state["keyframe"] = state["keyframe"], False
            payload = key if keyframe else delta
            sequence += 1
            now = time.perf_counter_ns()
            header = VideoHeader(
                UNIT,
                len(payload),
                bool(keyframe),
                False,
                0,
                0,
                sequence,
                1,
                1920,
                1080,
                now // 1000,
                now,
                now,
                now,
                now,
            )
            video.post_frame(header.pack(), payload)
            await video.drain()
            counts[index] += 1

    await asyncio.gather(listen(), acknowledged(), send(), control.beat())


def sources_process(pipe: Pipe, accesses: list[dict[str, Any]], fps: float, bitrate: float) -> None:
    """Counts come back on the pipe whenever the other end asks."""

    async def main() -> None:
        counts = [0] * len(accesses)
        tasks = [
            asyncio.create_task(_source(access, fps, bitrate, counts, index))
            for index, access in enumerate(accesses)
        ]
        await _answer(pipe, tasks, lambda: list(counts))

    asyncio.run(main())


# ---- the viewers' process


async def _viewer(
    access: dict[str, Any], name: str, log: list[tuple[int, int]], *, stalled: bool
) -> None:
    """Acknowledges every unit, as real ones do, and decodes none."""
    hub = HubAddress(**access["hub"])
    control = await dial(hub, hub.control_port)
    await control.send(m.ViewerHello(access["token"]))
    welcome = await control.receive_greeted()
    assert isinstance(welcome, m.Welcome), welcome
    video = await dial(hub, hub.video_port)
    await video.send(m.VideoHello(welcome.video_token))
    await control.send(m.Subscribe(1, name))

    async def listen() -> None:
        while True:
            control.answered(await control.receive())

    async def watch() -> None:
        if stalled:
            await asyncio.Event().wait()
        while True:
            header, _ = await video.receive_frame()
            log.append(
                (header.sequence, time.perf_counter_ns() - header.sent_ns - control.clock.offset_ns)
            )
            video.post_frame(VideoHeader(ACK, channel=1, sequence=header.sequence).pack())

    await asyncio.gather(listen(), watch(), control.beat())


def viewers_process(pipe: Pipe, access: dict[str, Any], names: list[str], stalled: int) -> None:
    """As the sources' process; the last `stalled` of the viewers read nothing."""

    async def main() -> None:
        logs: list[list[tuple[int, int]]] = [[] for _ in names]
        tasks = [
            asyncio.create_task(_viewer(access, name, log, stalled=index >= len(names) - stalled))
            for index, (name, log) in enumerate(zip(names, logs, strict=True))
        ]

        def take() -> list[list[int]]:
            found = [[delay for _, delay in log] for log in logs]
            for log in logs:
                log.clear()
            return found

        await _answer(pipe, tasks, take)

    asyncio.run(main())


async def _answer(pipe: Pipe, tasks: list[asyncio.Task[None]], figures: Any) -> None:
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[Any] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: asked.put_nowait(pipe.recv()))
    while True:
        waiting = asyncio.create_task(asked.get())
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & set(tasks):
            task.result()
        if await waiting is None:
            for task in tasks:
                task.cancel()
            return
        pipe.send(figures())


# ---- the measurement


def measure(hub: Hub, options: argparse.Namespace, viewers: int, stalled: int) -> Round:
    """One round with processes of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    ours_viewers, theirs_viewers = context.Pipe()
    names = [hub.names[index % len(hub.names)] for index in range(viewers)]
    sources = context.Process(
        target=sources_process, args=(theirs, hub.sources, options.fps, options.bitrate)
    )
    watchers = context.Process(
        target=viewers_process,
        args=(theirs_viewers, {"hub": hub.address, "token": hub.access["token"]}, names, stalled),
    )
    sources.start()
    time.sleep(1.0 + 0.02 * len(hub.names))
    watchers.start()
    try:
        time.sleep(_WARM + 0.02 * viewers)
        hub_process = psutil.Process(hub.pid)
        peers = [psutil.Process(sources.pid), psutil.Process(watchers.pid)]

        def cpu() -> tuple[float, float]:
            return sum(hub_process.cpu_times()[:2]), sum(sum(p.cpu_times()[:2]) for p in peers)

        for pipe in (ours, ours_viewers):
            pipe.send("reset")
        before = ours.recv()
        ours_viewers.recv()
        cpu_before, began = cpu(), time.perf_counter()
        psutil.cpu_percent()
        memory = [hub_process.memory_info().rss / 1e6]
        while (left := began + options.seconds - time.perf_counter()) > 0:
            time.sleep(min(left, _MEMORY_SECONDS))
            memory.append(hub_process.memory_info().rss / 1e6)
        cpu_after, took = cpu(), time.perf_counter() - began
        idle = 100 - psutil.cpu_percent()
        for pipe in (ours, ours_viewers):
            pipe.send("take")
        after, delays = ours.recv(), ours_viewers.recv()
    finally:
        for pipe in (ours, ours_viewers):
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in (sources, watchers):
            process.join(10)
            process.kill()
    rates = [len(delay) / took for delay in delays[: viewers - stalled]]
    every = np.concatenate([np.asarray(delay) for delay in delays]) / 1e6
    hub_cpu = 100 * (cpu_after[0] - cpu_before[0]) / took
    return Round(
        len(hub.names), viewers, stalled,
        statistics.median((b - a) / took for a, b in zip(before, after, strict=True)),
        min(rates), statistics.median(rates), *np.percentile(every, (50, 95)), hub_cpu, hub_cpu / viewers,
        100 * (cpu_after[1] - cpu_before[1]) / took, memory[-1], memory[-1] - memory[0], idle, memory,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--viewers", default="1,5,20", help="comma-separated (default 1,5,20)")
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument(
        "--bitrate", type=float, default=6e6, help="bit/s of each source (default 6e6)"
    )
    parser.add_argument(
        "--stalled", type=int, default=0, help="viewers that read nothing, in every other round"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--veth", action="store_true", help="the hub in a network namespace (needs root)"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--check",
        action="store_true",
        help="end with status 1 when a viewer lost frames, or the hub took a core or kept growing",
    )
    options = parser.parse_args()
    print(machine())
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory() as name,
        Hub(
            Path(name),
            [f"source-{number}" for number in range(options.sources)],
            veth=options.veth,
        ) as hub,
    ):
        print(
            "sources viewers stalled  fps: source lowest median   p50 ms  p95 ms   hub %  per viewer  peers %"
            "    MB  grown  idle"
        )
        for _ in range(options.rounds):
            for viewers in map(int, options.viewers.split(",")):
                for stalled in (0, options.stalled) if options.stalled else (0,):
                    r = measure(hub, options, viewers, stalled)
                    rounds.append(r)
                    if len(r.memory) > 2:
                        print("MB by the minute: " + " ".join(f"{mb:.1f}" for mb in r.memory))
                    print(
                        f"{r.sources:7} {r.viewers:7} {r.stalled:7}  {r.fps_source:11.1f} {r.fps_lowest:6.1f} "
                        f"{r.fps_median:6.1f} {r.p50_ms:8.2f} {r.p95_ms:7.2f} {r.hub_cpu:7.1f} {r.per_viewer:11.2f} "
                        f"{r.peers_cpu:8.1f} {r.hub_mb:5.0f} {r.grown_mb:+6.1f} {r.idle:5.0f}",
                        flush=True,
                    )
    if options.stalled:
        pairs = [b.p95_ms - a.p95_ms for a, b in zip(rounds[::2], rounds[1::2], strict=True)]
        print(
            f"p95 with stalled viewers minus without: median {statistics.median(pairs):+.2f} ms of {len(pairs)} pairs"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rounds]))
    problems = (
        [problem for r in rounds for problem in r.problems(options.fps)] if options.check else []
    )
    for problem in problems:
        print(f"relay: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
