"""Compare kvmstream's backends with other screen recorders on real desktop workloads.

    python benchmarks/compare_backends.py                     # everything; about 35 minutes
    python benchmarks/compare_backends.py --quick             # a first look; about 3 minutes
    python benchmarks/compare_backends.py --workloads scroll,video --tools native,pixelflux

It starts its own X server (Xvfb), window manager and clients; nothing on your screen is touched.
Let nothing else run beside it. See benchmarks/README.md for what each figure means.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import _quality
import _report
from _desktop import Desktop, MissingProgramError
from _measure import Sample, Settings, ToolError, baseline, sample
from _workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable

_TOOLS = ("native", "native-libx264", "python", "x11grab", "pixelflux")
_OPTIONAL = ("pixelflux-striped",)
_QUICK_WORKLOADS = ("still", "typing", "scroll")


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """An argparse type: names separated by commas, out of `known`."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}: choose from {', '.join(known)}")
        return names

    return parse


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="length of a sample (default 6; quick: 3)")
    parser.add_argument("--workloads", type=_names(tuple(WORKLOADS)), help="comma-separated")
    parser.add_argument("--tools", type=_names(_TOOLS + _OPTIONAL), help="comma-separated")
    parser.add_argument("--quick", action="store_true", help="one short round, three workloads")
    parser.add_argument("--crf", type=float, default=23.0)
    parser.add_argument("--bitrate", type=int, default=60_000_000, help="ceiling, bit/s")
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--no-quality", action="store_true", help="leave the PSNR pass out")
    parser.add_argument(
        "--show-workloads",
        type=Path,
        metavar="DIRECTORY",
        help="only write a picture of each workload and print its visible changes a second",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    return parser.parse_args()


def _note(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _installed(tools: list[str]) -> list[str]:
    """Leave out what is not installed, saying so."""
    found = []
    for tool in tools:
        module = "pixelflux" if tool.startswith("pixelflux") else "kvmstream"
        if tool != "x11grab" and importlib.util.find_spec(module) is None:
            _note(f"{tool}: left out, {module} is not installed; run: pip install {module}")
        else:
            found.append(tool)
    return found


class _Run:
    """The rounds and the quality pass on one desktop; failures are kept, not raised."""

    def __init__(self, desktop: Desktop, tools: list[str], settings: Settings) -> None:
        self._desktop = desktop
        self._tools = tools
        self._settings = settings
        self.samples: list[Sample] = []
        self.quality: list[_quality.Quality] = []
        self.failures: list[str] = []

    def round(self, workload_name: str, number: int) -> None:
        """All tools, one after the other, on one run of the workload."""
        with WORKLOADS[workload_name](self._desktop) as workload:
            alone = baseline(workload, self._settings.seconds)
            # Another tool begins each round: none always meets the machine in the same state.
            turn = number % len(self._tools)
            for tool in self._tools[turn:] + self._tools[:turn]:
                try:
                    taken = sample(tool, workload, self._settings, number, alone)
                except (ToolError, OSError) as error:
                    self._failed(f"{tool} on {workload_name}, round {number + 1}: {error}")
                    continue
                self.samples.append(taken)
                _note(
                    f"round {number + 1}  {workload_name:7} {tool:18} {taken.score:6.1f} %"
                    f" of a core  {taken.fps:5.1f} fps  {taken.kbit_s:7.0f} kbit/s"
                    f"  idle {taken.idle:3.0f} %{'' if taken.valid else '  INVALID'}"
                )

    def qualities(self, workload_name: str) -> None:
        with WORKLOADS[workload_name](self._desktop) as workload:
            for tool in self._tools:
                try:
                    found = _quality.compare(tool, workload, self._settings)
                except (ToolError, OSError) as error:
                    self._failed(f"quality of {tool} on {workload_name}: {error}")
                    continue
                self.quality.append(found)
                _note(f"quality  {workload_name:7} {tool:18} {found.psnr:5.1f} dB")

    def _failed(self, message: str) -> None:
        self.failures.append(message)
        _note(message)


def _show_workloads(names: list[str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with Desktop() as desktop:
        for name in names:
            with WORKLOADS[name](desktop) as workload:
                seen = desktop.changes(3.0)
                load = baseline(workload, 3.0)
                desktop.screenshot(directory / f"{name}.png")
                print(
                    f"{name:7} {seen:6.1f} visible changes/s (aim: {workload.rate:g}; a change drawn"
                    f" in parts counts more than once), X server {load:.1f} % of a core"
                )


def main() -> int:
    options = _arguments()
    rounds = options.rounds or (1 if options.quick else 5)
    settings = Settings(
        fps=options.fps,
        crf=options.crf,
        bitrate=options.bitrate,
        seconds=options.seconds or (3.0 if options.quick else 6.0),
    )
    workloads = options.workloads or list(_QUICK_WORKLOADS if options.quick else WORKLOADS)
    if options.show_workloads:
        _show_workloads(workloads, options.show_workloads)
        return 0
    tools = _installed(options.tools or list(_TOOLS))
    if not tools:
        return 2
    try:
        with Desktop() as desktop:
            run = _Run(desktop, tools, settings)
            for number in range(rounds):
                for name in workloads:
                    run.round(name, number)
            if not options.no_quality:
                for name in workloads:
                    run.qualities(name)
    except MissingProgramError as error:
        _note(str(error))
        return 2
    print(_report.text(run.samples, run.quality, settings))
    for failure in run.failures:
        print(f"- failed: {failure}")
    if options.json:
        content = _report.document(run.samples, run.quality, settings)
        content["failures"] = run.failures
        content["date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.plot and run.samples:
        _report.plot(run.samples, options.plot)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
