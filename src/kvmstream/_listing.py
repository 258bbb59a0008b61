"""displays() and encoders(): what this machine has."""

from __future__ import annotations

from . import _backend
from ._types import Display, EncoderInfo


def displays(x_display: str = "") -> list[Display]:
    """List the monitors of `x_display` (":7"; "" means $DISPLAY), the primary one first among equals.

    Raises CaptureError when there is no display server or it cannot be asked.
    """
    return [Display(*row) for row in _backend.module().displays(x_display)]


def encoders() -> list[EncoderInfo]:
    """List every encoder on the ladder in order of preference, each unavailable one with its reason.

    The first call test-drives hardware encoders in a child process and may take some seconds; the verdicts are
    cached.
    """
    rows = _backend.module().encoders(_backend.probe_path(), _backend.cache_dir())
    return [EncoderInfo(*row) for row in rows]
