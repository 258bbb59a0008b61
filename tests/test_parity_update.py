"""Live changes on both backends: rates, region and display of a running pipeline."""

from __future__ import annotations

import pytest
from pictures import GREY, RED, assert_colour, settle

from kvmstream import errors


def test_update_fps(stream):
    with stream(source="pattern", display="320x240", fps=60.0) as flow:
        flow.take(5)
        flow.pipeline.update(fps=5.0)
        flow.take_for(0.5)
        fresh = [p for p in flow.take_for(2.0) if not p.refinement]
        assert 3 <= len(fresh) <= 14


def test_update_bitrate(stream):
    with stream(source="pattern", display="1280x720", crf=1.0, bitrate=20_000_000) as flow:
        flow.take_for(1.0)
        before = sum(len(p) for p in flow.take_for(1.0))
        flow.pipeline.update(bitrate=150_000)
        flow.take_for(1.5)
        after = sum(len(p) for p in flow.take_for(1.0))
        assert after < before * 2 / 3, (before, after)
        assert after * 8 < 300_000, (before, after)


def test_update_region_begins_a_new_generation(stream, screen, h264):
    screen.fill(0, 0, 200, 200, RED)
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        flow.pipeline.update(region=(20, 20, 120, 100))
        packets = flow.until_quiet()
        assert packets[0].keyframe
        assert {p.generation for p in packets} == {2}
        assert {(p.width, p.height) for p in packets} == {(120, 100)}
        assert flow.pipeline.generation == 2
        assert_colour(h264.rgb(h264.decode(packets)[-1]), RED)

        # Another place of the same size is another generation too: coordinates mean something else.
        flow.pipeline.update(region=(300, 300, 120, 100))
        packets = flow.until_quiet()
        assert packets[0].keyframe
        assert packets[0].generation == 3
        assert_colour(h264.rgb(h264.decode(packets)[-1]), GREY)

        flow.pipeline.update(region=(0, 0, 0, 0))
        packets = flow.until_quiet()
        assert (packets[0].width, packets[0].height, packets[0].generation) == (640, 480, 4)


def test_refused_updates_leave_the_stream_as_it_was(stream, screen):
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        for change in (
            {"bitrate": 5},
            {"fps": 0.0},
            {"crf": 99.0},
            {"display": f"{screen.display}/NO-SUCH-MONITOR"},
            {"region": (600, 400, 100, 100)},
        ):
            with pytest.raises(errors.ConfigError):
                flow.pipeline.update(**change)
        with pytest.raises(errors.CaptureError):
            flow.pipeline.update(display=":4999")
        screen.fill(0, 0, 100, 100, RED)
        packet = flow.next()
        assert not packet.keyframe
        assert packet.generation == 1


def test_update_display_to_another_server(stream, screen, x_server):
    x_server.solid("#00ff00")
    with stream(display=screen.display, cursor="hidden") as flow:
        settle(flow)
        flow.pipeline.update(display=x_server.display)
        packet = flow.next()
        assert packet.keyframe
        assert (packet.width, packet.height, packet.generation) == (1920, 1080, 2)
