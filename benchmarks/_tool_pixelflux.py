"""pixelflux, in software H.264, as Selkies uses it at 60 frames a second."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _runner import Collector, Options


class _StripeFrame(Protocol):
    frame_id: int
    stripe_y_start: int
    stripe_height: int
    capture_ns: int
    encode_end_ns: int

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


class _Pixelflux:
    def __init__(self, options: Options, collector: Collector) -> None:
        os.environ["DISPLAY"] = options.display
        pixelflux = importlib.import_module("pixelflux")  # has no types

        self._collector = collector
        self._last_frame = -1
        self.pids = [os.getpid()]
        settings = pixelflux.CaptureSettings()
        settings.use_wayland = False
        settings.capture_width, settings.capture_height = 1920, 1080
        settings.capture_cursor = False
        settings.target_fps = options.fps
        settings.codec = "h264"
        settings.use_cpu = True
        settings.encode_node_index = -1
        settings.video_fullframe = options.tool == "pixelflux"
        settings.video_crf = round(options.crf)
        settings.video_cbr_mode = False
        settings.video_bitrate_kbps = options.bitrate // 1000
        settings.video_vbv_multiplier = options.fps  # a positive value caps CRF; one second
        settings.video_streaming_mode = False
        settings.use_paint_over_quality = True
        settings.omit_stripe_headers = True
        self._capture = pixelflux.ScreenCapture()
        self._capture.start_capture(self._deliver, settings)
        self._cleanup = (
            f"paint-over crf {settings.video_paintover_crf}"
            f" after {settings.paint_over_trigger_frames} frames"
        )

    @property
    def about(self) -> str:
        """What the session settled on; complete once the first packet is there."""
        info = self._capture.stream_info() or {}
        shape = "striped" if info.get("striped") else "full frame"
        return f"pixelflux {info.get('capture')}, {info.get('encoder')}, {shape}, {self._cleanup}"

    def _deliver(self, frame: _StripeFrame) -> None:
        size = len(frame)
        if not size:
            return
        fresh = frame.frame_id != self._last_frame
        self._last_frame = frame.frame_id
        self._collector.add(
            frame,
            size,
            pictures=int(fresh),
            latency_ns=frame.encode_end_ns - frame.capture_ns if fresh else 0,
            top=frame.stripe_y_start,
            height=frame.stripe_height,
        )

    def stop(self) -> None:
        self._capture.stop_capture()


def start(options: Options, collector: Collector) -> _Pixelflux:
    return _Pixelflux(options, collector)
