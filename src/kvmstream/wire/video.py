"""The fixed header in front of everything on a video connection."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from kvmstream.errors import ProtocolError

from .limits import THUMBNAIL_BYTES, VIDEO_BYTES

__all__ = ["ACK", "HEADER", "THUMBNAIL", "UNIT", "VideoHeader"]

# kind
UNIT: Final = 1  # one H.264 access unit, Annex B
THUMBNAIL: Final = 2  # one JPEG
ACK: Final = 3  # no payload; `sequence` is the newest unit that has been taken in

_KEYFRAME = 1
_REFINEMENT = 2

# payload, kind, flags, rendition, reserved, channel, sequence, generation, width, height, pts and five clocks
HEADER: Final = struct.Struct("!IBBBxIIIHHqqqqqq")

_LIMITS = {UNIT: VIDEO_BYTES, THUMBNAIL: THUMBNAIL_BYTES, ACK: 0}


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """What is known of one frame beside its bytes. Clocks are nanoseconds on the sender's clock; 0 = not known."""

    kind: int
    payload: int = 0  # bytes that follow
    keyframe: bool = False
    refinement: bool = False
    rendition: int = 0  # 0 = main, 1 = low
    channel: int = 0  # which of the viewer's subscriptions; 0 from an agent
    sequence: int = 0
    generation: int = 0
    width: int = 0
    height: int = 0
    pts: int = 0  # microseconds
    damaged_ns: int = 0
    captured_ns: int = 0
    encoded_ns: int = 0
    sent_ns: int = 0
    relayed_ns: int = 0

    def pack(self) -> bytes:
        """The header's bytes."""
        return self.for_viewer(self.channel, self.sequence)

    @classmethod
    def unpack(cls, data: bytes) -> VideoHeader:
        """Read a header. Raises ProtocolError for an unknown kind or a payload beyond its kind's limit."""
        payload, kind, flags, rendition, *rest = HEADER.unpack(data)
        limit = _LIMITS.get(kind)
        if limit is None:
            raise ProtocolError(
                f"video frame of kind {kind}: must be 1 (unit), 2 (thumbnail) or 3 (ack)"
            )
        if payload > limit:
            raise ProtocolError(
                f"video frame of kind {kind} announces {payload} bytes: the limit is {limit}"
            )
        if rendition > 1:
            raise ProtocolError(f"rendition {rendition}: must be 0 (main) or 1 (low)")
        if kind == UNIT and payload == 0:
            raise ProtocolError("an access unit of 0 bytes")
        return cls(
            kind,
            payload,
            bool(flags & _KEYFRAME),
            bool(flags & _REFINEMENT),
            rendition,
            *rest,
        )

    def for_viewer(self, channel: int, sequence: int) -> bytes:
        """The bytes of the same header on a viewer's channel."""
        flags = (_KEYFRAME if self.keyframe else 0) | (_REFINEMENT if self.refinement else 0)
        return HEADER.pack(
            self.payload, self.kind, flags, self.rendition, channel, sequence, self.generation, self.width,
            self.height, self.pts, self.damaged_ns, self.captured_ns, self.encoded_ns, self.sent_ns, self.relayed_ns,
        )  # fmt: skip

    def shifted(self, offset_ns: int, relayed_ns: int) -> VideoHeader:
        """The same on another clock: `offset_ns` is added to every time that is known."""
        return replace(
            self,
            damaged_ns=self.damaged_ns + offset_ns if self.damaged_ns else 0,
            captured_ns=self.captured_ns + offset_ns if self.captured_ns else 0,
            encoded_ns=self.encoded_ns + offset_ns if self.encoded_ns else 0,
            sent_ns=self.sent_ns + offset_ns if self.sent_ns else 0,
            relayed_ns=relayed_ns,
        )
