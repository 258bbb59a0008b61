"""What a viewer saw against what the screen showed: PSNR of luma, tool by tool.

A pass of its own, without CPU figures. At each checkpoint whatever moves the screen is frozen;
50 ms later the screen is read out of the X server's frame buffer, and compared with the picture
that the tool's stream, decoded up to the packets that had arrived by then, showed at that time.
The 50 ms let a tool deliver what was under way, and leave no tool time for much refinement. After
the last checkpoint the screen stays frozen for 1.5 s: the second figure, "settled".
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from _desktop import HEIGHT, WIDTH, Desktop
from _measure import Runner, Settings, ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from _workloads import Workload
    from numpy.typing import NDArray

_DELAY_NS = 50_000_000
_RUNNING = 0.7  # seconds between checkpoints
_SETTLE = 1.5  # seconds
_PSNR_CAP = 99.0  # dB, for a picture that is exact


@dataclass
class Quality:
    """PSNR-Y in dB: median over the checkpoints, lowest of them, and of the settled picture."""

    workload: str
    tool: str
    psnr: float
    lowest: float
    settled: float
    checkpoints: int


@dataclass
class _Checkpoint:
    at_ns: int
    luma: NDArray[np.uint8]


class _H264Decoder(Protocol):
    def decode(self, packet: Any) -> list[Any]: ...


def true_luma(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.709 limited luma of a B G R x picture, rounded; uint8, height × width."""
    blue, green, red = (picture[..., channel].astype(np.float32) for channel in range(3))
    luma = 16.0 + (219.0 / 255.0) * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    rounded: NDArray[np.uint8] = np.rint(luma).astype(np.uint8)
    return rounded


def psnr(shown: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    difference = shown.astype(np.int32) - truth.astype(np.int32)
    error = float(np.mean(difference * difference))
    return min(_PSNR_CAP, 10 * math.log10(255.0**2 / error)) if error else _PSNR_CAP


class _Viewer:
    """Decodes a stream, or the independent streams of several stripes, into one luma plane."""

    def __init__(self) -> None:
        self._decoders: dict[int, _H264Decoder] = {}
        self.luma: NDArray[np.uint8] = np.zeros((HEIGHT, WIDTH), np.uint8)

    def show(self, data: bytes, top: int) -> None:
        import av

        if top not in self._decoders:
            context = av.CodecContext.create("h264", "r")
            context.thread_count = 1
            context.options = {"flags": "low_delay"}
            self._decoders[top] = cast("_H264Decoder", context)
        for frame in self._decoders[top].decode(av.Packet(data)):
            # 0 and 2 are "unspecified"; anything else would make the comparison a lie.
            if frame.color_range not in (0, 1) or frame.colorspace not in (1, 2):
                raise ToolError(
                    f"the stream is coded in matrix {frame.colorspace}, range {frame.color_range};"
                    " PSNR is defined on BT.709 limited (1, 1)"
                )
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            height = min(frame.height, HEIGHT - top)
            self.luma[top : top + height] = rows[:height, :WIDTH]


def _checkpoint(workload: Workload) -> _Checkpoint | None:
    """Freeze, wait and look. None when the screen still moved: then the truth is not one."""
    workload.freeze()
    frozen = time.perf_counter_ns()
    time.sleep(0.03)
    before = workload.desktop.picture()
    time.sleep(max(0.0, (frozen + _DELAY_NS - time.perf_counter_ns()) / 1e9))
    at_ns = time.perf_counter_ns()
    after = workload.desktop.picture()
    if not np.array_equal(before, after):
        return None
    return _Checkpoint(at_ns, true_luma(after))


def _record(
    tool: str, workload: Workload, settings: Settings, path: Path, count: int
) -> tuple[list[_Checkpoint], list[list[int]]]:
    """Let the tool write its stream; returns the truths (the last: settled) and the index."""
    points: list[_Checkpoint] = []
    with Runner(tool, workload.desktop, settings, record=path) as runner:
        workload.rewind()
        time.sleep(1.0)
        try:
            for _ in range(3 * count):
                time.sleep(_RUNNING)
                point = _checkpoint(workload)
                if point is not None:
                    points.append(point)
                if len(points) == count:
                    break
                workload.thaw()
            time.sleep(_SETTLE)
            settled = _Checkpoint(time.perf_counter_ns(), true_luma(workload.desktop.picture()))
        finally:
            workload.thaw()
        index: list[list[int]] = runner.ask("quit")["index"]
    if len(points) < count:
        raise ToolError(f"{workload.name} did not stand still when frozen")
    return [*points, settled], index


def compare(tool: str, workload: Workload, settings: Settings, checkpoints: int = 16) -> Quality:
    """Record one tool on a running workload and hold it against the truth. Raises ToolError."""
    desktop: Desktop = workload.desktop
    path = desktop.directory / "stream.h264"
    try:
        points, index = _record(tool, workload, settings, path, checkpoints)
        viewer = _Viewer()
        found: list[float] = []
        with path.open("rb") as file:
            for arrival, _offset, size, top, _height in index:
                while len(found) < len(points) and arrival > points[len(found)].at_ns:
                    found.append(psnr(viewer.luma, points[len(found)].luma))
                viewer.show(file.read(size), top)
        while len(found) < len(points):
            found.append(psnr(viewer.luma, points[len(found)].luma))
    finally:
        path.unlink(missing_ok=True)
    *moving, settled = found
    return Quality(
        workload=workload.name,
        tool=tool,
        psnr=statistics.median(moving),
        lowest=min(moving),
        settled=settled,
        checkpoints=len(moving),
    )
