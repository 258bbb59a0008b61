"""`ffmpeg -f x11grab`: a recorder that codes every picture, changed or not."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from _desktop import HEIGHT, WIDTH

if TYPE_CHECKING:
    from _runner import Collector, Options

_DELIMITER = b"\x00\x00\x00\x01\x09"  # access unit delimiter: x264 puts one before every picture


class _X11Grab:
    about = "ffmpeg x11grab, libx264 ultrafast zerolatency, scaled to BT.709 limited"

    def __init__(self, options: Options, collector: Collector) -> None:
        kbit = options.bitrate // 1000
        self._collector = collector
        self._process = subprocess.Popen(
            [
                "ffmpeg", "-v", "error", "-nostdin", "-f", "x11grab", "-draw_mouse", "0",
                "-framerate", f"{options.fps:g}", "-video_size", f"{WIDTH}x{HEIGHT}",
                "-i", options.display, "-fps_mode", "passthrough",
                "-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
                "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709",
                "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
                "-crf", f"{options.crf:g}", "-maxrate", f"{kbit}k", "-bufsize", f"{kbit}k",
                "-x264-params", "keyint=infinite:aud=1",
                "-flush_packets", "1", "-f", "h264", "pipe:1",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
        )  # fmt: skip
        # Not this process, which only stands in for the consumer.
        self.pids = [self._process.pid]
        self._thread = threading.Thread(target=self._read, name="reader")
        self._thread.start()

    def _read(self) -> None:
        """Split at the delimiters. A picture arrived when its last byte was read."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        unit = b""
        arrival = 0
        while chunk := os.read(descriptor, 1 << 20):
            unit += chunk
            while (size := unit.find(_DELIMITER, len(_DELIMITER))) > 0:
                self._collector.add(unit[:size], size, arrival_ns=arrival)
                unit = unit[size:]
            arrival = time.perf_counter_ns()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(5)
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def start(options: Options, collector: Collector) -> _X11Grab:
    return _X11Grab(options, collector)
