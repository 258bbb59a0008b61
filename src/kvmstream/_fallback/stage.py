"""Everything that the encode thread does to a picture: convert, encode, and step down when an encoder fails."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvmstream.errors import EncoderError

from .codec import PIXEL_FORMATS
from .convert import YuvPicture
from .packets import Packet
from .settings import Settings, picture_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from .codec import AccessUnit, Encoder
    from .frames import Delta
    from .ladder import Ladder

__all__ = ["EncodeStage"]

_SILENCE_NS = 500_000_000  # a picture inside the encoder for longer = it is dead
_MAX_INSIDE = 16


@dataclass
class _Submitted:
    pts: int
    submitted_ns: int
    damaged_ns: int
    captured_ns: int
    converted_ns: int
    refinement: bool


class EncodeStage:
    """Belongs to the encode thread."""

    def __init__(
        self,
        ladder: Ladder,
        settings: Settings,
        start_ns: int,
        log: Callable[[int, str, str], None],
    ) -> None:
        self._ladder = ladder
        self._settings = settings
        self._start_ns = start_ns
        self._log = log
        self._encoder: Encoder | None = None
        self._picture: YuvPicture | None = None
        self._source = (0, 0)
        self._epoch = 0
        self._force_keyframe = True
        self._last_pts = -1
        self._inside: deque[_Submitted] = deque()
        self.notes: list[str] = []
        self.generation = 0
        self.size = (0, 0)

    @property
    def encoder_name(self) -> str:
        """ "" before the first picture."""
        return self._encoder.name if self._encoder is not None else ""

    def encode(self, delta: Delta | None, *, keyframe: bool, refinement: bool) -> list[Packet]:
        """Packets of one picture (none while the encoder wants more). `delta` None: the last picture again.

        Raises :exc:`EncoderError` when no encoder is left.
        """
        if delta is not None and delta.epoch != self._epoch:
            self.begin(delta.epoch, delta.width, delta.height)
        assert self._picture is not None
        if delta is not None:
            self._picture.apply(delta.patches)
        converted = time.perf_counter_ns()
        damaged, captured = (
            (delta.damaged_ns, delta.captured_ns) if delta is not None else (converted, converted)
        )
        while True:
            assert self._encoder is not None
            pts = max(self._last_pts + 1, (captured - self._start_ns) // 1000)
            self._last_pts = pts
            self._inside.append(
                _Submitted(pts, time.perf_counter_ns(), damaged, captured, converted, refinement)
            )
            try:
                units = self._encoder.encode(
                    self._picture.frame, pts, keyframe=keyframe or self._force_keyframe
                )
                self._check_silence(units)
            except EncoderError as error:
                self._give_up_on_encoder(str(error))
                continue
            self._force_keyframe = False
            return [self._packet(unit) for unit in units]

    def begin(self, epoch: int, width: int, height: int) -> None:
        """Another source: what the pointer's coordinates mean has changed, so it is a new generation.

        Raises :exc:`EncoderUnavailable`, or :exc:`ConfigError` for a size that H.264 cannot have.
        """
        self._epoch = epoch
        if self._source == (width, height) and self._encoder is not None:
            self.generation += 1
            self._force_keyframe = True
            return
        self._source = (width, height)
        self.size = picture_size(self._settings, width, height)
        self._picture = YuvPicture(self._source, self.size, PIXEL_FORMATS[self._settings.chroma])
        self._open_encoder()

    def _open_encoder(self) -> None:
        self.close()
        width, height = self.size
        notes: list[str] = []
        try:
            self._encoder = self._ladder.open(
                (width + (width & 1), height + (height & 1)), self._settings, notes
            )
        finally:
            for note in notes:
                if note not in self.notes:
                    self.notes.append(note)
                    self._log(30, "encode", note)
        self._log(20, "encode", f"{self._encoder.name}, {width}x{height}")
        self._force_keyframe = True
        self.generation += 1

    def _check_silence(self, units: list[AccessUnit]) -> None:
        if units:
            return
        waited = time.perf_counter_ns() - self._inside[0].submitted_ns
        if len(self._inside) >= _MAX_INSIDE or waited > _SILENCE_NS:
            raise EncoderError(
                f"took {len(self._inside)} pictures and gave no packet for {waited // 1_000_000} ms"
            )

    def _give_up_on_encoder(self, reason: str) -> None:
        name = self.encoder_name
        self._log(30, "encode", f"{name} failed: {reason}; rebuilding")
        self.notes.append(f"{name}: {reason}")
        self._ladder.report_failure(name, reason)
        self._open_encoder()

    def _packet(self, unit: AccessUnit) -> Packet:
        # Access units leave in the order of their pictures; one that the encoder skipped goes with its successor.
        while len(self._inside) > 1 and self._inside[0].pts < unit.pts:
            self._inside.popleft()
        times = self._inside.popleft()
        packet = Packet(unit.data)
        packet.keyframe = unit.keyframe
        packet.pts = unit.pts
        packet.generation = self.generation
        packet.width, packet.height = self.size
        packet.refinement = times.refinement and not unit.keyframe
        packet.damaged_ns = times.damaged_ns
        packet.captured_ns = times.captured_ns
        packet.converted_ns = times.converted_ns
        packet.encoded_ns = time.perf_counter_ns()
        return packet

    @property
    def silent_at_ns(self) -> int:
        """When a picture that is still inside counts as lost; 0 = none is."""
        return self._inside[0].submitted_ns + _SILENCE_NS if self._inside else 0

    def update(self, settings: Settings) -> None:
        """New fps, bitrate or crf."""
        self._settings = settings
        if self._encoder is not None and not self._encoder.update(settings):
            self._open_encoder()

    def close(self) -> None:
        """Idempotent."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
        self._inside.clear()
