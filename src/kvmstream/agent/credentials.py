"""The credentials that this machine was given by hubs: one JSON file, readable by its owner alone."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from kvmstream._paths import user_folder
from kvmstream.errors import AuthenticationFailed, ConfigError
from kvmstream.wire.address import HubAddress
from kvmstream.wire.limits import NAME_CHARACTERS

__all__ = ["Credential", "credential_for", "machine_name", "save"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a hub knows this machine by. Never print it: `secret` is one."""

    host: str
    control_port: int
    video_port: int
    fingerprint: str
    identity: str
    secret: str

    @property
    def hub(self) -> HubAddress:
        """The hub that it is for."""
        return HubAddress(self.host, self.control_port, self.video_port, self.fingerprint)

    def __repr__(self) -> str:
        return f"<Credential for {self.host}:{self.control_port}>"


def credential_for(host: str, control_port: int) -> Credential:
    """The credential for a hub. Raises AuthenticationFailed that names the pairing command when there is none."""
    found = _read().get(f"{host}:{control_port}")
    if found is None:
        raise AuthenticationFailed(
            f"this machine is not paired with a hub at {host}:{control_port}: run `kvmstream hub --pair` on the hub, "
            "then `kvmstream pair LINE` here with the line that it prints"
        )
    return found


def save(credential: Credential) -> None:
    """Keep a credential, in place of an older one for the same hub."""
    kept = _read()
    kept[credential.hub.key] = credential
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp's files are private from the start; the rename makes it whole or nothing.
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".hubs-")
    with os.fdopen(descriptor, "w") as file:
        json.dump({key: asdict(value) for key, value in kept.items()}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(part).replace(path)


def machine_name() -> str:
    """What this machine is called unless told otherwise."""
    name = platform.node().partition(".")[0][:NAME_CHARACTERS].strip()
    return name if name.isprintable() and name else "computer"


def _path() -> Path:
    return user_folder("config") / "hubs.json"


def _read() -> dict[str, Credential]:
    path = _path()
    try:
        data = json.loads(path.read_text())
        return {key: Credential(**value) for key, value in data.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): mend it, or remove it and pair again"
        ) from None
