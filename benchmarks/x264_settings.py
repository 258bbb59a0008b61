"""What libx264's cheap settings cost and bring on screen content.

    python benchmarks/x264_settings.py
    python benchmarks/x264_settings.py --workloads scroll,drag --frames 60 --json FILE

Records a short lossless sequence of each workload out of the X server's frame buffer, codes it
with every candidate through the installed ffmpeg (one thread, crf 23, no B-frames, infinite GOP)
and prints CPU time per frame (best of --repeat, without reading the input), kilobytes per P frame
(the keyframe is left out) and PSNR-Y. All candidates code the very same NV12 pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _desktop import HEIGHT, WIDTH, Desktop, MissingProgramError
from _workloads import WORKLOADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ULTRAFAST = "ultrafast"
CANDIDATES: dict[str, tuple[str, str]] = {  # name → (preset, x264 parameters)
    "ultrafast": (_ULTRAFAST, ""),
    "no AVX-512": (_ULTRAFAST, "asm=avx2"),
    "hex 16": (_ULTRAFAST, "me=hex:merange=16"),
    "hex 32": (_ULTRAFAST, "me=hex:merange=32"),
    "umh 16": (_ULTRAFAST, "me=umh:merange=16"),
    "umh 32": (_ULTRAFAST, "me=umh:merange=32"),
    "umh 32, no AVX-512": (_ULTRAFAST, "me=umh:merange=32:asm=avx2"),
    "umh 64": (_ULTRAFAST, "me=umh:merange=64"),
    "umh 128": (_ULTRAFAST, "me=umh:merange=128"),
    "umh 64, subme 1": (_ULTRAFAST, "me=umh:merange=64:subme=1"),
    "umh 64, cabac": (_ULTRAFAST, "me=umh:merange=64:cabac=1"),
    "umh 64, deblock": (_ULTRAFAST, "me=umh:merange=64:no-deblock=0:deblock=0,0"),
    "umh 64, i4x4": (_ULTRAFAST, "me=umh:merange=64:partitions=i4x4"),
    "umh 64, p8x8 i4x4": (_ULTRAFAST, "me=umh:merange=64:partitions=p8x8,i4x4"),
    "cabac": (_ULTRAFAST, "cabac=1"),
    "subme 1": (_ULTRAFAST, "subme=1"),
    "superfast": ("superfast", ""),
}


@dataclass(frozen=True)
class Result:
    workload: str
    name: str
    cpu_ms: float
    kilobytes: float
    psnr: float


def _to_nv12(picture: NDArray[np.uint8]) -> bytes:
    """BT.709 limited NV12 of a B G R x picture: 2×2 means for the colour."""
    blue, green, red = (picture[..., channel].astype(np.float32) for channel in range(3))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = [np.rint(16 + luma * (219 / 255))]
    chroma = np.empty((HEIGHT // 2, WIDTH // 2, 2), np.float32)
    for place, (channel, scale) in enumerate(((blue, 1.8556), (red, 1.5748))):
        full = (channel - luma) / scale
        mean = full.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3))
        chroma[..., place] = np.rint(128 + mean * (224 / 255))
    planes.append(chroma.reshape(HEIGHT // 2, WIDTH))
    return np.concatenate(planes).astype(np.uint8).tobytes()


def record(desktop: Desktop, workload_name: str, frames: int, path: Path) -> None:
    """Write `frames` pictures, taken 60 times a second, as raw NV12."""
    with WORKLOADS[workload_name](desktop) as workload:
        workload.rewind()
        time.sleep(1.0)
        pictures = []
        deadline = time.monotonic()
        for _ in range(frames):
            pictures.append(desktop.picture())
            deadline += 1 / 60
            time.sleep(max(0.0, deadline - time.monotonic()))
    with path.open("wb") as file:
        for picture in pictures:
            file.write(_to_nv12(picture))


def _input(path: Path) -> list[str]:
    return [
        "-f", "rawvideo", "-pix_fmt", "nv12", "-video_size", f"{WIDTH}x{HEIGHT}",
        "-framerate", "60", "-i", str(path),
    ]  # fmt: skip


def _cpu_seconds(argv: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _sizes(path: Path) -> list[int]:
    query = [
        "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=size",
        "-of", "csv=p=0", str(path),
    ]  # fmt: skip
    output = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    return [int(number) for number in re.findall(r"\d+", output)]


def _psnr(coded: Path, raw: Path) -> float:
    """PSNR-Y over all frames together, as ffmpeg's psnr filter computes it."""
    argv = [
        "ffmpeg", "-v", "info", "-nostdin", "-i", str(coded), *_input(raw), "-lavfi",
        "[0:v]settb=1/60,setpts=N,format=yuv420p[a];[1:v]settb=1/60,setpts=N,format=yuv420p[b];[a][b]psnr",
        "-f", "null", "-",
    ]  # fmt: skip
    log = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
    found = re.search(r"PSNR y:(\S+)", log)
    if found is None:
        raise RuntimeError("ffmpeg's psnr filter printed no figure")
    return float(found[1]) if found[1] != "inf" else math.inf


def measure(
    workload: str, name: str, raw: Path, frames: int, crf: float, repeat: int, idle_cpu: float
) -> Result:
    preset, parameters = CANDIDATES[name]
    coded = raw.with_suffix(".mkv")
    options = "keyint=infinite:scenecut=0" + (f":{parameters}" if parameters else "")
    argv = [
        "ffmpeg", "-v", "error", "-y", *_input(raw), "-c:v", "libx264", "-preset", preset,
        "-tune", "zerolatency", "-crf", f"{crf:g}", "-threads", "1", "-pix_fmt", "nv12",
        "-x264-params", options, str(coded),
    ]  # fmt: skip
    cpu = min(_cpu_seconds(argv) for _ in range(repeat)) - idle_cpu
    sizes = _sizes(coded)
    if len(sizes) != frames:
        raise RuntimeError(f"{name}: {len(sizes)} packets out of {frames} pictures")
    return Result(
        workload, name, cpu * 1000 / frames, sum(sizes[1:]) / 1000 / (frames - 1), _psnr(coded, raw)
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", default="typing,scroll,drag,video")
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--crf", type=float, default=23.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results: list[Result] = []
    try:
        with Desktop() as desktop:
            raw = desktop.directory / "sequence.nv12"
            for workload in options.workloads.split(","):
                record(desktop, workload, options.frames, raw)
                reading = ["ffmpeg", "-v", "error", *_input(raw), "-f", "null", "-"]
                idle_cpu = min(_cpu_seconds(reading) for _ in range(options.repeat))
                print(f"\n| {workload:18} | CPU ms/frame | kB/P frame | PSNR-Y dB |")
                print(f"| {'-' * 18} | -----------: | ---------: | --------: |")
                for name in CANDIDATES:
                    result = measure(
                        workload, name, raw, options.frames, options.crf, options.repeat, idle_cpu
                    )
                    results.append(result)
                    print(
                        f"| {name:18} | {result.cpu_ms:12.2f} | {result.kilobytes:10.2f}"
                        f" | {result.psnr:9.2f} |",
                        flush=True,
                    )
    except MissingProgramError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
