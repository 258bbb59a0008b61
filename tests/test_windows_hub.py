"""A Windows source at a hub: the crossed core under Wine dials in, Python viewers watch.

The hub speaks TLS 1.3 alone, which Wine 8 does not offer: a tunnel here takes plain bytes and dials the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from house import eventually, house
from test_windows_source import _luma, _pixels

import kvmstream
from kvmstream.agent import pair
from kvmstream.wire import tls
from kvmstream.wire.connection import until_one_ends
from kvmstream.wire.video import ACK, HEADER, UNIT, VideoHeader

__all__ = ["house"]  # a fixture

_BUILD = os.environ.get("KVMSTREAM_WINDOWS_BUILD", "")
pytestmark = pytest.mark.skipif(not _BUILD, reason="scripts/test_windows.sh runs it")


class Spy:
    """What passes over a source's video connection: its units, and how far the hub was behind at most."""

    def __init__(self) -> None:
        self.units: list[VideoHeader] = []
        self.most = 0
        self._acknowledged = 0
        self._left = {True: b"", False: b""}  # of the source, of the hub
        self._greeted = False

    def see(self, data: bytes, *, of_source: bool) -> None:
        """The next bytes of one direction."""
        left = self._left[of_source] + data
        if of_source and not self._greeted and len(left) >= 12:  # greeting, length of the hello
            hello = 12 + int.from_bytes(left[8:12], "big")
            if len(left) >= hello:
                self._greeted, left = True, left[hello:]
        while (self._greeted or not of_source) and len(left) >= HEADER.size:
            header = VideoHeader.unpack(left[: HEADER.size])
            if len(left) < HEADER.size + header.payload:
                break
            left = left[HEADER.size + header.payload :]
            self._take(header, of_source=of_source)
        self._left[of_source] = left

    def _take(self, header: VideoHeader, *, of_source: bool) -> None:
        assert header.kind == (UNIT if of_source else ACK)
        if of_source:
            self.units.append(header)
            self.most = max(self.most, header.sequence - self._acknowledged)
        else:
            self._acknowledged = header.sequence


class Tunnel:
    """Takes plain connections, and dials the hub of `it` by TLS for each."""

    def __init__(self, it) -> None:
        self._it = it
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.spies: list[Spy] = []  # one for each video connection

    async def __aenter__(self):
        for video in (False, True):

            async def serve(reader, writer, video=video) -> None:
                self._tasks.add(asyncio.current_task())
                # The event loop wants no cancelled task of a server.
                quiet = contextlib.suppress(OSError, asyncio.CancelledError)
                with quiet, contextlib.closing(writer):
                    await self._join(reader, writer, video)

            self._servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        self.ports = [str(server.sockets[0].getsockname()[1]) for server in self._servers]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader, writer, video: bool) -> None:
        hub = self._it.hub
        port = hub.video_port if video else hub.control_port
        from_hub, to_hub = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls.client_context()
        )
        with contextlib.closing(to_hub):
            found = to_hub.get_extra_info("ssl_object").getpeercert(binary_form=True)
            tls.check_peer(found, hub.fingerprint, "the hub")
            spy = Spy()
            if video:
                self.spies.append(spy)
            see = spy.see if video else lambda *_, of_source: None
            await until_one_ends(
                _pump(reader, to_hub, lambda data: see(data, of_source=True)),
                _pump(from_hub, writer, lambda data: see(data, of_source=False)),
            )


async def _pump(reader, writer, see) -> None:
    while data := await reader.read(1 << 16):
        see(data)
        writer.write(data)
        await writer.drain()


def _start(display: str, ports: list[str], credential) -> subprocess.Popen[str]:
    """stream_desktop.exe, at the tunnel."""
    return subprocess.Popen(
        ["wine", Path(_BUILD) / "cpp/tests/windows/stream_desktop.exe", "127.0.0.1", *ports,
         credential.identity, credential.secret],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "DISPLAY": display},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _source(display: str, ports: list[str], credential):
    process = await asyncio.to_thread(_start, display, ports, credential)
    try:
        yield process
        process.stdin.close()
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _move(process) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


class Viewer:
    """Decodes everything that comes, until it is cancelled."""

    def __init__(self, source) -> None:
        self._source = source
        self.packets: list = []
        self.luma: np.ndarray | None = None  # of the newest picture

    async def watch(self) -> None:
        decoder = kvmstream.Decoder()
        async with self._source.packets() as packets:
            async for packet in packets:
                picture = await asyncio.to_thread(decoder.decode_picture, packet)
                assert picture is not None, "the first unit is a keyframe, and none is lost"
                self.packets.append(packet)
                self.luma = picture._frame.to_ndarray()[: picture.height].astype(float)

    def likeness(self, told) -> float:
        """PSNR of the window, in dB."""
        x, y, columns, rows = told["window"]
        shown = self.luma[y : y + rows, x : x + columns]
        error = np.mean((shown - _luma(_pixels(columns, rows, told["seed"]))) ** 2)
        return 10 * np.log10(255**2 / max(error, 1e-9))


