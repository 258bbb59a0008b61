"""The thread that owns the injector: input is played in order, however long a text takes, and never waits for video."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING, Final

from kvmstream._fallback.x11_wire import XServerGone
from kvmstream.errors import CaptureError
from kvmstream.wire import messages as m

from .injector import open_injector

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmstream.wire.connection import Connection

    from ._held import HeldKeys

__all__ = ["Hands"]

_log = logging.getLogger("kvmstream.agent")

_QUEUE: Final = 1024  # messages; the hub lets at most 256 wait
_TICK_SECONDS: Final = 1.0

_Job = tuple[m.Input, "Connection"]


class Hands:
    """play(), release_all() and close() from the event loop; the injector from its own thread alone."""

    def __init__(
        self, display: str, locate: Callable[[int, int, int], tuple[int, int] | None]
    ) -> None:
        self.x_display = (
            display.partition("/")[0] if ":" in display else os.environ.get("DISPLAY", "")
        )
        self._locate = locate
        self._jobs: queue.Queue[_Job | Callable[[], None]] = queue.Queue(_QUEUE)
        self._injector: HeldKeys | None = None  # made with the first input
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def play(self, message: m.Input, control: Connection, *, refuse: bool) -> None:
        """Inject, and answer when it is done."""
        if refuse:
            self._answer(control, message.serial, ["this agent was started with --view-only"])
            return
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="kvmstream-input", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((message, control))
        except queue.Full:
            self._answer(control, message.serial, [f"the source is {_QUEUE} inputs behind"])

    async def tick_forever(self) -> None:
        """Look after the lease, until the connection is lost."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self._thread is not None:
                with contextlib.suppress(queue.Full):
                    self._jobs.put_nowait(lambda: self._with_injector(self._expire))

    async def release_all(self) -> None:
        """Everything up; returns when it is."""
        await self._do(lambda: self._with_injector(lambda injector: injector.release_all()))

    async def close(self) -> None:
        """Everything up, thread and watchdog ended."""
        await self._do(self._close)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # ---- on the input thread

    def _run(self) -> None:
        while not self._closing:
            try:
                job = self._jobs.get(
                    timeout=None if self._injector is None else self._injector.due()
                )
            except queue.Empty:
                self._with_injector(lambda injector: injector.tick())
                continue
            if callable(job):
                job()
                continue
            message, control = job
            failures = self._inject(message)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._answer, control, message.serial, failures)

    def _inject(self, message: m.Input) -> list[str]:
        failures = []
        try:
            if self._injector is None:
                self._injector = open_injector(self.x_display, self._locate)
            for event in message.events:
                failure = self._injector.apply(event)
                if failure:
                    failures.append(failure)
            if message.serial:  # somebody waits for it to be done
                self._injector.sync()
        except CaptureError as error:
            failures.append(str(error))
        except XServerGone as error:
            failures.append(str(error))
            self._drop()
        return failures

    def _with_injector(self, job: Callable[[HeldKeys], None]) -> None:
        if self._injector is not None:
            try:
                job(self._injector)
            except XServerGone:
                self._drop()

    @staticmethod
    def _expire(injector: HeldKeys) -> None:
        late = injector.expire()
        if late:
            _log.warning("keys %s were held without a sign of life: released", late)

    def _close(self) -> None:
        self._closing = True
        self._drop()

    def _drop(self) -> None:
        injector, self._injector = self._injector, None
        if injector is not None:
            injector.close()

    # ---- inside

    async def _do(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            return
        done = threading.Event()

        def run() -> None:
            try:
                job()
            finally:
                done.set()

        # What waits is the lost controller's: it must not be played any more.
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(run)
        await asyncio.to_thread(done.wait)

    @staticmethod
    def _answer(control: Connection, serial: int, failures: list[str]) -> None:
        if serial:
            control.post(m.InputDone(serial, [failure[:1024] for failure in failures[:256]]))
