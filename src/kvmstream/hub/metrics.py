"""What Prometheus reads (text format 0.0.4)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .core import Hub

__all__ = ["exposition"]

_STARTED: Final = time.time()


def exposition(hub: Hub) -> str:
    """All figures of this moment."""
    lines: list[str] = []

    def add(
        name: str, kind: str, what: str, values: Iterable[tuple[dict[str, str], float]]
    ) -> None:
        full = f"kvmstream_{name}"
        lines.append(f"# HELP {full} {what}")
        lines.append(f"# TYPE {full} {kind}")
        for labels, value in values:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{full}{{{inside}}} {value:g}" if inside else f"{full} {value:g}")

    sources = sorted(hub.held.values(), key=lambda source: source.name)
    relays = [
        ({"source": source.name, "rendition": ("main", "low")[relay.number]}, relay)
        for source in sources
        for relay in source.relays
    ]
    channels = [
        (
            {
                "source": channel.source.name,
                "viewer": viewer.control.peer,
                "channel": str(channel.number),
            },
            channel,
        )
        for viewer in hub.viewers
        for channel in viewer.link.channels.values()
    ]
    add("start_time_seconds", "gauge", "When the hub's process began.", [({}, _STARTED)])
    add("sources", "gauge", "Paired sources.", [({}, len(sources))])
    add("viewers", "gauge", "Connected viewers.", [({}, len(hub.viewers))])
    add("source_online", "gauge", "Whether the agent is connected.",
        [({"source": s.name}, float(s.online)) for s in sources])  # fmt: skip
    add("source_controlled", "gauge", "Whether somebody drives it.",
        [({"source": s.name}, float(s.controller is not None)) for s in sources])  # fmt: skip
    add(
        "source_units_total",
        "counter",
        "Access units received.",
        [(labels, r.units) for labels, r in relays],
    )
    add(
        "source_bytes_total",
        "counter",
        "Bytes of them.",
        [(labels, r.bytes) for labels, r in relays],
    )
    add(
        "source_viewers",
        "gauge",
        "Subscriptions.",
        [(labels, len(r.channels)) for labels, r in relays],
    )
    add("source_bitrate_target", "gauge", "Bit/s that the viewers' lines carry.",
        [(labels, r.bitrate()) for labels, r in relays])  # fmt: skip
    add(
        "viewer_sent_total",
        "counter",
        "Access units sent.",
        [(labels, c.sent) for labels, c in channels],
    )
    add(
        "viewer_dropped_total",
        "counter",
        "Access units that did not fit.",
        [(labels, c.dropped) for labels, c in channels],
    )
    add(
        "viewer_queued",
        "gauge",
        "Access units waiting.",
        [(labels, c.queued) for labels, c in channels],
    )
    add("viewer_oldest_seconds", "gauge", "How long the oldest of them has waited.",
        [(labels, c.oldest_seconds) for labels, c in channels])  # fmt: skip
    add(
        "viewer_window",
        "gauge",
        "Access units that may be on their way.",
        [(labels, c.pace.window) for labels, c in channels],
    )
    add("viewer_queue_delay_seconds", "gauge", "What the line's queues add to the delay.",
        [(labels, c.pace.queue_delay) for labels, c in channels])  # fmt: skip
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
