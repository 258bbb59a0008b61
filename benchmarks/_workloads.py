"""The desktop workloads, each a context manager on a `Desktop`.

All leave the picture untouched unless they drive it: no blinking caret, no clock, no pointer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from _desktop import HEIGHT, WIDTH, Desktop, end, spawn, wait_for

if TYPE_CHECKING:
    from types import TracebackType

_FEEDER = Path(__file__).with_name("_feeder.py")
_FACE = ("-fa", "Monospace", "-fs", "10")
CLIP_SECONDS = 10


class Workload:
    """Something that happens on the screen. `rate` is the changes a second that it aims at.

    A `stepped` one changes at each step() and at no other time.
    """

    name = ""
    rate = 0.0

    def __init__(self, desktop: Desktop, *, stepped: bool = False) -> None:
        self.desktop = desktop
        self._stepped = stepped
        self._stack = contextlib.ExitStack()
        self._driver = 0  # process to signal

    def __enter__(self) -> Self:
        try:
            self._start()
            time.sleep(0.7)  # let the window manager and the terminals settle
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        wait_for(lambda: not self.desktop.search("--class", "xterm|mpv"), "windows to close")

    def _start(self) -> None:
        raise NotImplementedError

    def rewind(self) -> None:
        """Begin the deterministic sequence again, so that every tool sees the same pictures."""
        if self._driver:
            os.kill(self._driver, signal.SIGUSR1)

    def freeze(self) -> None:
        """Stop changing the screen; what was already asked for still appears (a few ms)."""
        if self._driver:
            os.kill(self._driver, signal.SIGSTOP)

    def thaw(self) -> None:
        if self._driver:
            os.kill(self._driver, signal.SIGCONT)

    def step(self) -> None:
        """Make one change. It appears soon, maybe piece by piece."""
        if self._driver:
            os.kill(self._driver, signal.SIGUSR2)

    def changes_ns(self) -> list[int]:
        """Times of the changes so far (time.perf_counter_ns()), where a single one can be told."""
        return []

    def _pace(self) -> list[str]:
        return ["--stepped"] if self._stepped else []

    def _feeder_pid(self, path: Path) -> int:
        wait_for(lambda: path.exists() and path.read_text() != "", f"the feeder of {self.name}")
        return int(path.read_text())

    def _terminal(
        self, title: str, geometry: str, mode: str, rate: float = 0.0, colours: str = "black"
    ) -> int:
        """Start an xterm with a feeder inside; returns the feeder's process id."""
        pid_file = self.desktop.directory / f"{title}.pid"
        pid_file.unlink(missing_ok=True)
        foreground = "gray85" if colours == "black" else "gray15"
        feed = [sys.executable, str(_FEEDER), mode, "--pid-file", str(pid_file), *self._pace()]
        terminal = spawn(
            [
                "xterm", "-T", title, "-geometry", geometry, "-bg", colours, "-fg", foreground,
                "+bc", "+sb", "-b", "2", *_FACE, "-e", *feed, "--rate", f"{rate or 1:g}",
            ],
            self.desktop.env,
        )  # fmt: skip
        self._stack.callback(end, terminal)
        pid = self._feeder_pid(pid_file)
        self.desktop.window(f"^{title}$")
        return pid


class Still(Workload):
    """Three windows full of text; nothing moves."""

    name = "still"

    def _start(self) -> None:
        self._terminal("log", "100x40+40+40", "page")
        self._terminal("notes", "90x30+900+60", "page", colours="ivory")
        self._terminal("shell", "110x24+620+600", "page")


class Typing(Workload):
    """The same desktop, and fifteen characters a second typed into one of its windows."""

    name = "typing"
    rate = 15.0

    def _start(self) -> None:
        self._terminal("log", "100x40+40+40", "page")
        self._terminal("notes", "90x30+900+60", "page", colours="ivory")
        self._driver = self._terminal("shell", "110x24+620+600", "typing", self.rate)

    def changes_ns(self) -> list[int]:
        text = (self.desktop.directory / "shell.log").read_text()
        return [int(line) for line in text.splitlines()]


class Caret(Workload):
    """The same desktop; in one of its windows a caret blinks."""

    name = "caret"
    rate = 2.0

    def _start(self) -> None:
        self._terminal("log", "100x40+40+40", "page")
        self._terminal("notes", "90x30+900+60", "page", colours="ivory")
        self._driver = self._terminal("shell", "110x24+620+600", "caret", self.rate)


class Scroll(Workload):
    """An almost full-screen terminal that scrolls coloured text, one line at a time."""

    name = "scroll"
    # Above 60 so that a recorder which looks every 1/60 s finds a new picture every time.
    rate = 90.0

    def _start(self) -> None:
        self._driver = self._terminal("build", "230x60+10+10", "scroll", self.rate)


