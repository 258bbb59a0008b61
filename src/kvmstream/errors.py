"""Every exception that kvmstream raises on purpose.

::

    KvmStreamError
    ├── ConfigError (ValueError)           a setting is out of range: names the field, the value and the limit
    ├── CaptureError                       the screen cannot be read, or went away
    ├── EncoderError                       the encoder failed and no other could take over
    ├── EncoderUnavailable (LookupError)   no encoder fits the request: names each one and why not
    ├── StreamClosed                       the stream has ended, or belongs to another process (after a fork)
    ├── ConnectionLost                     the peer is gone
    ├── StoreError                         the hub's database or certificate cannot be used
    ├── AuthenticationFailed               the hub does not know this agent or user
    └── ProtocolError                      the peer sent something that the protocol does not allow

Messages say what was found, what the limit is, and what to do next.
"""

from __future__ import annotations

__all__ = [
    "AuthenticationFailed",
    "CaptureError",
    "ConfigError",
    "ConnectionLost",
    "EncoderError",
    "EncoderUnavailable",
    "KvmStreamError",
    "ProtocolError",
    "StoreError",
    "StreamClosed",
]


class KvmStreamError(Exception):
    """Root of all errors raised by kvmstream."""


class ConfigError(KvmStreamError, ValueError):
    """A setting has a bad value; the message names the field, the value and the limit."""


class CaptureError(KvmStreamError):
    """The screen cannot be captured, or can no longer be."""


class EncoderError(KvmStreamError):
    """The encoder failed and none below it on the ladder could take over."""


class EncoderUnavailable(KvmStreamError, LookupError):
    """No encoder satisfies the request."""


class StreamClosed(KvmStreamError):
    """The stream was stopped, or the object was inherited through a fork."""


class ConnectionLost(KvmStreamError):
    """The connection to a hub or an agent broke."""


class StoreError(KvmStreamError):
    """The hub's database or certificate is damaged, locked, or of another version; nothing in it was changed."""


class AuthenticationFailed(KvmStreamError):
    """The other side refused the credential."""


class ProtocolError(KvmStreamError):
    """The other side sent something that the protocol does not allow."""
