"""Where this user's files are, by the platform's rules."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, Literal

__all__ = ["user_folder"]

_XDG_DEFAULTS: Final = {"cache": ".cache", "config": ".config", "state": ".local/state"}


def user_folder(kind: Literal["cache", "config", "state"], name: str = "kvmstream") -> Path:
    """Return the folder for what can be made again, what the user has set, or what is to be kept; it may not exist.

    XDG's on Linux, %LOCALAPPDATA% on Windows, ~/Library on macOS.
    """
    if sys.platform in ("win32", "darwin"):
        import platformdirs

        base = getattr(platformdirs, f"user_{kind}_path")(name, appauthor=False)
        return Path(base)
    # The specification says that a relative path is to be ignored.
    given = Path(os.environ.get(f"XDG_{kind.upper()}_HOME", ""))
    return (given if given.is_absolute() else Path.home() / _XDG_DEFAULTS[kind]) / name
