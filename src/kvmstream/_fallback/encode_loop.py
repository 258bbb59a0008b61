"""The encode thread: takes from the slot, asks for keyframes and refinements, feeds the consumers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from kvmstream.errors import EncoderError, EncoderUnavailable, KvmStreamError

from .waker import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ladder import Ladder
    from .packets import Packet
    from .settings import Settings
    from .shared import Promise, Shared
    from .stage import EncodeStage

__all__ = ["EncodeLoop"]

_MS = 1_000_000  # nanoseconds
_KEYFRAME_FLOOR_NS = 500 * _MS
_NEXT_PICTURE_NS = 40 * _MS  # the longest that a keyframe waits for the next picture
# Motion counts as over after the first pause; the steps then follow slowly enough to leave the CPU alone.
_REFINE_AFTER_NS = 120 * _MS
_REFINE_EVERY_NS = 60 * _MS
_REFINE_STEPS = 4
# A caret or a clock is sharp after one step: it costs few bits at any quality.
_SMALL_CHANGE = 16_384  # pixels
_REFRESH_LIMIT_NS = 100 * _MS  # a capture thread that hangs must not stop what is there already

# "nudge" encodes the last picture again because the encoder still owes the packet of it.
_Work = Literal["", "fresh", "keyframe", "refine", "nudge"]


class EncodeLoop:
    """Owns the encoder. :meth:`run` is the thread's body; the rest belongs to that thread."""

    def __init__(self, shared: Shared, make_ladder: Callable[[Settings], Ladder]) -> None:
        self._shared = shared
        self._make_ladder = make_ladder
        self._have_picture = False
        self._blocked = False  # nobody had room when we last looked
        self._last_keyframe_ns = -FOREVER
        self._last_fresh_ns = -FOREVER
        self._refine_at_ns = 0
        self._refine_step = 0
        self._refine_steps = 0

    def run(self, opened: Promise) -> None:
        """Settles `opened` once an encoder is open, or with its error."""
        shared = self._shared
        stage: EncodeStage | None = None
        try:
            from .stage import EncodeStage

            with shared.lock:
                source, settings = shared.source, shared.settings
            assert source is not None
            stage = EncodeStage(self._make_ladder(settings), settings, shared.start_ns, shared.log)
            stage.begin(source.epoch, source.width, source.height)
            with shared.lock:
                self._mirror(stage)
            opened.settle()
            self._loop(stage)
        except EncoderUnavailable as error:
            opened.settle(error)
            shared.end(EncoderError(str(error)))
        except KvmStreamError as error:
            opened.settle(error)
            shared.end(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the consumers must hear of it
            failure = EncoderError(f"encoding failed inside: {type(error).__name__}: {error}")
            opened.settle(failure)
            shared.end(failure)
        finally:
            if stage is not None:
                stage.close()

    def _mirror(self, stage: EncodeStage) -> None:
        shared = self._shared
        shared.encoder_name = stage.encoder_name
        shared.notes = list(stage.notes)
        shared.generation = stage.generation
        shared.width, shared.height = stage.size

    def _loop(self, stage: EncodeStage) -> None:
        shared = self._shared
        while True:
            with shared.lock:
                work = self._wait_for_work(stage)
                if not work:
                    return
                delta = None
                keyframe = work == "keyframe"
                if work == "fresh":
                    delta, shared.slot = shared.slot, None
                    self._last_fresh_ns = time.perf_counter_ns()
                    keyframe = self._keyframe_is_due()
                    if shared.source is not None and shared.source.unthrottled:
                        shared.source.wake()
                elif work == "refine":
                    self._refine_step += 1
                rate, shared.new_rate = shared.new_rate, None
            taken = time.perf_counter_ns()
            if rate is not None:
                stage.update(rate)
            packets = stage.encode(delta, keyframe=keyframe, refinement=work == "refine")
            self._have_picture = True
            with shared.lock:
                self._mirror(stage)
                self._plan_refinement(work, packets, delta.pixels if delta is not None else 0)
                for packet in packets:
                    shared.stats.add_packet(packet, taken)
                    shared.hub.publish(packet)

    # -- what to do next; the lock is held -----------------------------------------------------------------------------

    def _wait_for_work(self, stage: EncodeStage) -> _Work:
        """ "" when the stream is to end."""
        shared = self._shared
        while not shared.stopping:
            now = time.perf_counter_ns()
            work, wake_at = self._choose_work(stage, now)
            if work:
                return work
            shared.work.wait((wake_at - now) / 1e9 if wake_at < FOREVER else None)
        return ""

    def _choose_work(self, stage: EncodeStage, now: int) -> tuple[_Work, int]:
        """What to do, "" for nothing; and when to look again."""
        shared = self._shared
        if not shared.hub.has_room():
            self._blocked = True
            return "", FOREVER
        if self._blocked:
            self._blocked = False
            # What waits in the slot is as old as the pause: a slow link gets fewer frames, not later ones.
            source = shared.source
            if shared.slot is not None and source is not None and not source.unthrottled:
                shared.ask_for_refresh()
        if shared.refresh_since and now < shared.refresh_since + _REFRESH_LIMIT_NS:
            return "", shared.refresh_since + _REFRESH_LIMIT_NS
        if shared.hub.wants_keyframe():
            shared.keyframe_wanted = True
        key_at = self._last_keyframe_ns + _KEYFRAME_FLOOR_NS
        if shared.slot is not None:
            # A picture that nobody could decode waits for the keyframe that is due soon.
            wait = shared.hub.only_keyframes() and now < key_at
            return ("", key_at) if wait else ("fresh", now)
        if not self._have_picture:
            return "", FOREVER
        # While the screen moves the next picture becomes the keyframe: one more in between would pass the frame rate.
        coming = min(int(1.25e9 / shared.settings.fps), _NEXT_PICTURE_NS)
        key_at = max(key_at, self._last_fresh_ns + coming)
        planned: list[tuple[int, _Work]] = [
            (key_at if shared.keyframe_wanted else 0, "keyframe"),
            (self._refine_at_ns, "refine"),
            (stage.silent_at_ns, "nudge"),
        ]
        due = [(at, work) for at, work in planned if at]
        for at, work in due:
            if now >= at:
                return work, now
        return "", min((at for at, _ in due), default=FOREVER)

    def _keyframe_is_due(self) -> bool:
        since = time.perf_counter_ns() - self._last_keyframe_ns
        interval = self._shared.settings.keyframe_interval
        asked = self._shared.keyframe_wanted and since >= _KEYFRAME_FLOOR_NS
        return asked or (interval > 0 and since >= interval * 1e9)

    def _plan_refinement(self, work: _Work, packets: list[Packet], changed: int) -> None:
        now = time.perf_counter_ns()
        if work == "refine":
            more = self._refine_step < self._refine_steps
            self._refine_at_ns = now + _REFINE_EVERY_NS if more else 0
        elif work in ("fresh", "keyframe"):
            # Small changes must not restart the refinement of a large one that is still coarse.
            small = work == "fresh" and changed <= _SMALL_CHANGE
            left = self._refine_steps - self._refine_step if self._refine_at_ns else 0
            self._refine_steps = max(1 if small else _REFINE_STEPS, left)
            self._refine_step = 0
            self._refine_at_ns = now + _REFINE_AFTER_NS
        if any(packet.keyframe for packet in packets):
            self._last_keyframe_ns = now
            self._shared.keyframe_wanted = False
            self._refine_steps = _REFINE_STEPS
