"""TLS 1.3 with pinned certificates: no authority is asked, the fingerprint that came with the pairing line decides."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from typing import TYPE_CHECKING

from kvmstream.errors import AuthenticationFailed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_peer", "client_context", "fingerprint", "server_context"]


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, in lower-case hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For the hub's listeners."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    context.num_tickets = 0  # sessions are long and few
    return context


def client_context() -> ssl.SSLContext:
    """For agents and viewers, which call check_peer() before they say anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_peer(found: bytes | None, expected: str, address: str) -> None:
    """Raise AuthenticationFailed unless the peer's certificate (DER) has this fingerprint."""
    got = fingerprint(found) if found else "none"
    if not hmac.compare_digest(got, expected.lower()):
        raise AuthenticationFailed(
            f"the hub at {address} shows another certificate than the one it was paired with (fingerprint {got}, "
            f"expected {expected}): if the hub was set up anew, pair again with a new line from it; else somebody is "
            "in between"
        )
