"""A browser's line: who may open it, what closes it and with which reason, and that nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct

import aiohttp
import pytest
from aiohttp import WSMsgType
from house import eventually, house
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmstream.errors import ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.limits import CONTROL_BYTES
from kvmstream.wire.video import ACK, HEADER, UNIT, VideoHeader

__all__ = ["house"]  # a fixture


@given(st.text(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | st.just("t"), inner, max_size=4),
).map(json.dumps))  # fmt: skip
@settings(max_examples=400)
def test_any_text_is_a_message_or_a_reason(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        message = m.decode_json(text)
        assert m.decode_json(m.encode_json(message)) == message


def test_messages_survive_the_way_to_a_browser() -> None:
    for message in (
        m.Cursor(1, -5, True, 7, 2, 2, 1, 0, 0, bytes(range(8))),
        m.Input([m.Key(30, True), m.Motion(65535, 0, 3), m.Text("漢字\n"), m.Held([42])], "a", 9),
        m.Sources([m.SourceInfo("a", True, figures={"fps": 59.9, "encoder": "screen"})], ["b"]),
        m.Thumbnail("a", 1.5, b"\xff\xd8"),
        m.Ping(-(1 << 61)),
    ):
        assert m.decode_json(m.encode_json(message)) == message


@contextlib.asynccontextmanager
async def web(it):
    """A client that keeps cookies."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=False), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as http:
        yield http


def _url(it) -> str:
    return f"wss://127.0.0.1:{it.hub.web_port}/api/v1/live"


def _as(it, role="control"):
    return {"Authorization": f"Bearer {it.hub.store.new_token(role)}"}


async def _last_words(socket) -> str:
    """The reason of the refusal, which is the last message; also when it comes after others."""
    reason = ""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            said = m.decode_json(message.data)
            if isinstance(said, m.Refused):
                reason = said.reason
    return reason


def test_who_may_open_it(house) -> None:
    async def main() -> None:
        async with house() as it, web(it) as http:
            home = f"https://127.0.0.1:{it.hub.web_port}"
            login = {"user": "control", "password": "password of control"}
            for headers, status in (({}, 401), ({"Authorization": "Bearer guess"}, 401)):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(_url(it), headers=headers)
                assert refused.value.status == status
            async with http.post(f"{home}/api/v1/session", json=login) as answer:
                assert answer.status == 200
            for origin in ("https://evil.example", "null", home.replace("https", "https") + "0"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(_url(it), origin=origin)
                assert refused.value.status == 401
            async with http.ws_connect(_url(it), origin=home) as socket:
                welcome = m.decode_json((await socket.receive(5)).data)
                assert welcome == m.Welcome("control", role="control")
            await eventually(lambda: len(it.hub.viewers) == 1, what="the end of its session")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{", "not a message"),
        ('{"t":"Nothing"}', "not a message"),
        ('{"t":"Ping","sent_ns":"soon"}', "not a message"),
        (m.encode_json(m.SourceState([])), "does not send SourceState"),
        (m.encode_json(m.Input([m.Key(1, True)] * 256)).replace('"code":1,', '"code":0,'), "not a message"),
        (b"short", "must be a header of 72"),
        (VideoHeader(UNIT, 1).pack(), "nothing but acknowledgements"),
        (struct.pack("!IB", 0, 9).ljust(HEADER.size, b"\0"), "kind 9"),
    ],
)  # fmt: skip
def test_what_is_no_message_closes_with_a_reason(house, data, reason: str) -> None:
    async def main() -> None:
        async with house() as it, web(it) as http:
            socket = await http.ws_connect(_url(it), headers=_as(it))
            if isinstance(data, bytes):
                await socket.send_bytes(data)
            else:
                await socket.send_str(data)
            assert reason in await asyncio.wait_for(_last_words(socket), 10)
            assert socket.close_code == 1008

    asyncio.run(main())


def test_an_oversized_message_and_acknowledgements_of_nothing(house) -> None:
    async def main() -> None:
        async with house() as it, web(it) as http:
            await it.agent(source="pattern", width=320, height=180, fps=30)
            async with http.ws_connect(_url(it), headers=_as(it), max_msg_size=0) as socket:
                await socket.send_str(" " * (CONTROL_BYTES + 1))
                await asyncio.wait_for(_last_words(socket), 10)
                # 1006: the answer overtook what was still being sent.
                assert socket.close_code in (1009, 1006)
            async with http.ws_connect(_url(it), headers=_as(it)) as socket:
                await socket.send_str(m.encode_json(m.Subscribe(1, "office-pc")))
                await socket.send_bytes(VideoHeader(ACK, channel=1, sequence=1 << 30).pack())
                assert "acknowledged unit" in await asyncio.wait_for(_last_words(socket), 10)

    asyncio.run(main())


def test_a_browser_that_stalls_slows_nobody(house) -> None:
    async def main() -> None:
        async with house() as it, web(it) as http:
            await it.agent(source="pattern", width=640, height=360, fps=60)
            async with (
                it.viewer() as hub,
                http.ws_connect(_url(it), headers=_as(it), max_msg_size=0) as socket,
            ):
                await socket.send_str(m.encode_json(m.Subscribe(1, "office-pc")))
                await socket.send_str(m.encode_json(m.WatchThumbnails(True)))
                # It reads nothing from here on, and answers nothing.
                packets = hub.sources["office-pc"].packets()
                for _ in range(30):
                    await anext(packets)
                began = asyncio.get_running_loop().time()
                for _ in range(120):
                    await anext(packets)
                assert asyncio.get_running_loop().time() - began < 4
                lines = [viewer.control for viewer in it.hub.viewers]
                assert all(line.waiting < 2 << 20 for line in lines)
                # A line without a sign of life is given up.
                await eventually(lambda: len(it.hub.viewers) == 2, 12, "its end")

    asyncio.run(main())
