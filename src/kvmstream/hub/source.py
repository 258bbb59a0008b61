"""One source as the hub holds it: whether its agent is here, what it shows, who watches, who drives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from kvmstream.wire import messages as m
from kvmstream.wire.limits import INPUT_BACKLOG_BYTES

from .relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmstream.wire.connection import Connection
    from kvmstream.wire.video import VideoHeader

    from .viewer import ViewerSession

__all__ = ["HubSource"]

_IDLE_SECONDS: Final = 60.0  # without input: the control ends
_BITRATE_STEP: Final = 0.08
_THUMBNAILS_UNWATCHED: Final = 1  # a minute
_THUMBNAILS_WATCHED: Final = 120
_INPUT_QUEUE: Final = 256  # messages on their way to an agent


class HubSource:
    """Lives as long as the hub, whether its agent is here or not."""

    def __init__(self, name: str, changed: Callable[[HubSource], None]) -> None:
        self.name = name
        self._changed = changed
        self.relays = (Relay(0), Relay(1))
        self._told: list[m.Watch | None] = [None, None]  # what the agent was told last
        self.control: Connection | None = None
        self.state = m.SourceState([])
        self.view_only = False
        self.recording = False
        self.clipboard: m.ClipboardPolicy = "both"
        self.last_seen = 0.0
        self.cursor: m.Cursor | None = None
        self.thumbnail = b""
        self.thumbnail_at = 0.0  # seconds since 1970
        self.thumbnails_per_minute = _THUMBNAILS_UNWATCHED
        self.controller: ViewerSession | None = None
        self._input_at = 0.0
        self._waiting: dict[
            int, tuple[ViewerSession, int]
        ] = {}  # our serial → whose, and the viewer's serial
        self._serial = 0

    @property
    def online(self) -> bool:
        """Whether its agent is connected."""
        return self.control is not None

    def info(self) -> m.SourceInfo:
        """What viewers are told."""
        return m.SourceInfo(
            self.name,
            self.online,
            self.state.displays,
            self.state.shown,
            self.state.problem,
            self.view_only,
            self.controller.user.name if self.controller else "",
            sum(len(relay.channels) for relay in self.relays),
            self.last_seen,
            self.state.figures,
            self.recording,
            self.clipboard,
        )

    # ---- the agent's side

    def attach(self, control: Connection, video: Connection, *, view_only: bool) -> None:
        """Its agent is here."""
        self.control, self.view_only = control, view_only
        self.last_seen = time.time()
        self._told = [None, None]
        for relay in self.relays:
            relay.attach(control, video)
        self.watch()
        control.post(m.Driven(self.controller is not None))
        self._changed(self)

    def detach(self, control: Connection) -> None:
        """Its agent is gone; a connection that was replaced already changes nothing."""
        if self.control is not control:
            return
        self.control = None
        self.last_seen = time.time()
        for relay in self.relays:
            relay.detach()
        for viewer, serial in self._waiting.values():
            viewer.post(
                m.InputDone(serial, ["the source went offline before it answered"], self.name)
            )
        self._waiting.clear()
        self._changed(self)

    def watch(self) -> None:
        """Tell the agent whether anybody watches, and how much the lines carry; nothing when it knows."""
        if self.control is None:
            return
        for relay in self.relays:
            told = self._told[relay.number]
            bitrate = relay.bitrate()
            wanted = m.Watch(
                bool(relay.channels),
                relay.number,
                bitrate,
                thumbnails_per_minute=self.thumbnails_per_minute,
            )
            # Small steps are not worth an encoder's new settings.
            if (
                told is not None
                and told.active == wanted.active
                and told.thumbnails_per_minute == wanted.thumbnails_per_minute
                and (
                    not wanted.active or abs(bitrate - told.bitrate) < _BITRATE_STEP * told.bitrate
                )
            ):
                continue
            self._told[relay.number] = wanted
            self.control.post(wanted)

    def look_at_lines(self) -> None:
        """Called often: renditions and bitrates follow what the lines carry."""
        for channel in [c for relay in self.relays for c in relay.channels]:
            channel.reconsider()
            channel.report()
        self.watch()

    def set_clipboard(self, policy: m.ClipboardPolicy) -> None:
        """Which way clipboard texts may go."""
        if policy != self.clipboard:
            self.clipboard = policy
            self._changed(self)

    def watch_thumbnails(self, watched: bool) -> None:
        """Whether somebody looks at all sources at once."""
        self.thumbnails_per_minute = _THUMBNAILS_WATCHED if watched else _THUMBNAILS_UNWATCHED
        self.watch()

    def on_unit(self, header: VideoHeader, payload: bytes, control: Connection) -> None:
        """A unit of its video; its times come onto the hub's clock here."""
        offset = -control.clock.offset_ns if control.clock.known else 0
        self.relays[header.rendition].pass_on(header.shifted(offset, control.now_ns()), payload)

    def on_message(self, message: m.AnyMessage) -> bool:
        """A message of its agent; False for one that an agent has no business sending."""
        if isinstance(message, m.SourceState):
            self.state = message
            self._changed(self)
        elif isinstance(message, m.Cursor):
            if (
                message.shape
                or self.cursor is None
                or self.cursor.shape_serial != message.shape_serial
            ):
                self.cursor = message
            for channel in [c for relay in self.relays for c in relay.channels]:
                channel.viewer.post_cursor(channel, message)
        elif isinstance(message, m.ClipboardText):
            if self.controller is not None and self.clipboard in ("both", "from_source"):
                told = m.ClipboardText(message.text, message.too_long, self.name)
                self.controller.post(told)
        elif isinstance(message, m.InputDone):
            waiting = self._waiting.pop(message.serial, None)
            if waiting is not None:
                viewer, serial = waiting
                viewer.post(m.InputDone(serial, message.failures, self.name))
        else:
            return False
        return True

    # ---- who drives

    def request_control(self, viewer: ViewerSession, *, take: bool) -> str:
        """Let `viewer` drive, or say why not."""
        holder = self.controller
        if self.view_only:
            return f"{self.name} was started with --view-only"
        if holder is viewer:
            return ""
        if holder is not None:
            may_take = take and (
                viewer.user.role == "admin" or viewer.user.name == holder.user.name
            )
            if not may_take:
                return (
                    f"{holder.user.name} drives {self.name}; it is free after {_IDLE_SECONDS:.0f} s without input, "
                    "and an admin can take it at once"
                )
            name = viewer.user.name
            self.end_control(holder, f"{name} took over", f"control was taken over by {name}")
        self.controller = viewer
        self._input_at = time.monotonic()
        if self.control is not None:
            self.control.post(m.Driven(True))
        viewer.hub.note(viewer.user.name, "took control", self.name)
        self._changed(self)
        return ""

    def release_idle(self) -> None:
        """Called often: who has sent no input for long drives no more."""
        idle = time.monotonic() - self._input_at
        if self.controller is not None and idle >= _IDLE_SECONDS:
            reason = f"no input for {_IDLE_SECONDS:.0f} s"
            self.end_control(self.controller, reason, f"control ended: {reason}")

    def end_control(
        self, viewer: ViewerSession, reason: str = "", what: str = "gave control back"
    ) -> None:
        """Stop `viewer` from driving: everything that it holds down goes up.

        `reason` is what it hears, `what` stands in the audit.
        """
        if self.controller is not viewer:
            return
        self.controller = None
        if self.control is not None:
            self.control.post(m.Input([m.ReleaseAll()]))
            self.control.post(m.Driven(False))
        if reason:
            viewer.post(m.Control(self.name, False, reason=reason))
        viewer.hub.note(viewer.user.name, what, self.name)
        self._changed(self)

    def inject(self, viewer: ViewerSession, message: m.Input) -> None:
        """Pass input on, from the one who drives only."""
        problem = ""
        if self.controller is not viewer:
            problem = f"{viewer.user.name} does not drive {self.name}: request control first"
        elif self.control is None:
            problem = f"{self.name} is offline"
        elif len(self._waiting) >= _INPUT_QUEUE:
            problem = f"{self.name} is {_INPUT_QUEUE} inputs behind"
        elif self.control.waiting > INPUT_BACKLOG_BYTES:
            problem = f"{self.name} is {self.control.waiting} bytes behind: the input was dropped"
        if problem:
            viewer.post(m.InputDone(message.serial, [problem], self.name))
            return
        # A key that is held down is input, and no event at all says that somebody is there.
        held = [event for event in message.events if isinstance(event, m.Held)]
        if len(held) != len(message.events) or not held or any(event.codes for event in held):
            self._input_at = time.monotonic()
        if self.control is not None:
            self.control.post(m.Input(message.events, serial=self._ticket(viewer, message.serial)))

    def show(self, viewer: ViewerSession, message: m.ShowDisplay) -> str:
        """Have its agent show another monitor, or say why not. While somebody drives, only that one may."""
        if self.controller not in (None, viewer):
            return f"{self.controller.user.name} drives {self.name}: only who drives it switches its monitor"
        if self.control is None:
            return f"{self.name} is offline"
        if len(self._waiting) >= _INPUT_QUEUE or self.control.waiting > INPUT_BACKLOG_BYTES:
            return f"{self.name} is behind: try again"
        serial = self._ticket(viewer, message.serial)
        self.control.post(m.ShowDisplay(message.display, serial=serial))
        return ""

    def _ticket(self, viewer: ViewerSession, serial: int) -> int:
        """The number under which its agent answers; whoever gives none wants no answer."""
        if not serial:
            return 0
        self._serial = self._serial % 0xFFFF_FFFF + 1
        self._waiting[self._serial] = (viewer, serial)
        return self._serial

    def write_clipboard(self, viewer: ViewerSession, message: m.ClipboardText) -> None:
        """Pass a text on, from the one who drives only."""
        if self.controller is not viewer:
            reason = f"{viewer.user.name} does not drive {self.name}: request control first"
            viewer.post(m.Problem(reason, source=self.name))
        elif self.clipboard not in ("both", "to_source"):
            reason = f"{self.name} takes no clipboard texts (policy {self.clipboard}): an admin can allow it"
            viewer.post(m.Problem(reason, source=self.name))
        elif self.control is not None and self.control.waiting > INPUT_BACKLOG_BYTES:
            reason = f"{self.name} is {self.control.waiting} bytes behind: the text was dropped"
            viewer.post(m.Problem(reason, source=self.name))
        elif self.control is not None:
            self.control.post(m.ClipboardText(message.text))

    def forget_viewer(self, viewer: ViewerSession) -> None:
        """A viewer is gone."""
        self.end_control(viewer, what="control ended with the connection")
        for serial in [s for s, (whose, _) in self._waiting.items() if whose is viewer]:
            del self._waiting[serial]
