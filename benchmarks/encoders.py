"""Our own encoder beside x264 on recorded screens: CPU, bits and sharpness.

    cmake --preset tests && cmake --build --preset tests --target bench_encode
    python benchmarks/encoders.py --plot encoders.png
    python benchmarks/encoders.py --sequences scroll,page --frames 60 --json FILE

Records a short lossless sequence of each workload out of a private X server's frame buffer (the screen is frozen while
it is read), makes up one more (a page of text and photographs that scrolls), and has bench_encode code each at four
qualities. CPU: ms for each picture at crf 23, one thread, conversion included; "check" is what finding the changed
tiles costs where nobody tells of damage. BD-rate: bits at equal PSNR-Y against x264's, in %, over the four qualities;
below 0 ours takes fewer. The first picture, an IDR, is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _desktop import HEIGHT, WIDTH, Desktop, MissingProgramError
from _report import machine
from _workloads import WORKLOADS

_CRFS = (18, 23, 28, 33)
_SHOWN_CRF = 23
_REFERENCE = "libx264"
_SEQUENCES = ("typing", "scroll", "drag", "page", "video")


@dataclass(frozen=True)
class Row:
    """What bench_encode says of one encoder at one quality."""

    sequence: str
    encoder: str
    crf: float
    check_ms: float
    cpu_ms: float
    wall_ms: float
    kilobytes: float
    psnr_y: float
    psnr_uv: float


def record(desktop: Desktop, name: str, frames: int, path: Path) -> None:
    """Write `frames` pictures of a workload, as B G R X."""
    with WORKLOADS[name](desktop) as workload, path.open("wb") as file:
        workload.rewind()
        time.sleep(1.0)
        for _ in range(frames):
            workload.freeze()
            time.sleep(0.01)  # what was asked of the server is drawn
            file.write(desktop.picture().tobytes())
            workload.thaw()
            time.sleep(1 / 60)


def make_page(frames: int, path: Path) -> None:
    """A viewport of 1600 × 960 over a long page, text and smooth noisy pictures; scrolls by 37, 8 and 113 pixels."""
    chance = np.random.default_rng(3)
    steps = (37, 8, 113)
    width, height = 1600, 960
    length = height + sum(steps) * (frames // len(steps) + 1)
    page = np.full((length, width), 250, np.uint8)
    for top in range(0, length - 16, 18):
        if top % 1440 > 900:
            continue
        ink = chance.random((16, width // 2)).repeat(2, axis=1) < 0.35
        ink &= (np.arange(width) % 8 < 6) & (np.arange(16)[:, None] % 15 < 11)
        ink[:, int(chance.integers(width // 2, width)) :] = False
        page[top : top + 16][ink] = 40
    colour = np.repeat(page[..., None], 4, axis=2)
    for top in range(920, length - 480, 1440):
        coarse = chance.random((16, 28, 3))
        rows, columns = np.linspace(0, 14.99, 480), np.linspace(0, 26.99, 840)
        r, c = rows.astype(int), columns.astype(int)
        fr, fc = (rows - r)[:, None, None], (columns - c)[None, :, None]
        smooth = (coarse[r][:, c] * (1 - fc) + coarse[r][:, c + 1] * fc) * (1 - fr) + (
            coarse[r + 1][:, c] * (1 - fc) + coarse[r + 1][:, c + 1] * fc
        ) * fr
        noisy = smooth * 220 + chance.normal(0, 4, smooth.shape) + 16
        colour[top : top + 480, 100:940, :3] = np.clip(noisy, 0, 255).astype(np.uint8)
    screen = np.full((HEIGHT, WIDTH, 4), 90, np.uint8)
    offset = 0
    with path.open("wb") as file:
        for frame in range(frames):
            screen[80 : 80 + height, 160 : 160 + width] = colour[offset : offset + height]
            file.write(screen.tobytes())
            offset += steps[frame % len(steps)]


def code(program: Path, sequence: str, path: Path) -> list[Row]:
    argv = [str(program), str(path), str(WIDTH), str(HEIGHT), *map(str, _CRFS)]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = []
    for line in lines[2:]:
        encoder, *figures = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append(Row(sequence, encoder, *map(float, figures)))
    return rows


def bd_rate(ours: list[Row], theirs: list[Row]) -> float:
    """Bjøntegaard's: mean difference of the logarithms of the rates over the PSNR that both reach, in %."""
    fits = [
        np.polyfit([r.psnr_y for r in rows], [np.log(r.kilobytes) for r in rows], 3)
        for rows in (ours, theirs)
    ]
    low = max(min(r.psnr_y for r in rows) for rows in (ours, theirs))
    high = min(max(r.psnr_y for r in rows) for rows in (ours, theirs))
    if high <= low:
        return float("nan")
    means = [
        (np.polyval(whole, high) - np.polyval(whole, low)) / (high - low)
        for whole in (np.polyint(fit) for fit in fits)
    ]
    return float(100 * (np.exp(means[0] - means[1]) - 1))


def plot(rows: list[Row], path: Path) -> None:
    """Rate against PSNR-Y, a panel for each sequence."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(r.sequence for r in rows))
    figure, panels = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 3.6), layout="constrained", squeeze=False
    )
    for panel, name in zip(panels[0], names, strict=True):
        for encoder in dict.fromkeys(r.encoder for r in rows):
            some = [r for r in rows if (r.sequence, r.encoder) == (name, encoder)]
            panel.plot(
                [r.kilobytes for r in some],
                [r.psnr_y for r in some],
                marker="o",
                ms=3,
                label=encoder,
            )
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("kB per P picture")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR-Y, dB")
    panels[0][0].legend(fontsize=7, frameon=False)
    figure.suptitle(machine(), fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", default=",".join(_SEQUENCES))
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--program", type=Path, default=Path("build/tests/cpp/tests/bench_encode"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    if not options.program.exists():
        print(f"{options.program} is not there: build it first, see --help", file=sys.stderr)
        return 2
    rows: list[Row] = []
    print(machine())
    print(
        f"\n| sequence | encoder | CPU ms | check ms | wall ms | kB/P at crf {_SHOWN_CRF} "
        "| PSNR-Y | PSNR-UV | BD-rate % |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    try:
        with tempfile.TemporaryDirectory() as folder, Desktop() as desktop:
            path = Path(folder) / "sequence.bgra"
            for name in options.sequences.split(","):
                if name == "page":
                    make_page(options.frames, path)
                else:
                    record(desktop, name, options.frames, path)
                found = code(options.program, name, path)
                rows += found
                of = {
                    encoder: [r for r in found if r.encoder == encoder]
                    for encoder in dict.fromkeys(r.encoder for r in found)
                }
                for encoder, some in of.items():
                    r = next(r for r in some if r.crf == _SHOWN_CRF)
                    rate = "" if encoder == _REFERENCE else f"{bd_rate(some, of[_REFERENCE]):+.0f}"
                    print(
                        f"| {name} | {encoder} | {r.cpu_ms:.2f} | {r.check_ms:.2f} | {r.wall_ms:.2f} "
                        f"| {r.kilobytes:.2f} | {r.psnr_y:.1f} | {r.psnr_uv:.1f} | {rate} |",
                        flush=True,
                    )
    except MissingProgramError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    if options.plot:
        plot(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
