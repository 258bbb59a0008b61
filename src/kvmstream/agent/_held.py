"""What one controller holds down on this machine, on any platform: pressed once, renewed, released in every case."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from kvmstream._fallback.x11_wire import XServerGone
from kvmstream.wire import messages as m
from kvmstream.wire.limits import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HeldKeys"]

# Windows only: no console of its own, and out of reach of the worker's Ctrl-C.
_DETACHED: Final = 0x0000_0200 | 0x0800_0000 if sys.platform == "win32" else 0


class HeldKeys(ABC):
    """Bookkeeping of an injector. Belongs to one thread.

    Each method that returns a sentence says in it what could not be done, "" when all went well. A watchdog process
    lets go of everything when this one dies.
    """

    def __init__(
        self, display: str, locate: Callable[[int, int, int], tuple[int, int] | None]
    ) -> None:
        self._locate = locate
        self._down: dict[int, float] = {}  # code → when it was pressed or renewed
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "kvmstream.agent._watchdog", display],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=_DETACHED,
        )

    @property
    def held(self) -> frozenset[int]:
        """Codes that are down now."""
        return frozenset(self._down)

    def apply(self, event: m.InputEvent) -> str:
        """Do one event. Raises XServerGone when the server is gone."""
        if isinstance(event, m.Key):
            return self.key(event.code, event.down)
        if isinstance(event, m.Button):
            return self.button(event.code, event.down)
        if isinstance(event, m.Motion):
            return self.motion(event.x, event.y, event.generation)
        if isinstance(event, m.RelativeMotion):
            return self.move_by(event.dx, event.dy)
        if isinstance(event, m.Wheel):
            return self.wheel(event.dx, event.dy)
        if isinstance(event, m.Text):
            return self.text(event.text)
        if isinstance(event, m.Locks):
            return self.locks(event.caps, event.num)
        if isinstance(event, m.Held):
            self.renew(event.codes)
        else:
            self.release_all()
        return ""

    def motion(self, x: int, y: int, generation: int) -> str:
        """The pointer goes to a place of the picture; a place in an older picture is dropped."""
        place = self._locate(x, y, generation)
        if place is None:
            return (
                f"the picture has changed since: generation {generation} is not what is shown now"
            )
        return self.move(*place)

    def renew(self, codes: list[int]) -> None:
        """The holder says what is down; what is not in it goes up, and nothing goes down."""
        now = time.monotonic()
        for code in [code for code in self._down if code not in codes]:
            self._set(code, down=False)
        for code in self._down:
            self._down[code] = now

    def expire(self) -> list[int]:
        """Let go of what nobody has renewed within the lease; call it about once a second."""
        limit = time.monotonic() - LEASE_SECONDS
        late = [code for code, since in self._down.items() if since < limit]
        for code in late:
            self._set(code, down=False)
        return late

    def release_all(self) -> None:
        """Everything up."""
        for code in list(reversed(self._down)):
            self._set(code, down=False)

    def due(self) -> float | None:
        """Seconds until tick() wants to be called; None when it does not."""
        return None

    def tick(self) -> None:
        """What has to be done by the clock: nothing, unless a platform says so."""
        return

    def close(self) -> None:
        """Everything up, and the watchdog ends; never raises."""
        assert self._watchdog.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already
            self._watchdog.stdin.close()
        try:
            self._watchdog.wait(5)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()

    # ---- each platform's own

    @abstractmethod
    def key(self, code: int, down: bool) -> str:
        """A physical key, by its evdev code."""

    @abstractmethod
    def button(self, code: int, down: bool) -> str:
        """A pointer button, by its evdev code."""

    @abstractmethod
    def move(self, x: int, y: int) -> str:
        """The pointer goes to this pixel of all monitors together."""

    @abstractmethod
    def move_by(self, dx: int, dy: int) -> str:
        """The pointer goes so many pixels further."""

    @abstractmethod
    def wheel(self, dx: int, dy: int) -> str:
        """Turn the wheel: 120 is one notch; down and right are positive."""

    @abstractmethod
    def text(self, text: str) -> str:
        """Type characters, also those that the layout lacks."""

    @abstractmethod
    def locks(self, caps: bool | None, num: bool | None) -> str:
        """Caps Lock and Num Lock become so; None leaves one alone."""

    @abstractmethod
    def sync(self) -> None:
        """Wait until all of it is done."""

    @abstractmethod
    def _press(self, code: int) -> str:
        """It goes down."""

    @abstractmethod
    def _release(self, code: int) -> str:
        """It goes up."""

    # ---- inside

    def _set(self, code: int, down: bool) -> str:
        failure = ""
        if down:
            if code not in self._down:  # repeats are the source's own business
                self._tell(f"+{code}")
                self._down[code] = time.monotonic()
                failure = self._press(code)
        elif self._down.pop(code, None) is not None:
            failure = self._release(code)
            self._tell(f"-{code}")
        return failure

    def _tell(self, line: str) -> None:
        """Let the watchdog know before it matters."""
        assert self._watchdog.stdin is not None
        try:
            self._watchdog.stdin.write(line.encode() + b"\n")
            self._watchdog.stdin.flush()
        except OSError:
            # Somebody killed the guard: without one no key goes down.
            raise XServerGone("the watchdog process has ended") from None
