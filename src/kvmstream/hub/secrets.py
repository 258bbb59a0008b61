"""How secrets are made, kept as hashes, and compared. None of them is ever logged."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

__all__ = ["check_password", "hash_password", "hash_secret", "new_code", "new_secret"]

# scrypt's memory is 128·N·r bytes: 32 MiB, and 0.1 s of one core.
_N, _R, _P = 1 << 15, 8, 1
_SALT = 16
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no 0/O, no 1/I


def new_secret() -> str:
    """256 random bits for a machine to keep."""
    return secrets.token_urlsafe(32)


def new_code() -> str:
    """60 random bits, readable over the telephone: "K7QM-3XTD-PR5W"."""
    letters = [secrets.choice(_ALPHABET) for _ in range(12)]
    return "-".join("".join(letters[i : i + 4]) for i in (0, 4, 8))


def hash_secret(secret: str) -> bytes:
    """For secrets of full entropy: nothing is gained by a slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def hash_password(password: str) -> bytes:
    """For what people choose: salt and scrypt."""
    salt = os.urandom(_SALT)
    return salt + _scrypt(password, salt)


def check_password(password: str, kept: bytes) -> bool:
    """Whether it is the one; takes as long either way."""
    return hmac.compare_digest(_scrypt(password, kept[:_SALT]), kept[_SALT:])


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=64 << 20)
