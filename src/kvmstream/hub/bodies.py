"""What the requests and answers of the JSON API hold."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from kvmstream.wire.keys import KEYS
from kvmstream.wire.limits import NAME_CHARACTERS
from kvmstream.wire.messages import ClipboardPolicy  # noqa: TC001 - msgspec reads it when the program runs

__all__ = [
    "AuditInfo",
    "Error",
    "Health",
    "Login",
    "Macro",
    "MacroStep",
    "PairingAnswer",
    "Recorded",
    "RecordingInfo",
    "Session",
    "SourceChange",
    "TokenInfo",
    "UserChange",
    "UserInfo",
]

_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)]


class Login(Struct):
    """Name and password."""

    user: _Name
    password: Annotated[str, Meta(max_length=1024)]


class Session(Struct):
    """Who is logged in."""

    user: str
    role: Literal["admin", "control", "view"]


class SourceChange(Struct):
    """What becomes of a source; what is left out stays."""

    name: _Name | None = None
    clipboard: ClipboardPolicy | None = None


class MacroStep(Struct):
    """A key, by `KeyboardEvent.code`, that goes down or up so long after the step before."""

    code: Literal[tuple(KEYS)]  # type: ignore[valid-type]
    down: bool
    after_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0


class Macro(Struct):
    """Keys to play back."""

    steps: Annotated[list[MacroStep], Meta(min_length=1, max_length=1000)]


class PairingAnswer(Struct):
    """A line that introduces one machine, good once and for ten minutes."""

    line: str
    qr: str  # the same as a picture: an SVG as a data: URL


class UserInfo(Struct):
    """Somebody who may watch."""

    name: str
    role: Literal["admin", "control", "view"]


class TokenInfo(Struct):
    """An API token without its secret; `created` is seconds since 1970."""

    id: str
    user: str
    label: str
    created: float


class UserChange(Struct):
    """What becomes of a user; what is left out stays. A new password ends the user's tokens, sessions and viewers."""

    role: Literal["admin", "control", "view"] | None = None
    password: Annotated[str, Meta(max_length=1024)] | None = None


class AuditInfo(Struct):
    """Who did what to which source; `at` is seconds since 1970."""

    at: float
    who: str
    what: str
    source: str


class RecordingInfo(Struct):
    """A file that the hub has recorded; `at` is seconds since 1970."""

    name: str
    bytes: int
    at: float
    running: bool


class Recorded(Struct):
    """The files of a recording that has ended: one, and another one after each change of size."""

    names: list[str]


class Error(Struct):
    """Why a request could not be met."""

    error: str


class Health(Struct):
    """The hub is well."""

    status: str
