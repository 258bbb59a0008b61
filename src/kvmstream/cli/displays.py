"""List the monitors.

examples:
  kvmstream displays
  kvmstream displays --server :7 --json
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from . import _common

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    parser.add_argument("--server", default="", metavar=":N", help="X server (default: $DISPLAY)")
    _common.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the monitors."""
    from kvmstream import displays

    found = displays(arguments.server)
    if arguments.json:
        _common.print_json([asdict(display) for display in found])
        return 0
    rows = [
        [
            display.id,
            display.name,
            f"{display.width}x{display.height}",
            f"+{display.x}+{display.y}",
            f"{display.refresh_hz:.0f} Hz" if display.refresh_hz else "-",
            f"{display.scale:g}",
            "primary" if display.primary else "",
        ]
        for display in found
    ]
    _common.print_table(["ID", "NAME", "SIZE", "AT", "REFRESH", "SCALE", ""], rows)
    return 0
