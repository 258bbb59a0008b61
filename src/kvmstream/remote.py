"""connect(): a hub's sources from afar, as packets, pictures, keyboard and mouse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from ._fallback.packets import Packet
from ._remote_input import Keyboard, Mouse
from .errors import (
    AuthenticationFailed,
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
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RemoteFrames", "RemoteHub", "RemotePacket", "RemotePackets", "RemoteSource", "connect"]

_ANSWER_SECONDS: Final = 10.0
_QUEUE_UNITS: Final = 16  # more than the hub's window ever lets out


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


class RemotePacket(Packet):
    """One access unit of a remote source; its times are on this machine's clock, as time.perf_counter_ns()."""

    sequence: int
    sent_ns: int  # by the agent
    relayed_ns: int  # by the hub
    received_ns: int


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
        self._answers: dict[int, asyncio.Future[m.InputDone]] = {}
        self._control_answers: dict[str, deque[asyncio.Future[m.Control]]] = {}
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
        waiting: list[asyncio.Future[Any]] = [*self._answers.values()]
        for queue in self._control_answers.values():
            waiting += queue
        for future in waiting:
            if not future.done():
                future.set_exception(self._lost)
                future.exception()  # retrieved: nobody may be waiting for it
        for source in self.sources.values():
            source._news.set()

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
                future = self._answers.pop(message.serial, None)
                if future is not None and not future.done():
                    future.set_result(message)
            elif isinstance(message, m.Control):
                source = self.sources.get(message.source)
                if source is not None:
                    source._on_control(message)
                waiting = self._control_answers.get(message.source)
                if waiting:
                    waiting.popleft().set_result(message)
            elif isinstance(message, m.Cursor):
                packets = self._channels.get(message.channel)
                if packets is not None:
                    packets.source._on_cursor(message)
            elif isinstance(message, m.Problem):
                packets = self._channels.get(message.channel)
                if packets is not None:
                    packets._fail(KvmStreamError(message.reason))
            elif isinstance(message, m.Refused):
                raise message.error()
            else:
                raise ProtocolError(f"a hub does not send {type(message).__name__} to a viewer")

    def _take_sources(self, message: m.Sources) -> None:
        for info in message.sources:
            source = self.sources.get(info.name)
            if source is None:
                self.sources[info.name] = source = RemoteSource(self, info)
            source._info = info
            source._news.set()
        for name in message.removed:
            self.sources.pop(name, None)
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
            await asyncio.sleep(1.0)
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
        control = self._check()
        self._serial = serial = self._serial % 0xFFFF_FFFF + 1
        future: asyncio.Future[m.InputDone] = asyncio.get_running_loop().create_future()
        self._answers[serial] = future
        try:
            control.post(m.Input(events, source, serial))
            async with asyncio.timeout(_ANSWER_SECONDS):
                done = await future
        except TimeoutError:
            raise ConnectionLost(f"{source} did not answer within {_ANSWER_SECONDS:g} s") from None
        finally:
            self._answers.pop(serial, None)
        if done.failures:
            raise CaptureError(f"{source}: {'; '.join(done.failures)}")

    async def _ask_control(self, message: m.RequestControl | m.GiveBack) -> m.Control:
        control = self._check()
        future: asyncio.Future[m.Control] = asyncio.get_running_loop().create_future()
        self._control_answers.setdefault(message.source, deque()).append(future)
        control.post(message)
        return await future


