"""Introduce this machine to a hub, with the line that the hub prints.

examples:
  kvmstream pair 'kvmstream://192.168.1.100:8080?video=8081&fingerprint=…&code=K7QM-3XTD-PR5W'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("line", help="the whole line, in quotes")
    parser.add_argument(
        "--name", default="", help="what the hub will call this machine (default: its host name)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Pair."""
    from kvmstream.agent import pair

    credential = pair(arguments.line, arguments.name)
    hub = credential.hub
    print(f"paired with the hub at {hub.host}; now run: kvmstream agent {hub.host}", end="")
    print(
        f" --port {hub.control_port} --video-port {hub.video_port}"
        if hub.control_port != 8080
        else ""
    )
    return 0
