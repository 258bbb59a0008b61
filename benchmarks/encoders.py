"""Our own encoder beside others on recorded screens: CPU, bits and sharpness.

    cmake --preset tests && cmake --build --preset tests --target bench_encode
    python benchmarks/encoders.py --json result.json --plot encoders.png
    python benchmarks/encoders.py --sequences scroll,page --frames 20 --instructions
    python benchmarks/encoders.py --chroma 444
    python benchmarks/encoders.py --from part1.json --from part2.json --plot encoders.png

Records short lossless sequences on a private X server together with the damage that it reports, makes
up one more (a page of text and photographs that scrolls), and has bench_encode code each at four
qualities. CPU is ms for each P picture at 23, conversion and the search for what changed included: once
inside the reported damage, once in the whole frame. BD-rate is bits at equal PSNR-Y over the four
qualities in %; below 0 takes fewer. The first two pictures, an IDR and what it left to do, count nowhere.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _desktop import HEIGHT, WIDTH, Desktop, MissingProgramError
from _recording import SEQUENCES, RecordingError, record
from _report import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_CRFS = (18, 23, 28, 33)
_SHOWN_CRF = 23
_REFERENCES = ("x264 ultrafast", "x264 umh64")


@dataclass
class Row:
    """What bench_encode says of one encoder at one quality; times are 0 but at _SHOWN_CRF."""

    sequence: str
    damaged: float  # % of the tiles, in the mean
    changed: float
    encoder: str
    crf: float
    known_ms: float
    whole_ms: float
    wall_ms: float
    kilobytes: float
    psnr_y: float
    psnr_uv: float
    psnr_changed: float
    ssim_y: float
    xpsnr_y: float | None = None
    instructions: float | None = None  # millions, with the damage known


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def code(
    program: Path, sequence: str, folder: Path, passes: int, chroma: str, *, xpsnr: Path | None
) -> list[Row]:
    streams = ["--streams", str(folder)] if xpsnr is not None else []
    argv = [
        str(program), str(folder / "pictures"), str(WIDTH), str(HEIGHT),
        "--damage", str(folder / "damage"), "--crf", ",".join(map(str, _CRFS)),
        "--timed", str(_SHOWN_CRF), "--passes", str(passes), "--chroma", chroma, *streams,
    ]  # fmt: skip
    rows: list[Row] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        damaged, changed = map(float, re.findall(r"([\d.]+) %", first))
        for number, line in enumerate(process.stdout):
            if number < 3:  # a blank line and the table's head
                continue
            encoder, *figures = (cell.strip() for cell in line.strip().strip("|").split("|"))
            rows.append(Row(sequence, damaged, changed, encoder, *map(float, figures)))
            say(f"  {sequence}: {encoder} at {rows[-1].crf:g}")
    if process.returncode != 0:
        raise RuntimeError(f"bench_encode failed on {sequence}")
    return rows


def find_xpsnr() -> Path | None:
    """An FFmpeg with the xpsnr filter (7.1 and later): the system's or that of imageio-ffmpeg."""
    candidates = ["ffmpeg"]
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        candidates.append(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    for candidate in candidates:
        argv = [candidate, "-hide_banner", "-filters"]
        if " xpsnr " in subprocess.run(argv, capture_output=True, text=True, check=False).stdout:
            return Path(candidate)
    return None


def xpsnr_y(ffmpeg: Path, stream: Path, truth: Path, chroma: str) -> float:
    """XPSNR of luma over the P pictures."""
    pixels = f"yuv{chroma}p"
    # Named alike, or the newer FFmpeg converts one to the other's colour space.
    colours = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    graph = ";".join(
        f"[{i}:v]{colours},select='gte(n,2)',setpts=N/60/TB,format={pixels}[{name}]"
        for i, name in enumerate("ab")
    )
    argv = [
        str(ffmpeg), "-nostdin", "-hide_banner", "-r", "60", "-f", "h264", "-i", str(stream),
        "-f", "rawvideo", "-pix_fmt", pixels, "-video_size", f"{WIDTH}x{HEIGHT}", "-r", "60",
        "-i", str(truth), "-lavfi", f"{graph};[a][b]xpsnr", "-f", "null", "-",
    ]  # fmt: skip
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    line = next(line for line in said.splitlines() if "XPSNR" in line and "y:" in line)
    return float(line.partition("y:")[2].split()[0])


def instructions(program: Path, folder: Path, encoder: str, frames: int, chroma: str) -> float:
    """Millions of instructions for a P picture: valgrind's count with and without the last ones."""

    def count(pictures: int) -> int:
        argv = [
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program),
            str(folder / "pictures"), str(WIDTH), str(HEIGHT),
            "--damage", str(folder / "damage"), "--crf", str(_SHOWN_CRF), "--only", encoder,
            "--pictures", str(pictures), "--chroma", chroma, "--once",
        ]  # fmt: skip
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
        line = next(line for line in said.splitlines() if "Collected" in line)
        return int(line.rpartition(":")[2])

    return (count(frames) - count(3)) / (frames - 3) / 1e6


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes at the points for a cubic between each two that never overshoots (Fritsch, Butland)."""
    steps, rises = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.zeros_like(y)
    slopes[0], slopes[-1] = rises[0], rises[-1]
    for i in range(1, len(x) - 1):
        if rises[i - 1] * rises[i] > 0:
            a, b = 2 * steps[i] + steps[i - 1], steps[i] + 2 * steps[i - 1]
            slopes[i] = (a + b) / (a / rises[i - 1] + b / rises[i])
    return slopes


def _curve(
    x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    slopes = _slopes(x, y)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    step = x[i + 1] - x[i]
    t = (at - x[i]) / step
    return np.asarray(
        (1 + 2 * t) * (1 - t) ** 2 * y[i]
        + t * (1 - t) ** 2 * step * slopes[i]
        + t**2 * (3 - 2 * t) * y[i + 1]
        + t**2 * (t - 1) * step * slopes[i + 1]
    )


def bd_rate(
    ours: Sequence[Row], theirs: Sequence[Row], quality: Callable[[Row], float]
) -> float | None:
    """Bjøntegaard's: mean difference of the logarithms of the rates over the PSNR that both reach, in %.

    None where there is no rate, or no such PSNR.
    """
    curves = []
    for rows in (ours, theirs):
        points = sorted((quality(r), np.log(max(r.kilobytes, 1e-4))) for r in rows)
        x, y = (np.array(values) for values in zip(*points, strict=True))
        if not (np.isfinite(x).all() and (np.diff(x) > 1e-6).all()):
            return None
        curves.append((x, y))
    low = max(x[0] for x, _ in curves)
    high = min(x[-1] for x, _ in curves)
    if high - low < 0.5:  # dB: too little to say anything
        return None
    at = np.linspace(low, high, 401)
    means = [np.trapezoid(_curve(x, y, at), at) / (high - low) for x, y in curves]
    return float(100 * (np.exp(means[0] - means[1]) - 1))


def _grouped(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """By sequence and encoder, in the order in which they come."""
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.sequence, {}).setdefault(row.encoder, []).append(row)
    return groups


def _shown(rows: Sequence[Row]) -> Row:
    return next(r for r in rows if r.crf == _SHOWN_CRF)


def _rates(of: dict[str, list[Row]], encoder: str) -> list[str]:
    """BD-rates to both references: over whole pictures, then over the changed tiles."""
    cells = []
    for quality in (lambda r: r.psnr_y, lambda r: r.psnr_changed):
        for reference in _REFERENCES:
            rate = None
            if encoder != reference and reference in of and of[reference][0].changed > 0:
                rate = bd_rate(of[encoder], of[reference], quality)
            cells.append(_or_dash(rate, "+.0f"))
    return cells


def _markdown(head: Sequence[str], names: int, lines: Sequence[Sequence[str]]) -> str:
    """A table whose first `names` columns are text."""
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def summary(rows: Sequence[Row]) -> str:
    """A line for each sequence: ours beside x264 as the product calls it."""
    ours, theirs = "screen", "x264 product"
    head = ["sequence", "damaged %", "changed %"]
    head += [f"{name}, {what}" for name in (ours, theirs) for what in ("known ms", "whole ms")]
    head += ["BD uf", "BD umh64", "BD uf, changed", "BD umh64, changed"]
    lines = []
    for name, of in _grouped(rows).items():
        if ours not in of or theirs not in of:
            continue
        cells = [name, f"{of[ours][0].damaged:.1f}", f"{of[ours][0].changed:.1f}"]
        for encoder in (ours, theirs):
            cells += [_ms(_shown(of[encoder]).known_ms), _ms(_shown(of[encoder]).whole_ms)]
        lines.append([*cells, *_rates(of, ours)])
    return _markdown(head, 1, lines)


def table(rows: Sequence[Row]) -> str:
    """A line for each sequence and encoder."""
    counted = any(r.instructions is not None for r in rows)
    seen = any(r.xpsnr_y is not None for r in rows)
    head = ["sequence", "encoder", "known ms", "whole ms", "wall ms"]
    head += ["M instr."] if counted else []
    head += ["kB/P", "PSNR-Y", "PSNR-UV", "SSIM-Y"] + (["XPSNR-Y"] if seen else [])
    head += ["BD uf", "BD umh64", "BD uf, changed", "BD umh64, changed"]
    lines = []
    for name, of in _grouped(rows).items():
        for encoder, some in of.items():
            r = _shown(some)
            cells = [name, encoder, _ms(r.known_ms), _ms(r.whole_ms), _ms(r.wall_ms)]
            cells += [_or_dash(r.instructions, ".2f")] if counted else []
            cells += [f"{r.kilobytes:.2f}", f"{r.psnr_y:.1f}", f"{r.psnr_uv:.1f}"]
            cells += [f"{r.ssim_y:.4f}"] + ([_or_dash(r.xpsnr_y, ".1f")] if seen else [])
            lines.append([*cells, *_rates(of, encoder)])
    return _markdown(head, 2, lines)


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Rate against PSNR-Y of the changed tiles, a panel for each sequence in which something changes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    names = [
        name
        for name in dict.fromkeys(r.sequence for r in rows)
        if all(np.isfinite(r.psnr_changed) for r in rows if r.sequence == name)
    ]
    encoders = list(dict.fromkeys(r.encoder for r in rows))
    columns = math.ceil(math.sqrt(len(names) + 1))
    lines = -(-(len(names) + 1) // columns)  # one panel is the legend's
    figure, grid = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 3.3 * lines), layout="constrained", squeeze=False
    )
    panels = list(grid.flat)
    for panel, name in zip(panels, names, strict=False):
        for number, encoder in enumerate(encoders):
            some = [r for r in rows if (r.sequence, r.encoder) == (name, encoder)]
            panel.plot(
                [r.kilobytes for r in some],
                [r.psnr_changed for r in some],
                marker="o",
                ms=3.5,
                lw=2.2 if encoder == "screen" else 1.2,
                ls="--" if "2 slices" in encoder else "-",
                color=f"C{number}",
                zorder=3 if encoder == "screen" else 2,
                label=encoder,
            )
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_title(name, fontsize=11)
        panel.grid(alpha=0.3, which="both", lw=0.5)
        panel.tick_params(labelsize=8, which="both")
    for panel in panels[len(names) :]:
        panel.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[len(names)].legend(handles, labels, loc="center", fontsize=10, frameon=False)
    figure.supxlabel("kB per P picture", fontsize=10)
    figure.supylabel("PSNR-Y of what changed, dB", fontsize=10)
    figure.suptitle(machine(), fontsize=9)
    figure.savefig(path, dpi=110)


def measure(options: argparse.Namespace) -> list[Row]:
    xpsnr = find_xpsnr()
    if xpsnr is None:
        say("no FFmpeg with the xpsnr filter (pip install imageio-ffmpeg): XPSNR is left out")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, Desktop() as desktop:
        folder = Path(name)
        for sequence in options.sequences.split(","):
            say(f"{sequence}: recording {options.frames} pictures")
            record(desktop, sequence, options.frames, folder / "pictures", folder / "damage")
            found = code(
                options.program, sequence, folder, options.passes, options.chroma, xpsnr=xpsnr
            )
            shown = [r for r in found if r.crf == _SHOWN_CRF]
            for number, row in enumerate(shown):
                if xpsnr is not None:
                    row.xpsnr_y = xpsnr_y(
                        xpsnr, folder / f"{number}.h264", folder / "truth.yuv", options.chroma
                    )
                if options.instructions:
                    row.instructions = instructions(
                        options.program,
                        folder,
                        row.encoder,
                        min(options.frames, 8),
                        options.chroma,
                    )
                    say(f"  {sequence}: {row.encoder}: {row.instructions:.2f} M instructions")
            rows += found
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", default=",".join(SEQUENCES))
    parser.add_argument("--chroma", choices=("420", "444"), default="420")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--instructions", action="store_true", help="count them too; slow")
    parser.add_argument("--program", type=Path, default=Path("build/tests/cpp/tests/bench_encode"))
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        action="append",
        metavar="FILE",
        help="measure nothing, show what --json wrote",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    unknown = set(options.sequences.split(",")) - set(SEQUENCES)
    if unknown:
        parser.error(f"no sequence is called {', '.join(sorted(unknown))}: {', '.join(SEQUENCES)}")
    if options.earlier:
        rows = [Row(**row) for path in options.earlier for row in json.loads(path.read_text())]
    else:
        if not options.program.exists():
            print(f"{options.program} is not there: build it first, see --help", file=sys.stderr)
            return 2
        try:
            rows = measure(options)
        except (MissingProgramError, RecordingError) as error:
            print(error, file=sys.stderr)
            return 2
    print(f"{machine()}\n\n{summary(rows)}\n\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    if options.plot:
        plot(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
