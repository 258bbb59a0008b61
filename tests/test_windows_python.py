"""The Python layer for Windows, as far as it can be tried elsewhere; docs/verification.md names what is left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvmstream import _paths
from kvmstream.agent._win32 import pipe_ended
from kvmstream.cli import agent

# Modules that belong to one platform's device or display server, and are imported only there.
_ELSEWHERE = {"kvmstream.agent._uinput", "kvmstream.agent.clipboard"}


def test_every_module_imports_without_what_windows_lacks() -> None:
    """A fresh interpreter that takes itself for Windows, without POSIX's own modules and names."""
    program = f"""
        import asyncio, importlib, os, pkgutil, select, signal, socket, sqlite3, ssl, subprocess, sys, tempfile
        import aiohttp, av, cryptography.x509, msgspec, mss, numpy, segno
        # Imported above for this platform; from here on it is Windows.
        for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
            sys.modules[name] = None
        for module, names in (
            (os, "eventfd fork geteuid getgid getuid killpg memfd_create mkfifo set_blocking setsid"),
            (select, "epoll poll"),
            (signal, "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGCHLD pthread_sigmask"),
            (socket, "AF_UNIX"),
        ):
            for name in names.split():
                delattr(module, name)
        sys.platform = "win32"
        import kvmstream
        failed = {{}}
        for found in pkgutil.walk_packages(kvmstream.__path__, "kvmstream."):
            if found.name in {_ELSEWHERE!r} or found.name.endswith(("__main__", "._core")):
                continue
            try:
                importlib.import_module(found.name)
            except Exception as error:
                failed[found.name] = repr(error)
        print(failed)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "KVMSTREAM_BACKEND": "python"},
    )
    assert (result.returncode, result.stdout.strip()) == (0, "{}"), result.stderr


def test_folders_are_those_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("XDG is Linux's")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative, so ignored")
    assert _paths.user_folder("state", "kvmstream-hub") == Path("/srv/state/kvmstream-hub")
    assert _paths.user_folder("config") == Path.home() / ".config" / "kvmstream"


def test_the_startup_script_runs_exactly_the_command(tmp_path: Path) -> None:
    words = [r"C:\Program Files\Python\python.exe", "-m", "kvmstream", "agent", "100%.example"]
    text = agent.startup_script(words)
    assert '"C:\\Program Files\\Python\\python.exe" -m kvmstream agent 100%%.example\n' in text
    console = tmp_path / "python.exe"
    console.touch()
    assert f"/min {console} -m" in agent.startup_script([str(console), "-m"])
    silent = tmp_path / "pythonw.exe"
    silent.touch()
    assert f"/min {silent} -m" in agent.startup_script([str(console), "-m"])


def test_the_startup_folder_is_in_the_roaming_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPDATA", "/profile")
    assert agent.startup_folder().parts[:3] == ("/", "profile", "Microsoft")
    assert agent.startup_folder().name == "Startup"


@pytest.mark.windows
@pytest.mark.skipif(sys.platform != "win32", reason="needs a real Windows")
def test_the_end_of_a_pipe_is_seen_without_reading() -> None:
    """A read that waits would stop whatever loads a library meanwhile: NumPy's asks for standard input's type."""
    reader, writer = os.pipe()
    assert not pipe_ended(reader)
    os.close(writer)
    assert pipe_ended(reader)
    os.close(reader)
