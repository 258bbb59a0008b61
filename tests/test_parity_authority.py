"""An X server that asks for a cookie: who has it sees the screen, who has not is told where to look."""

from __future__ import annotations

import socket
import struct

import pytest

from kvmstream import errors

_LOCAL = 256  # FamilyLocal
_COOKIE = bytes(range(16))


def _entry(host: str, cookie: bytes) -> bytes:
    """One entry of an Xauthority file, for any display of that host."""
    fields = (host.encode(), b"", b"MIT-MAGIC-COOKIE-1", cookie)
    return struct.pack(">H", _LOCAL) + b"".join(struct.pack(">H", len(f)) + f for f in fields)


@pytest.fixture
def authority(tmp_path, monkeypatch):
    path = tmp_path / "Xauthority"
    path.write_bytes(_entry(socket.gethostname(), _COOKIE))
    monkeypatch.setenv("XAUTHORITY", str(path))
    return path


def test_the_cookie_opens_the_server(backend, make_xvfb, authority):
    # A file of its own: a server looks at its file again when that has changed.
    servers = authority.with_name("servers")
    servers.write_bytes(authority.read_bytes())
    server = make_xvfb("320x240", "-auth", str(servers))
    assert backend.displays(server.display)[0][4:6] == (320, 240)
    authority.write_bytes(_entry(socket.gethostname(), bytes(16)))
    with pytest.raises(errors.CaptureError, match="XAUTHORITY"):
        backend.displays(server.display)
    authority.unlink()
    with pytest.raises(errors.CaptureError, match="XAUTHORITY"):
        backend.displays(server.display)
