"""Share this machine's screen, keyboard and mouse with a hub.

examples:
  kvmstream pair 'kvmstream://…'            once, with the line that the hub prints
  kvmstream agent 192.168.1.100
  kvmstream agent 192.168.1.100 --view-only
  kvmstream agent 192.168.1.100 --install   start it with every login (systemd)
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream.wire.limits import CONTROL_PORT, VIDEO_PORT

from ._common import add_display
from .hub import port

if TYPE_CHECKING:
    import argparse

_UNIT = """[Unit]
Description=kvmstream agent: shares this screen with the hub at {host}
PartOf=graphical-session.target
After=graphical-session.target

[Service]
ExecStart={command}
Restart=always
RestartSec=2

[Install]
WantedBy=graphical-session.target
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("host", help="the hub's address")
    parser.add_argument(
        "--port", type=port, default=CONTROL_PORT, help="its control port (default: %(default)s)"
    )
    parser.add_argument(
        "--video-port", type=port, default=VIDEO_PORT, help="its video port (default: %(default)s)"
    )
    add_display(parser)
    parser.add_argument(
        "--fps", type=float, default=60, help="at most so many pictures a second (default: 60)"
    )
    parser.add_argument(
        "--bitrate",
        type=int,
        default=6_000_000,
        help="at most so many bit/s (default: %(default)s)",
    )
    parser.add_argument("--view-only", action="store_true", help="refuse keyboard and mouse")
    parser.add_argument(
        "--install",
        action="store_true",
        help="write a systemd user unit that starts it with every login, and exit",
    )


def run(arguments: argparse.Namespace) -> int:
    """Share until interrupted."""
    import signal
    import threading

    import kvmstream

    config = kvmstream.StreamConfig(
        display=arguments.display,
        region=arguments.region,
        fps=arguments.fps,
        bitrate=arguments.bitrate,
        cursor="metadata",
    )
    config.validate()
    if arguments.install:
        return _install(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with kvmstream.SourceAgentClient(config, view_only=arguments.view_only) as agent:
        agent.start(arguments.host, arguments.port, arguments.video_port)
        last = ("", "")
        while not ended.wait(0.2):
            now = (agent.state, agent.problem)
            if now != last:
                print(f"kvmstream agent: {now[0]}{': ' + now[1] if now[1] else ''}", flush=True)
                last = now
    return 0


def _install(arguments: argparse.Namespace) -> int:
    from kvmstream.agent.credentials import credential_for

    credential_for(arguments.host, arguments.port)  # better now than at the next login
    words = [sys.executable, "-m", "kvmstream", "agent", arguments.host]
    words += ["--port", str(arguments.port), "--video-port", str(arguments.video_port)]
    words += ["--fps", f"{arguments.fps:g}", "--bitrate", str(arguments.bitrate)]
    if arguments.display:
        words += ["--display", arguments.display]
    if arguments.region:
        words += ["--region", ",".join(map(str, arguments.region))]
    if arguments.view_only:
        words.append("--view-only")
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = (
        (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "systemd" / "user"
    )
    path = folder / "kvmstream-agent.service"
    folder.mkdir(parents=True, exist_ok=True)
    # A percent sign means something to systemd, and so does a dollar.
    command = shlex.join(words).replace("%", "%%").replace("$", "$$")
    path.write_text(_UNIT.format(host=arguments.host, command=command))
    print(
        f"wrote {path}\nstart it now and with every login: systemctl --user enable --now kvmstream-agent"
    )
    return 0
