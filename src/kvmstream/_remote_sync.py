"""connect_sync(): what connect() gives, for scripts without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

from .remote import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self

    import numpy as np
    from numpy.typing import NDArray

    from ._remote_input import Keyboard, Mouse, RemoteClipboard
    from ._remote_source import RemotePacket, RemoteSource
    from .remote import RemoteHub
    from .wire import messages as m

__all__ = ["SyncClipboard", "SyncHub", "SyncKeyboard", "SyncMouse", "SyncSource", "connect_sync"]

T = TypeVar("T")


def connect_sync(url: str, *, token: str = "", user: str = "", password: str = "") -> SyncHub:
    """A hub, for `with`: what connect() gives, with plain calls.

        with kvmstream.connect_sync(url, token=token) as hub:
            source = hub.sources["office-pc"]
            source.keyboard.type("hello")
            picture = source.screenshot()

    Raises what connect() raises.
    """
    return SyncHub(connect(url, token=token, user=user, password=password))


class SyncHub:
    """A connection to a hub whose event loop runs in a thread of its own. All methods may be called from any thread."""

    def __init__(self, remote: RemoteHub) -> None:
        self._remote = remote
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kvmstream-remote", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._remote.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the hub; idempotent."""
        if self._loop is not None:
            self._run(self._remote.close())
            self._end()

    @property
    def sources(self) -> dict[str, SyncSource]:
        """Every source, online or not, by name."""
        return {
            name: SyncSource(self, source) for name, source in dict(self._remote.sources).items()
        }

    @property
    def user(self) -> str:
        """Whose token or password it was."""
        return self._remote.user

    @property
    def role(self) -> str:
        """ "admin", "control" or "view"."""
        return self._remote.role

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("not connected: use `with kvmstream.connect_sync(…) as hub`")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C: what it waited for is not wanted any more
            future.cancel()
            raise

    def _iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        while True:
            try:
                yield self._run(_next(items))
            except StopAsyncIteration:
                return

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _call(work: Any, *arguments: Any) -> Any:
    """Calls something on the loop's thread."""
    return work(*arguments)


class SyncSource:
    """One source of a hub; see RemoteSource for each method."""

    def __init__(self, hub: SyncHub, source: RemoteSource) -> None:
        self._hub = hub
        self._source = source
        self.keyboard = SyncKeyboard(hub, source.keyboard)
        self.mouse = SyncMouse(hub, source.mouse)
        self.clipboard = SyncClipboard(hub, source.clipboard)

    @property
    def name(self) -> str:
        """Its name at the hub."""
        return self._source.name

    @property
    def info(self) -> m.SourceInfo:
        """Online or not, monitors, who drives it, its agent's figures."""
        return self._source.info

    @property
    def online(self) -> bool:
        """Whether its agent is connected to the hub."""
        return self._source.online

    def wait_online(self, timeout: float | None = None) -> None:
        """Wait for its agent. Raises TimeoutError."""
        self._hub._run(self._source.wait_online(timeout))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Iterate over its newest picture: height × width × 3, uint8, RGB."""
        frames = self._hub._run(_call(self._source.frames))
        try:
            yield from self._hub._iterate(frames)
        finally:
            self._hub._run(_call(frames.close))

    def packets(self) -> Iterator[RemotePacket]:
        """Iterate over its access units as they are."""
        packets = self._hub._run(_call(self._source.packets))
        try:
            yield from self._hub._iterate(packets)
        finally:
            self._hub._run(_call(packets.close))

    def screenshot(self) -> NDArray[np.uint8]:
        """What it shows now: height × width × 3, uint8, RGB."""
        return self._hub._run(self._source.screenshot())

    def wait_change(self, timeout: float | None = None) -> None:
        """Wait until something on it changes. Raises TimeoutError."""
        self._hub._run(self._source.wait_change(timeout))

    def wait_stable(self, seconds: float = 0.5, timeout: float | None = 10.0) -> None:
        """Wait until nothing has changed for so long. Raises TimeoutError."""
        self._hub._run(self._source.wait_stable(seconds, timeout))

    def record(self, path: str | Path, seconds: float) -> list[Path]:
        """Record it to a file as it is sent; the files that were written."""
        return self._hub._run(self._source.record(path, seconds))

    def show(self, display: str) -> None:
        """Show another of its monitors; "" is the primary one. Raises CaptureError."""
        self._hub._run(self._source.show(display))

    def request_control(self, *, take: bool = False) -> None:
        """Become the one who drives it. Raises AuthenticationFailed."""
        self._hub._run(self._source.request_control(take=take))

    def give_back(self) -> None:
        """Let others drive; everything that is held down goes up."""
        self._hub._run(self._source.give_back())

    def __repr__(self) -> str:
        return repr(self._source).replace("RemoteSource", "SyncSource")


class SyncKeyboard:
    """Keys and texts; see Keyboard for each method."""

    def __init__(self, hub: SyncHub, keyboard: Keyboard) -> None:
        self._hub = hub
        self._keyboard = keyboard

    def type(self, text: str) -> None:
        """Type characters, also those that the source's layout lacks."""
        self._hub._run(self._keyboard.type(text))

    def press(self, *keys: str) -> None:
        """Press keys together and let go: press("ctrl", "c")."""
        self._hub._run(self._keyboard.press(*keys))

    def down(self, key: str) -> None:
        """Hold a key."""
        self._hub._run(self._keyboard.down(key))

    def up(self, key: str) -> None:
        """Let go of a key."""
        self._hub._run(self._keyboard.up(key))

    def release_all(self) -> None:
        """Everything up, the mouse's buttons too."""
        self._hub._run(self._keyboard.release_all())


class SyncClipboard:
    """The clipboard as text; see RemoteClipboard for each method."""

    def __init__(self, hub: SyncHub, clipboard: RemoteClipboard) -> None:
        self._hub = hub
        self._clipboard = clipboard

    @property
    def text(self) -> str:
        """What was copied there last, as far as it is known."""
        return self._clipboard.text

    def write(self, text: str) -> None:
        """Put a text into it."""
        self._hub._run(self._clipboard.write(text))

    def wait_change(self, timeout: float | None = None) -> str:
        """Wait until something is copied there, and return it. Raises TimeoutError."""
        return self._hub._run(self._clipboard.wait_change(timeout))


class SyncMouse:
    """The pointer; see Mouse for each method."""

    def __init__(self, hub: SyncHub, mouse: Mouse) -> None:
        self._hub = hub
        self._mouse = mouse

    def move(self, x: float, y: float) -> None:
        """Go to a place of the picture."""
        self._hub._run(self._mouse.move(x, y))

    def move_by(self, dx: int, dy: int) -> None:
        """Go so many pixels further."""
        self._hub._run(self._mouse.move_by(dx, dy))

    def click(
        self, x: float | None = None, y: float | None = None, button: str = "left", count: int = 1
    ) -> None:
        """Click, at a place or where the pointer is; count=2 is a double click."""
        self._hub._run(self._mouse.click(x, y, button, count))

    def down(self, button: str = "left") -> None:
        """Hold a button."""
        self._hub._run(self._mouse.down(button))

    def up(self, button: str = "left") -> None:
        """Let go of a button."""
        self._hub._run(self._mouse.up(button))

    def wheel(self, dx: float = 0, dy: float = 0) -> None:
        """Turn the wheel by notches, also fractions: down and right are positive."""
        self._hub._run(self._mouse.wheel(dx, dy))
