"""Record the screen to MP4, MKV or bare H.264.

The file is playable at any moment; Ctrl-C or SIGTERM finishes it. Live figures are shown when stderr is a terminal.

examples:
  kvmstream record out.mp4                                   until Ctrl-C
  kvmstream record --seconds 10 --fps 30 out.mp4
  kvmstream record --display :7 --region 0,0,640,480 --cursor hidden out.mkv
  kvmstream record --source pattern --seconds 5 test.mp4     a synthetic picture, no display needed
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream.errors import KvmStreamError

from . import _common

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from kvmstream import Recorder, Stream, StreamConfig, StreamStats

_FIGURES_PERIOD = 0.5  # seconds between two updates of the live line
_CREDIT = 32  # packets: half a second of patience with a slow disk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    _common.add_display(parser)
    parser.add_argument("--seconds", type=_common.seconds, metavar="S", help="stop after so long")
    parser.add_argument(
        "--fps", type=float, metavar="N", help="at most so many frames a second (60)"
    )
    parser.add_argument("--bitrate", type=float, metavar="B", help="ceiling in bit/s (6000000)")
    parser.add_argument("--crf", type=float, metavar="Q", help="quality, 0 (best) to 51 (23)")
    parser.add_argument("--encoder", metavar="NAME", help="this encoder and no other")
    parser.add_argument("--cursor", choices=("embedded", "hidden"), help="the pointer (embedded)")
    parser.add_argument("--size", type=_common.size, metavar="WxH", help="scale the picture")
    parser.add_argument("--source", choices=("screen", "pattern"), help="what to record (screen)")
    parser.add_argument(
        "out", type=Path, metavar="OUT.mp4", help="file to write; replaced when it exists"
    )


def run(arguments: argparse.Namespace) -> int:
    """Record until the time is over or a signal comes."""
    from kvmstream import Recorder, Stream

    config = _config(arguments)
    interruption = _Interruption()
    failure: KvmStreamError | None = None
    with interruption, Stream(config) as stream, Recorder(arguments.out) as recorder:
        try:
            end_pts = _record(stream, recorder, arguments.seconds, interruption)
        except KvmStreamError as error:
            failure, end_pts = error, None
        recorder.close(end_pts)
        stats = stream.stats()
    _summarise(recorder, stats)
    if failure is not None:
        print(f"kvmstream record: error: {failure}", file=sys.stderr)
    return 0 if failure is None and recorder.frames else 1


class _Interruption:
    """Turns SIGINT and SIGTERM into a wish to end; the second one ends the process as usual."""

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in _common.end_signals():
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.wished = True
        signal.signal(number, signal.SIG_DFL)


def _config(arguments: argparse.Namespace) -> StreamConfig:
    from kvmstream import StreamConfig

    config = StreamConfig(display=arguments.display, region=arguments.region)
    for field in ("fps", "bitrate", "crf", "encoder", "cursor", "source"):
        value = getattr(arguments, field)
        if value is not None:
            setattr(config, field, value)
    if arguments.size is not None:
        config.width, config.height = arguments.size
    return config


def _record(
    stream: Stream, recorder: Recorder, limit: float | None, interruption: _Interruption
) -> int | None:
    """Copy packets; return the pts at which the recording ends, None for now."""
    live = sys.stderr.isatty()
    deadline = float("inf")
    first_pts = 0
    next_figures = 0.0
    packets = stream.subscribe(_CREDIT)
    try:
        while not interruption.wished:
            now = time.monotonic()
            if now >= deadline and limit is not None:
                return first_pts + round(limit * 1_000_000)
            packet = packets.next(min(0.2, deadline - now))
            if packet is not None:
                if not recorder.frames:
                    first_pts = packet.pts
                    if limit is not None:
                        deadline = time.monotonic() + limit
                recorder.write(packet)
            if live and now >= next_figures:
                next_figures = now + _FIGURES_PERIOD
                print(
                    f"\r{_figures(recorder, stream.stats())}\x1b[K",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        packets.close()
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return None


def _figures(recorder: Recorder, stats: StreamStats) -> str:
    minutes, seconds = divmod(recorder.duration, 60)
    return (
        f"{minutes:02.0f}:{seconds:04.1f}  {stats.width}x{stats.height}  {stats.fps:5.1f} fps  "
        f"{stats.bitrate / 1000:7.0f} kbit/s  latency {stats.latency_ms_p50:5.1f} ms  "
        f"{recorder.bytes / 1e6:.1f} MB  {stats.encoder}"
    )


def _summarise(recorder: Recorder, stats: StreamStats) -> None:
    if not recorder.frames:
        print(
            "kvmstream record: nothing came from the screen, no file was written", file=sys.stderr
        )
        return
    names = ", ".join(map(str, recorder.paths))
    duration = recorder.duration
    print(
        f"{names}: {duration:.1f} s, {recorder.frames} frames ({recorder.frames / duration:.1f} fps), "
        f"{recorder.bytes / 1e6:.2f} MB ({recorder.bytes * 8 / duration / 1000:.0f} kbit/s), "
        f"{stats.width}x{stats.height} by {stats.capture} and {stats.encoder}, "
        f"latency p50 {stats.latency_ms_p50:.1f} ms, p95 {stats.latency_ms_p95:.1f} ms",
        file=sys.stderr,
    )
    for note in stats.notes:
        print(f"note: {note}", file=sys.stderr)
