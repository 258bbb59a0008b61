"""The source agent: it dials a hub, streams this machine's screen and plays input back."""

from __future__ import annotations

from .client import NativeSourceAgent, SourceAgentClient
from .pairing import pair

__all__ = ["NativeSourceAgent", "SourceAgentClient", "pair"]
