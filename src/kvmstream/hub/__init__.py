"""The hub: sources, viewers, and what is remembered about both."""

from __future__ import annotations

from .core import Hub, state_dir
from .store import AuditEntry, SourceRecord, Store, User

__all__ = ["AuditEntry", "Hub", "SourceRecord", "Store", "User", "state_dir"]
