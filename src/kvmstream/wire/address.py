"""Where a hub is, and the line that introduces a machine to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from kvmstream.errors import ConfigError

from .limits import CONTROL_PORT, VIDEO_PORT

__all__ = ["HubAddress", "PairingLine"]

_SCHEME = "kvmstream"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A hub: host, two ports and its certificate's fingerprint ("" where it has to be looked up)."""

    host: str
    control_port: int = CONTROL_PORT
    video_port: int = VIDEO_PORT
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """What credentials for it are filed under."""
        return f"{self.host}:{self.control_port}"

    @property
    def url(self) -> str:
        """kvmstream://host:8080?video=8081&fingerprint=…"""
        return _url(self, {})

    @classmethod
    def parse(cls, url: str) -> HubAddress:
        """Read a URL, or plain ``host`` or ``host:port``. Raises ConfigError."""
        return _split(url)[0]


@dataclass(frozen=True, slots=True)
class PairingLine:
    """What a hub prints and a machine is told once: the hub's address and fingerprint, and a one-time code."""

    hub: HubAddress
    code: str

    def __str__(self) -> str:
        return _url(self.hub, {"code": self.code})

    @classmethod
    def parse(cls, line: str) -> PairingLine:
        """Read the line. Raises ConfigError that names what is missing."""
        hub, query = _split(line.strip())
        code = query.get("code", "")
        if not code or not hub.fingerprint:
            missing = "code" if not code else "fingerprint"
            raise ConfigError(
                f"this is no whole pairing line, it has no {missing}: copy all of what the hub printed, in quotes"
            )
        return cls(hub, code)


def _url(hub: HubAddress, extra: dict[str, str]) -> str:
    host = f"[{hub.host}]" if ":" in hub.host else hub.host
    query = {"video": str(hub.video_port), "fingerprint": hub.fingerprint, **extra}
    return f"{_SCHEME}://{host}:{hub.control_port}?{urlencode(query)}"


def _split(url: str) -> tuple[HubAddress, dict[str, str]]:
    text = url if "://" in url else f"{_SCHEME}://{url}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"hub address {_hide(url)}: {error}") from None
    if parts.scheme != _SCHEME or not parts.hostname:
        raise ConfigError(
            f"hub address {_hide(url)}: must be HOST, HOST:PORT or {_SCHEME}://HOST:PORT, e.g. 192.168.1.100"
        )
    query = dict(parse_qsl(parts.query))
    fingerprint = query.get("fingerprint", "").lower()
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigError(f"hub fingerprint {fingerprint!r}: must be 64 hexadecimal digits")
    video = query.get("video", "")
    if video and not (video.isdecimal() and 0 < int(video) < 65536):
        raise ConfigError(f"hub video port {video!r}: must be 1 to 65535")
    control = port or CONTROL_PORT
    return (
        HubAddress(
            parts.hostname,
            control,
            int(video) if video else (VIDEO_PORT if control == CONTROL_PORT else control + 1),
            fingerprint,
        ),
        query,
    )


def _hide(url: str) -> str:
    """The address without what may be secret."""
    return repr(url.partition("?")[0])
