"""Decoder: every packet its picture, true size, right colours, and recovery."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import FakePacket, packets, picture

from kvmstream import Decoder, ProtocolError, StreamClosed


def _altered(packet: FakePacket, data: bytes) -> FakePacket:
    twin = FakePacket(data)
    twin.__dict__.update(packet.__dict__)
    return twin


def test_each_packet_gives_its_own_picture_at_once() -> None:
    decoder = Decoder()
    for index, packet in enumerate(packets(20)):
        decoded = decoder.decode(packet)
        assert decoded is not None
        bar = index * 4 % 240
        assert decoded[bar + 1].mean() > 245, f"picture {index} is another one"


@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (321, 241), (319, 240), (2, 2), (640, 359)]
)
def test_the_true_size_comes_back(width: int, height: int) -> None:
    decoder = Decoder()
    for packet in packets(3, width=width, height=height):
        decoded = decoder.decode(packet)
        assert decoded is not None
        assert decoded.shape == (height, width, 3)
        assert decoded.dtype == np.uint8
        assert decoded.flags.c_contiguous
        assert decoded.flags.writeable


def test_colours_are_bt709_limited() -> None:
    (packet,) = packets(1)
    decoded = Decoder().decode(packet)
    assert decoded is not None
    expected = picture(0, 320, 240)
    for y, x in [(60, 80), (60, 240), (180, 80), (180, 240)]:
        difference = np.abs(decoded[y, x].astype(int) - expected[y, x].astype(int))
        assert difference.max() <= 4, (decoded[y, x], expected[y, x])


def test_pictures_before_the_first_keyframe_are_passed_over() -> None:
    decoder = Decoder()
    decoded = [decoder.decode(packet) for packet in list(packets(10, keyframes=(0, 6)))[3:]]
    assert [picture is not None for picture in decoded] == [False] * 3 + [True] * 4
    assert decoder.skipped == 3
    assert not decoder.waiting


def test_a_new_generation_changes_the_size() -> None:
    decoder = Decoder()
    stream = [*packets(3), *packets(3, width=161, height=99, generation=2)]
    shapes = [decoded.shape for packet in stream if (decoded := decoder.decode(packet)) is not None]
    assert shapes == [(240, 320, 3)] * 3 + [(99, 161, 3)] * 3


def test_a_new_generation_without_keyframe_waits_for_one() -> None:
    decoder = Decoder()
    for packet in packets(2):
        decoder.decode(packet)
    late = list(packets(4, generation=2, keyframes=(0, 2)))
    assert decoder.decode(late[1]) is None
    assert decoder.waiting
    assert decoder.decode(late[2]) is not None


@pytest.mark.parametrize("damage", ["zeros", "noise", "empty"])
def test_damage_is_named_and_the_next_keyframe_repairs(damage: str) -> None:
    stream = list(packets(8, keyframes=(0, 5)))
    body = bytes(stream[2])
    broken = {
        "zeros": body[:5] + bytes(len(body) - 5),
        "noise": body[:5] + np.random.default_rng(1).bytes(len(body) - 5),
        "empty": b"",
    }[damage]
    decoder = Decoder()
    assert decoder.decode(stream[0]) is not None
    assert decoder.decode(stream[1]) is not None
    with pytest.raises(ProtocolError, match=r"packet at 66666 µs.*next keyframe"):
        decoder.decode(_altered(stream[2], broken))
    assert decoder.waiting
    assert decoder.decode(stream[3]) is None
    assert decoder.decode(stream[5]) is not None
    assert not decoder.waiting
    assert decoder.decode(stream[6]) is not None


def test_a_packet_that_lies_about_its_size_is_refused() -> None:
    (packet,) = packets(1)
    liar = _altered(packet, packet)
    liar.width = 4000
    with pytest.raises(ProtocolError, match=r"says 4000×240.*320×240"):
        Decoder().decode(liar)


def test_closing() -> None:
    decoder = Decoder()
    decoder.close()
    decoder.close()
    (packet,) = packets(1)
    with pytest.raises(StreamClosed, match="make a new Decoder"):
        decoder.decode(packet)
