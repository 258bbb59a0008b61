"""A viewer's session: what it watches, what it may do, and what it is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from kvmstream.errors import ProtocolError
from kvmstream.wire import messages as m

from .relay import Channel, VideoLine, ViewerLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Hub
    from .source import HubSource
    from .store import User

__all__ = ["ViewerSession"]

_log = logging.getLogger("kvmstream.hub")

_CHANNELS: Final = 64  # subscriptions of one viewer
_THUMBNAILS_BEHIND: Final = 64 << 10  # beyond this a thumbnail waits for its successor


class ControlLine(Protocol):
    """The way to a viewer that messages take."""

    @property
    def peer(self) -> str:
        """Its address, for the log."""

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""

    def post(self, message: m.AnyMessage) -> None:
        """Send without waiting; cuts a viewer off that takes nothing any more."""

    def abort(self, reason: str) -> None:
        """Cut it now."""


class ViewerSession:
    """From Welcome to the end of either connection. Event loop's thread only."""

    def __init__(self, hub: Hub, user: User, control: ControlLine, video: VideoLine) -> None:
        self.hub = hub
        self.user = user
        self.control = control
        self.link = ViewerLink(video)
        self._shapes: dict[int, int] = {}  # channel → the shape that the viewer has
        self.thumbnails = False  # whether it looks at all sources at once

    def post(self, message: m.AnyMessage) -> None:
        """Tell the viewer."""
        self.control.post(message)

    def post_cursor(self, channel: Channel, cursor: m.Cursor) -> None:
        """The pointer of a source, with its shape only when the viewer does not have it."""
        known = self._shapes.get(channel.number) == cursor.shape_serial
        if not known and not cursor.shape:
            kept = channel.source.cursor
            if kept is not None and kept.shape_serial == cursor.shape_serial:
                cursor = m.Cursor(
                    cursor.x, cursor.y, cursor.visible, cursor.shape_serial, 0,
                    kept.shape_width, kept.shape_height, kept.hot_x, kept.hot_y, kept.shape,
                )  # fmt: skip
        self._shapes[channel.number] = cursor.shape_serial
        self.post(
            m.Cursor(
                cursor.x, cursor.y, cursor.visible, cursor.shape_serial, channel.number,
                *((0, 0, 0, 0, b"") if known else (
                    cursor.shape_width, cursor.shape_height, cursor.hot_x, cursor.hot_y, cursor.shape)),
            )
        )  # fmt: skip

    def post_thumbnail(self, source: HubSource) -> None:
        """A source's small picture, unless the line is full: the next one comes soon."""
        if self.thumbnails and source.thumbnail and self.control.waiting < _THUMBNAILS_BEHIND:
            self.control.post(m.Thumbnail(source.name, source.thumbnail_at, source.thumbnail))

    def on_message(self, message: m.AnyMessage) -> None:
        """Do what the viewer asks. Raises ProtocolError for what a viewer has no business sending."""
        if isinstance(message, m.Input):
            self._with_source(message, lambda source: source.inject(self, message))
        elif isinstance(message, m.ClipboardText):
            self._with_source(message, lambda source: source.write_clipboard(self, message))
        elif isinstance(message, m.Subscribe):
            self._subscribe(message)
        elif isinstance(message, m.Unsubscribe):
            self._unsubscribe(message.channel)
        elif isinstance(message, m.KeyframeWanted):
            channel = self.link.channels.get(message.channel)
            if channel is not None:
                channel.ask_keyframe()
        elif isinstance(message, m.RequestControl):
            self._with_source(message, lambda source: self._request_control(source, message))
        elif isinstance(message, m.WatchThumbnails):
            self._watch_thumbnails(message.active)
        elif isinstance(message, m.GiveBack):
            self._with_source(message, lambda source: self._give_back(source, message.serial))
        elif isinstance(message, m.ShowDisplay):
            self._with_source(message, lambda source: self._show(source, message))
        else:
            raise ProtocolError(f"a viewer does not send {type(message).__name__}")

    def end(self) -> None:
        """The viewer is gone."""
        self._watch_thumbnails(False)
        for number in list(self.link.channels):
            self._unsubscribe(number)
        for source in self.hub.held.values():
            source.forget_viewer(self)

    # ---- inside

    def _with_source(
        self,
        message: m.Input | m.ClipboardText | m.RequestControl | m.GiveBack | m.ShowDisplay,
        act: Callable[[HubSource], None],
    ) -> None:
        name = message.source
        source = self.hub.held.get(name)
        if source is None:
            serial = 0 if isinstance(message, m.ClipboardText) else message.serial
            self.post(m.Problem(f"there is no source {name!r}", source=name, serial=serial))
        else:
            act(source)

    def _watch_thumbnails(self, active: bool) -> None:
        if active == self.thumbnails:
            return
        self.thumbnails = active
        self.hub.thumbnails_wanted()
        for source in self.hub.held.values():
            self.post_thumbnail(source)

    def _subscribe(self, message: m.Subscribe) -> None:
        number = message.channel
        source = self.hub.held.get(message.source)
        if number == 0 or number in self.link.channels or len(self.link.channels) >= _CHANNELS:
            self.post(
                m.Problem(
                    f"channel {number}: must be a free one above 0, at most {_CHANNELS}", number
                )
            )
        elif source is None:
            self.post(m.Problem(f"there is no source {message.source!r}", number, message.source))
        else:
            channel = Channel(number, source, self)
            self.link.channels[number] = channel
            channel.relay.add(channel)
            source.watch()
            if source.cursor is not None:
                self.post_cursor(channel, source.cursor)
            self.hub.changed(source)

    def _unsubscribe(self, number: int) -> None:
        channel = self.link.channels.pop(number, None)
        if channel is not None:
            self._shapes.pop(number, None)
            channel.relay.remove(channel)
            channel.source.watch()
            self.hub.changed(channel.source)

    def _request_control(self, source: HubSource, message: m.RequestControl) -> None:
        problem = self._only_watches(source) or source.request_control(self, take=message.take)
        holder = source.controller.user.name if source.controller is not None else ""
        self.post(m.Control(source.name, not problem, holder, problem, message.serial))

    def _give_back(self, source: HubSource, serial: int) -> None:
        source.end_control(self)
        self.post(m.Control(source.name, False, serial=serial))

    def _show(self, source: HubSource, message: m.ShowDisplay) -> None:
        problem = self._only_watches(source) or source.show(self, message)
        if problem and message.serial:
            self.post(m.InputDone(message.serial, [problem], source.name))
        elif problem:
            self.post(m.Problem(problem, source=source.name))

    def _only_watches(self, source: HubSource) -> str:
        if self.user.role != "view":
            return ""
        problem = f"user {self.user.name!r} may only watch (role view)"
        _log.warning("%s wants to drive %s: %s", self.control.peer, source.name, problem)
        return problem