class Terminal(Workload):
    """The desktop of `still`; one window of it, of 80 × 24, scrolls coloured text by a line."""

    name = "terminal"
    rate = 60.0

    def _start(self) -> None:
        self._terminal("log", "100x40+40+40", "page")
        self._terminal("notes", "90x30+900+60", "page", colours="ivory")
        self._driver = self._terminal("shell", "80x24+700+600", "scroll", self.rate)


class Drag(Workload):
    """A text window moved over two others at 60 Hz on a fixed zigzag path."""

    name = "drag"
    rate = 60.0

    def _start(self) -> None:
        self._terminal("log", "112x58+10+10", "page")
        self._terminal("notes", "112x58+950+10", "page", colours="ivory")
        self._terminal("moved", "80x24+100+100", "page", colours="navy")
        window = self.desktop.window("^moved$")
        pid_file = self.desktop.directory / "drag.pid"
        pid_file.unlink(missing_ok=True)
        driver = spawn(
            [
                sys.executable, str(_FEEDER), "drag", "--pid-file", str(pid_file),
                "--window", str(window), "--rate", f"{self.rate:g}",
                "--area", "20", "20", "1200", "600", *self._pace(),
            ],
            self.desktop.env,
        )  # fmt: skip
        self._stack.callback(end, driver)
        self._driver = self._feeder_pid(pid_file)


class Video(Workload):
    """mpv shows a 60 fps clip full screen through plain X11 output."""

    name = "video"
    rate = 60.0
    placement: tuple[str, ...] = ("--fullscreen", "--no-border")

    def _start(self) -> None:
        clip = make_clip(self.desktop.directory)
        path = self.desktop.directory / "mpv.sock"
        path.unlink(missing_ok=True)
        player = spawn(
            [
                "mpv", "--no-config", "--vo=x11", "--loop-file=inf", "--no-audio",
                "--no-osc", "--osd-level=0", "--no-input-default-bindings", "--really-quiet",
                "--hwdec=no", "--vd-lavc-threads=1",
                # The cheapest conversion to the screen's format: a quarter of a core, not a half.
                "--sws-allow-zimg=no", "--sws-fast=yes", "--sws-scaler=fast-bilinear",
                *self.placement, *(["--pause"] if self._stepped else []),
                "--title=film", f"--input-ipc-server={path}", str(clip),
            ],
            self.desktop.env,
        )  # fmt: skip
        self._stack.callback(end, player)
        self._ipc = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        self._ipc.settimeout(5)
        wait_for(path.exists, "mpv's control socket")
        self._ipc.connect(str(path))
        self.desktop.window("^film$")
        # Stopped, not paused: that takes effect at once, and what was asked of the server is drawn.
        self._driver = player.pid

    def _command(self, *arguments: object) -> None:
        self._ipc.sendall(json.dumps({"command": list(arguments)}).encode() + b"\n")
        # Answers and events are not used; they are drained so that mpv never waits for us.
        with contextlib.suppress(BlockingIOError):
            self._ipc.recv(65536, socket.MSG_DONTWAIT)

    def rewind(self) -> None:
        self._command("seek", 0, "absolute", "keyframes")

    def step(self) -> None:
        self._command("frame-step")


class Clip(Video):
    """The same in a window of its own, over two windows of text."""

    name = "clip"
    placement = ("--geometry=960x540+560+280",)

    def _start(self) -> None:
        self._terminal("log", "112x58+10+10", "page")
        self._terminal("notes", "112x58+950+10", "page", colours="ivory")
        super()._start()


def make_clip(directory: Path) -> Path:
    """The synthetic film: a fractal zoom with a moving test chart and film grain, 60 fps.

    Coded so that playing it leaves the machine to the tools under test.
    """
    path = directory / "film.mkv"
    if path.exists():
        return path
    graph = (
        "mandelbrot=s=640x360:rate=60:maxiter=150:end_scale=0.02:end_pts=600,"
        f"scale={WIDTH}:{HEIGHT}:flags=bicubic[a];testsrc2=s=640x360:rate=60[b];"
        "[a][b]overlay=x='640+400*sin(t)':y='360+200*cos(t*1.3)',noise=alls=4:allf=t,"
        "format=yuv420p[v]"
    )
    partial = path.with_suffix(".part.mkv")
    subprocess.run(
        [
            "ffmpeg", "-v", "error", "-y", "-filter_complex", graph, "-map", "[v]",
            "-t", str(CLIP_SECONDS), "-c:v", "libx264", "-preset", "ultrafast",
            "-tune", "fastdecode", "-crf", "28", "-g", "60", str(partial),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    partial.rename(path)
    return path


WORKLOADS: dict[str, type[Workload]] = {
    kind.name: kind for kind in (Still, Typing, Scroll, Drag, Video)
}
RECORDED: dict[str, type[Workload]] = {
    kind.name: kind for kind in (Still, Caret, Typing, Terminal, Scroll, Drag, Clip, Video)
}
