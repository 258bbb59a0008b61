"""What the hub remembers, in SQLite: sources, users, tokens, pairing codes, and who controlled what when.

Several processes may have it open: the hub, and the command line that manages it. Every method is one transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from kvmstream.errors import ConfigError, StoreError
from kvmstream.wire.limits import NAME_CHARACTERS

from . import secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["AuditEntry", "Role", "SourceRecord", "Store", "User"]

Role = Literal["admin", "control", "view"]

_APPLICATION: Final = 0x4B564D53  # "KVMS"
_BUSY_SECONDS: Final = 2.0
_CODE_SECONDS: Final = 600.0
_AUDIT_ROWS: Final = 100_000  # older ones go

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
)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A paired machine. Times are seconds since 1970; `revoked` is 0.0 while its credential counts."""

    name: str
    identity: str
    created: float
    seen: float
    revoked: float


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may watch; `role` says what else."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which source; `at` is seconds since 1970."""

    at: float
    who: str
    what: str
    source: str


class Store:
    """The database. Raises StoreError when it is damaged, locked, or of a newer kvmstream; it never starts over."""

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

    # ---- pairing

    def new_code(self) -> str:
        """A one-time pairing code, good for ten minutes."""
        code = secrets.new_code()
        now = time.time()
        with self._transaction() as db:
            db.execute("DELETE FROM codes WHERE expires < ?", (now,))
            db.execute(
                "INSERT INTO codes VALUES (?, ?)", (secrets.hash_secret(code), now + _CODE_SECONDS)
            )
        return code

    def pair(self, code: str, name: str) -> tuple[str, str] | None:
        """Use a code up: the new source's identity and secret, or None when the code does not count.

        A source of that name gets a new credential, and its old one counts no more: a machine set up anew keeps its
        place. What would take the place of another machine that is still paired gets a name of its own.
        """
        now = time.time()
        identity, secret = secrets.new_secret(), secrets.new_secret()
        with self._transaction() as db:
            used = db.execute(
                "DELETE FROM codes WHERE code = ? AND expires >= ?",
                (secrets.hash_secret(code), now),
            )
            if used.rowcount != 1:
                return None
            taken = {row[0] for row in db.execute("SELECT name FROM sources WHERE revoked IS NULL")}
            free, number = name, 1
            while free in taken:
                number += 1
                free = f"{name[: NAME_CHARACTERS - 4]}-{number}"
            db.execute("DELETE FROM sources WHERE name = ?", (free,))
            db.execute(
                "INSERT INTO sources (name, identity, secret, created) VALUES (?, ?, ?, ?)",
                (free, identity, secrets.hash_secret(secret), now),
            )
            self._note(db, "", "paired", free)
        return identity, secret

    def source_of(self, identity: str, secret: str) -> str | None:
        """The name of the source with this credential; None when there is none or it was revoked."""
        import hmac

        with self._transaction() as db:
            row = db.execute(
                "SELECT name, secret FROM sources WHERE identity = ? AND revoked IS NULL",
                (identity,),
            ).fetchone()
        kept = row[1] if row else bytes(32)
        return row[0] if hmac.compare_digest(kept, secrets.hash_secret(secret)) and row else None

    # ---- sources

    def sources(self) -> list[SourceRecord]:
        """All that were ever paired, by name."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT name, identity, created, seen, coalesce(revoked, 0.0) FROM sources ORDER BY name"
            ).fetchall()
        return [SourceRecord(*row) for row in rows]

    def rename(self, name: str, new: str) -> None:
        """Give a source another name. Raises ConfigError when there is no such source or the name is taken."""
        _check_name("source name", new)
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM sources WHERE name = ?", (new,)).fetchone():
                raise ConfigError(f"source name {new!r} is taken")
            _changed(
                db.execute("UPDATE sources SET name = ? WHERE name = ?", (new, name)),
                "source",
                name,
            )
            self._note(db, "", f"renamed to {new}", name)

    def revoke(self, name: str) -> None:
        """Make a source's credential worthless; it has to pair again. Raises ConfigError for an unknown one."""
        with self._transaction() as db:
            _changed(
                db.execute("UPDATE sources SET revoked = ? WHERE name = ?", (time.time(), name)),
                "source",
                name,
            )
            self._note(db, "", "revoked", name)

    def forget(self, name: str) -> None:
        """Remove a source and its credential. Raises ConfigError for an unknown one."""
        with self._transaction() as db:
            _changed(db.execute("DELETE FROM sources WHERE name = ?", (name,)), "source", name)
            self._note(db, "", "forgotten", name)

    def seen(self, name: str) -> None:
        """Note that a source is here now."""
        with self._transaction() as db:
            db.execute("UPDATE sources SET seen = ? WHERE name = ?", (time.time(), name))

    # ---- users

    def users(self) -> list[User]:
        """Everybody, by name."""
        with self._transaction() as db:
            rows = db.execute("SELECT name, role FROM users ORDER BY name").fetchall()
        return [User(name, role) for name, role in rows]

    def set_user(self, name: str, role: Role | None = None, password: str | None = None) -> None:
        """Add a user, or change the role or the password of one. Raises ConfigError for what is not allowed."""
        _check_name("user name", name)
        if role is not None and role not in get_args(Role):
            raise ConfigError(f"role {role!r}: must be admin, control or view")
        if password is not None and not 8 <= len(password) <= 1024:
            raise ConfigError(f"a password of {len(password)} characters: must have 8 to 1024")
        hashed = secrets.hash_password(password) if password is not None else None
        with self._transaction() as db:
            db.execute(
                "INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "password = coalesce(excluded.password, password), role = coalesce(?, role)",
                (name, hashed, role or "view", time.time(), role),
            )
            self._note(db, "", f"user {name} changed", "")

    def remove_user(self, name: str) -> None:
        """Remove a user and the user's tokens. Raises ConfigError for an unknown one."""
        with self._transaction() as db:
            _changed(db.execute("DELETE FROM users WHERE name = ?", (name,)), "user", name)
            self._note(db, "", f"user {name} removed", "")

    def new_token(self, user: str, label: str = "") -> str:
        """An API token with the user's role. Raises ConfigError for an unknown user."""
        token = secrets.new_secret()
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM users WHERE name = ?", (user,)).fetchone():
                raise ConfigError(f"there is no user {user!r}")
            db.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?)",
                (secrets.hash_secret(token), user, label, time.time()),
            )
        return token

    def user_of_token(self, token: str) -> User | None:
        """Whose token it is."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT users.name, users.role FROM tokens JOIN users ON users.name = tokens.user WHERE token = ?",
                (secrets.hash_secret(token),),
            ).fetchone()
        return User(*row) if row else None

    def user_of_password(self, name: str, password: str) -> User | None:
        """The user with this password; takes as long for one that does not exist. Blocks for 0.1 s."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT name, role, password FROM users WHERE name = ?", (name,)
            ).fetchone()
        kept = row[2] if row and row[2] else bytes(80)
        right = secrets.check_password(password, kept)
        return User(row[0], row[1]) if right and row else None

    # ---- settings

    def setting(self, name: str) -> str:
        """What was kept under this name; "" when nothing was."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def set_setting(self, name: str, value: str) -> None:
        """Keep a value."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    # ---- audit

    def note(self, who: str, what: str, source: str) -> None:
        """Write down that `who` did `what` to `source`."""
        with self._transaction() as db:
            self._note(db, who, what, source)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The newest entries, newest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT at, who, what, source FROM audit ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [AuditEntry(*row) for row in rows]

    def changes(self) -> tuple[int, int]:
        """Something that is another one after anybody has changed the database, this process or another."""
        with self._errors():
            others = cast("int", self._db.execute("PRAGMA data_version").fetchone()[0])
        return others, self._db.total_changes

    # ---- inside

    def _note(self, db: sqlite3.Connection, who: str, what: str, source: str) -> None:
        row = db.execute(
            "INSERT INTO audit (at, who, what, source) VALUES (?, ?, ?, ?)",
            (time.time(), who, what, source),
        ).lastrowid
        db.execute("DELETE FROM audit WHERE id <= ?", ((row or 0) - _AUDIT_ROWS,))

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


def _check_name(what: str, name: str) -> None:
    fits = 1 <= len(name) <= NAME_CHARACTERS and name.isprintable() and name == name.strip()
    if not fits or name.startswith("("):
        raise ConfigError(
            f"{what} {name!r}: must be 1 to {NAME_CHARACTERS} printable characters, the first of them no bracket"
        )


def _changed(cursor: Any, kind: str, name: str) -> None:
    if cursor.rowcount != 1:
        raise ConfigError(f"there is no {kind} {name!r}")
