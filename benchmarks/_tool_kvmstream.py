"""kvmstream itself, through its public API: the native core, or the pure-Python fallback."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _runner import Collector, Options


class _Kvmstream:
    def __init__(self, options: Options, collector: Collector) -> None:
        backend, _, encoder = options.tool.partition("-")
        os.environ["KVMSTREAM_BACKEND"] = backend
        import kvmstream

        config = kvmstream.StreamConfig()
        config.display = options.display
        config.fps = options.fps
        config.crf = options.crf
        config.bitrate = options.bitrate
        config.cursor = "hidden"
        config.use_hardware_encoder = False
        config.encoder = encoder or "auto"
        self.pids = [os.getpid()]
        self._collector = collector
        self._stream = kvmstream.Stream(config)
        self._closed = kvmstream.StreamClosed
        self._stream.start()
        self._thread = threading.Thread(target=self._read, name="reader")
        self._thread.start()
        self._name = f"kvmstream {kvmstream.backend}"

    @property
    def about(self) -> str:
        """What the ladder chose; complete once the first packet is there."""
        stats = self._stream.stats()
        return f"{self._name}, {stats.capture}, {stats.encoder}"

    def _read(self) -> None:
        try:
            for packet in self._stream:
                self._collector.add(
                    packet,
                    len(packet),
                    latency_ns=packet.encoded_ns - packet.damaged_ns,
                    refinement=packet.refinement,
                )
        except self._closed:
            pass

    def stop(self) -> None:
        self._stream.stop()
        self._thread.join()


def start(options: Options, collector: Collector) -> _Kvmstream:
    return _Kvmstream(options, collector)
