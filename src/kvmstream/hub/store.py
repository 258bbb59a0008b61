"""What the hub remembers, in SQLite: sources, users, tokens, pairing codes, and who controlled what when.

Several processes may have it open: the hub, and the command line that manages it. Every method is one transaction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from kvmstream.errors import ConfigError
from kvmstream.wire.limits import NAME_CHARACTERS
from kvmstream.wire.messages import ClipboardPolicy

from . import secrets
from .database import Database

if TYPE_CHECKING:
    import sqlite3

__all__ = ["AuditEntry", "Role", "SourceRecord", "Store", "Token", "User"]

Role = Literal["admin", "control", "view"]

_CODE_SECONDS: Final = 600.0
_AUDIT_ROWS: Final = 100_000  # older ones go
_MACROS: Final = 100  # of a user


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A paired machine. Times are seconds since 1970; `revoked` is 0.0 while its credential counts."""

    name: str
    identity: str
    created: float
    seen: float
    revoked: float
    clipboard: ClipboardPolicy


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may watch; `role` says what else, `grant` by what it was proven: a password or a token."""

    name: str
    role: Role
    grant: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """An API token without its secret; `created` is seconds since 1970."""

    id: str
    user: str
    label: str
    created: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which source; `at` is seconds since 1970."""

    at: float
    who: str
    what: str
    source: str


class Store(Database):
    """The database. Raises StoreError when it is damaged, locked, or of a newer kvmstream; it never starts over."""

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
            db.execute(
                "INSERT INTO sources (name, identity, secret, created) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, secret = excluded.secret, "
                "created = excluded.created, revoked = NULL",
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
                "SELECT name, identity, created, seen, coalesce(revoked, 0.0), clipboard FROM sources ORDER BY name"
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

    def set_clipboard(self, name: str, policy: ClipboardPolicy) -> None:
        """Which way clipboard texts of a source may go. Raises ConfigError for an unknown source or policy."""
        if policy not in get_args(ClipboardPolicy):
            allowed = ", ".join(get_args(ClipboardPolicy))
            raise ConfigError(f"clipboard policy {policy!r}: must be one of {allowed}")
        with self._transaction() as db:
            _changed(
                db.execute("UPDATE sources SET clipboard = ? WHERE name = ?", (policy, name)),
                "source",
                name,
            )
            self._note(db, "", f"clipboard policy {policy}", name)

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
        """Add a user, or change the role or the password of one. Raises ConfigError for what is not allowed.

        With another password the user's tokens count no more, and neither do sessions: whoever sets a new one means
        to shut somebody out.
        """
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
            if hashed is not None:
                db.execute("DELETE FROM tokens WHERE user = ?", (name,))
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
            self._note(db, "", f"token for {user} made", "")
        return token

    def tokens(self, user: str = "") -> list[Token]:
        """All that count, or those of one user; the oldest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT token, user, label, created FROM tokens WHERE ? IN ('', user) ORDER BY created, rowid",
                (user,),
            ).fetchall()
        return [Token(_token_id(row[0]), *row[1:]) for row in rows]

    def revoke_token(self, token_id: str) -> None:
        """Make a token worthless, and what it has opened. Raises ConfigError for an unknown one."""
        with self._transaction() as db:
            rows = db.execute("SELECT token, user FROM tokens").fetchall()
            found = [row for row in rows if _token_id(row[0]) == token_id]
            if not found:
                raise ConfigError(
                    f"there is no token {token_id!r}: kvmstream users tokens lists them"
                )
            db.execute("DELETE FROM tokens WHERE token = ?", (found[0][0],))
            self._note(db, "", f"token of {found[0][1]} revoked", "")

    def user_of_token(self, token: str) -> User | None:
        """Whose token it is."""
        hashed = secrets.hash_secret(token)
        with self._transaction() as db:
            row = db.execute(
                "SELECT users.name, users.role FROM tokens JOIN users ON users.name = tokens.user WHERE token = ?",
                (hashed,),
            ).fetchone()
        return User(row[0], row[1], _by_token(hashed)) if row else None

    def user_of_password(self, name: str, password: str) -> User | None:
        """The user with this password; takes as long for one that does not exist. Blocks for 0.1 s."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT name, role, password FROM users WHERE name = ?", (name,)
            ).fetchone()
        kept = row[2] if row and row[2] else bytes(80)
        right = secrets.check_password(password, kept)
        return User(row[0], row[1], _by_password(kept)) if right and row else None

    def granted(self) -> set[User]:
        """Everybody in every way in which they may be here now: what is in no such way any more has to end."""
        with self._transaction() as db:
            users = db.execute("SELECT name, role, password FROM users").fetchall()
            tokens = db.execute(
                "SELECT users.name, users.role, token FROM tokens JOIN users ON users.name = tokens.user"
            ).fetchall()
        found = {User(name, role, _by_password(kept)) for name, role, kept in users if kept}
        return found | {User(name, role, _by_token(hashed)) for name, role, hashed in tokens}

    # ---- macros

    def macros(self, user: str) -> dict[str, str]:
        """A user's macros: name → steps, as they were kept."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT name, steps FROM macros WHERE user = ? ORDER BY name", (user,)
            ).fetchall()
        return dict(rows)

    def set_macro(self, user: str, name: str, steps: str) -> None:
        """Keep a macro. Raises ConfigError for an unknown user, a bad name, or one too many."""
        _check_name("macro name", name)
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM users WHERE name = ?", (user,)).fetchone():
                raise ConfigError(f"there is no user {user!r}")
            others = "SELECT count(*) FROM macros WHERE user = ? AND name != ?"
            if db.execute(others, (user, name)).fetchone()[0] >= _MACROS:
                raise ConfigError(f"{user} has {_MACROS} macros, the most there may be: remove one")
            db.execute("INSERT OR REPLACE INTO macros VALUES (?, ?, ?)", (user, name, steps))

    def remove_macro(self, user: str, name: str) -> None:
        """Remove a macro. Raises ConfigError for an unknown one."""
        with self._transaction() as db:
            _changed(
                db.execute("DELETE FROM macros WHERE user = ? AND name = ?", (user, name)),
                "macro",
                name,
            )

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

    # ---- inside

    def _note(self, db: sqlite3.Connection, who: str, what: str, source: str) -> None:
        row = db.execute(
            "INSERT INTO audit (at, who, what, source) VALUES (?, ?, ?, ?)",
            (time.time(), who, what, source),
        ).lastrowid
        db.execute("DELETE FROM audit WHERE id <= ?", ((row or 0) - _AUDIT_ROWS,))


def _token_id(hashed: bytes) -> str:
    """Names a token and tells nothing of it: the beginning of what its 256 random bits were hashed to."""
    return hashed.hex()[:12]


def _by_token(hashed: bytes) -> str:
    return f"token {_token_id(hashed)}"


def _by_password(kept: bytes) -> str:
    """Another one with every password: its salt."""
    return f"password {kept[:8].hex()}"


def _check_name(what: str, name: str) -> None:
    fits = 1 <= len(name) <= NAME_CHARACTERS and name.isprintable() and name == name.strip()
    if not fits or name.startswith("("):
        raise ConfigError(
            f"{what} {name!r}: must be 1 to {NAME_CHARACTERS} printable characters, the first of them no bracket"
        )


def _changed(cursor: Any, kind: str, name: str) -> None:
    if cursor.rowcount != 1:
        raise ConfigError(f"there is no {kind} {name!r}")
