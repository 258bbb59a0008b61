"""The fallback's X11 client: addresses, authority, requests and images over the wire."""

from __future__ import annotations

import socket
import struct
import threading
import time

import numpy as np
import pytest

from kvmstream import _fallback as fallback
from kvmstream import errors
from kvmstream._fallback import monitors, reader, x11_wire
from kvmstream._fallback.frames import coalesce
from kvmstream._fallback.x11 import XConnection, XServerGone


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (":0", ("", 0, 0)),
        (":12.3", ("", 12, 3)),
        ("unix:4", ("", 4, 0)),
        ("unix/here:4", ("", 4, 0)),
        ("localhost:10.0", ("localhost", 10, 0)),
        ("[::1]:2", None),
        ("", None),
        ("0", None),
        (":x", None),
    ],
)
def test_display_names(name, parts):
    if parts is None:
        with pytest.raises(XServerGone):
            x11_wire.parse_display(name)
    else:
        assert x11_wire.parse_display(name) == parts


@pytest.mark.parametrize(
    ("display", "parts"),
    [
        ("", ("", "")),
        ("HDMI-1", ("", "HDMI-1")),
        ("1", ("", "1")),
        (":7", (":7", "")),
        (":7/HDMI-1", (":7", "HDMI-1")),
        ("host:7.0/DP-2/x", ("host:7.0", "DP-2/x")),
    ],
)
def test_display_strings_of_the_seam(display, parts):
    assert monitors.parse_display(display) == parts


def _xauthority(*entries):
    data = b""
    for address, number, name, cookie in entries:
        data += struct.pack(">H", 256)
        for field in (address, number, name, cookie):
            data += struct.pack(">H", len(field)) + field
    return data


def test_authority_file(tmp_path, monkeypatch):
    here = socket.gethostname().encode()
    magic = b"MIT-MAGIC-COOKIE-1"
    file = tmp_path / "auth"
    monkeypatch.setenv("XAUTHORITY", str(file))
    assert x11_wire._authority("", 7) == (b"", b"")
    file.write_bytes(
        _xauthority(
            (b"elsewhere", b"7", magic, b"A" * 16),
            (here, b"8", magic, b"B" * 16),
            (here, b"7", b"XDM-AUTHORIZATION-1", b"C" * 16),
            (here, b"7", magic, b"D" * 16),
        )
    )
    assert x11_wire._authority("", 7) == (magic, b"D" * 16)
    assert x11_wire._authority("", 8) == (magic, b"B" * 16)
    assert x11_wire._authority("", 9) == (b"", b"")
    file.write_bytes(file.read_bytes()[:-5])
    assert x11_wire._authority("", 7) == (magic, b"A" * 16), "a truncated file gives what is whole"


def test_authority_opens_a_guarded_server(make_xvfb, tmp_path, monkeypatch):
    cookie = bytes(range(16))
    entries = [(b"", b"", b"MIT-MAGIC-COOKIE-1", cookie)]
    file = tmp_path / "auth"
    file.write_bytes(_xauthority(*entries))
    server = make_xvfb("320x240", "-auth", str(file))
    with pytest.raises(errors.CaptureError, match="XAUTHORITY"):
        fallback.displays(server.display)
    monkeypatch.setenv("XAUTHORITY", str(file))
    assert fallback.displays(server.display)[0][4:6] == (320, 240)
    width, height, _ = fallback.screenshot(display=server.display)
    assert (width, height) == (320, 240)


def test_client_sees_damage_pointer_and_cursor(screen):
    connection = XConnection(screen.display)
    try:
        assert connection.geometry() == (640, 480)
        assert connection.watch(cursor=True)
        connection.take_damage()
        connection.poll()
        screen.fill(30, 40, 50, 60, (1, 2, 3))
        assert connection.poll().damaged
        assert coalesce(connection.take_damage()) == [(30, 40, 50, 60)]
        assert connection.take_damage() == []
        screen.move_pointer(12, 34)
        assert connection.pointer() == (12, 34, True)
        image = connection.cursor_image()
        assert image is not None
        assert len(image.bgra) == image.width * image.height * 4
    finally:
        connection.close()


def test_image_over_the_wire(screen):
    screen.fill(0, 0, 640, 480, (10, 20, 30))
    screen.fill(5, 7, 3, 2, (200, 100, 50))
    connection = XConnection(screen.display)
    try:
        pixels = reader.WireReader(connection).read((0, 0, 640, 480))
        assert np.array_equal(pixels[7:9, 5:8, :3], np.full((2, 3, 3), (50, 100, 200)))
        assert np.all(pixels[9:, :, 0] == 30)
        with pytest.raises(errors.CaptureError, match="refused"):
            reader.WireReader(connection).read((600, 400, 100, 100))
        assert connection.geometry() == (640, 480), "an X error leaves the connection usable"
    finally:
        connection.close()


def test_large_images_come_in_bands(screen, monkeypatch):
    monkeypatch.setattr(reader, "_BAND_BYTES", 7 * 640 * 4)
    screen.fill(0, 100, 640, 1, (9, 8, 7))
    connection = XConnection(screen.display)
    try:
        pixels = reader.WireReader(connection).read((0, 0, 640, 480))
    finally:
        connection.close()
    assert np.all(pixels[100, :, :3] == (7, 8, 9))
    assert np.all(pixels[99, :, :3] == 128)
    assert np.all(pixels[101, :, :3] == 128)


def test_a_server_that_talks_nonsense_is_an_error(tmp_path, monkeypatch):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "X"))
    server.listen()

    def connect(host, number):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "X"))
        sock.settimeout(0.5)
        return sock

    monkeypatch.setattr(x11_wire, "_connect_socket", connect)

    def answer(data):
        peer, _ = server.accept()
        with peer:
            peer.sendall(data)
            time.sleep(0.7)

    refusal = b"No protocol"
    for data, message in (
        (b"", "no answer within|closed"),
        (b"\0", "no answer within|closed"),
        (struct.pack("<BBHHH", 0, len(refusal), 11, 0, 3) + refusal + b"\0", "No protocol"),
        (struct.pack("<BBHHH", 1, 0, 11, 0, 0xFFFF) + b"\0" * 100, "no answer within|closed"),
    ):
        thread = threading.Thread(target=answer, args=(data,))
        thread.start()
        with pytest.raises(XServerGone, match=message):
            XConnection(":1")
        thread.join()
    server.close()
