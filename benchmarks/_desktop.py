"""A private X server with a window manager, and the truth about what it shows.

The server is Xvfb with its frame buffer in a memory-backed file, so the picture can be read
without asking the server for it: reading costs the server nothing and cannot disturb a run.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

WIDTH, HEIGHT = 1920, 1080

_PROGRAMS = {  # program → Debian package
    "Xvfb": "xvfb",
    "icewm": "icewm",
    "xterm": "xterm",
    "xdotool": "xdotool",
    "mpv": "mpv",
    "ffmpeg": "ffmpeg",
}

# Nothing may change on its own: no clock, no load graphs, no tool tips, no size pop-up.
_ICEWM_PREFERENCES = """
TaskBarShowClock=0
TaskBarShowCPUStatus=0
TaskBarShowMEMStatus=0
TaskBarShowNetStatus=0
TaskBarShowMailboxStatus=0
TaskBarShowAPMStatus=0
TaskBarShowAPMAuto=0
TaskBarEnableSystemTray=0
ShowMoveSizeStatus=0
ShowTaskBar=1
FocusOnMap=1
EdgeSwitch=0
"""

_PR_SET_PDEATHSIG = 1


class MissingProgramError(RuntimeError):
    """A program that the benchmark needs is not installed; the text names the apt command."""


def require_programs() -> None:
    """Raise `MissingProgramError` naming the packages of all absent programs."""
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        packages = " ".join(sorted(_PROGRAMS[name] for name in absent))
        raise MissingProgramError(
            f"not installed: {', '.join(absent)}; run: sudo apt-get install {packages}"
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child that the kernel kills should the benchmark itself be killed."""
    return subprocess.Popen(
        list(argv),
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - the benchmark has one thread
    )


def end(process: subprocess.Popen[bytes], patience: float = 3.0) -> None:
    """Ask a child to end, then insist. Also continues it, should it be stopped."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Poll until `condition` holds; TimeoutError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not there after {timeout:g} s")
        time.sleep(0.02)


class Desktop:
    """Xvfb + icewm. Use as a context manager; `env` is the environment for its clients."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.display = ""
        self.env: dict[str, str] = {}
        self.directory = Path()
        self._server: subprocess.Popen[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._pixels: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __enter__(self) -> Self:
        require_programs()
        try:
            self._start()
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
        self._pixels = np.empty(0, np.uint8)
        self._stack.close()

    @property
    def server_pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def _start(self) -> None:
        # A frame buffer file on a disk would be written back by the kernel: memory only.
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kvmbench-", dir=base))
        )
        read_end, write_end = os.pipe()
        try:
            os.set_inheritable(write_end, True)
            argv = [
                "Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{WIDTH}x{HEIGHT}x24",
                "-fbdir", str(self.directory), "-nocursor", "-noreset", "-nolisten", "tcp",
                "-s", "0",
            ]  # fmt: skip
            self._server = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[write_end],
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the benchmark has one thread
            )
            os.close(write_end)
            write_end = -1
            self._stack.callback(end, self._server)
            number = b""
            while not number.endswith(b"\n"):
                piece = os.read(read_end, 16)
                if not piece:
                    raise RuntimeError("Xvfb ended before it named its display")
                number += piece
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)
        self.display = f":{number.decode().strip()}"
        home = self.directory / "home"
        (home / ".icewm").mkdir(parents=True)
        (home / ".icewm" / "preferences").write_text(_ICEWM_PREFERENCES)
        self.env = {
            key: value
            for key, value in os.environ.items()
            if key not in {"WAYLAND_DISPLAY", "XAUTHORITY", "MAIL", "MAILPATH"}
        }
        self.env |= {"DISPLAY": self.display, "HOME": str(home), "LC_ALL": "C.UTF-8"}
        self._open_frame_buffer()
        manager = spawn(["icewm"], self.env)
        self._stack.callback(end, manager)
        wait_for(self._managed, "the icewm window manager")

    def _managed(self) -> bool:
        """Whether a window manager announces its desktops on the root window."""
        query = ["xdotool", "get_num_desktops"]
        return subprocess.run(query, env=self.env, capture_output=True, check=False).returncode == 0

    def _open_frame_buffer(self) -> None:
        path = self.directory / "Xvfb_screen0"
        wait_for(path.exists, f"Xvfb's frame buffer {path}")
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        header = struct.unpack(">25I", self._map[:100])  # the XWD header is big-endian
        header_size, width, height, stride, colours = (
            header[0], header[4], header[5], header[12], header[19],
        )  # fmt: skip
        if (width, height) != (WIDTH, HEIGHT) or header[11] != 32:
            raise RuntimeError(f"Xvfb made {width}x{height}, {header[11]} bit per pixel")
        offset = header_size + colours * 12  # sizeof(XWDColor)
        self._pixels = np.frombuffer(
            self._map, np.uint8, count=stride * height, offset=offset
        ).reshape(height, stride // 4, 4)[:, :width]

    def picture(self) -> NDArray[np.uint8]:
        """A copy of what the screen shows now: height × width × 4, uint8, B G R x."""
        return self._pixels.copy()

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The live frame buffer, read-only; it changes while one looks."""
        return self._pixels

    def search(self, *arguments: str) -> list[int]:
        """Window ids that `xdotool search` finds."""
        result = subprocess.run(
            ["xdotool", "search", "--onlyvisible", *arguments],
            env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [int(line) for line in result.stdout.split()]

    def window(self, title: str) -> int:
        """Wait for the window of that title (a regular expression) and return its id."""
        found: list[int] = []

        def there() -> bool:
            found[:] = self.search("--name", title)
            return bool(found)

        wait_for(there, f"a window titled {title!r}")
        return found[-1]

    def xdotool(self, *arguments: str) -> None:
        subprocess.run(["xdotool", *arguments], env=self.env, check=True, capture_output=True)

    def screenshot(self, path: Path) -> None:
        """Write what the screen shows now as a PNG."""
        argv = [
            "ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr0",
            "-video_size", f"{WIDTH}x{HEIGHT}", "-i", "pipe:0", "-frames:v", "1", str(path),
        ]  # fmt: skip
        subprocess.run(argv, input=self.picture().tobytes(), check=True)

    def changes(self, seconds: float) -> float:
        """Visible changes a second, found by polling the frame buffer some 400 times a second."""
        import zlib

        count = 0
        last = 0
        start = time.perf_counter()
        rows = self._pixels[::3]
        deadline = start
        while (now := time.perf_counter()) - start < seconds:
            crc = zlib.crc32(rows.tobytes())
            count += crc != last and last != 0
            last = crc
            deadline = max(deadline + 0.0025, now)
            time.sleep(max(0.0, deadline - time.perf_counter()))
        return count / (time.perf_counter() - start)
