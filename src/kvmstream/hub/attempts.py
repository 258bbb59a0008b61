"""Wrong passwords and pairing codes are counted by address: who guesses has to wait.

Tokens and credentials of agents are not: nobody guesses 256 bits, and one script with an old token must not shut out
whoever shares its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from kvmstream.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Attempts"]

_MOST: Final = 5  # wrong ones…
_SECONDS: Final = 60.0  # …in so long
_ADDRESSES: Final = 10_000  # that are remembered; the oldest is forgotten


class Attempts:
    """Belongs to one event loop's thread."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """For a check that takes its time: one at a time for each address, and none while it has to wait.

        Guesses that come side by side would all be let in before the first of them is known to be wrong.
        """
        lock = self._turns.setdefault(address, asyncio.Lock())
        async with lock:
            self.check(address)
            yield

    def check(self, address: str) -> None:
        """Raise AuthenticationFailed while this address has to wait."""
        failures = self._failures.get(address)
        if failures is None:
            return
        now = time.monotonic()
        while failures and failures[0] < now - _SECONDS:
            failures.popleft()
        if len(failures) >= _MOST:
            wait = failures[0] + _SECONDS - now
            raise AuthenticationFailed(f"too many wrong attempts: wait {wait:.0f} s")

    def failed(self, address: str) -> None:
        """One more."""
        if address not in self._failures and len(self._failures) >= _ADDRESSES:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(address, deque(maxlen=_MOST)).append(time.monotonic())
