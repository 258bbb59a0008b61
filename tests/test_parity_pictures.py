"""Single pictures on both backends: thumbnails and screenshots."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, assert_colour

from kvmstream import errors


def _jpeg(data):
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    return frames[0]


def test_thumbnail(stream, x_server, h264):
    x_server.solid("#ff0000")
    with stream(display=x_server.display, cursor="hidden") as flow:
        flow.next()
        data = flow.pipeline.thumbnail()
        assert data.startswith(b"\xff\xd8")
        assert data.endswith(b"\xff\xd9")
        frame = _jpeg(data)
        assert (frame.width, frame.height) == (320, 180)
        assert_colour(h264.rgb(frame), RED)
        assert _jpeg(flow.pipeline.thumbnail(100)).width == 100
        with pytest.raises(errors.ConfigError):
            flow.pipeline.thumbnail(3)


def test_thumbnail_is_fresh_when_nobody_watches(backend, screen, h264):
    pipeline = backend.Pipeline(display=screen.display, cursor="hidden")
    try:
        pipeline.start()
        assert_colour(h264.rgb(_jpeg(pipeline.thumbnail())), GREY)
        screen.solid("#00ff00")
        time.sleep(0.2)
        assert_colour(h264.rgb(_jpeg(pipeline.thumbnail())), GREEN)
        assert pipeline.stats()["frames"] == 0
    finally:
        pipeline.stop()
        pipeline.join()


def test_small_pictures_are_not_blown_up(stream):
    with stream(source="pattern", display="101x77") as flow:
        flow.next()
        frame = _jpeg(flow.pipeline.thumbnail())
        assert (frame.width, frame.height) == (101, 77)


def test_screenshot_is_exact(backend, screen):
    colours = {(0, 0): (1, 2, 3), (320, 0): (250, 128, 7), (0, 240): BLUE, (320, 240): (90, 91, 92)}
    for (x, y), colour in colours.items():
        screen.fill(x, y, 320, 240, colour)
    width, height, data = backend.screenshot(display=screen.display, cursor="hidden")
    assert (width, height, len(data)) == (640, 480, 640 * 480 * 4)
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2::-1]
    for (x, y), colour in colours.items():
        assert np.all(picture[y : y + 240, x : x + 320] == colour)


def test_screenshot_of_a_region_scaled(backend, screen):
    screen.fill(101, 51, 200, 100, RED)
    width, height, data = backend.screenshot(
        display=screen.display, region=(101, 51, 200, 100), width=50, cursor="hidden"
    )
    assert height in (25, 100)
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2::-1]
    assert width == 50
    assert np.all(picture == RED)


def test_screenshot_shows_the_cursor_when_asked(backend, screen):
    screen.solid("#0000ff")
    screen.move_pointer(320, 240)
    shots = {
        mode: np.frombuffer(backend.screenshot(display=screen.display, cursor=mode)[2], np.uint8)
        for mode in ("embedded", "hidden")
    }
    different = (shots["embedded"] != shots["hidden"]).reshape(480, 640, 4).any(axis=2)
    rows, columns = np.nonzero(different)
    assert rows.size >= 20
    assert abs(rows.mean() - 240) < 20
    assert abs(columns.mean() - 320) < 20


def test_screenshot_errors(backend, screen):
    with pytest.raises(errors.CaptureError):
        backend.screenshot(display=":4999")
    with pytest.raises(errors.ConfigError):
        backend.screenshot(display=f"{screen.display}/NO-SUCH")
