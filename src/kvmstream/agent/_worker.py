"""The agent's media path, in a process of its own: `python -m kvmstream.agent._worker`.

One line of JSON on standard input says what to do; the end of standard input, or of the parent, ends it. Standard
output carries lines of JSON that say how it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
import time
from typing import IO, Any, Final

from kvmstream.config import StreamConfig
from kvmstream.errors import AuthenticationFailed, ConnectionLost, ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.connection import Connection, dial, until_one_ends
from kvmstream.wire.limits import SILENCE_SECONDS

from ._hands import Hands
from ._pocket import Pocket
from ._screen import Screen
from ._win32 import pipe_ended
from .credentials import Credential

_log = logging.getLogger("kvmstream.agent")

_BACKOFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between two attempts to reach the hub
_REFUSED_SECONDS: Final = 30.0  # between two when the hub does not want us
_REPORT_SECONDS: Final = 1.0
_PARENT_SECONDS: Final = 0.1  # Windows: between two looks whether the parent lives


class Worker:
    """Keeps the connection to one hub. Event loop's thread only."""

    def __init__(
        self,
        credential: Credential,
        config: StreamConfig,
        name: str,
        *,
        view_only: bool,
        out: IO[str],
    ) -> None:
        self._credential = credential
        self._name = name
        self._view_only = view_only
        self._out = out
        self._screen = Screen(config)
        self._hands = Hands(config.display, self._screen.locate)
        self._pocket = Pocket(self._hands.x_display)
        self._state = "connecting"
        self._problem = ""

    async def run(self) -> None:
        """Until cancelled."""
        reporter = asyncio.create_task(self._report_forever())
        try:
            attempt = 0
            while True:
                began = time.monotonic()
                wait = _BACKOFF[min(attempt, len(_BACKOFF) - 1)]
                try:
                    await self._session()
                except AuthenticationFailed as error:
                    wait = _REFUSED_SECONDS
                    self._say("refused", str(error))
                except (ConnectionLost, ProtocolError) as error:
                    self._say("connecting", str(error))
                attempt = 0 if time.monotonic() - began > SILENCE_SECONDS else attempt + 1
                await asyncio.sleep(wait)
        finally:
            reporter.cancel()
            await self._hands.close()
            await self._pocket.close()
            await self._screen.close()

    # ---- one connection to the hub

    async def _session(self) -> None:
        hub = self._credential.hub
        control = await dial(hub, hub.control_port)
        video: Connection | None = None
        try:
            from kvmstream import __version__, backend

            await control.send(
                m.AgentHello(
                    self._credential.identity,
                    self._credential.secret,
                    self._name,
                    f"kvmstream {__version__}",
                    backend,
                    self._view_only,
                )
            )
            welcome = await control.receive_greeted()
            if isinstance(welcome, m.Refused):
                raise welcome.error()
            if not isinstance(welcome, m.Welcome):
                raise ProtocolError(f"the hub answered with {type(welcome).__name__}")
            video = await dial(hub, hub.video_port)
            await video.send(m.VideoHello(welcome.video_token))
            self._say("connected", "")
            self._screen.begin(control, video)
            await until_one_ends(
                self._control(control),
                self._screen.send_units(),
                self._screen.send_cursor(),
                self._screen.send_thumbnails(),
                self._screen.receive_acks(),
                self._screen.send_state(),
                self._hands.tick_forever(),
                control.beat(),
            )
        finally:
            # First of all: nobody's keys stay down.
            await self._hands.release_all()
            await self._pocket.watch(None)
            self._screen.end()
            for connection in (control, video):
                if connection is not None:
                    await connection.close()

    async def _control(self, control: Connection) -> None:
        while True:
            message = await control.receive()
            if control.answered(message):
                continue
            if isinstance(message, m.Input):
                self._hands.play(message, control, refuse=self._view_only)
            elif isinstance(message, m.ClipboardText):
                if not self._view_only:
                    self._pocket.write(message.text)
            elif isinstance(message, m.Driven):
                await self._pocket.watch(control if message.active else None)
            elif isinstance(message, m.Watch):
                self._screen.watch(message)
            elif isinstance(message, m.KeyframeWanted):
                self._screen.keyframe(message.rendition)
            elif isinstance(message, m.ShowDisplay):
                failure = await self._screen.show(message.display)
                if message.serial:
                    control.post(m.InputDone(message.serial, [failure[:1024]] if failure else []))
            elif isinstance(message, m.Refused):
                raise message.error()
            else:
                raise ProtocolError(f"a hub does not send {type(message).__name__} to an agent")

    # ---- what the parent is told

    def _say(self, state: str, problem: str) -> None:
        if (state, problem) != (self._state, self._problem):
            _log.info("%s %s", state, problem)
        self._state, self._problem = state, problem
        self._report()

    def _report(self) -> None:
        line = json.dumps(
            {"state": self._state, "problem": self._problem, **self._screen.figures()}
        )
        # A parent that does not read must not stop the stream: its pipe holds some hundred of these lines.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._out.write(line + "\n")
            self._out.flush()

    async def _report_forever(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(_REPORT_SECONDS)


def _config_of(settings: dict[str, Any]) -> StreamConfig:
    if settings["region"] is not None:
        settings["region"] = tuple(settings["region"])
    # 0 is the display's own size.
    return StreamConfig(
        **{**settings, "width": settings["width"] or None, "height": settings["height"] or None}
    )


async def _parent_ended() -> None:
    """Return at the end of standard input."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait() -> None:
        if sys.platform == "win32":
            # No read may wait there: whoever asks for the handle's type waits for it, and every library with a C
            # runtime of its own asks while it loads, under the loader's lock. NumPy's is one.
            while not pipe_ended(sys.stdin.fileno()):
                time.sleep(_PARENT_SECONDS)
        else:
            while sys.stdin.buffer.read(4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name="kvmstream-parent", daemon=True).start()
    await ended.wait()


async def _main(order: dict[str, Any], out: IO[str]) -> None:
    worker = Worker(
        Credential(**order["credential"]),
        _config_of(order["config"]),
        order["name"],
        view_only=order["view_only"],
        out=out,
    )
    running = asyncio.create_task(worker.run())
    waiting = asyncio.create_task(_parent_ended())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


def main() -> int:
    """Read the order, work until standard input ends."""
    # What a library prints must not get between the lines of JSON.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "set_blocking"):  # Windows has it since Python 3.12
        os.set_blocking(out.fileno(), False)
    order = json.loads(sys.stdin.buffer.readline() or b"null")
    if order is None:
        return 0  # the parent died first
    logging.basicConfig(level=order["log"], stream=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(order, out))
    return 0


if __name__ == "__main__":
    # The interpreter must not wait for the thread that reads standard input.
    status = main()
    sys.stderr.flush()
    os._exit(status)
