"""The hub's own certificate, made at its first start."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from typing import TYPE_CHECKING

from kvmstream.errors import StoreError
from kvmstream.wire.tls import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ensure_certificate"]

_YEARS = 20  # nobody renews it: what counts is that it is the same one


def ensure_certificate(folder: Path) -> tuple[Path, Path, str]:
    """Certificate, key and fingerprint in `folder`. Raises StoreError when what is there cannot be used."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if certificate.exists() != key.exists():
        lost = key if certificate.exists() else certificate
        raise StoreError(
            f"{lost} is missing: restore it, or remove the other one to pair every source again"
        )
    if not certificate.exists():
        _make(certificate, key)
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{certificate}: {error}") from None
    return certificate, key, fingerprint(der)


def _make(certificate: Path, key: Path) -> None:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise StoreError(
            f"the hub's certificate cannot be made ({error}): pip install 'kvmstream[hub]'"
        ) from None

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvmstream hub")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    _write(certificate, made.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and readable by its owner alone."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