@contextlib.asynccontextmanager
async def _watching(hub):
    viewer = Viewer(hub.sources["win-pc"])
    task = asyncio.create_task(viewer.watch())
    try:
        yield viewer
        assert not task.done() or not task.exception(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_hub_and_its_viewers_see_the_desktop(house, xvfb: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with house() as it, Tunnel(it) as tunnel:
            line = str(it.hub.pairing_line("127.0.0.1"))
            credential = await asyncio.to_thread(pair, line, "win-pc")
            async with _source(xvfb, tunnel.ports, credential) as process:
                await eventually(lambda: it.hub.held["win-pc"].online, 15, "the source")
                async with it.viewer("view") as first, it.viewer() as second:
                    async with _watching(first) as viewer:
                        await eventually(lambda: viewer.packets, 10, "the first picture")
                        assert first.sources["win-pc"].info.displays[0].primary
                        _move(process)
                        told = json.loads(await asyncio.to_thread(process.stdout.readline))
                        await eventually(lambda: viewer.likeness(told) > 38, 5, "the window, sharp")
                        await _join(viewer, second)
                    await _stall(first.sources["win-pc"], process, tunnel)
                clock = it.hub.held["win-pc"].control.clock
                assert clock.known
                assert clock.round_trip_ns < 100_000_000
                _check(tunnel, viewer, told, tmp_path / "seen.h264")
                await _come_back(it, xvfb)

    asyncio.run(main())


async def _join(viewer, second) -> None:
    """A second viewer joins at a keyframe, though nothing changes, and the first one goes on."""
    before = len(viewer.packets)
    async with _watching(second) as late:
        await eventually(lambda: late.packets, 3, "the second viewer's first picture")
        assert late.packets[0].keyframe
        await eventually(lambda: len(viewer.packets) > before, 3, "the same for the first")
        assert viewer.packets[before].keyframe


async def _stall(source, process, tunnel) -> None:
    """A viewer that takes nothing in: the hub acknowledges no more, and two units are on their way to it."""
    async with source.packets():
        _move(process)
        await asyncio.to_thread(process.stdout.readline)
        assert tunnel.spies[0].most == 2


def _check(tunnel, viewer, told, path: Path) -> None:
    assert told["capture"].startswith("gdi")
    assert told["encoder"] == "screen"
    assert told["fps"] > 20
    (spy,) = tunnel.spies
    assert [unit.sequence for unit in spy.units] == list(range(1, len(spy.units) + 1))
    assert spy.most == 2, "units on their way that were not acknowledged"
    assert [p.keyframe for p in viewer.packets].count(True) == 2
    assert {(p.width, p.height) for p in viewer.packets} == {tuple(told["size"])}
    for packet in viewer.packets:
        times = [packet.damaged_ns, packet.captured_ns, packet.encoded_ns, packet.sent_ns, packet.relayed_ns,
                 packet.received_ns]  # fmt: skip
        assert all(b - a > -5_000_000 for a, b in pairwise(times)), times
    lags = sorted(p.relayed_ns - p.sent_ns for p in viewer.packets)
    assert lags[len(lags) // 2] < 25_000_000, "of two processes of one machine"
    path.write_bytes(b"".join(bytes(packet) for packet in viewer.packets))
    probe = ["ffprobe", "-v", "warning", "-err_detect", "explode", "-count_frames", "-show_entries",
             "stream=nb_read_frames,width,height", "-of", "csv=p=0", path]  # fmt: skip
    checked = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.strip() == ",".join(map(str, [*told["size"], len(viewer.packets)]))
    delays = sorted(
        (p.received_ns - p.damaged_ns) / 1e6 for p in viewer.packets if not p.refinement
    )
    # The line that docs/verification.md quotes.
    print(
        f"GDI under Wine to a viewer at {told['size']}: {told['fps']:.1f} fps, {told['cpu_ms']:.2f} ms of CPU a "
        f"frame, {delays[len(delays) // 2]:.1f} ms from change to viewer (median)"
    )


async def _come_back(it, display) -> None:
    """The hub restarts: the source is back by itself, and the first unit is a keyframe of the capture that went on."""
    old = it.hub
    await old.stop()
    it.hub = kvmstream.Hub(
        it.folder,
        host="127.0.0.1",
        control_port=old.control_port,
        video_port=old.video_port,
        web_port=0,
    )
    await it.hub.start()
    await eventually(lambda: it.hub.held["win-pc"].online, 5, "the source after the restart")
    async with it.viewer() as hub, _watching(hub) as viewer:
        await eventually(lambda: viewer.packets, 5, "a picture after the restart")
        assert viewer.packets[0].keyframe
        assert viewer.packets[0].sequence == 1
        assert viewer.packets[0].generation == 1
