"""Iteration over something that the engine hands out by a blocking call: `for` and `async for` alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from ._lifetime import EngineObject
from .errors import StreamClosed

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

# Returns the next item, or None after so many seconds; raises StreamClosed at the end.
Fetch = Callable[[float], T | None]

# Seconds. A blocked native call hears neither Ctrl-C nor close(), so no wait is longer than this.
SLICE = 0.25

# An event loop with packets always at hand would never get to its other tasks.
_FAIRNESS = 8


class Waiter(Generic[T]):
    """One thread that waits for a blocking source on behalf of an event loop.

    It fetches only what someone awaits, one item at a time: nothing is taken out of the engine's bounded queue ahead of
    its use, so that the queue's capacity stays the consumer's credit. What has gathered there meanwhile, the event
    loop takes itself without changing threads (`inline`).
    """

    def __init__(self, fetch: Fetch[T], *, inline: bool) -> None:
        import asyncio

        self.loop = asyncio.get_running_loop()
        self._fetch = fetch
        self._inline = inline
        self._in_a_row = 0  # event loop only
        self._turn = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._condition = threading.Condition()
        self._wanted = False  # the thread is fetching, or is about to
        self._item: T | None = None  # fetched, not yet collected
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="kvmstream-wait", daemon=True)
        self._thread.start()

    async def get(self) -> T:
        """Return the next item; raise what ended the source. Cancelling loses nothing."""
        import asyncio

        async with self._turn:
            if self._inline and self._is_idle():
                self._in_a_row += 1
                if self._in_a_row % _FAIRNESS == 0:
                    await asyncio.sleep(0)
                item = self._fetch(0.0)
                if item is not None:
                    return item
            while True:
                with self._condition:
                    item, self._item = self._item, None
                    if item is not None:
                        return item
                    if self._error is not None:
                        raise self._error
                    if self._closed:
                        raise StreamClosed("the subscription is closed")
                    self._wanted = True
                    self._arrived.clear()
                    self._condition.notify()
                await self._arrived.wait()

    def _is_idle(self) -> bool:
        with self._condition:
            return not self._wanted and self._item is None and self._error is None

    def close(self) -> None:
        """End the thread; it stops waiting after SLICE seconds, or at once when its source is closed. Any thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
            self._announce()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _announce(self) -> None:
        """Wake whoever awaits. The lock is held."""
        try:
            self.loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop is closed: nobody awaits any more
            self._closed = True

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._wanted and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
            item: T | None = None
            error: BaseException | None = None
            try:
                item = self._fetch(SLICE)
            except BaseException as caught:  # noqa: BLE001 (handed to the awaiting task)
                error = caught
            if item is None and error is None:
                continue
            with self._condition:
                self._item, self._error, self._wanted = item, error, False
                self._announce()
                if error is not None:
                    return


class Feed(EngineObject[object], Generic[T]):
    """An iterator over what a stream produces, for `for` and for `async for`; it ends when the stream has stopped.

    Close it, or let go of it, and the stream forgets this consumer.
    """

    def __init__(
        self, inner: object, fetch: Fetch[T], housekeep: Callable[[], None], *, inline: bool = False
    ) -> None:
        super().__init__(inner)
        self._fetch = fetch
        self._housekeep = housekeep
        self._inline = inline
        self._waiter: Waiter[T] | None = None
        self._closed = False

    def next(self, timeout: float | None = None) -> T | None:
        """Wait for the next item; None after `timeout` seconds (None waits for ever).

        Raises StreamClosed once the stream has stopped and nothing is left, CaptureError or EncoderError when it
        failed.
        """
        self._check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = SLICE if deadline is None else max(0.0, deadline - time.monotonic())
            item = self._fetch(min(left, SLICE))
            self._housekeep()
            if item is not None:
                return item
            if left <= SLICE and deadline is not None and time.monotonic() >= deadline:
                return None

    async def next_async(self) -> T:
        """Wait for the next item without blocking the event loop; raises what next() raises."""
        import asyncio

        self._check_open()
        loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        if self._waiter is None or self._waiter.loop is not loop:
            if self._waiter is not None:
                self._waiter.close()
            self._waiter = Waiter(self._fetch, inline=self._inline)
        item = await self._waiter.get()
        self._housekeep()
        return item

    def close(self) -> None:
        """Stop taking part; idempotent, from any thread. A blocked next() raises StreamClosed."""
        if self._inherited:
            return
        self._closed = True
        if self._waiter is not None:
            self._waiter.close()

    def _check_open(self) -> None:
        _ = self._engine
        if self._closed:
            raise StreamClosed("this consumer was closed: subscribe() again")

    def _end(self) -> None:
        self.close()
        if self._waiter is not None:
            self._waiter.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        _ = self._engine  # after a fork it is an error, not an end
        try:
            item = self.next()
        except StreamClosed:
            raise StopIteration from None
        if item is None:
            raise AssertionError("an endless wait ended")
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        _ = self._engine
        try:
            return await self.next_async()
        except StreamClosed:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):  # __init__ got that far
            self.close()
