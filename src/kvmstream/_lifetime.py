"""What happens to streams that outlive their moment: at interpreter exit, and in a child after a fork."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Generic, TypeVar

from . import _backend
from .errors import StreamClosed

_EXIT_PATIENCE = 2.0  # seconds

T_co = TypeVar("T_co", covariant=True)


class EngineObject(Generic[T_co]):
    """Base of every public object that holds something of the engine: a pipeline or a consumer's queue.

    The engine's threads do not exist in a child process after a fork, and its locks may be held for ever there. So
    in a child every use raises StreamClosed, and the engine's object is never touched, not even to free it.
    """

    def __init__(self, inner: T_co) -> None:
        self._inner = inner
        self._pid = os.getpid()
        _live.add(self)

    @property
    def _engine(self) -> T_co:
        """The engine's object; StreamClosed in a forked child."""
        if self._inherited:
            raise StreamClosed(
                f"this {type(self).__name__} belongs to process {self._pid}, and its threads did not come along in the "
                "fork: open a new one in this process"
            )
        return self._inner

    @property
    def _inherited(self) -> bool:
        return self._pid != os.getpid()

    def _end(self) -> None:
        """Release the engine's threads at interpreter exit. Must not raise."""


_live: weakref.WeakSet[EngineObject[object]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    streams = [held for held in list(_live) if not held._inherited]
    for held in streams:
        held._end()
    if not streams:
        return
    # A daemon thread blocked in the native core must be back in Python before the interpreter goes away.
    backend = _backend.module()
    give_up = time.monotonic() + _EXIT_PATIENCE
    while backend.waiting_calls() > 0 and time.monotonic() < give_up:
        time.sleep(0.001)


def _abandon_all() -> None:
    import ctypes

    for held in list(_live):
        # One reference that nobody gives back: a destructor would join threads that this process does not have.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held._inner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
