"""The agent's screen on its way to the hub: two renditions, cursor, thumbnails, state."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from kvmstream._listing import encoders
from kvmstream.config import StreamConfig
from kvmstream.errors import KvmStreamError, ProtocolError, StreamClosed
from kvmstream.stream import Stream
from kvmstream.wire import messages as m
from kvmstream.wire.connection import until_one_ends
from kvmstream.wire.limits import THUMBNAIL_BYTES
from kvmstream.wire.video import ACK, THUMBNAIL, VideoHeader

from ._rendition import Rendition
from ._why import why_encoder

if TYPE_CHECKING:
    from kvmstream._types import CursorState, Display
    from kvmstream.wire.connection import Connection

__all__ = ["Screen"]

_STATE_SECONDS: Final = 1.0
_THUMBNAIL_WIDTH: Final = 320
_GLANCE_FPS: Final = 2
_GLANCE_WAITS: Final = 40
_GLANCE_SECONDS: Final = 10.0  # thumbnails further apart get a capture each
_LOW_WIDTH: Final = 960
_LOW_FPS: Final = 15
_LOW_BITRATE: Final = 1_000_000
_CPU_SECONDS: Final = 0.9  # the share of the CPU is that of the last second
_WHY_CHARACTERS: Final = 1024
_SHAPE_BYTES: Final = 512 * 512 * 4


class Screen:
    """Outlives connections, and so does its capture: a new one goes on with a keyframe. Event loop's thread only."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config
        self._main = Rendition(0, lambda: config, self._on_picture)
        self._low = Rendition(1, self._low_config, self._on_picture)
        self._renditions = (self._main, self._low)
        self._control: Connection | None = None
        self._video: Connection | None = None
        self._problem = ""
        self._displays: list[Display] = []
        self._shown = ""  # the monitor's id
        self._generations: dict[int, int] = {}  # of each rendition: what is shown now
        self._origin = (0, 0, 0, 0)  # what the picture shows, in pixels of the root window
        self._thumbnail_seconds = 60.0
        self._thumbnail_wanted = asyncio.Event()
        self._cpu = (
            time.monotonic(),
            time.process_time(),
            0.0,
        )  # when and what it was, and the share since then
        self._why = ("", "")  # the encoder in use, and the reason
        self._glance: Stream | None = None  # a capture for thumbnails alone, while nobody watches

    # ---- a connection begins and ends

    def begin(self, control: Connection, video: Connection) -> None:
        """Everything goes there from now on."""
        self._control, self._video = control, video
        for rendition in self._renditions:
            rendition.begin(video)

    def end(self) -> None:
        """The connection is gone; the capture stays."""
        self._control = self._video = None
        for rendition in self._renditions:
            rendition.end()

    async def close(self) -> None:
        """End the capture too."""
        for rendition in self._renditions:
            await rendition.close()

    # ---- what the hub asks

    def watch(self, message: m.Watch) -> None:
        """Begin or end to send units of a rendition, and at which rate."""
        self._renditions[message.rendition].watch(message)
        if message.rendition == 0:
            self._thumbnail_seconds = (
                60.0 / message.thumbnails_per_minute
                if message.thumbnails_per_minute
                else float("inf")
            )
            self._thumbnail_wanted.set()

    def keyframe(self, rendition: int) -> None:
        """A decoder wants to begin."""
        self._renditions[rendition].keyframe()

    async def show(self, display: str) -> str:
        """Another monitor of the same server. What is in the way as a sentence, "" when nothing is."""
        if self._config.source != "screen":
            return f"this source shows no monitor, but source={self._config.source!r}"
        await asyncio.to_thread(self._look_at_displays)
        if display and _find(self._displays, display) is None:
            names = ", ".join(d.name for d in self._displays) or "none"
            return f"there is no monitor {display!r}: there are {names}"
        server, _ = _split(self._config.display)
        self._config.display = f"{server}/{display}" if server and display else server or display
        self._config.region = None
        stream = self._main.stream
        if stream is not None:
            try:
                await asyncio.to_thread(
                    stream.update, display=self._config.display, region=(0, 0, 0, 0)
                )
            except KvmStreamError as error:
                self._problem = str(error)
                return self._problem
        await self._low.restart()  # its size follows the monitor's
        await asyncio.to_thread(self._look_at_displays)
        return ""

    def locate(self, x: int, y: int, generation: int) -> tuple[int, int] | None:
        """Where a point of the picture lies on the root window; None when it is another picture now. Any thread."""
        left, top, width, height = self._origin
        if generation not in self._generations.values() or not width or not height:
            return None
        return left + x * (width - 1) // 65535, top + y * (height - 1) // 65535

    # ---- the tasks of a connection

    async def send_units(self) -> None:
        """Both renditions, each while somebody watches it."""
        await until_one_ends(self._main.send_forever(), self._low.send_forever())

    async def receive_acks(self) -> None:
        """The hub's credit."""
        video = self._video
        assert video is not None
        while True:
            header, _ = await video.receive_frame()
            if header.kind != ACK:
                raise ProtocolError(f"a hub sends no video frame of kind {header.kind} to an agent")
            self._renditions[header.rendition].acknowledge(header.sequence)

    async def send_cursor(self) -> None:
        """The pointer, beside the picture."""
        control = self._control
        assert control is not None
        while True:
            rendition = self._main if self._main.stream is not None else self._low
            stream = rendition.stream
            if stream is None or stream.config.cursor != "metadata":
                await asyncio.sleep(0.1)
                continue
            shape = -1
            try:
                with stream.cursor_updates() as updates:
                    while rendition.stream is stream:
                        state = await updates.next_async()
                        if not rendition.watched:
                            await rendition.wait_watched()
                            shape = -1  # whoever watches now has not seen it
                        control.post(_cursor(state, stream, with_shape=state.shape_serial != shape))
                        shape = state.shape_serial
                        await control.drain()
            except StreamClosed:
                await asyncio.sleep(0.1)

    async def send_thumbnails(self) -> None:
        """A small JPEG, as often as the hub asks, when the picture is another one."""
        try:
            await self._send_thumbnails()
        finally:
            await self._end_glance()

    async def _send_thumbnails(self) -> None:
        video = self._video
        assert video is not None
        last = b""
        while True:
            self._thumbnail_wanted.clear()
            try:
                async with asyncio.timeout(self._thumbnail_seconds):
                    await self._thumbnail_wanted.wait()
                await asyncio.sleep(min(0.5, self._thumbnail_seconds))
            except TimeoutError:
                pass
            try:
                picture = await self._thumbnail()
            except KvmStreamError as error:
                self._problem = str(error)
                continue
            if picture and picture != last and len(picture) <= THUMBNAIL_BYTES:
                last = picture
                header = VideoHeader(THUMBNAIL, len(picture), sent_ns=video.now_ns())
                video.post_frame(header.pack(), picture)
                await video.drain()

    async def _thumbnail(self) -> bytes:
        """Of the capture that is open anyway, else of one for this alone."""
        stream = self._main.stream or self._low.stream
        if stream is not None:
            await self._end_glance()
            return await asyncio.to_thread(stream.thumbnail, _THUMBNAIL_WIDTH)
        if self._glance is None:
            settings = self._low_config().seam_arguments()
            settings.update(fps=_GLANCE_FPS, cursor="hidden")
            glance = Stream(StreamConfig(**settings))
            self._glance = glance
            await asyncio.to_thread(glance.start)
            for _ in range(_GLANCE_WAITS):  # until its first picture
                if glance.thumbnail(_THUMBNAIL_WIDTH):
                    break
                await asyncio.sleep(0.05)
        picture = await asyncio.to_thread(self._glance.thumbnail, _THUMBNAIL_WIDTH)
        if self._thumbnail_seconds > _GLANCE_SECONDS:
            await self._end_glance()  # until the next one it would cost more than to open it anew
        return picture

    async def _end_glance(self) -> None:
        glance, self._glance = self._glance, None
        if glance is not None:
            await asyncio.to_thread(glance.stop)

    async def send_state(self) -> None:
        """Monitors, problems and figures: when they change, and the figures now and then."""
        control = self._control
        assert control is not None
        last = None
        while True:
            await asyncio.to_thread(self._look_at_displays)
            await self._explain_encoder()
            problem = self._main.problem or self._low.problem or self._problem
            state = m.SourceState(
                [
                    m.DisplayInfo(d.id[:128], d.name[:128], d.width, d.height, d.primary)
                    for d in self._displays[:64]
                ],
                self._shown,
                problem[:1024],
                self.figures() if self._main.watched else {},
            )
            if state != last:
                last = state
                await control.send(state)
            await asyncio.sleep(_STATE_SECONDS)

    def figures(self) -> dict[str, float | str]:
        """How the stream does; without one only the backend's name."""
        from kvmstream import backend

        found: dict[str, float | str] = {
            "backend": backend,
            "fps": 0.0,
            "cpu_percent": self._cpu_percent(),
        }
        stream = self._main.stream
        if stream is None:
            return found
        try:
            stats = stream.stats()
        except StreamClosed:
            return found
        send_p50, send_p95 = self._main.send_ms()
        return {
            **found,
            "encoder": stats.encoder,
            "encoder_reason": self._why[1] if self._why[0] == stats.encoder else "",
            "capture": stats.capture,
            "width": float(stats.width),
            "height": float(stats.height),
            "fps": stats.fps,
            "bitrate": stats.bitrate,
            "dropped": float(stats.dropped),
            "capture_ms_p50": stats.capture_ms_p50,
            "capture_ms_p95": stats.capture_ms_p95,
            "convert_ms_p50": stats.convert_ms_p50,
            "convert_ms_p95": stats.convert_ms_p95,
            "encode_ms_p50": stats.encode_ms_p50,
            "encode_ms_p95": stats.encode_ms_p95,
            "latency_ms_p50": stats.latency_ms_p50,
            "latency_ms_p95": stats.latency_ms_p95,
            "send_ms_p50": send_p50,
            "send_ms_p95": send_p95,
        }

    async def _explain_encoder(self) -> None:
        """Which better encoders cannot be used, and why: asked anew when the encoder changes."""
        stream = self._main.stream
        with contextlib.suppress(StreamClosed):
            encoder = stream.stats().encoder if stream is not None else ""
            if encoder and encoder != self._why[0]:
                ladder = await asyncio.to_thread(encoders)
                self._why = (encoder, why_encoder(encoder, self._config, ladder)[:_WHY_CHARACTERS])

    def _cpu_percent(self) -> float:
        """Of one core, by this process, which does all but to guard the keys."""
        since, spent, share = self._cpu
        now, total = time.monotonic(), time.process_time()
        if now - since >= _CPU_SECONDS:
            share = round(100 * (total - spent) / (now - since), 1)
            self._cpu = (now, total, share)
        return share

    # ---- inside

    def _on_picture(self, generation: int) -> None:
        """A rendition has a new generation. Any thread."""
        self._look_at_displays()
        self._generations[generation >> 31] = generation

    def _low_config(self) -> StreamConfig:
        self._look_at_displays()
        config = self._config
        main = self._main.stream
        width, height = (main.config.width, main.config.height) if main else self._origin[2:]
        scale = min(1.0, _LOW_WIDTH / max(1, width))
        settings = config.seam_arguments()
        settings.update(
            width=max(2, round(width * scale)),
            height=max(2, round(height * scale)),
            fps=min(config.fps, _LOW_FPS),
            bitrate=min(config.bitrate, _LOW_BITRATE),
        )
        return StreamConfig(**settings)

    def _look_at_displays(self) -> None:
        """Which monitors there are, and what the picture shows of them. Any thread."""
        from kvmstream import displays

        config = self._config
        if config.source != "screen":
            self._origin = (0, 0, config.width, config.height)
            return
        server, wanted = _split(config.display)
        try:
            found = displays(server)
        except KvmStreamError as error:
            self._problem = str(error)
            return
        self._problem = ""
        self._displays = found
        primary = next((d for d in found if d.primary), found[0] if found else None)
        shown = _find(found, wanted) or primary
        if shown is not None:
            self._shown = shown.id[:128]
            x, y, width, height = config.region or (0, 0, shown.width, shown.height)
            self._origin = (shown.x + x, shown.y + y, width, height)


def _split(display: str) -> tuple[str, str]:
    """X server and monitor of ":7/HDMI-1"; "" is the server of $DISPLAY, and the primary monitor."""
    server, _, monitor = display.partition("/")
    return (server, monitor) if ":" in server else ("", display)


def _find(displays: list[Display], wanted: str) -> Display | None:
    if wanted.isdecimal() and int(wanted) < len(displays):
        return displays[int(wanted)]
    return next((d for d in displays if wanted in (d.name, d.id)), None)


def _cursor(state: CursorState, stream: Stream, *, with_shape: bool) -> m.Cursor:
    def place(value: int, size: int) -> int:
        return max(-(1 << 20), min(1 << 20, value * 65535 // max(1, size - 1)))

    shape: tuple[int, int, int, int, bytes] | tuple[()] = ()
    if with_shape and len(state.shape_bgra) <= _SHAPE_BYTES:
        shape = (state.shape_width, state.shape_height, state.hot_x, state.hot_y, bytes(state.shape_bgra))  # fmt: skip
    return m.Cursor(
        place(state.x, stream.config.width),
        place(state.y, stream.config.height),
        state.visible,
        state.shape_serial & 0xFFFF_FFFF,
        0,
        *shape,
    )
