"""Recordings that the hub makes: units as they come, without encoding anew, into fragmented MP4 files of its folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kvmstream.errors import ConfigError, KvmStreamError
from kvmstream.record import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from kvmstream._remote_source import RemotePacket

    from .core import Hub

__all__ = ["Recording", "Recordings"]

_log = logging.getLogger("kvmstream.hub")

_AT_ONCE: Final = 8
_LONGEST_SECONDS: Final = 4 * 3600.0
_MOST_BYTES: Final = 8 << 30  # of one recording
_FREE_BYTES: Final = 1 << 30  # that it leaves on the disk
_CHECK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Recording:
    """One file."""

    name: str
    bytes: int
    at: float  # seconds since 1970 of its last change
    running: bool


class Recordings:
    """One at a time of each source. Belongs to the hub's event loop; files are written by its helper threads."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._folder = hub.folder / "recordings"
        self._running: dict[str, asyncio.Task[None]] = {}
        self._writing: dict[str, Recorder] = {}

    def start(self, source: str, who: str) -> None:
        """Begin. Raises ConfigError when it is recorded already, or too many are."""
        if source in self._running:
            raise ConfigError(f"{source} is being recorded already")
        if len(self._running) >= _AT_ONCE:
            raise ConfigError(f"{len(self._running)} recordings are running: at most {_AT_ONCE}")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = re.sub(r"[^\w. -]", "_", source).lstrip(".")
        stem = f"{name} {time.strftime('%Y-%m-%d %H-%M-%S')}"
        path = self._folder / f"{stem}.mp4"
        while path.exists():  # the second one within a second
            stem += "+"
            path = self._folder / f"{stem}.mp4"
        self._writing[source] = Recorder(path)
        self._running[source] = asyncio.create_task(self._record(source, self._writing[source]))
        self._hub.note(who, "began to record", source)
        self._told(source, running=True)

    async def stop(self, source: str, who: str) -> list[str]:
        """End it; the names of its files. Raises ConfigError when it is not being recorded."""
        task = self._running.get(source)
        if task is None:
            raise ConfigError(f"{source} is not being recorded")
        recorder = self._writing[source]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._hub.note(who, "ended the recording", source)
        return [path.name for path in recorder.paths if path.exists()]

    async def close(self) -> None:
        """End all of them; idempotent."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def files(self) -> list[Recording]:
        """All of them, newest first."""
        writing = {path.name for recorder in self._writing.values() for path in recorder.paths}
        found = []
        for path in self._folder.glob("*.mp4"):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                about = path.stat()
                found.append(
                    Recording(path.name, about.st_size, about.st_mtime, path.name in writing)
                )
        return sorted(found, key=lambda one: one.at, reverse=True)

    def path(self, name: str) -> Path | None:
        """Where a file lies; None when there is none of that name."""
        known = any(one.name == name for one in self.files())
        return self._folder / name if known else None

    def remove(self, name: str, who: str) -> None:
        """Delete a file. Raises ConfigError for one that is being written."""
        if any(one.name == name and one.running for one in self.files()):
            raise ConfigError(f"{name} is being written: end the recording first")
        path = self.path(name)
        if path is not None:
            path.unlink(missing_ok=True)
            self._hub.note(who, f"removed the recording {name}", "")

    # ---- inside

    async def _record(self, source: str, recorder: Recorder) -> None:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                async with self._hub.sources[source].packets() as packets:
                    checked = 0.0
                    async for packet in packets:
                        batch = [packet]
                        while (more := packets.take_waiting()) is not None:
                            batch.append(more)
                        await asyncio.to_thread(_write, recorder, batch)
                        if recorder.bytes > _MOST_BYTES:
                            break
                        if time.monotonic() - checked > _CHECK_SECONDS:
                            checked = time.monotonic()
                            if shutil.disk_usage(self._folder).free < _FREE_BYTES:
                                _log.error("recording of %s: the disk is nearly full", source)
                                break
        except TimeoutError:
            _log.info("recording of %s: %.0f h are full", source, _LONGEST_SECONDS / 3600)
        except (KvmStreamError, OSError) as error:
            _log.error("recording of %s: %s", source, error)
        finally:
            del self._running[source], self._writing[source]
            try:
                await asyncio.to_thread(recorder.close)
            except OSError as error:
                _log.error("recording of %s: %s", source, error)
            self._told(source, running=False)

    def _told(self, source: str, *, running: bool) -> None:
        held = self._hub.held.get(source)
        if held is not None:
            held.recording = running
            self._hub.changed(held)


def _write(recorder: Recorder, batch: list[RemotePacket]) -> None:
    for packet in batch:
        recorder.write(packet)
