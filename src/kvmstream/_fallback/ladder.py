"""Chooses the encoder: cheap gates, then a real test encode in a child process, best first; remembers why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kvmstream.errors import EncoderError, EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .codec import Encoder, Spec
    from .settings import Settings

__all__ = ["Candidate", "Ladder", "default_candidates", "encoders"]

_PROBE_TIMEOUT = 15.0  # seconds; Python, FFmpeg and a cold GPU driver together take up to five
_CACHE_LIFE = 7 * 86_400.0  # seconds; a driver may change without a new version number
_MAX_FAILURES = 2  # of one encoder in one stream

_probed: dict[str, str] = {}
_probe_lock = threading.Lock()


@dataclass
class Candidate:
    """One rung. Tests build ladders of failing ones; the product uses :func:`default_candidates`."""

    name: str
    hardware: bool
    create: Callable[[tuple[int, int], Settings, list[str]], Encoder]
    gate: Callable[[], str] = lambda: ""  # a reason when the driver must not even be tried
    probe: Callable[[], str] = lambda: ""  # a reason when the test encode failed
    _reason: str | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)

    def reason(self) -> str:
        """Why it cannot be used; "" as far as known. The first call may take seconds."""
        if self._reason is None:
            self._reason = self.gate() or self.probe()
        return self._reason

    def refuse(self, reason: str) -> None:
        """Out for good."""
        self._reason = reason


class Ladder:
    """Belongs to one thread."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self._rungs = candidates

    def verdicts(self) -> list[tuple[str, bool, bool, str]]:
        """(name, hardware, available, reason) of every rung."""
        return [(r.name, r.hardware, not r.reason(), r.reason()) for r in self._rungs]

    def open(self, size: tuple[int, int], settings: Settings, notes: list[str]) -> Encoder:
        """The best encoder that opens. Raises :exc:`EncoderUnavailable` naming each one and why not."""
        refusals = []
        for rung in self._rungs:
            reason = self._not_wanted(rung, settings) or rung.reason()
            if not reason:
                try:
                    return rung.create(size, settings, notes)
                except EncoderError as error:
                    reason = str(error)
                    if settings.encoder == "auto":
                        notes.append(f"{rung.name}: {reason}")
            refusals.append(f"{rung.name}: {reason}")
        wanted = "" if settings.encoder == "auto" else f" for encoder={settings.encoder!r}"
        raise EncoderUnavailable(
            f"no H.264 encoder{wanted} of {size[0]}x{size[1]}: " + "; ".join(refusals)
        )

    def _not_wanted(self, rung: Candidate, settings: Settings) -> str:
        if settings.encoder != "auto":
            return "" if rung.name == settings.encoder else "not the one asked for"
        if rung.hardware and not settings.use_hardware_encoder:
            return "use_hardware_encoder is off"
        return ""

    def report_failure(self, name: str, reason: str) -> None:
        """The open encoder failed: once it may be rebuilt, the second time it is out."""
        for rung in self._rungs:
            if rung.name == name:
                rung.failures += 1
                if rung.failures >= _MAX_FAILURES:
                    rung.refuse(f"failed {rung.failures} times in this stream, last: {reason}")


def default_candidates(cache_dir: str = "") -> list[Candidate]:
    """Hardware first, libx264 last; what this platform cannot have at all is left out."""
    from .codec import SPECS, PyavEncoder

    def candidate(spec: Spec) -> Candidate:
        return Candidate(
            name=spec.name,
            hardware=spec.hardware,
            create=lambda size, settings, notes: PyavEncoder(spec, size, settings, notes),
            gate=lambda: _gate(spec),
            probe=(lambda: _probe(spec.name, cache_dir)) if spec.hardware else lambda: "",
        )

    return [candidate(s) for s in SPECS if any(sys.platform.startswith(p) for p in s.platforms)]


