"""Picks the native core or the pure-Python fallback, once, and says why. Only this module knows both.

Environment variables, all of them:

KVMSTREAM_BACKEND
    "native" or "python" forces that backend, and then a failure is a ConfigError; "" or unset: the native core when
    it can be imported, else the fallback.
KVMSTREAM_REQUIRE_NATIVE=1
    While installing: a native core that does not build is an error instead of a reason to install the fallback.
KVMSTREAM_PURE=1
    While installing: do not build the native core.
KVMSTREAM_D3D11_TEXTURES=1
    On Windows: pictures stay on the GPU from Desktop Duplication to NVENC; docs/tuning.md says when. The core reads it.
KVMSTREAM_TOKEN
    The API token that connect() shows to a hub unless it is given another one, or a user.

Beside them only the platform's own are read: DISPLAY, XAUTHORITY, XDG_CACHE_HOME, XDG_CONFIG_HOME (credentials of the
agent), XDG_STATE_HOME (database and certificate of the hub), on Windows LOCALAPPDATA and APPDATA and, for
``kvmstream doctor``, XDG_SESSION_TYPE and WAYLAND_DISPLAY. The build also reads FFMPEG_PATH.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._paths import user_folder
from .errors import ConfigError

if TYPE_CHECKING:
    from ._types import Packet

# What kvmstream._core and kvmstream._fallback must both export; docs/architecture.md gives the signatures.
SEAM = (
    "BACKEND",
    "Packet",
    "Pipeline",
    "Subscription",
    "build_info",
    "captures",
    "displays",
    "encoders",
    "screenshot",
    "waiting_calls",
)

Region = tuple[int, int, int, int]
CursorTuple = tuple[int, int, int, bool, int, int, int, int, int, bytes]


class SeamSubscription(Protocol):
    """One consumer's packets."""

    @property
    def dropped(self) -> int: ...
    @property
    def queued(self) -> int: ...
    def next(self, timeout: float | None = None) -> Packet | None: ...
    def close(self) -> None: ...


class SeamPipeline(Protocol):
    """Capture thread, encode thread and their statistics."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def generation(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self) -> None: ...
    def subscribe(self, capacity: int = 8) -> SeamSubscription: ...
    def update(
        self,
        *,
        bitrate: int | None = None,
        fps: float | None = None,
        crf: float | None = None,
        display: str | None = None,
        region: Region | None = None,
    ) -> None: ...
    def request_keyframe(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def cursor(self) -> CursorTuple | None: ...
    def next_cursor(self, after: int, timeout: float | None = None) -> CursorTuple | None: ...
    def thumbnail(self, max_width: int = 320) -> bytes: ...
    def drain_logs(self) -> list[tuple[int, str, str]]: ...


class Seam(Protocol):
    """The module that a backend is."""

    BACKEND: str

    def Pipeline(self, **settings: Any) -> SeamPipeline: ...  # noqa: N802 (a class on the other side)
    def displays(
        self, x_display: str = ""
    ) -> list[tuple[str, str, int, int, int, int, float, float, bool]]: ...
    def encoders(
        self, probe_path: str = "", cache_dir: str = ""
    ) -> list[tuple[str, bool, bool, str]]: ...
    def captures(self, x_display: str = "") -> list[tuple[str, bool, str]]: ...
    def build_info(self) -> dict[str, str]: ...
    def screenshot(
        self,
        *,
        display: str = "",
        region: Region | None = None,
        width: int = 0,
        height: int = 0,
        cursor: str = "embedded",
        source: str = "screen",
    ) -> tuple[int, int, bytes]: ...
    def waiting_calls(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend in use, and why it is not the native one ("" when it is)."""

    module: Seam
    name: str
    reason: str


_MODULES = {"native": "kvmstream._core", "python": "kvmstream._fallback"}
_BUILD = "pip install --force-reinstall --no-deps --no-cache-dir --no-binary kvmstream kvmstream"
_HOW = (
    'Visual Studio\'s Build Tools with "Desktop development with C++", set KVMSTREAM_REQUIRE_NATIVE=1 and run: '
    if sys.platform == "win32"
    else "a C++20 compiler and the development packages of FFmpeg and libxcb, then run: KVMSTREAM_REQUIRE_NATIVE=1 "
)
_PURE_WHEEL = (
    "the wheel is pure Python: this installation has no native core. To build one, install "
    f"{_HOW}{_BUILD}"
)

_lock = threading.Lock()
_choice: Choice | None = None


def selected() -> Choice:
    """Return the backend of this process, chosen at the first call; ConfigError when it is forced in vain."""
    global _choice  # noqa: PLW0603 (chosen once for the whole process)
    with _lock:
        if _choice is None:
            _choice = choose(os.environ.get("KVMSTREAM_BACKEND", ""))
        return _choice


def module() -> Seam:
    """Return the module of the backend in use."""
    return selected().module


def choose(forced: str) -> Choice:
    """Load the backend named `forced`, or the best one for ""."""
    if forced not in ("", *_MODULES):
        raise ConfigError(f"KVMSTREAM_BACKEND = {forced!r}: must be native, python or empty")
    try:
        if forced != "python":
            reason = _native_obstacle()
            if not reason:
                return Choice(_load("native"), "native", "")
        else:
            reason = "KVMSTREAM_BACKEND=python asks for the fallback"
    except ImportError as error:
        reason = f"the native core cannot be loaded: {error}"
    if forced == "native":
        raise ConfigError(f"KVMSTREAM_BACKEND = 'native' cannot be met: {reason}")
    try:
        return Choice(_load("python"), "python", reason)
    except ImportError as error:
        raise ConfigError(
            f"no backend can be loaded. Native: {reason}. Python: {error}; "
            "reinstall its dependencies with: pip install --force-reinstall kvmstream"
        ) from error


def probe_path() -> str:
    """Path of the installed kvmstream-probe, the child process that test-drives an encoder; "" when there is none."""
    suffix = ".exe" if sys.platform == "win32" else ""
    path = Path(__file__).with_name("_bin") / f"kvmstream-probe{suffix}"
    return str(path) if path.is_file() else ""


def cache_dir() -> str:
    """Directory for verdicts that outlive the process; a backend creates it when it has something to keep."""
    return str(user_folder("cache"))


def _native_obstacle() -> str:
    """Why the native core must not even be tried; "" when it may."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # Importing a module that does not declare support would switch the GIL back on for the whole process.
        return "free-threaded Python: the native core needs the GIL, so the fallback is used"
    if importlib.util.find_spec("kvmstream._core") is None:
        return _PURE_WHEEL
    return ""


def _load(name: str) -> Seam:
    found = importlib.import_module(_MODULES[name])
    missing = [export for export in SEAM if not hasattr(found, export)]
    if missing:
        raise ImportError(
            f"{_MODULES[name]} lacks {', '.join(missing)}: it is of another version; reinstall kvmstream"
        )
    return cast("Seam", found)
