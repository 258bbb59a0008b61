"""Fixtures of the tests that run streams on every backend there is."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from kvmstream import (
    StreamConfig,
    _backend,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@pytest.fixture
def backend_name(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend in turn, as if kvmstream had chosen it."""
    name = str(backend.BACKEND)
    monkeypatch.setattr(
        _backend, "_choice", _backend.Choice(cast("_backend.Seam", backend), name, "")
    )
    return name


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    """Every thread of kvmstream has ended when its stream is closed and forgotten."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    deadline = time.monotonic() + 3
    while extra := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, extra
        time.sleep(0.02)


def pattern(**settings: Any) -> StreamConfig:
    """A small, quick synthetic picture."""
    return StreamConfig(**{"source": "pattern", "display": "64x48", "fps": 100, **settings})
