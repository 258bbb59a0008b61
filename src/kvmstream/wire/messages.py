"""The messages of a control connection: MessagePack maps, in browsers JSON, typed and checked when they arrive.

Times are nanoseconds on the sender's clock. Pointer coordinates are 0…65535 of the picture that `generation` names.
Keys are evdev codes (KEY_A = 30), buttons evdev's too (BTN_LEFT = 0x110).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from kvmstream.errors import AuthenticationFailed, ConnectionLost, KvmStreamError, ProtocolError

from .limits import (
    CLIPBOARD_BYTES,
    INPUT_EVENTS,
    NAME_CHARACTERS,
    RELATIVE_PIXELS,
    TEXT_CHARACTERS,
    THUMBNAIL_BYTES,
    WHEEL_UNITS,
)

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)]
Secret: TypeAlias = Annotated[str, Meta(max_length=128)]
Short: TypeAlias = Annotated[str, Meta(max_length=1024)]
Nanoseconds: TypeAlias = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Coordinate: TypeAlias = Annotated[int, Meta(ge=0, le=65535)]
KeyCode: TypeAlias = Annotated[int, Meta(ge=1, le=0x2FF)]
RenditionNumber: TypeAlias = Annotated[int, Meta(ge=0, le=1)]  # 0 = main, 1 = low
Counter: TypeAlias = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
ClipboardPolicy: TypeAlias = Literal["both", "to_source", "from_source", "none"]


class Message(Struct, frozen=True, tag_field="t"):
    """Base of all messages; the tag is the class's name."""


# ---- anybody ---------------------------------------------------------------------------------------------------------


class Refused(Message, frozen=True, tag=True):
    """Last message of a connection that is not wanted: why, and what to do."""

    reason: Short
    authentication: bool = False

    def error(self) -> KvmStreamError:
        """The same as an exception."""
        return (AuthenticationFailed if self.authentication else ConnectionLost)(self.reason)


class Ping(Message, frozen=True, tag=True):
    """Also the heartbeat."""

    sent_ns: Nanoseconds


class Pong(Message, frozen=True, tag=True):
    """Answer to a Ping."""

    sent_ns: Nanoseconds  # the ping's
    received_ns: Nanoseconds
    answered_ns: Nanoseconds


# ---- first message of a connection -----------------------------------------------------------------------------------


class Pair(Message, frozen=True, tag=True):
    """A machine that has a pairing line asks for a credential of its own."""

    code: Secret
    name: Name


class Paired(Message, frozen=True, tag=True):
    """The hub's answer."""

    identity: Name
    secret: Secret


class AgentHello(Message, frozen=True, tag=True):
    """An agent with its credential."""

    identity: Name
    secret: Secret
    name: Name
    software: Short = ""
    backend: Short = ""
    view_only: bool = False


class ViewerHello(Message, frozen=True, tag=True):
    """A viewer: with an API token, or with name and password."""

    token: Secret = ""
    user: Annotated[str, Meta(max_length=NAME_CHARACTERS)] = ""
    password: Annotated[str, Meta(max_length=1024)] = ""
    software: Short = ""


class VideoHello(Message, frozen=True, tag=True):
    """The video connection that belongs to the control connection which was given this token."""

    token: Secret


class Welcome(Message, frozen=True, tag=True):
    """The peer is known."""

    name: Name  # what the hub calls it
    video_token: Secret = ""
    role: Short = ""


# ---- hub → agent -----------------------------------------------------------------------------------------------------


class Watch(Message, frozen=True, tag=True):
    """Somebody watches (or nobody any more), and with which settings."""

    active: bool
    rendition: RenditionNumber = 0
    bitrate: Annotated[int, Meta(ge=50_000, le=1_000_000_000)] = 6_000_000
    fps: Annotated[float, Meta(ge=1, le=240)] = 60.0
    thumbnails_per_minute: Annotated[int, Meta(ge=0, le=600)] = 1


class ShowDisplay(Message, frozen=True, tag=True):
    """Which of the source's monitors is shown; "" is its primary one. Also from a viewer to the hub, with `source`.

    `serial` comes back in InputDone.
    """

    display: Annotated[str, Meta(max_length=128)]
    source: Annotated[str, Meta(max_length=NAME_CHARACTERS)] = ""
    serial: Counter = 0


class KeyframeWanted(Message, frozen=True, tag=True):
    """A decoder cannot go on without one. Also from a viewer to the hub."""

    channel: Counter = 0
    rendition: RenditionNumber = 0


