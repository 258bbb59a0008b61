"""20,000 unthrottled pattern frames, twice: memory, threads and descriptors must stay flat.

    python tests/soak_memory.py [--frames 20000] [--rounds 2]

Prints one line per 5,000 frames and exits with status 1 when, after the warm-up of the first 5,000 frames of a round,
memory grows by more than 1 MB per 10,000 frames or a thread or descriptor is left over. Linux (reads /proc).
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import kvmstream

STEP = 5_000
LIMIT_KB_PER_10000 = 1024


def rss_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmRSS")


def native_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def left_behind() -> tuple[int, int]:
    """Threads and descriptors once those that are ending have ended: a join does not wait for the kernel's part."""
    lowest = (native_threads(), descriptors())
    for _ in range(100):
        time.sleep(0.01)
        now = (native_threads(), descriptors())
        lowest = (min(lowest[0], now[0]), min(lowest[1], now[1]))
    return lowest


def run_round(frames: int) -> tuple[list[int], list[int], list[int]]:
    """Memory (kB), threads and descriptors after every STEP frames."""
    memory: list[int] = []
    threads: list[int] = []
    files: list[int] = []
    config = kvmstream.StreamConfig(source="pattern", display="fast")
    with kvmstream.Stream(config) as stream:
        began = time.perf_counter()
        for number, packet in enumerate(stream, start=1):
            assert len(packet) > 0
            if number % STEP == 0:
                memory.append(rss_kb())
                threads.append(native_threads())
                files.append(descriptors())
                rate = number / (time.perf_counter() - began)
                print(
                    f"{number:6d} frames, {rate:6.1f} fps, {memory[-1]} kB, "
                    f"{threads[-1]} threads, {files[-1]} descriptors",
                    flush=True,
                )
            if number >= frames:
                break
    return memory, threads, files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    print(f"backend {kvmstream.backend} {kvmstream.backend_reason}")
    bad: list[str] = []
    before = left_behind()
    after_first: tuple[int, int] | None = None
    for number in range(1, args.rounds + 1):
        memory, threads, files = run_round(args.frames)
        grown = (memory[-1] - memory[0]) * 10_000 / max(1, (len(memory) - 1) * STEP)
        print(f"round {number}: {grown:+.0f} kB per 10,000 frames after warm-up")
        if grown > LIMIT_KB_PER_10000:
            bad.append(f"round {number}: memory grew {grown:.0f} kB per 10,000 frames")
        if len(set(threads)) > 1 or len(set(files)) > 1:
            bad.append(f"round {number}: threads {threads}, descriptors {files}")
        left = left_behind()
        after_first = after_first or left
        if (
            any(now > then for now, then in zip(left, after_first, strict=True))
            or threading.active_count() > 1
        ):
            bad.append(f"round {number}: left behind {left}, first round left {after_first}")
    print(f"threads and descriptors: {before} before, {left_behind()} after")
    for line in bad:
        print(f"FAILED {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
