"""What comes off a socket: every byte string is a message, or a reason; every hostile peer is its own problem alone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
from house import eventually, house
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmstream.errors import ConfigError, KvmStreamError, ProtocolError
from kvmstream.wire import limits
from kvmstream.wire import messages as m
from kvmstream.wire.address import HubAddress, PairingLine
from kvmstream.wire.clock import ClockEstimate
from kvmstream.wire.keys import KEYS, key_code
from kvmstream.wire.video import ACK, HEADER, UNIT, VideoHeader

__all__ = ["house"]  # a fixture


# ---- parsers


@given(st.binary(max_size=400))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_a_reason(data: bytes) -> None:
    try:
        message = m.decode(data)
    except ProtocolError:
        return
    assert m.decode(m.encode(message)) == message


_EXAMPLES = [
    m.Refused("why", True),
    m.Ping(-5),
    m.AgentHello("i", "s", "name"),
    m.Input([m.Key(30, True), m.Motion(0, 65535, 3), m.Wheel(dy=-60), m.Text("ß"), m.Held([30])], "a", 9),
    m.SourceState([m.DisplayInfo("1", "HDMI-1", 1920, 1080, True)], figures={"fps": 60.0, "encoder": "x"}),
    m.Cursor(-3, 9, True, 7, 1, 2, 2, 1, 1, bytes(16)),
    m.Sources([m.SourceInfo("office", True)], ["gone"]),
]  # fmt: skip


@given(st.sampled_from(_EXAMPLES), st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_damaged_messages_are_refused_or_understood(
    message: m.AnyMessage, chance: random.Random
) -> None:
    data = bytearray(m.encode(message))
    assert m.decode(bytes(data)) == message
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    del data[chance.randint(0, len(data)) :]
    with contextlib.suppress(ProtocolError):
        m.decode(bytes(data))


@pytest.mark.parametrize(
    "message",
    [
        m.Input([m.Key(0, True)]),
        m.Input([m.Motion(65536, 0, 1)]),
        m.Input([m.Text("x" * (limits.TEXT_CHARACTERS + 1))]),
        m.Input([m.ReleaseAll()] * 257),
        m.Pair("code", ""),
        m.Pair("code", "n" * 65),
        m.Watch(True, bitrate=1),
        m.Subscribe(1 << 32, "a"),
    ],
)
def test_what_is_out_of_range_is_refused(message: m.AnyMessage) -> None:
    with pytest.raises(ProtocolError):
        m.decode(m.encode(message))


@given(st.binary(min_size=HEADER.size, max_size=HEADER.size))
@settings(max_examples=500)
def test_any_header_is_understood_or_refused(data: bytes) -> None:
    try:
        header = VideoHeader.unpack(data)
    except ProtocolError:
        return
    assert header.payload <= limits.VIDEO_BYTES
    assert VideoHeader.unpack(header.pack()) == header


def test_header_times_move_to_another_clock() -> None:
    header = VideoHeader(UNIT, 5, True, False, 0, 0, 1, 2, 3, 4, 5, 100, 200, 0, 300)
    moved = header.shifted(-50, 1000)
    assert (moved.damaged_ns, moved.captured_ns, moved.encoded_ns, moved.sent_ns) == (
        50,
        150,
        0,
        250,
    )
    assert moved.relayed_ns == 1000


# ---- addresses


def test_pairing_line_survives_the_way_over_the_telephone() -> None:
    for host in ("192.168.1.100", "hub.example", "fe80::1"):
        line = PairingLine(HubAddress(host, 9000, 9001, "ab" * 32), "K7QM-3XTD-PR5W")
        assert PairingLine.parse(f"  {line}\n") == line
        assert HubAddress.parse(line.hub.url) == line.hub


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("kvmstream://h:8080?video=8081&code=A", "no fingerprint"),
        ("kvmstream://h:8080?fingerprint=" + "a" * 64, "no code"),
        ("kvmstream://h:8080?fingerprint=xyz&code=A", "64 hexadecimal"),
        ("kvmstream://h:99999?code=SECRET", "Port out of range"),
        ("https://h", "must be HOST"),
        ("kvmstream://h?video=0&code=A", "1 to 65535"),
        ("", "must be HOST"),
    ],
)
def test_bad_lines_say_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        PairingLine.parse(text)
    assert "SECRET" not in str(caught.value)


def test_keys_have_names() -> None:
    assert key_code("KeyA") == key_code("a") == 30
    assert key_code("1") == 2
    assert key_code("0") == KEYS["Digit0"] == 11
    assert key_code("CTRL") == 29
    assert len(set(KEYS.values())) == len(KEYS)


# ---- clocks


@pytest.mark.parametrize("seed", range(5))
def test_clock_of_a_distant_peer(seed: int) -> None:
    """+7.3 s, 50 ppm of drift, 20 ms there and 5 ms back, with queues now and then: within 1 ms + half of 15 ms."""
    chance = random.Random(seed)
    estimate = ClockEstimate()

    def peer(t: float) -> float:
        return t * (1 + 50e-6) + 7.3e9

    for second in range(300):
        sent = second * 1e9
        there, back = 20e6, 5e6
        if chance.random() < 0.5:
            there += chance.expovariate(1 / 50e6)
        if chance.random() < 0.5:
            back += chance.expovariate(1 / 50e6)
        arrived = sent + there
        answered = arrived + chance.uniform(0, 1e6)
        received = answered + back
        estimate.add(int(sent), int(peer(arrived)), int(peer(answered)), int(received))
        if second >= 30:
            error = abs(estimate.offset_ns - (peer(received) - received))
            assert error <= 1e6 + 7.5e6


def test_impossible_exchanges_are_ignored() -> None:
    estimate = ClockEstimate()
    estimate.add(0, 10, 5, 100)  # answered before it was received
    estimate.add(0, 0, 1000, 100)  # took longer there than it was away
    assert not estimate.known
    assert estimate.offset_ns == 0


# ---- hostile peers of a real hub


def _insecure() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _open(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=_insecure())


async def _last_words(reader: asyncio.StreamReader) -> m.AnyMessage:
    """The refusal, and nothing after it."""
    data = await asyncio.wait_for(reader.read(1 << 16), 15)
    (size,) = struct.unpack_from("!I", data)
    message = m.decode(data[4 : 4 + size])
    assert await asyncio.wait_for(reader.read(), 15) == b""
    return message


_GREETING = b"KVMSTRM" + bytes([limits.VERSION])


def _framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "https port"),
        (b"KVMSTRM" + bytes([limits.VERSION + 1]), f"speaks version {limits.VERSION}"),
        (_GREETING + struct.pack("!I", 1 << 30), "the limit is 8192"),
        (_GREETING + _framed(b"\xff\xff\xff"), "not a message"),
        (_GREETING + _framed(m.encode(m.Ping(1))), "does not begin with Ping"),
        (_GREETING + _framed(m.encode(m.AgentHello("i", "s", "n"))), "does not know the agent"),
    ],
)
def test_strangers_are_refused_with_a_reason(house, data: bytes, reason: str) -> None:
    async def main() -> None:
        async with house() as it:
            reader, writer = await _open(it.hub.control_port)
            writer.write(data)
            refusal = await _last_words(reader)
            assert isinstance(refusal, m.Refused)
            assert reason in refusal.reason
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("token", ["guess", "gueß", ""])
def test_a_video_connection_without_a_token_is_refused(house, token: str) -> None:
    async def main() -> None:
        async with house() as it:
            # Somebody's token is waited for meanwhile.
            _, welcomed = await _open(it.hub.control_port)
            hello = m.ViewerHello(it.hub.store.new_token("view"))
            welcomed.write(_GREETING + _framed(m.encode(hello)))
            await eventually(lambda: it.hub.reception.listener._video_waiting, what="its welcome")
            reader, writer = await _open(it.hub.video_port)
            writer.write(_GREETING + _framed(m.encode(m.VideoHello(token))))
            refusal = await _last_words(reader)
            assert isinstance(refusal, m.Refused)
            assert "belongs to no control connection" in refusal.reason
            writer.close()
            welcomed.close()

    asyncio.run(main())


def test_plain_text_and_half_open_connections_harm_nobody(house, monkeypatch) -> None:
    monkeypatch.setattr("kvmstream.wire.connection.HANDSHAKE_SECONDS", 1.0)

    async def main() -> None:
        async with house() as it:
            _, plain = await asyncio.open_connection("127.0.0.1", it.hub.control_port)
            plain.write(b"hello" * 100)
            silent = [await _open(it.hub.control_port) for _ in range(20)]
            slow_reader, slow = await _open(it.hub.control_port)
            began = time.monotonic()

            async def drip() -> None:
                for byte in _GREETING * 10:
                    slow.write(bytes([byte]))
                    await asyncio.sleep(0.3)

            dripping = asyncio.create_task(drip())
            async with it.viewer() as hub:
                assert hub.role == "control"
            assert time.monotonic() - began < 2
            assert isinstance(await _last_words(slow_reader), m.Refused)
            for reader, _ in silent:
                assert isinstance(await _last_words(reader), m.Refused)
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            for _, writer in silent:
                writer.close()
            plain.close()
            await eventually(
                lambda: not it.hub.reception.listener.strangers, 5, "the end of all strangers"
            )

    asyncio.run(main())


def test_a_peer_that_hangs_while_it_is_refused_leaves_no_descriptor(house) -> None:
    """The hub stops in the middle of the farewell, which the peer does not answer."""

    async def main() -> list[socket.socket]:
        hanging = []
        async with house() as it:
            for _ in range(4):
                peer = socket.create_connection(("127.0.0.1", it.hub.control_port))
                secure = await asyncio.to_thread(_insecure().wrap_socket, peer)
                secure.send(b"GET / HTTP/1.1\r\n")
                hanging.append(secure)
            await eventually(
                lambda: (
                    it.hub.reception.listener.connections > 4
                    and not it.hub.reception.listener.strangers
                )
            )
        return hanging

    open_before = _sockets()
    hanging = asyncio.run(main())
    assert _sockets() == open_before + len(hanging)
    for peer in hanging:
        peer.close()


def _sockets() -> int:
    gc.collect()
    links = (os.path.realpath(file) for file in Path("/proc/self/fd").iterdir())
    return sum("socket:" in link for link in links)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_garbage_after_the_welcome(garbage: list[bytes], framed: bool) -> None:
    """A viewer that is known and then talks nonsense: it alone is cut off. One hub for all examples."""
    asyncio.run(_garbage(garbage, framed=framed))


async def _garbage(garbage: list[bytes], *, framed: bool) -> None:
    import tempfile
    from pathlib import Path

    from kvmstream.hub import Hub

    with tempfile.TemporaryDirectory() as folder:
        _reuse_certificate(Path(folder))
        async with Hub(
            folder, host="127.0.0.1", control_port=0, video_port=0, web_port=None
        ) as hub:
            hub.store.set_user("eve", "admin")
            token = hub.store.new_token("eve")
            reader, writer = await _open(hub.control_port)
            writer.write(_GREETING + _framed(m.encode(m.ViewerHello(token))))
            (size,) = struct.unpack("!I", await reader.readexactly(4))
            welcome = m.decode(await reader.readexactly(size))
            assert isinstance(welcome, m.Welcome)
            _, video = await _open(hub.video_port)
            video.write(_GREETING + _framed(m.encode(m.VideoHello(welcome.video_token))))
            for piece in garbage:
                writer.write(_framed(piece) if framed else piece)
                video.write(piece)
            try:
                await writer.drain()
                await asyncio.sleep(0.02)
            except OSError:
                pass
            import kvmstream

            async with kvmstream.connect(hub.address("127.0.0.1").url, token=token) as other:
                assert other.role == "admin"
            writer.close()
            video.close()


_certificate: dict[str, bytes] = {}


def _reuse_certificate(folder) -> None:
    """Making one takes longer than the rest of an example."""
    from kvmstream.hub.certificate import ensure_certificate

    for name, data in _certificate.items():
        (folder / name).write_bytes(data)
    if not _certificate:
        for path in ensure_certificate(folder)[:2]:
            _certificate[path.name] = path.read_bytes()


def test_a_flood_of_acknowledgements_is_an_error(house) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(source="pattern", width=64, height=64, fps=30)
            async with it.viewer() as hub:
                packets = hub.sources["office-pc"].packets()
                await anext(packets)
                hub._video.post_frame(VideoHeader(ACK, channel=1, sequence=1_000_000).pack())

                async def drain() -> None:
                    async for _ in packets:
                        pass

                with pytest.raises(KvmStreamError):
                    await asyncio.wait_for(drain(), 10)

    asyncio.run(main())