# ---- input: viewer → hub → agent -------------------------------------------------------------------------------------


class Key(Message, frozen=True, tag=True):
    """A key went down or up."""

    code: KeyCode
    down: bool


class Button(Message, frozen=True, tag=True):
    """A pointer button went down or up."""

    code: KeyCode
    down: bool


class Motion(Message, frozen=True, tag=True):
    """The pointer is at this place of the picture."""

    x: Coordinate
    y: Coordinate
    generation: Counter


class RelativeMotion(Message, frozen=True, tag=True):
    """The pointer moved by so many pixels of the source."""

    dx: Annotated[int, Meta(ge=-RELATIVE_PIXELS, le=RELATIVE_PIXELS)]
    dy: Annotated[int, Meta(ge=-RELATIVE_PIXELS, le=RELATIVE_PIXELS)]


class Wheel(Message, frozen=True, tag=True):
    """The wheel turned: 120 is one notch; down and right are positive."""

    dx: Annotated[int, Meta(ge=-WHEEL_UNITS, le=WHEEL_UNITS)] = 0
    dy: Annotated[int, Meta(ge=-WHEEL_UNITS, le=WHEEL_UNITS)] = 0


class Text(Message, frozen=True, tag=True):
    """Characters to type, also those that the layout lacks."""

    text: Annotated[str, Meta(max_length=TEXT_CHARACTERS)]


class Locks(Message, frozen=True, tag=True):
    """Caps Lock and Num Lock of whoever drives: the source's become the same; None leaves one alone."""

    caps: bool | None = None
    num: bool | None = None


class Held(Message, frozen=True, tag=True):
    """Renews the lease: everything that is down now; the source lets go of what is not in it."""

    codes: Annotated[list[KeyCode], Meta(max_length=64)]


class ReleaseAll(Message, frozen=True, tag=True):
    """Everything up."""


InputEvent: TypeAlias = (
    Key | Button | Motion | RelativeMotion | Wheel | Text | Locks | Held | ReleaseAll
)


class Input(Message, frozen=True, tag=True):
    """Input for one source, in this order. `serial` comes back in InputDone once all of it was injected."""

    events: Annotated[list[InputEvent], Meta(max_length=INPUT_EVENTS)]
    source: Annotated[str, Meta(max_length=NAME_CHARACTERS)] = ""  # "" from the hub to the agent
    serial: Counter = 0


class InputDone(Message, frozen=True, tag=True):
    """What of an Input or ShowDisplay could not be done: one sentence each, none when all went well."""

    serial: Counter
    failures: Annotated[list[Short], Meta(max_length=256)]
    source: Annotated[str, Meta(max_length=NAME_CHARACTERS)] = ""


class ClipboardText(Message, frozen=True, tag=True):
    """The source's clipboard, both ways, for the one who drives it.

    `too_long` is the size in bytes of a text beyond the limit, which is not sent.
    """

    text: Annotated[str, Meta(max_length=CLIPBOARD_BYTES)]
    too_long: Annotated[int, Meta(ge=0)] = 0
    source: Annotated[str, Meta(max_length=NAME_CHARACTERS)] = ""


class Driven(Message, frozen=True, tag=True):
    """Hub → agent: somebody drives the source, or nobody any more. Only then its clipboard is looked at."""

    active: bool


# ---- agent → hub → viewer --------------------------------------------------------------------------------------------


class DisplayInfo(Struct, frozen=True):
    """One monitor of a source."""

    id: Annotated[str, Meta(max_length=128)]
    name: Annotated[str, Meta(max_length=128)]
    width: Annotated[int, Meta(ge=0, le=65535)]
    height: Annotated[int, Meta(ge=0, le=65535)]
    primary: bool = False


class SourceState(Message, frozen=True, tag=True):
    """What an agent knows about itself; sent when it changes."""

    displays: Annotated[list[DisplayInfo], Meta(max_length=64)]
    shown: Annotated[str, Meta(max_length=128)] = ""
    problem: Short = ""  # why there is no picture; "" when there is one
    figures: Annotated[dict[str, float | str], Meta(max_length=64)] = {}