def encoders(probe_path: str = "", cache_dir: str = "") -> list[tuple[str, bool, bool, str]]:
    """(name, hardware, available, reason), in order of preference. `probe_path` is the native core's and not used."""
    del probe_path
    return Ladder(default_candidates(cache_dir)).verdicts()


def _gate(spec: Spec) -> str:
    import av

    if spec.name not in av.codecs_available:
        return f"PyAV {av.__version__} was built without it"
    try:
        av.Codec(spec.name, "w")
    except (av.error.FFmpegError, ValueError):
        return f"PyAV {av.__version__} has no encoder of this name"
    if spec.vendors and sys.platform.startswith("linux"):
        found = gpu_vendors()
        if not found & set(spec.vendors):
            wanted = ", ".join(f"{v:04x}" for v in spec.vendors)
            has = ", ".join(f"{v:04x}" for v in sorted(found)) or "none"
            return f"no GPU of PCI vendor {wanted} (found: {has})"
    return ""


def gpu_vendors(root: str = "/sys/bus/pci/devices") -> set[int]:
    """PCI vendors of all display controllers."""
    vendors = set()
    for device in Path(root).glob("*"):
        try:
            if (device / "class").read_text().strip().startswith("0x03"):
                vendors.add(int((device / "vendor").read_text(), 16))
        except (OSError, ValueError):
            continue  # unplugged meanwhile
    return vendors


def _probe(name: str, cache_dir: str) -> str:
    """Result of the test encode, from this process's memory or the cache file when there is one."""
    with _probe_lock:
        if name not in _probed:
            cached = _read_cache(cache_dir).get(_cache_key(name))
            if cached is not None and time.time() - float(cached["time"]) < _CACHE_LIFE:
                _probed[name] = str(cached["reason"])
            else:
                _probed[name] = run_probe([sys.executable, "-m", "kvmstream._fallback.probe", name])
                _write_cache(cache_dir, name, _probed[name])
        return _probed[name]


def run_probe(command: list[str], timeout: float = _PROBE_TIMEOUT) -> str:
    """ "" when the child says that the test encode worked, else why not. A driver may crash or hang: not here."""
    if not command[0]:
        return "cannot be tested: this interpreter does not know its own executable"
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p), KVMSTREAM_BACKEND="python"
    )
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the test encode gave no result within {timeout:g} s"
    except OSError as error:
        return f"the test encode could not be started: {error}"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode < 0:
        return f"the test encode died of signal {-done.returncode}"
    return f"the test encode failed: {lines[-1] if lines else f'exit status {done.returncode}'}"


def _cache_key(name: str) -> str:
    """Changes with whatever may change the verdict: PyAV, the GPUs, NVIDIA's driver, the kernel (and its drivers)."""
    import av

    try:
        driver = Path("/proc/driver/nvidia/version").read_text(errors="replace").splitlines()[0]
    except (OSError, IndexError):
        driver = ""
    kernel = os.uname().release if hasattr(os, "uname") else ""
    return "|".join(
        (name, av.__version__, kernel, driver, ",".join(map(str, sorted(gpu_vendors()))))
    )


def _cache_file(cache_dir: str) -> Path:
    return Path(cache_dir) / "fallback-encoders.json"


def _read_cache(cache_dir: str) -> dict[str, dict[str, float | str]]:
    if not cache_dir:
        return {}
    try:
        content = json.loads(_cache_file(cache_dir).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        key: entry
        for key, entry in content.items()
        if isinstance(entry, dict)
        and isinstance(entry.get("time"), (int, float))
        and isinstance(entry.get("reason"), str)
    }


def _write_cache(cache_dir: str, name: str, reason: str) -> None:
    if not cache_dir:
        return
    content = _read_cache(cache_dir)
    content[_cache_key(name)] = {"time": time.time(), "reason": reason}
    temporary = _cache_file(cache_dir).with_suffix(f".{os.getpid()}")
    try:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(_cache_file(cache_dir))
    except OSError:
        pass  # only a cache
