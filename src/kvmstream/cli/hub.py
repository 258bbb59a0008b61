"""Run a hub: agents dial in, viewers watch and drive.

examples:
  kvmstream hub                             with the database in ~/.local/state/kvmstream-hub
  kvmstream hub --pair                      print a line that introduces one machine; beside a running hub too
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream.wire.limits import CONTROL_PORT, VIDEO_PORT, WEB_PORT

from ._common import end_signals

if TYPE_CHECKING:
    from kvmstream.hub import Hub


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_folder(parser)
    parser.add_argument("--host", default="", help="address to listen on (default: all)")
    parser.add_argument(
        "--port", type=port, default=CONTROL_PORT, help="control port (default: %(default)s)"
    )
    parser.add_argument(
        "--video-port", type=port, default=VIDEO_PORT, help="video port (default: %(default)s)"
    )
    parser.add_argument(
        "--web-port", type=port, default=WEB_PORT, help="https port (default: %(default)s)"
    )
    parser.add_argument(
        "--pair",
        action="store_true",
        help="print a pairing line, good once and for ten minutes, and exit",
    )
    parser.add_argument(
        "--address",
        default="",
        help="what to call this machine in the lines it prints (default: found out)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import asyncio

    hub = make_hub(arguments)
    if arguments.pair:
        print_pairing_line(hub, arguments.address)
        return 0
    asyncio.run(_serve(hub, arguments.address))
    return 0


def port(text: str) -> int:
    """Parse a port number."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 to 65535")
    return int(text)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add --folder."""
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the hub keeps its database and certificate (default: ~/.local/state/kvmstream-hub)",
    )


def make_hub(arguments: argparse.Namespace) -> Hub:
    """The hub of these arguments, not started."""
    from kvmstream.hub import Hub

    return Hub(
        arguments.folder,
        host=arguments.host,
        control_port=arguments.port,
        video_port=arguments.video_port,
        web_port=arguments.web_port,
    )


def print_pairing_line(hub: Hub, address: str) -> None:
    """Print a line without starting the hub: the database and the certificate are enough."""
    with hub.opened():
        print(f"On the machine to add, run:\n\n  kvmstream pair '{hub.pairing_line(address)}'\n")
        print("The line is good once, and for ten minutes.")


async def _serve(hub: Hub, address: str) -> None:
    import asyncio
    import signal

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Windows' loop has no add_signal_handler().
    for number in end_signals():
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    async with hub:
        ports = f"control port {hub.control_port}, video port {hub.video_port}"
        if hub.web_port is not None:
            ports += f", https port {hub.web_port}"
        print(f"kvmstream hub: {ports}, folder {hub.folder}")
        if hub.web_port is not None:
            print(f"Console: {hub.console_url('', address).partition('#')[0]}")
        if not hub.store.users():
            print("No users yet: `kvmstream users add NAME --role admin` makes the first one.")
        if not hub.held:
            print(
                f"No sources yet. On the machine to add, run:\n\n  kvmstream pair '{hub.pairing_line(address)}'\n"
            )
        print("Ctrl-C ends it.", flush=True)
        await ended.wait()
