"""SourceAgentClient: this machine's screen, keyboard and mouse for a hub."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from kvmstream.config import StreamConfig
from kvmstream.errors import ConfigError, KvmStreamError
from kvmstream.wire.limits import CONTROL_PORT, VIDEO_PORT

from .credentials import credential_for, machine_name

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .credentials import Credential

__all__ = ["NativeSourceAgent", "SourceAgentClient"]

_log = logging.getLogger("kvmstream.agent")

_RESTART: Final = (0.1, 0.5, 1.0, 2.0)  # seconds before a worker that died is started anew
_STOP_SECONDS: Final = 5.0


class SourceAgentClient:
    """Shares this machine's screen with a hub, and lets its users drive it.

        agent = kvmstream.SourceAgentClient()
        agent.start("192.168.1.100")
        agent.wait_connected(timeout=10)
        ...
        agent.stop()

    Everything happens in a child process, so a busy program costs the stream nothing. `config` is a StreamConfig; the
    cursor travels beside the picture whatever it says. With `view_only` nobody can type here. All methods may be called
    from any thread.
    """

    def __init__(
        self, config: StreamConfig | None = None, *, name: str = "", view_only: bool = False
    ) -> None:
        self.config = StreamConfig(cursor="metadata") if config is None else config
        self.name = name or machine_name()
        self.view_only = view_only
        self._condition = threading.Condition()
        self._order = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._figures: dict[str, Any] = {"state": "stopped", "problem": ""}

    def start(
        self, host: str, control_port: int = CONTROL_PORT, video_port: int = VIDEO_PORT
    ) -> None:
        """Begin to share; returns once the child process runs. A hub that cannot be reached is a state, not an error.

        Raises AuthenticationFailed when this machine is not paired with that hub (`kvmstream pair`), and ConfigError
        for a bad setting.
        """
        from dataclasses import replace

        for what, port in (("control_port", control_port), ("video_port", video_port)):
            if not 0 < port < 65536:
                raise ConfigError(f"{what} = {port!r}: must be 1 to 65535")
        credential = replace(credential_for(host, control_port), video_port=video_port)
        self._start(credential)

    def _start(self, credential: Credential) -> None:
        settings = self.config.seam_arguments()
        settings["cursor"] = "metadata"
        with self._condition:
            if self._thread is not None:
                raise KvmStreamError("this agent runs already: stop() it first")
            self._order = (
                json.dumps(
                    {
                        "credential": asdict(credential),
                        "config": settings,
                        "name": self.name,
                        "view_only": self.view_only,
                        "log": _log.getEffectiveLevel(),
                    }
                ).encode()
                + b"\n"
            )
            self._stopping = False
            self._figures = {"state": "connecting", "problem": ""}
            self._process = self._spawn()
            self._thread = threading.Thread(
                target=self._look_after, name="kvmstream-agent", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Let go of everything and end; idempotent. Returns when the child process has ended."""
        with self._condition:
            self._stopping = True
            process, thread = self._process, self._thread
            self._condition.notify_all()
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its watchdog lets go of the keys
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def state(self) -> str:
        """ "connecting", "connected", "refused" or "stopped"."""
        with self._condition:
            return str(self._figures["state"])

    @property
    def problem(self) -> str:
        """Why it is not connected; "" when it is."""
        with self._condition:
            return str(self._figures["problem"])

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until the hub has welcomed this agent; False after `timeout` seconds."""
        with self._condition:
            return self._condition.wait_for(
                lambda: bool(self._figures["state"] == "connected"), timeout
            )

    def get_performance_info(self) -> dict[str, Any]:
        """How it goes: `state`, `problem`, `backend` and `cpu_percent` (of one core, in the last second).

        Once somebody has watched also `encoder`, `encoder_reason` (why no better one), `capture`, `width`, `height`,
        `fps` and `bitrate` of the last second, `dropped`, and in milliseconds, each as `…_p50` and `…_p95`:
        `capture_ms`, `convert_ms`, `encode_ms`, `latency_ms` (from the damage to the packet) and `send_ms` (from the
        packet to the kernel).
        """
        with self._condition:
            return dict(self._figures)

    # ---- inside

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "kvmstream.agent._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it died at once: _look_after sees it
            process.stdin.write(self._order)
            process.stdin.flush()
        return process

    def _look_after(self) -> None:
        deaths = 0
        while True:
            process = self._process
            assert process is not None
            assert process.stdout is not None
            began = time.monotonic()
            for line in process.stdout:
                try:
                    figures = json.loads(line)
                except ValueError:
                    continue  # cut short by its death
                with self._condition:
                    self._figures = figures
                    self._condition.notify_all()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            deaths = 0 if time.monotonic() - began > 10 else deaths + 1
            with self._condition:
                problem = (
                    f"the agent's worker ended with status {process.returncode}; it is started anew"
                )
                self._figures = {"state": "connecting", "problem": problem}
                self._condition.wait_for(
                    lambda: self._stopping, _RESTART[min(max(deaths - 1, 0), len(_RESTART) - 1)]
                )
                if self._stopping:
                    self._figures = {"state": "stopped", "problem": ""}
                    self._process = self._thread = None
                    self._condition.notify_all()
                    return
                self._process = self._spawn()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {self.state}>"


class NativeSourceAgent(SourceAgentClient):
    """The same, and ConfigError with the reason when the native core is not in use."""

    def __init__(
        self, config: StreamConfig | None = None, *, name: str = "", view_only: bool = False
    ) -> None:
        from kvmstream import backend, backend_reason

        if backend != "native":
            raise ConfigError(f"NativeSourceAgent needs the native core: {backend_reason}")
        super().__init__(config, name=name, view_only=view_only)
