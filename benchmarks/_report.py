"""From samples to medians, ratios, a table, JSON and a plot."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import IDLE_LIMIT, Sample, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _quality import Quality

_PAIRS = (
    ("native", "python"),
    ("native", "pixelflux"),
    ("native", "pixelflux-striped"),
    ("native", "x11grab"),
    ("native", "native-libx264"),
    ("native-libx264", "pixelflux"),
    ("native-libx264", "python"),
)


@dataclass(frozen=True)
class Ratio:
    """How two tools compare: median over the rounds in which both samples are valid.

    `cpu` compares per cent of a core, `cpu_per_frame` the CPU time per delivered picture, `fps`
    the delivered rates. Each is (median, lowest, highest).
    """

    workload: str
    first: str
    second: str
    rounds: int
    cpu: tuple[float, float, float]
    cpu_per_frame: tuple[float, float, float] | None
    fps: tuple[float, float, float] | None


def machine() -> str:
    """One line on the machine: CPU model, logical CPUs, memory, kernel."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}"


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def ratios(samples: Sequence[Sample]) -> list[Ratio]:
    """All pairs of interest, workload by workload; invalid samples take no part."""
    by_key = {(s.workload, s.tool, s.round): s for s in samples if s.valid}
    found = []
    for workload in dict.fromkeys(s.workload for s in samples):
        for first, second in _PAIRS:
            pairs = [
                (a, by_key[workload, second, number])
                for (name, tool, number), a in by_key.items()
                if name == workload and tool == first and (workload, second, number) in by_key
            ]
            # CPU differences of an idle tool can come out at or below zero: no ratio then.
            pairs = [(a, b) for a, b in pairs if b.score > 0]
            if not pairs:
                continue
            framed = [
                a.cpu_ms_per_frame / b.cpu_ms_per_frame
                for a, b in pairs
                if a.cpu_ms_per_frame is not None and b.cpu_ms_per_frame
            ]
            rates = [a.fps / b.fps for a, b in pairs if b.fps > 0]
            found.append(
                Ratio(
                    workload=workload,
                    first=first,
                    second=second,
                    rounds=len(pairs),
                    cpu=_spread([a.score / b.score for a, b in pairs]),
                    cpu_per_frame=_spread(framed) if framed else None,
                    fps=_spread(rates) if rates else None,
                )
            )
    return found


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = [
        "-" * width if column < 2 else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(rows[0]), line(rule), *(line(row) for row in rows[1:])])


_COLUMNS: tuple[tuple[str, int, Callable[[Sample], float | None]], ...] = (
    ("packets/s", 1, lambda s: s.packets_s),
    ("fps", 1, lambda s: s.fps),
    ("CPU % of a core", 1, lambda s: s.score),
    ("process", 1, lambda s: s.process_cpu),
    ("X server +", 1, lambda s: s.server_cpu - s.server_baseline),
    ("CPU ms/frame", 2, lambda s: s.cpu_ms_per_frame),
    ("kbit/s", 0, lambda s: s.kbit_s),
    ("latency p50 ms", 1, lambda s: s.latency_ms[0] if s.latency_ms else None),
    ("p95 ms", 1, lambda s: s.latency_ms[1] if s.latency_ms else None),
    ("key p50 ms", 1, lambda s: s.key_ms[0] if s.key_ms else None),
    ("p95 ms", 1, lambda s: s.key_ms[1] if s.key_ms else None),
    ("peak MB", 0, lambda s: s.peak_memory_mb),
    ("idle %", 0, lambda s: s.idle),
)


