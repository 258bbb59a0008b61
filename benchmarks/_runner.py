"""The child process that runs one tool: counts its packets, or writes them down.

    python _runner.py TOOL --display :7 --fps 60 --crf 23 --bitrate 60000000 [--record FILE]

It answers one JSON line to each command line on its standard input:

- (at start)  {"event": "ready", "pids": [...], "about": "..."}; `pids` are the processes whose
  CPU time is the tool's, or {"event": "error", "message": "..."} and exit status 1
- begin       counters are set to zero
- end         {"packets", "bytes", "refinements", "latencies_us", "arrivals_ns"} since begin
- quit        with --record: {"index": [[arrival_ns, offset, size, top, height], ...]}; then exit

CPU time and memory are measured from outside, so this module stays small and quick.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True)
class Options:
    """What every tool is asked for alike."""

    tool: str
    display: str
    fps: float
    crf: float
    bitrate: int


class Collector:
    """Counts packets; called from whatever thread the tool delivers on, one at a time."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._offset = 0
        self.first = threading.Event()
        self.index: list[tuple[int, int, int, int, int]] = []
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._packets = self._bytes = self._refinements = 0
        self._latencies: list[int] = []
        self._arrivals: list[int] = []

    def add(
        self,
        data: Buffer,
        size: int,
        *,
        pictures: int = 1,
        latency_ns: int = 0,
        refinement: bool = False,
        top: int = 0,
        height: int = 0,
        arrival_ns: int = 0,
    ) -> None:
        """Count a delivery of `pictures` new pictures (0: a further part of one).

        `arrival_ns` is on time.perf_counter_ns()'s scale; 0 means now.
        """
        now = arrival_ns or time.perf_counter_ns()
        with self._lock:
            self._bytes += size
            if refinement:
                self._refinements += 1
            else:
                self._packets += pictures
                if pictures:
                    self._arrivals.append(now)
                if latency_ns > 0:
                    self._latencies.append(latency_ns // 1000)
            if self._file is not None:
                self.index.append((now, self._offset, size, top, height))
                self._file.write(data)
                self._offset += size
        self.first.set()

    def begin(self) -> None:
        with self._lock:
            self._reset()

    def figures(self) -> dict[str, object]:
        """What was counted since `begin()`."""
        with self._lock:
            return {
                "packets": self._packets,
                "bytes": self._bytes,
                "refinements": self._refinements,
                "latencies_us": self._latencies,
                "arrivals_ns": self._arrivals,
            }


class Tool(Protocol):
    """What a `_tool_*` module's `start()` returns."""

    pids: list[int]

    @property
    def about(self) -> str:
        """Capture, encoder and the settings that matter; asked for after the first packet."""
        ...

    def stop(self) -> None: ...


_MODULES = {
    "native": "_tool_kvmstream",
    "native-libx264": "_tool_kvmstream",
    "python": "_tool_kvmstream",
    "x11grab": "_tool_x11grab",
    "pixelflux": "_tool_pixelflux",
    "pixelflux-striped": "_tool_pixelflux",
}


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _serve(tool: Tool, collector: Collector) -> None:
    if not collector.first.wait(20):
        raise RuntimeError("no packet within 20 s")
    _say({"event": "ready", "pids": tool.pids, "about": tool.about})
    for line in sys.stdin:
        command = line.strip()
        if command == "begin":
            collector.begin()
            _say({})
        elif command == "end":
            _say(collector.figures())
        elif command == "quit":
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=sorted(_MODULES))
    parser.add_argument("--display", required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--crf", type=float, required=True)
    parser.add_argument("--bitrate", type=int, required=True)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    options = Options(
        arguments.tool, arguments.display, arguments.fps, arguments.crf, arguments.bitrate
    )
    file = arguments.record.open("wb") if arguments.record else None
    collector = Collector(file)
    try:
        tool: Tool = importlib.import_module(_MODULES[options.tool]).start(options, collector)
        try:
            _serve(tool, collector)
        finally:
            tool.stop()
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is the answer
        _say({"event": "error", "message": f"{type(error).__name__}: {error}"})
        return 1
    finally:
        if file is not None:
            file.close()
    _say({"index": collector.index})
    return 0


if __name__ == "__main__":
    sys.exit(main())
