"""Share this machine's screen, keyboard and mouse with a hub.

examples:
  kvmstream pair 'kvmstream://…'            once, with the line that the hub prints
  kvmstream agent 192.168.1.100
  kvmstream agent 192.168.1.100 --view-only
  kvmstream agent 192.168.1.100 --install   start it with every login
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream._paths import user_folder
from kvmstream.wire.limits import CONTROL_PORT, VIDEO_PORT

from ._common import add_display, end_signals
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
        help="start it with every login (a systemd user unit; on Windows a file in the Startup folder), and exit",
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
    for number in end_signals():
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


def startup_script(words: list[str]) -> str:
    """Return a batch file that starts the command without a window and starts it again when it ends by a fault."""
    import subprocess

    console = Path(words[0])
    silent = console.with_name(console.name.replace("python", "pythonw"))
    command = subprocess.list2cmdline([str(silent if silent.exists() else console), *words[1:]])
    command = command.replace("%", "%%")
    # A service of Windows has no desktop to share: this runs in the user's own session.
    return f"""@echo off
chcp 65001 >nul
:again
start "" /wait /min {command}
if errorlevel 1 (timeout /t 2 /nobreak >nul & goto again)
"""


def startup_folder() -> Path:
    """Return the folder whose contents Windows starts at this user's login."""
    base = os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming"
    return Path(base) / "Microsoft" / "Windows" / "Start Menu" / "Programs" / "Startup"


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
    if sys.platform == "win32":
        path = startup_folder() / "kvmstream-agent.cmd"
        path.write_text(startup_script(words), encoding="utf-8", newline="\r\n")
        print(f'wrote {path}\nit starts with every login of this user; start it now: "{path}"')
        return 0
    path = user_folder("config", "systemd") / "user" / "kvmstream-agent.service"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A percent sign means something to systemd, and so does a dollar.
    command = shlex.join(words).replace("%", "%%").replace("$", "$$")
    path.write_text(_UNIT.format(host=arguments.host, command=command))
    print(
        f"wrote {path}\nstart it now and with every login: systemctl --user enable --now kvmstream-agent"
    )
    return 0
