"""A SQLite file of the hub: opened with care, brought to the newest version, never begun anew."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Final, cast

from kvmstream.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Database"]

_APPLICATION: Final = 0x4B564D53  # "KVMS"
_BUSY_SECONDS: Final = 2.0

# One entry per version of the database; what is released is never edited.
_MIGRATIONS: Final = (
    """
    CREATE TABLE sources (
        name TEXT PRIMARY KEY, identity TEXT NOT NULL UNIQUE, secret BLOB NOT NULL,
        created REAL NOT NULL, seen REAL NOT NULL DEFAULT 0, revoked REAL);
    CREATE TABLE codes (code BLOB PRIMARY KEY, expires REAL NOT NULL);
    CREATE TABLE users (name TEXT PRIMARY KEY, password BLOB, role TEXT NOT NULL, created REAL NOT NULL);
    CREATE TABLE tokens (
        token BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES users(name) ON DELETE CASCADE,
        label TEXT NOT NULL, created REAL NOT NULL);
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
        source TEXT NOT NULL);
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    """
    ALTER TABLE sources ADD COLUMN clipboard TEXT NOT NULL DEFAULT 'both';
    CREATE TABLE macros (
        user TEXT NOT NULL REFERENCES users(name) ON DELETE CASCADE, name TEXT NOT NULL, steps TEXT NOT NULL,
        PRIMARY KEY (user, name));
    """,
)


class Database:
    """Raises StoreError when it is damaged, locked, or of a newer kvmstream. Any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():  # private before anything is in it
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from None
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._errors():
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreError(
                    f"the hub's database {self.path} is damaged ({found}): restore a copy of it, or move it away to "
                    "begin anew (then every source has to pair again)"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
        with self._transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            application = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if application != _APPLICATION and tables:
                raise StoreError(
                    f"{self.path} is a database of another program: name another folder"
                )
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"the hub's database {self.path} has version {version}, this kvmstream knows {len(_MIGRATIONS)}: "
                    "install the newer kvmstream again"
                )
            for number in range(version, len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute(f"PRAGMA application_id = {_APPLICATION}")

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    def changes(self) -> tuple[int, int]:
        """Something that is another one after anybody has changed the database, this process or another."""
        with self._errors():
            others = cast("int", self._db.execute("PRAGMA data_version").fetchone()[0])
        return others, self._db.total_changes

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                hint = "another program has locked it for more than 2 s: end that program"
            elif "readonly" in text or "unable to open" in text:
                hint = "check its owner and permissions"
            elif "full" in text:
                hint = "the disk is full"
            else:
                hint = "it may be damaged: restore a copy of it, or move it away to begin anew"
            raise StoreError(f"the hub's database {self.path}: {text}; {hint}") from None
