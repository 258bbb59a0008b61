"""Why an encoder is the one in use, for people who wonder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kvmstream._types import EncoderInfo
    from kvmstream.config import StreamConfig

__all__ = ["why_encoder"]


def why_encoder(in_use: str, config: StreamConfig, ladder: Iterable[EncoderInfo]) -> str:
    """What stands in the way of each encoder that would have been preferred to `in_use`; "" when nothing does."""
    if config.encoder != "auto":
        return "asked for by name"
    reasons = []
    for encoder in ladder:
        if encoder.name == in_use:
            break
        if encoder.hardware and not config.use_hardware_encoder:
            reasons.append(f"{encoder.name}: not asked for")
        elif encoder.reason:
            reasons.append(f"{encoder.name}: {encoder.reason}")
        else:
            reasons.append(
                f"{encoder.name}: failed in this stream, or cannot do its size or chroma"
            )
    return "; ".join(reasons)
