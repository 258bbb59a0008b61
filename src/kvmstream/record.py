"""Recorder: packets become a video file, as they are."""

from __future__ import annotations

import math
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ._mux import MUXERS, Muxer, Sample
from .errors import ConfigError, StreamClosed

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import BinaryIO, Self

    from ._types import Packet

__all__ = ["Recorder"]

_FRAGMENT_SECONDS = 1.0  # of video in a fragment, at the most
_FRAGMENT_BYTES = 4 << 20
_FLUSH_PERIOD = 0.5  # seconds of wall-clock time until what was written is on its way to the disk
_HALF = Fraction(1, 2)
_MOST_SHIFT = (
    2  # frames that come too early: what was late before them, and a sharpening in between
)
_RUN_SECONDS = Fraction(1, 10)  # frames nearer to each other are whole frames apart
_FIRST_GUESS = 1 / 60  # seconds that the only frame of a file lasts when nothing else is known


class Recorder:
    """Writes one consumer's packets to a file without re-encoding them.

        with kvmstream.Recorder("out.mp4") as recorder:
            for packet in stream:
                recorder.write(packet)

    The file name's ending chooses the container: .mp4 and .m4v (fragmented MP4), .mkv (Matroska), .h264 and .264 (the
    bare stream, without times). An existing file is replaced. The file is playable at any moment: when the process dies
    at most the last second is lost. Frame times are the packets' own (variable frame rate; within 0.1 s of
    each other they are rounded to whole frames of the stream's rate), and the last frame lasts until close().

    A new generation (another size or encoder) starts a new file: out.mp4, out-2.mp4, … (`paths`). Packets before the
    first keyframe are passed over (`skipped`). The coded size is even: a picture of odd size is recorded with its last
    row or column repeated.

    Raises ConfigError for an unknown ending and OSError when the file cannot be written. Use it from one thread.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in MUXERS:
            raise ConfigError(
                f"file name {str(self._path)!r}: must end in one of {', '.join(MUXERS)}"
            )
        self._condition = threading.Condition()  # guards everything below
        self._closed = False
        self._failure: OSError | None = None
        self._generation = 0
        self._finished_seconds = 0.0
        self.paths: list[Path] = []
        self.frames = 0
        self.bytes = 0
        self.skipped = 0
        self._file: _File | None = _File(self._path)
        self.paths.append(self._path)
        self._flusher = threading.Thread(
            target=self._flush_now_and_then, name="kvmstream-record", daemon=True
        )
        self._flusher.start()

    @property
    def duration(self) -> float:
        """Seconds of video so far, over all files."""
        with self._condition:
            return self._finished_seconds + (self._file.seconds if self._file else 0.0)

    def write(self, packet: Packet) -> None:
        """Add a packet. Raises OSError when the disk does not take it, ProtocolError for a keyframe without SPS."""
        with self._condition:
            self._check()
            if packet.generation != self._generation:
                if not packet.keyframe:
                    self.skipped += 1
                    return
                self._begin_generation(packet.generation)
            assert self._file is not None
            if self._file.empty and not packet.keyframe:
                self.skipped += 1
                return
            data = bytes(packet)
            if self._file.empty:
                self._condition.notify()  # the flusher's work begins
            self._file.add(packet.pts, data, keyframe=packet.keyframe)
            self.frames += 1
            self.bytes += len(data)

    def close(self, end_pts: int | None = None) -> None:
        """Finish the file; idempotent. The last frame lasts until `end_pts`, by default until now.

        A file that got no packet is removed.
        """
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.notify()
        self._flusher.join()
        with self._condition:
            self._finish(end_pts)
            if self._failure is not None:
                raise self._failure

    def _begin_generation(self, generation: int) -> None:
        assert self._file is not None
        if not self._file.empty:
            self._finish(None)
            path = self._path.with_stem(f"{self._path.stem}-{len(self.paths) + 1}")
            self._file = _File(path)
            self.paths.append(path)
        self._generation = generation

    def _finish(self, end_pts: int | None) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close(end_pts)
            self._finished_seconds += file.seconds
            if file.empty:
                self.paths.remove(file.path)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise StreamClosed("the recorder was closed: make a new Recorder")

    def _flush_now_and_then(self) -> None:
        """Thread: keeps the file complete up to now while no packet comes."""
        with self._condition:
            while not self._closed:
                if self._file is None or self._file.empty:
                    self._condition.wait()  # write() and close() notify
                elif not self._condition.wait_for(lambda: self._closed, _FLUSH_PERIOD):
                    try:
                        self._file.flush()
                    except OSError as error:
                        self._failure = error
                        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _File:
    """One generation's file. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: BinaryIO = path.open("wb")
        self._muxer: Muxer = MUXERS[path.suffix.lower()](self._handle)
        self._pending: list[Sample] = []
        self._pending_bytes = 0
        self._base_pts = 0
        self._last: Sample | None = None
        self._shown = Fraction(0)  # the last one's time, before it was rounded to ticks
        self._last_arrival = 0.0  # time.monotonic()
        self._interval = round(_FIRST_GUESS * self._muxer.ticks)  # between the last two samples

    @property
    def empty(self) -> bool:
        return self._last is None

    @property
    def seconds(self) -> float:
        return 0.0 if self._last is None else (self._last.time + self._interval) / self._muxer.ticks

    def add(self, pts: int, data: bytes, *, keyframe: bool) -> None:
        previous = self._last
        if previous is None:
            self._muxer.begin(data)
            self._base_pts = pts
            sample = Sample(0, data, keyframe)
        else:
            sample = Sample(self._time_after(previous.time, pts), data, keyframe)
            self._interval = sample.time - previous.time
            if not self._pending:  # the previous one is on disk with a guess for its duration
                self._muxer.stretch(self._interval, sample.time)
            elif (
                sample.time - self._pending[0].time >= _FRAGMENT_SECONDS * self._muxer.ticks
                or self._pending_bytes >= _FRAGMENT_BYTES
            ):
                self._write_pending(self._interval)
        self._pending.append(sample)
        self._pending_bytes += len(data)
        self._last = sample
        self._last_arrival = time.monotonic()

    def flush(self) -> None:
        """Bring everything to disk; the newest frame lasts until now."""
        if self._last is None:
            return
        duration = self._duration_until_now()
        if self._pending:
            self._write_pending(duration)
        else:
            self._muxer.stretch(duration, self._last.time + duration)
            self._muxer.flush()

    def close(self, end_pts: int | None) -> None:
        try:
            if self._last is not None:
                duration = self._duration_until_now()
                if end_pts is not None:
                    duration = max(1, self._ticks(end_pts) - self._last.time)
                if self._pending:
                    self._write_pending(duration)
                else:
                    self._muxer.stretch(duration, self._last.time + duration)
                self._interval = duration
        finally:
            self._handle.close()
            if self._last is None:
                self.path.unlink(missing_ok=True)

    def _write_pending(self, last_duration: int) -> None:
        self._muxer.append(self._pending, last_duration)
        self._muxer.flush()
        self._pending.clear()
        self._pending_bytes = 0

    def _duration_until_now(self) -> int:
        """Ticks from the newest frame to now; at least as long as the frame before, for packets from the past."""
        elapsed = round((time.monotonic() - self._last_arrival) * self._muxer.ticks)
        return max(1, self._interval, elapsed)

    def _time_after(self, previous: int, pts: int) -> int:
        """Return when a frame is shown: at `pts`, or whole frames after the one before where that is not long ago.

        The ffmpeg command counts time in frames, rounded, and complains about two in one count. It takes the rate from
        the SPS or, from version 9 on, guesses it by the first frames' times, which a jitter of two milliseconds can
        lead astray.
        """
        # Rounding to the container's clock must not make two frames simultaneous either.
        time = max(previous + 1, self._ticks(pts))
        rate = self._muxer.frame_rate
        if rate:
            frame = self._muxer.ticks / rate
            gap = time - self._shown
            if -_MOST_SHIFT * frame < gap < max(_RUN_SECONDS * self._muxer.ticks, frame * 3 / 2):
                self._shown += frame * max(1, round(gap / frame))
                count = math.floor(previous / frame + _HALF)
                return max(round(self._shown), math.ceil((count + _HALF) * frame))
        self._shown = Fraction(time)
        return time

    def _ticks(self, pts: int) -> int:
        return round((pts - self._base_pts) * self._muxer.ticks / 1_000_000)
