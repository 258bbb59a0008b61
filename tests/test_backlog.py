"""Peers that send and never read: what waits for them is bounded, and whoever lets it grow is cut off with a reason."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import struct

import pytest
from deaf import Deaf, Flood, framed
from house import eventually, house

from kvmstream.agent import pair
from kvmstream.agent.credentials import credential_for
from kvmstream.wire import messages as m
from kvmstream.wire.limits import BACKLOG_BYTES, INPUT_BACKLOG_BYTES
from kvmstream.wire.video import UNIT, VideoHeader

__all__ = ["house"]  # a fixture

_SLACK = 256 << 10  # what asyncio itself takes at a time
_POURED = 64 << 20


@contextlib.asynccontextmanager
async def _deaf(it, who: str):
    """A known agent or viewer that reads nothing, and the line on which the hub talks to it."""
    ports = it.hub.control_port, it.hub.video_port
    if who == "viewer":
        hello = m.ViewerHello(it.hub.store.new_token("control"))
    else:
        await asyncio.to_thread(pair, str(it.hub.pairing_line("127.0.0.1")), "office-pc")
        credential = credential_for("127.0.0.1", ports[0])
        hello = m.AgentHello(credential.identity, credential.secret, "office-pc")
    deaf = await asyncio.to_thread(Deaf, hello, *ports)
    try:
        yield deaf, await _line(it, who)
    finally:
        deaf.close()


async def _line(it, who: str):
    def found():
        if who == "agent":
            return it.hub.held["office-pc"].control
        return next((v.control for v in it.hub.viewers if v.user.name == "control"), None)

    await eventually(found, what="its session")
    return found()


@contextlib.asynccontextmanager
async def _watched(waiting):
    """The most that was waiting while the block ran."""
    most = [0]

    async def look() -> None:
        while True:
            most[0] = max(most[0], waiting())
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    try:
        yield most
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@pytest.mark.parametrize("who", ["viewer", "agent"])
def test_pings_without_reading(house, who: str, caplog) -> None:
    caplog.set_level(logging.INFO, "kvmstream.hub")

    async def main() -> None:
        async with house() as it:
            async with _deaf(it, who) as (deaf, line), _watched(lambda: line.waiting) as most:
                sent = await asyncio.to_thread(deaf.pour, framed(m.Ping(1)) * 1000, _POURED)
            assert sent < _POURED, "it was cut off"
            assert most[0] < BACKLOG_BYTES + _SLACK
            await eventually(lambda: "takes nothing" in caplog.text, what="the reason in the log")
            async with it.viewer() as hub:
                assert hub.role == "control"

    asyncio.run(main())


def test_units_without_reading_the_credit(house, caplog) -> None:
    """An agent beyond its credit: every unit is acknowledged, and it takes none of that."""
    caplog.set_level(logging.INFO, "kvmstream.hub")

    async def main() -> None:
        async with house() as it, _deaf(it, "agent") as (deaf, _):
            units = b"".join(
                VideoHeader(UNIT, 1, True, sequence=number).pack() + b"u"
                for number in range(1, 1001)
            )
            assert await asyncio.to_thread(deaf.video.pour, units, _POURED) < _POURED
            await eventually(lambda: not it.hub.held["office-pc"].online, what="its end")
            assert "takes nothing" in caplog.text

    asyncio.run(main())


def test_a_browser_that_pings_without_reading(house, caplog) -> None:
    caplog.set_level(logging.INFO, "kvmstream.hub")

    def open_line(it) -> Flood:
        flood = Flood(it.hub.web_port)
        token = it.hub.store.new_token("control")
        key = base64.b64encode(bytes(16)).decode()
        flood.socket.sendall(
            f"GET /api/v1/live HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        assert b"101" in flood.read(16)
        return flood

    async def main() -> None:
        async with house() as it:
            flood = await asyncio.to_thread(open_line, it)
            line = await _line(it, "viewer")
            text = m.encode_json(m.Ping(1)).encode()
            frame = struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text  # masked with zeros
            async with _watched(lambda: line.waiting) as most:
                assert await asyncio.to_thread(flood.pour, frame * 100, _POURED) < _POURED
            assert most[0] < BACKLOG_BYTES + _SLACK
            await eventually(lambda: "takes nothing" in caplog.text, what="the reason in the log")
            flood.close()

    asyncio.run(main())


def test_input_for_an_agent_that_does_not_read(house) -> None:
    """Events and texts are dropped and whoever sent them hears so; the source stays."""

    async def main() -> None:
        async with house() as it, _deaf(it, "agent") as (deaf, _):
            source = it.hub.held["office-pc"]
            async with it.viewer() as hub:
                await hub.sources["office-pc"].request_control()
                heard = []
                (viewer,) = (v for v in it.hub.viewers if v.user.name == "control")
                post = viewer.post
                viewer.post = lambda message: (heard.append(message), post(message))
                control = hub._check()
                async with _watched(lambda: source.control.waiting) as most:
                    for _ in range(20):
                        deaf.socket.sendall(framed(m.Ping(1)))
                        for _ in range(20):
                            await control.send(m.Input([m.Text("x" * 10_000)], "office-pc"))
                        await control.send(m.ClipboardText("y" * (256 << 10), 0, "office-pc"))
                    await eventually(
                        lambda: any(isinstance(told, m.Problem) for told in heard), what="the news"
                    )
                assert source.online
                assert most[0] < INPUT_BACKLOG_BYTES + (256 << 10) + _SLACK
                dropped = [told for told in heard if isinstance(told, m.InputDone)]
                assert dropped
                assert "bytes behind: the input was dropped" in dropped[0].failures[0]
                texts = [told for told in heard if isinstance(told, m.Problem)]
                assert "the text was dropped" in texts[0].reason

    asyncio.run(main())
