"""The native core on Windows, as its module gives it.

On a real Windows, and by scripts/test_windows_agent.sh under Wine.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = [
    pytest.mark.windows,
    pytest.mark.skipif(sys.platform != "win32", reason="needs a real Windows"),
    pytest.mark.usefixtures("native"),
]


def _decoded(config, wanted):
    """The first packets of a stream, and the pictures that they decode to."""
    import kvmstream

    decoder, packets, pictures = kvmstream.Decoder(), [], []
    deadline = time.monotonic() + 30
    with kvmstream.Stream(config) as stream, stream.subscribe() as queue:
        while len(packets) < wanted:
            assert time.monotonic() < deadline, f"{len(packets)} packets of {wanted} within 30 s"
            packet = queue.next(timeout=1.0)
            if packet is not None:
                packets.append(packet)
                pictures.append(decoder.decode(packet))
        thumbnail, stats = stream.thumbnail(64), stream.stats()
    assert all(picture is not None for picture in pictures)
    return packets, pictures, thumbnail, stats


def test_the_native_core_is_what_a_user_gets() -> None:
    import kvmstream

    assert (kvmstream.backend, kvmstream.backend_reason) == ("native", "")


def test_encoders_and_captures_are_those_of_windows(native) -> None:
    rows = native.encoders()
    assert ("screen", False, True, "") in rows
    hardware = [name for name, is_hardware, _, _ in rows if is_hardware]
    assert not hardware or sorted(hardware[:3]) == ["h264_amf", "h264_nvenc", "h264_qsv"]
    assert hardware[3:] in ([], ["h264_mf"])
    assert all(available != bool(reason) for _, _, available, reason in rows)
    captures = {name: available for name, available, _ in native.captures()}
    assert list(captures) == ["dxgi", "gdi", "pattern"]
    assert captures["gdi"]
    assert captures["pattern"]


def test_a_pattern_streams_and_decodes() -> None:
    import kvmstream

    config = kvmstream.StreamConfig(source="pattern", display="640x358", fps=60)
    began = time.perf_counter_ns()
    packets, pictures, thumbnail, stats = _decoded(config, 30)
    assert stats.encoder == "screen"
    assert {picture.shape for picture in pictures} == {(358, 640, 3)}
    assert packets[0].keyframe
    stamps = [packet.encoded_ns for packet in packets]
    assert began < stamps[0] <= stamps[-1] < time.perf_counter_ns(), "one clock with Python's"
    assert _jpeg(thumbnail).shape == (36, 64, 3)


def test_the_screen_streams_as_a_screenshot_shows_it() -> None:
    import kvmstream

    (primary,) = [display for display in kvmstream.displays() if display.primary]
    shot = kvmstream.screenshot()
    assert shot.shape == (primary.height, primary.width, 3)
    config = kvmstream.StreamConfig(crf=10, cursor="hidden")
    _, pictures, thumbnail, stats = _decoded(config, 1)
    assert stats.capture.startswith(("dxgi", "gdi"))
    assert pictures[-1].shape == shot.shape
    # Something may have moved between the two; most of a desktop has not.
    assert np.median(np.abs(pictures[-1].astype(int) - shot)) <= 4
    small = _jpeg(thumbnail)
    assert small.shape[1] == 64
    assert np.abs(small.mean(axis=(0, 1)) - shot.mean(axis=(0, 1))).max() <= 6


def test_a_monitor_that_is_not_there_is_named() -> None:
    import kvmstream

    with pytest.raises(kvmstream.KvmStreamError, match="NoSuchMonitor"):
        kvmstream.screenshot(display="NoSuchMonitor")


def test_doctor_finds_that_streaming_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvmstream", "doctor"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "native backend" in " ".join(done.stdout.split())


def _jpeg(data: bytes) -> np.ndarray:
    import av

    with av.open(io.BytesIO(data), format="image2pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
