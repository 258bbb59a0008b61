"""Introducing this machine to a hub."""

from __future__ import annotations

import asyncio

from kvmstream.errors import ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.address import PairingLine
from kvmstream.wire.connection import dial

from .credentials import Credential, machine_name, save

__all__ = ["pair"]


def pair(line: str, name: str = "") -> Credential:
    """Pair with the hub whose line this is, and keep the credential. `name` is what the hub will call this machine.

    Raises ConfigError for a line that is not whole, ConnectionLost when the hub cannot be reached, and
    AuthenticationFailed for a code that does not count or a hub with another certificate.
    """
    return asyncio.run(_pair(PairingLine.parse(line), name or machine_name()))


async def _pair(line: PairingLine, name: str) -> Credential:
    hub = line.hub
    connection = await dial(hub, hub.control_port)
    try:
        await connection.send(m.Pair(line.code, name))
        answer = await connection.receive_greeted()
    finally:
        await connection.close()
    if isinstance(answer, m.Refused):
        raise answer.error()
    if not isinstance(answer, m.Paired):
        raise ProtocolError(f"the hub answered with {type(answer).__name__}")
    credential = Credential(
        hub.host, hub.control_port, hub.video_port, hub.fingerprint, answer.identity, answer.secret
    )
    save(credential)
    return credential