def _summary_rows(samples: Sequence[Sample], quality: Sequence[Quality]) -> list[list[str]]:
    names = [name for name, _, _ in _COLUMNS]
    rows = [["workload", "tool", *names, "PSNR-Y dB", "settled dB", "valid rounds"]]
    qualities = {(q.workload, q.tool): q for q in quality}
    for workload in dict.fromkeys(s.workload for s in samples):
        for tool in dict.fromkeys(s.tool for s in samples):
            group = [s for s in samples if (s.workload, s.tool) == (workload, tool)]
            if not group:
                continue
            valid = [s for s in group if s.valid]
            # With no valid round the figures still tell something, but never enter a ratio.
            chosen = valid or group
            cells = [_cell(_median(map(value, chosen)), digits) for _, digits, value in _COLUMNS]
            q = qualities.get((workload, tool))
            cells += [_cell(q.psnr if q else None), _cell(q.settled if q else None)]
            verdict = f"{len(valid)}/{len(group)}" + ("" if valid else " INVALID")
            rows.append([workload, tool, *cells, verdict])
    return rows


def _ratio_cell(value: tuple[float, float, float] | None) -> str:
    return "-" if value is None else f"{value[0]:.2f} ({value[1]:.2f}–{value[2]:.2f})"


def _ratio_rows(found: Sequence[Ratio]) -> list[list[str]]:
    rows = [["workload", "pair", "CPU", "CPU per frame", "fps", "rounds"]]
    rows += [
        [
            r.workload, f"{r.first} / {r.second}", _ratio_cell(r.cpu),
            _ratio_cell(r.cpu_per_frame), _ratio_cell(r.fps), str(r.rounds),
        ]
        for r in found
    ]  # fmt: skip
    return rows


def text(samples: Sequence[Sample], quality: Sequence[Quality], settings: Settings) -> str:
    """The report: a line on the machine, the table, the ratios, what each tool ran on."""
    asked = (
        f"1920x1080, {settings.fps:g} fps, crf {settings.crf:g}, ceiling"
        f" {settings.bitrate / 1e6:g} Mbit/s, {settings.seconds:g} s per sample; medians"
    )
    lines = [machine(), asked, "", _aligned(_summary_rows(samples, quality))]
    found = ratios(samples)
    if found:
        lines += ["", "Ratios: median (lowest–highest) over the rounds", ""]
        lines.append(_aligned(_ratio_rows(found)))
    lines.append("")
    abouts = {s.tool: s.about for s in samples}
    lines += [f"- {tool}: {about}" for tool, about in abouts.items()]
    captured = {s.tool: None for s in samples if s.latency_ms and s.latency_from == "capture"}
    if captured:
        lines.append(f"- latency of {', '.join(captured)} counts from capture, not from damage")
    invalid = [s for s in samples if not s.valid]
    if invalid:
        lines.append(
            f"- {len(invalid)} of {len(samples)} samples are invalid: less than"
            f" {IDLE_LIMIT:g} % of the machine was idle; nothing else may run beside the benchmark"
        )
    return "\n".join(lines)


def document(
    samples: Sequence[Sample], quality: Sequence[Quality], settings: Settings
) -> dict[str, Any]:
    """Everything, as plain values for JSON."""
    return {
        "machine": machine(),
        "settings": asdict(settings),
        "samples": [asdict(s) for s in samples],
        "quality": [asdict(q) for q in quality],
        "ratios": [asdict(r) for r in ratios(samples)],
    }


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Bars of CPU per cent of a core, workload by workload; whiskers from lowest to highest."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    workloads = list(dict.fromkeys(s.workload for s in samples))
    tools = list(dict.fromkeys(s.tool for s in samples))
    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    width = 0.8 / len(tools)
    for position, tool in enumerate(tools):
        places, heights, below, above = [], [], [], []
        for number, workload in enumerate(workloads):
            group = [s for s in samples if (s.workload, s.tool) == (workload, tool)]
            scores = [s.score for s in group if s.valid] or [s.score for s in group]
            if not scores:
                continue
            middle, low, high = _spread(scores)
            places.append(number + (position - (len(tools) - 1) / 2) * width)
            heights.append(middle)
            below.append(middle - low)
            above.append(high - middle)
        bars = axes.bar(places, heights, width * 0.92, yerr=[below, above], capsize=2, label=tool)
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    axes.set_xticks(range(len(workloads)), workloads)
    axes.set_ylabel("CPU, % of one core (process + what it adds to the X server)")
    axes.set_title(machine(), fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
