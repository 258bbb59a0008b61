"""List the H.264 encoders, best first, and why each other one is not available.

examples:
  kvmstream encoders
  kvmstream encoders --json
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from . import _common

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    _common.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the encoders."""
    from kvmstream import encoders

    found = encoders()
    if arguments.json:
        _common.print_json([asdict(encoder) for encoder in found])
        return 0
    rows = [
        [
            encoder.name,
            "hardware" if encoder.hardware else "software",
            "yes" if encoder.available else "no",
            encoder.reason,
        ]
        for encoder in found
    ]
    _common.print_table(["NAME", "KIND", "AVAILABLE", "WHY NOT"], rows)
    return 0
