"""The streaming engine of a software KVM switch: a screen becomes low-delay H.264 packets.

    import kvmstream

    with kvmstream.Stream() as stream, kvmstream.Recorder("out.mp4") as recorder:
        for packet in stream:
            recorder.write(packet)

Nothing is imported before it is used: ``import kvmstream`` itself loads no native code, no numpy and no PyAV.

``kvmstream.backend`` is "native" or "python", ``kvmstream.backend_reason`` says why the native core is not in use
("" when it is). Both raise ConfigError when KVMSTREAM_BACKEND forces a backend that cannot be had.
"""

from __future__ import annotations

import importlib

__all__ = [
    "AuthenticationFailed",
    "CaptureError",
    "ConfigError",
    "ConnectionLost",
    "CursorState",
    "Decoder",
    "Display",
    "EncoderError",
    "EncoderInfo",
    "EncoderUnavailable",
    "Hub",
    "KvmStreamError",
    "NativeSourceAgent",
    "Packet",
    "ProtocolError",
    "QueueStats",
    "Recorder",
    "RemoteHub",
    "RemoteSource",
    "SourceAgentClient",
    "StoreError",
    "Stream",
    "StreamClosed",
    "StreamConfig",
    "StreamStats",
    "Subscription",
    "__version__",
    "backend",
    "backend_reason",
    "connect",
    "connect_sync",
    "displays",
    "encoders",
    "screenshot",
]

# What typing.TYPE_CHECKING is, without the time that importing typing takes.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ._listing import displays, encoders
    from ._remote_sync import connect_sync
    from ._screenshot import screenshot
    from ._types import CursorState, Display, EncoderInfo, Packet, QueueStats, StreamStats
    from .agent.client import NativeSourceAgent, SourceAgentClient
    from .config import StreamConfig
    from .decode import Decoder
    from .errors import (
        AuthenticationFailed,
        CaptureError,
        ConfigError,
        ConnectionLost,
        EncoderError,
        EncoderUnavailable,
        KvmStreamError,
        ProtocolError,
        StoreError,
        StreamClosed,
    )
    from .hub.core import Hub
    from .record import Recorder
    from .remote import RemoteHub, RemoteSource, connect
    from .stream import Stream, Subscription

    __version__: str
    backend: str
    backend_reason: str

_HOMES = {
    "CursorState": "._types",
    "Decoder": ".decode",
    "Display": "._types",
    "EncoderInfo": "._types",
    "Hub": ".hub.core",
    "NativeSourceAgent": ".agent.client",
    "Packet": "._types",
    "QueueStats": "._types",
    "Recorder": ".record",
    "RemoteHub": ".remote",
    "RemoteSource": ".remote",
    "SourceAgentClient": ".agent.client",
    "Stream": ".stream",
    "StreamConfig": ".config",
    "StreamStats": "._types",
    "Subscription": ".stream",
    "connect": ".remote",
    "connect_sync": "._remote_sync",
    "displays": "._listing",
    "encoders": "._listing",
    "screenshot": "._screenshot",
}


def __getattr__(name: str) -> object:
    value: object
    if name in ("backend", "backend_reason"):
        from ._backend import selected

        choice = selected()
        value = choice.name if name == "backend" else choice.reason
    elif name == "__version__":
        from importlib import metadata

        try:
            value = metadata.version("kvmstream")
        except metadata.PackageNotFoundError:  # a source tree on sys.path, not installed
            value = "0+unknown"
    elif name in __all__:
        value = getattr(importlib.import_module(_HOMES.get(name, ".errors"), __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