class RemoteSource:
    """One source of a hub: look at it with frames() or packets(), drive it with `keyboard` and `mouse`."""

    def __init__(self, hub: RemoteHub, info: m.SourceInfo) -> None:
        self._hub = hub
        self._info = info
        self._news = asyncio.Event()
        self._held: set[int] = set()
        self._controls = False
        self._geometry: tuple[int, int, int] | None = (
            None  # generation, width, height of the newest unit
        )
        self._watching = 0
        self.cursor: m.Cursor | None = None
        self.keyboard = Keyboard(self)
        self.mouse = Mouse(self)

    # ---- what it is

    @property
    def name(self) -> str:
        """Its name at the hub."""
        return self._info.name

    @property
    def info(self) -> m.SourceInfo:
        """Online or not, monitors, who drives it, its agent's figures."""
        return self._info

    @property
    def online(self) -> bool:
        """Whether its agent is connected to the hub."""
        return self._info.online

    async def wait_online(self, timeout: float | None = None) -> None:
        """Wait for its agent. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not self.online:
                self._hub._check()
                self._news.clear()
                await self._news.wait()

    def __repr__(self) -> str:
        return f"<RemoteSource {self.name!r}, {'online' if self.online else 'offline'}>"

    # ---- looking

    def packets(self) -> RemotePackets:
        """Iterate over its access units with `async for`; each is acknowledged when the next one is asked for."""
        return RemotePackets(self)

    def frames(self) -> RemoteFrames:
        """Iterate over its newest picture: height × width × 3, uint8, RGB."""
        return RemoteFrames(self)

    async def screenshot(self) -> NDArray[np.uint8]:
        """What it shows now: height × width × 3, uint8, RGB."""
        async with self.frames() as frames:
            return await anext(frames)

    async def wait_change(self, timeout: float | None = None) -> None:
        """Wait until something on it changes. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self.packets() as packets:
            first = True
            async for packet in packets:
                if not first and not packet.refinement and not packet.keyframe:
                    return
                first = False

    async def wait_stable(self, seconds: float = 0.5, timeout: float | None = 10.0) -> None:
        """Wait until nothing has changed for so long. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self.packets() as packets:
            await anext(packets)
            quiet_since = time.monotonic()
            while True:
                left = quiet_since + seconds - time.monotonic()
                if left <= 0:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        packet = await anext(packets)
                        if not packet.refinement:
                            quiet_since = time.monotonic()

    async def record(self, path: str | Path, seconds: float) -> list[Path]:
        """Record it to a file as it is sent, without encoding anew; the files that were written."""
        from .record import Recorder

        with Recorder(path) as recorder:
            async with self.packets() as packets:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        async for packet in packets:
                            recorder.write(packet)
            return list(recorder.paths)

    def show(self, display: str) -> None:
        """Show another of its monitors, by an id out of info.displays; "" is the primary one."""
        self._hub._check().post(m.ShowDisplay(display, self.name))

    # ---- driving

    async def request_control(self, *, take: bool = False) -> None:
        """Become the one who drives it; the keyboard and the mouse do so by themselves. Raises AuthenticationFailed.

        `take` takes it from somebody else, where the role allows that.
        """
        answer = await self._hub._ask_control(m.RequestControl(self.name, take))
        if not answer.granted:
            raise AuthenticationFailed(f"control of {self.name} was refused: {answer.reason}")
        self._controls = True

    async def give_back(self) -> None:
        """Let others drive; everything that is held down goes up."""
        self._held.clear()
        self._controls = False
        await self._hub._ask_control(m.GiveBack(self.name))

    @property
    def controlled(self) -> bool:
        """Whether it is this connection that drives it."""
        return self._controls

    # ---- inside

    async def _inject(self, *events: m.InputEvent) -> None:
        if not self._controls:
            await self.request_control()
        await self._hub._input(self.name, list(events))

    async def _picture(self) -> tuple[int, int, int]:
        """Generation, width and height of what it shows now."""
        if self._geometry is None or not self._watching:
            async with self.packets() as packets:
                await anext(packets)
        assert self._geometry is not None
        return self._geometry

    def _on_control(self, message: m.Control) -> None:
        if self._controls and not message.granted:
            self._held.clear()
        self._controls = message.granted

    def _on_cursor(self, message: m.Cursor) -> None:
        kept = self.cursor
        if not message.shape and kept is not None and kept.shape_serial == message.shape_serial:
            message = m.Cursor(
                message.x, message.y, message.visible, message.shape_serial, message.channel,
                kept.shape_width, kept.shape_height, kept.hot_x, kept.hot_y, kept.shape,
            )  # fmt: skip
        self.cursor = message


class RemotePackets:
    """One subscription; ``async with`` ends it at once, else it ends with the iteration."""

    def __init__(self, source: RemoteSource) -> None:
        self.source = source
        self._hub = source._hub
        self._waiting: deque[RemotePacket] = deque()
        self._something = asyncio.Event()
        self._error: KvmStreamError | None = None
        self._owed = 0  # sequence that is acknowledged when the next packet is asked for
        self._channel = self._hub._subscribe(self)
        self._open = True
        source._watching += 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RemotePacket:
        self._settle()
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if not self._open:
                raise StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        packet = self._waiting.popleft()
        self._owed = packet.sequence
        return packet

    def take_waiting(self) -> RemotePacket | None:
        """The next packet if it has arrived already."""
        self._settle()
        if not self._waiting:
            return None
        packet = self._waiting.popleft()
        self._owed = packet.sequence
        return packet

    def request_keyframe(self) -> None:
        """Ask for one: a decoder has lost its thread."""
        if self._open:
            self._hub._check().post(m.KeyframeWanted(self._channel))

    def close(self) -> None:
        """Idempotent."""
        if self._open:
            self._open = False
            self.source._watching -= 1
            self._hub._unsubscribe(self._channel)
            self._something.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.close()

    def _settle(self) -> None:
        if self._owed:
            self._hub._acknowledge(self._channel, self._owed)
            self._owed = 0

    def _put(self, header: VideoHeader, payload: bytes) -> None:
        control = self._hub._check()
        if len(self._waiting) >= _QUEUE_UNITS:
            self._fail(ProtocolError(f"the hub sent {_QUEUE_UNITS} units without credit"))
            return
        shift = -control.clock.offset_ns
        packet = RemotePacket(payload)
        packet.keyframe, packet.refinement = header.keyframe, header.refinement
        packet.pts, packet.generation = header.pts, header.generation
        packet.width, packet.height = header.width, header.height
        packet.sequence = header.sequence
        packet.damaged_ns = header.damaged_ns + shift
        packet.captured_ns = packet.converted_ns = header.captured_ns + shift
        packet.encoded_ns = header.encoded_ns + shift
        packet.sent_ns = header.sent_ns + shift
        packet.relayed_ns = header.relayed_ns + shift
        packet.received_ns = control.now_ns()
        self.source._geometry = (header.generation, header.width, header.height)
        self._waiting.append(packet)
        self._something.set()

    def _fail(self, error: KvmStreamError) -> None:
        self._error = self._error or error
        self._something.set()


class RemoteFrames:
    """Decoded pictures of one source; every packet is decoded, only the newest picture is converted and returned."""

    def __init__(self, source: RemoteSource) -> None:
        from .decode import Decoder

        self._packets = source.packets()
        self._decoder = Decoder()
        self.decoded_ns = 0  # when the last picture had been decoded, before RGB
        self.packet: RemotePacket | None = None  # that picture's

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NDArray[np.uint8]:
        loop = asyncio.get_running_loop()
        pool = self._packets._hub._decoding
        while True:
            batch = [await anext(self._packets)]
            while (more := self._packets.take_waiting()) is not None:
                batch.append(more)
            try:
                picture = await loop.run_in_executor(pool, self._decode, batch)
            except ProtocolError:
                self._packets.request_keyframe()
                continue
            if picture is not None:
                return picture

    def _decode(self, batch: list[RemotePacket]) -> NDArray[np.uint8] | None:
        picture = None
        for packet in batch:
            decoded = self._decoder.decode_picture(packet)
            if decoded is not None:
                picture, self.packet = decoded, packet
                self.decoded_ns = time.perf_counter_ns()
        return None if picture is None else picture.to_rgb()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription; idempotent."""
        self._packets.close()
