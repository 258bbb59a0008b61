"""connect(): a hub's sources from afar, as packets, pictures, keyboard and mouse."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from ._remote_source import RemoteFrames, RemotePacket, RemotePackets, RemoteSource
from .errors import (
    CaptureError,
    ConfigError,
    ConnectionLost,
    KvmStreamError,
    ProtocolError,
)
from .wire import messages as m
from .wire.address import HubAddress
from .wire.connection import Connection, dial
from .wire.video import ACK, UNIT, VideoHeader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


__all__ = ["RemoteFrames", "RemoteHub", "RemotePacket", "RemotePackets", "RemoteSource", "connect"]

_log = logging.getLogger("kvmstream.remote")

_ANSWER_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 1.0  # a third of the lease


def connect(url: str, *, token: str = "", user: str = "", password: str = "") -> RemoteHub:
    """A hub, for `async with`: its sources, as `hub.sources["office-pc"]`.

        async with kvmstream.connect("kvmstream://192.168.1.100:8080?fingerprint=…", token=…) as hub:
            source = hub.sources["office-pc"]
            async for frame in source.frames():     # height × width × 3, uint8, RGB
                ...

    `kvmstream users token NAME` on the hub prints the URL and a token. Without a token (KVMSTREAM_TOKEN counts too),
    name and password of a user. Raises ConfigError here for a URL that lacks something; entering raises
    ConnectionLost and AuthenticationFailed.
    """
    hub = HubAddress.parse(url)
    if not hub.fingerprint:
        raise ConfigError(
            f"hub address {hub.key!r} has no fingerprint: use the whole URL that `kvmstream users token NAME` prints "
            "on the hub"
        )
    token = token or ("" if user else os.environ.get("KVMSTREAM_TOKEN", ""))
    if not token and not user:
        raise ConfigError(
            "connect() needs a token, or a user and a password; or set KVMSTREAM_TOKEN"
        )
    return RemoteHub(hub, m.ViewerHello(token, user, password))


class RemoteHub:
    """A connection to a hub, from ``async with connect(…)``. Everything belongs to one event loop."""

    def __init__(self, address: HubAddress, hello: m.ViewerHello) -> None:
        self._address = address
        self._hello = hello
        self.sources: dict[str, RemoteSource] = {}
        self.user = ""
        self.role = ""
        self._control: Connection | None = None
        self._video: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost: KvmStreamError | None = None
        self._channels: dict[int, RemotePackets] = {}
        self._next_channel = 0
        self._serial = 0
        self._answers: dict[int, asyncio.Future[m.InputDone | m.Control]] = {}
        self._known = asyncio.Event()
        self._news = asyncio.Condition()
        self._decoding = ThreadPoolExecutor(4, "kvmstream-decode")

    # ---- lifecycle

    async def __aenter__(self) -> Self:
        hub = self._address
        try:
            self._control = control = await dial(hub, hub.control_port)
            await control.send(self._hello)
            welcome = await control.receive_greeted()
            if isinstance(welcome, m.Refused):
                raise welcome.error()
            if not isinstance(welcome, m.Welcome):
                raise ProtocolError(f"the hub answered with {type(welcome).__name__}")
            self.user, self.role = welcome.name, welcome.role
            self._video = await dial(hub, hub.video_port)
            await self._video.send(m.VideoHello(welcome.video_token))
            self._task = asyncio.create_task(self._run())
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._known.wait()
            self._check()
        except TimeoutError:
            await self.close()
            raise ConnectionLost(f"the hub at {hub.key} did not list its sources") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the hub; idempotent. Whatever is held down at a source goes up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for connection in (self._control, self._video):
            if connection is not None:
                await connection.close()
        self._end(ConnectionLost("the connection to the hub was closed"))
        self._decoding.shutdown(wait=False)

    async def _run(self) -> None:
        control, video = self._control, self._video
        assert control is not None
        assert video is not None
        tasks = [
            asyncio.create_task(part)
            for part in (
                self._read_control(control),
                self._read_video(video),
                control.beat(),
                self._renew(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            error = next(iter(done)).exception()
            if isinstance(error, KvmStreamError):
                self._end(error)
            elif error is not None:
                self._end(ConnectionLost(f"the connection to the hub broke: {error!r}"))
                raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, error: KvmStreamError) -> None:
        if self._lost is None:
            self._lost = error
        self._known.set()
        for packets in list(self._channels.values()):
            packets._fail(self._lost)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(self._lost)
                future.exception()  # retrieved: nobody may be waiting for it
        for source in self.sources.values():
            source._news.set()
            source.clipboard._news.set()

    def _check(self) -> Connection:
        if self._lost is not None:
            raise self._lost
        if self._control is None:
            raise ConnectionLost("not connected: use `async with kvmstream.connect(…) as hub`")
        return self._control

    # ---- reading

    async def _read_control(self, control: Connection) -> None:
        while True:
            message = await control.receive()
            if control.answered(message):
                continue
            if isinstance(message, m.Sources):
                self._take_sources(message)
            elif isinstance(message, m.InputDone):
                self._on_answer(message)
            elif isinstance(message, m.Control):
                source = self.sources.get(message.source)
                if source is not None:
                    source._on_control(message)
                self._on_answer(message)
            elif isinstance(message, m.ClipboardText):
                source = self.sources.get(message.source)
                if source is not None:
                    source.clipboard._take(message)
            elif isinstance(message, m.Cursor):
                packets = self._channels.get(message.channel)
                if packets is not None:
                    packets.source._on_cursor(message)
            elif isinstance(message, m.Delivery):
                packets = self._channels.get(message.channel)
                if packets is not None:
                    packets._delivery = message
            elif isinstance(message, m.Problem):
                self._on_problem(message)
            elif isinstance(message, m.Refused):
                raise message.error()
            else:
                raise ProtocolError(f"a hub does not send {type(message).__name__} to a viewer")

    def _on_answer(self, message: m.InputDone | m.Control) -> None:
        future = self._answers.pop(message.serial, None)
        if future is not None and not future.done():
            future.set_result(message)

    def _on_problem(self, message: m.Problem) -> None:
        error = KvmStreamError(message.reason)
        packets = self._channels.get(message.channel)
        future = self._answers.pop(message.serial, None)
        if packets is not None:
            packets._fail(error)
        elif future is None:
            _log.warning("%s: %s", message.source or "the hub", message.reason)
        elif not future.done():
            future.set_exception(error)

    def _take_sources(self, message: m.Sources) -> None:
        for info in message.sources:
            source = self.sources.get(info.name)
            if source is None:
                self.sources[info.name] = source = RemoteSource(self, info)
            source._info = info
            source._news.set()
        for name in message.removed:
            source = self.sources.pop(name, None)
            if source is not None:
                source._info = m.SourceInfo(name, online=False)
                source._news.set()
                for packets in list(self._channels.values()):
                    if packets.source is source:
                        packets._fail(KvmStreamError(f"the hub has no source {name!r} any more"))
        self._known.set()

    async def _read_video(self, video: Connection) -> None:
        while True:
            header, payload = await video.receive_frame()
            if header.kind != UNIT:
                raise ProtocolError(f"a hub sends no video frame of kind {header.kind} to a viewer")
            packets = self._channels.get(header.channel)
            if packets is not None:
                packets._put(header, payload)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            for source in self.sources.values():
                if source._held:
                    self._check().post(m.Input([m.Held(sorted(source._held))], source.name))

    # ---- for sources

    def _subscribe(self, packets: RemotePackets) -> int:
        control = self._check()
        self._next_channel += 1
        self._channels[self._next_channel] = packets
        control.post(m.Subscribe(self._next_channel, packets.source.name))
        return self._next_channel

    def _unsubscribe(self, channel: int) -> None:
        if (
            self._channels.pop(channel, None) is not None
            and self._lost is None
            and self._control is not None
        ):
            self._control.post(m.Unsubscribe(channel))

    def _acknowledge(self, channel: int, sequence: int) -> None:
        if self._video is not None and self._lost is None:
            self._video.post_frame(VideoHeader(ACK, channel=channel, sequence=sequence).pack())

    async def _input(self, source: str, events: list[m.InputEvent]) -> None:
        await self._have_done(source, lambda serial: m.Input(events, source, serial))

    async def _show(self, source: str, display: str) -> None:
        await self._have_done(source, lambda serial: m.ShowDisplay(display, source, serial))

    async def _have_done(self, source: str, make: Callable[[int], m.AnyMessage]) -> None:
        done = await self._ask(source, make)
        if isinstance(done, m.InputDone) and done.failures:
            raise CaptureError(f"{source}: {'; '.join(done.failures)}")

    async def _ask_control(self, source: str, make: Callable[[int], m.AnyMessage]) -> m.Control:
        answer = await self._ask(source, make)
        if not isinstance(answer, m.Control):
            raise ProtocolError(f"the hub answered with {type(answer).__name__}")
        return answer

    async def _ask(
        self, source: str, make: Callable[[int], m.AnyMessage]
    ) -> m.InputDone | m.Control:
        """Send a message under a number of its own; what comes back under that number."""
        control = self._check()
        self._serial = serial = self._serial % 0xFFFF_FFFF + 1
        future: asyncio.Future[m.InputDone | m.Control] = asyncio.get_running_loop().create_future()
        self._answers[serial] = future
        try:
            control.post(make(serial))
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await future
        except TimeoutError:
            raise ConnectionLost(f"{source} did not answer within {_ANSWER_SECONDS:g} s") from None
        finally:
            self._answers.pop(serial, None)