class Cursor(Message, frozen=True, tag=True):
    """The pointer's place, and its shape when that changed. Also hub → viewer, with `channel`.

    The place is that of the hot spot, 0…65535 of the picture and beyond where it is outside; the shape is in pixels of
    the source, BGRA with straight alpha.
    """

    x: Annotated[int, Meta(ge=-(1 << 20), le=1 << 20)]
    y: Annotated[int, Meta(ge=-(1 << 20), le=1 << 20)]
    visible: bool
    shape_serial: Counter
    channel: Counter = 0
    shape_width: Annotated[int, Meta(ge=0, le=512)] = 0
    shape_height: Annotated[int, Meta(ge=0, le=512)] = 0
    hot_x: Annotated[int, Meta(ge=0, le=512)] = 0
    hot_y: Annotated[int, Meta(ge=0, le=512)] = 0
    shape: Annotated[bytes, Meta(max_length=CLIPBOARD_BYTES * 4)] = b""


# ---- viewer → hub ----------------------------------------------------------------------------------------------------


class Subscribe(Message, frozen=True, tag=True):
    """Watch a source; its units arrive on the video connection under this channel (1 and up)."""

    channel: Counter
    source: Name


class Unsubscribe(Message, frozen=True, tag=True):
    """No longer."""

    channel: Counter


class RequestControl(Message, frozen=True, tag=True):
    """Ask to drive a source; `take` also from somebody who drives it now (role admin, or the same user)."""

    source: Name
    take: bool = False
    serial: Counter = 0  # comes back in the answer


class WatchThumbnails(Message, frozen=True, tag=True):
    """Send small pictures of all sources as they change, or no longer: for whoever looks at all of them at once."""

    active: bool


class GiveBack(Message, frozen=True, tag=True):
    """Stop driving a source."""

    source: Name
    serial: Counter = 0  # comes back in the answer


# ---- hub → viewer ----------------------------------------------------------------------------------------------------


class SourceInfo(Struct, frozen=True):
    """One source as the hub knows it."""

    name: Name
    online: bool
    displays: list[DisplayInfo] = []
    shown: str = ""
    problem: str = ""
    view_only: bool = False
    controller: str = ""
    viewers: int = 0
    last_seen: float = 0.0  # seconds since 1970
    figures: dict[str, float | str] = {}
    recording: bool = False  # by the hub
    clipboard: ClipboardPolicy = "both"


class Sources(Message, frozen=True, tag=True):
    """Sources that are new or have changed; the first one after Welcome has all of them."""

    sources: list[SourceInfo]
    removed: list[str] = []


class Thumbnail(Message, frozen=True, tag=True):
    """What a source showed lately: one JPEG."""

    source: Name
    at: float  # seconds since 1970
    jpeg: Annotated[bytes, Meta(max_length=THUMBNAIL_BYTES)]


class Delivery(Message, frozen=True, tag=True):
    """Hub → viewer: how its line does on a channel, when that changes."""

    channel: Counter
    rendition: RenditionNumber = 0
    dropped: Counter = 0  # units that the hub had for it and did not send


class Control(Message, frozen=True, tag=True):
    """Answer to RequestControl and GiveBack, and news when the control has ended otherwise: then `serial` is 0."""

    source: Name
    granted: bool
    holder: Short = ""
    reason: Short = ""
    serial: Counter = 0


class Problem(Message, frozen=True, tag=True):
    """A request that could not be met; the connection goes on."""

    reason: Short
    channel: Counter = 0
    source: Short = ""
    serial: Counter = 0  # of the request


AnyMessage: TypeAlias = (
    Refused
    | Ping
    | Pong
    | Pair
    | Paired
    | AgentHello
    | ViewerHello
    | VideoHello
    | Welcome
    | Watch
    | ShowDisplay
    | KeyframeWanted
    | Input
    | InputDone
    | ClipboardText
    | Driven
    | SourceState
    | Cursor
    | Subscribe
    | Unsubscribe
    | RequestControl
    | WatchThumbnails
    | GiveBack
    | Sources
    | Thumbnail
    | Delivery
    | Control
    | Problem
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_json_encoder = msgspec.json.Encoder()
_json_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """The message's bytes, without a length in front."""
    return _encoder.encode(message)


def decode(data: bytes) -> AnyMessage:
    """Read one message. Raises ProtocolError that says what is wrong with it."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of this protocol: {error}") from None


def encode_json(message: AnyMessage) -> str:
    """The message as browsers read it; bytes are base64."""
    return _json_encoder.encode(message).decode()


def decode_json(text: str) -> AnyMessage:
    """Read one message of a browser. Raises ProtocolError that says what is wrong with it."""
    try:
        return _json_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of this protocol: {error}") from None
