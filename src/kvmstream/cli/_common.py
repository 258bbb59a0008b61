"""What several commands share: argument types and output."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def end_signals() -> tuple[signal.Signals, ...]:
    """Return what asks a command to end: Ctrl-C, kill, and on Windows Ctrl-Break."""
    wanted = ("SIGINT", "SIGTERM", "SIGBREAK")
    return tuple(getattr(signal, name) for name in wanted if hasattr(signal, name))


def size(text: str) -> tuple[int, int]:
    """Parse "1280x720"."""
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT, e.g. 1280x720")
    return int(match[1]), int(match[2])


def region(text: str) -> tuple[int, int, int, int]:
    """Parse "x,y,width,height"."""
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be X,Y,WIDTH,HEIGHT in pixels, e.g. 0,0,640,480"
        )
    x, y, width, height = (int(part) for part in match.groups())
    return x, y, width, height


def seconds(text: str) -> float:
    """Parse a time span above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def add_display(parser: argparse.ArgumentParser) -> None:
    """Add --display and --region."""
    parser.add_argument(
        "--display",
        default="",
        metavar="D",
        help='monitor name "HDMI-1", index "1", X server ":7" or ":7/HDMI-1" (default: the primary monitor)',
    )
    parser.add_argument(
        "--region", type=region, metavar="X,Y,W,H", help="part of the display, in its pixels"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: object) -> None:
    """Print `value` as indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; with rich (extra "cli") and on a terminal as a table that wraps its last column."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        # By name: rich is an extra, and type checking must not depend on its being there.
        box = importlib.import_module("rich.box")
        console = importlib.import_module("rich.console")
        table = importlib.import_module("rich.table").Table(box=box.SIMPLE)
        for header in headers:
            table.add_column(header, no_wrap=header != headers[-1])
        for row in rows:
            table.add_row(*row)
        console.Console(markup=False, highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in [headers, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
