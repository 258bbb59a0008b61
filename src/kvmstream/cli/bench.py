"""Measure how fast this machine converts and encodes; needs no display.

A synthetic picture in which everything moves is encoded as fast as it goes, then at 60 frames a second. The latency
runs from the change to the finished packet.

examples:
  kvmstream bench
  kvmstream bench --backend python --seconds 4 --size 1280x720 --json
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import _common

if TYPE_CHECKING:
    import argparse

    from kvmstream import StreamConfig

_STAGES = ("capture", "convert", "encode", "latency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    parser.add_argument(
        "--seconds",
        type=_common.seconds,
        default=6.0,
        metavar="S",
        help="duration of all runs together (6)",
    )
    parser.add_argument(
        "--size",
        type=_common.size,
        default=(1920, 1080),
        metavar="WxH",
        help="picture size (1920x1080)",
    )
    parser.add_argument(
        "--encoder", default="auto", metavar="NAME", help="this encoder and no other"
    )
    _common.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run both measurements and print them."""
    from kvmstream import StreamConfig, backend

    width, height = arguments.size
    shared: dict[str, Any] = {
        "source": "pattern",
        "region": (0, 0, width, height),
        "encoder": arguments.encoder,
    }
    runs = {
        "unthrottled": _measure(StreamConfig(display="fast", **shared), arguments.seconds / 2),
        "60 fps": _measure(StreamConfig(fps=60, **shared), arguments.seconds / 2),
    }
    if arguments.json:
        _common.print_json({"backend": backend, "width": width, "height": height, "runs": runs})
        return 0
    print(f"{backend} backend, {runs['60 fps']['encoder']}, {width}x{height}, synthetic picture\n")
    rows = [
        ["frames per second", *(f"{figures['fps']:.1f}" for figures in runs.values())],
        ["kbit/s", *(f"{figures['kbit_per_s']:.0f}" for figures in runs.values())],
        ["CPU ms per frame", *(f"{figures['cpu_ms_per_frame']:.1f}" for figures in runs.values())],
    ]
    for stage in _STAGES:
        cells = [
            f"{figures[f'{stage}_ms_p50']:.1f} / {figures[f'{stage}_ms_p95']:.1f}"
            for figures in runs.values()
        ]
        rows.append([f"{stage} ms, p50 / p95", *cells])
    _common.print_table(["", *(name.upper() for name in runs)], rows)
    return 0


def _measure(config: StreamConfig, duration: float) -> dict[str, Any]:
    from kvmstream import Stream

    frames = size = 0
    with Stream(config) as stream:
        packets = stream.subscribe()
        packets.next(10.0)  # opening the encoder is not what is measured
        begin, cpu = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - begin) < duration:
            packet = packets.next(duration - elapsed)
            if packet is not None:
                frames += 1
                size += len(packet)
        cpu = time.process_time() - cpu
        stats = stream.stats()
    figures: dict[str, Any] = {
        "encoder": stats.encoder,
        "frames": frames,
        "fps": frames / elapsed,
        "kbit_per_s": size * 8 / elapsed / 1000,
        "cpu_ms_per_frame": cpu * 1000 / max(1, frames),
    }
    for stage in _STAGES:
        for percentile in ("p50", "p95"):
            key = f"{stage}_ms_{percentile}"
            figures[key] = getattr(stats, key)
    return figures
