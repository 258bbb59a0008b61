"""Recorder: files that FFmpeg and mpv read without a word, at any moment, with the right times."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from synthetic import FakePacket, packets, picture

from kvmstream import ConfigError, ProtocolError, Recorder, StreamClosed
from kvmstream._mux import Mp4

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe and ffmpeg")


def _probe(path: Path, *entries: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "warning", "-of", "json", *entries, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == "", result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _assert_plays(path: Path, frames: int) -> None:
    """FFmpeg decodes all of it without a warning."""
    command = ["ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    counted = _probe(path, "-count_frames", "-show_streams")["streams"][0]["nb_read_frames"]
    assert int(counted) == frames


def _write_all(recorder: Recorder, stream: Sequence[FakePacket]) -> None:
    for packet in stream:
        recorder.write(packet)


def _write(path: Path, stream: Sequence[FakePacket], end_pts: int | None = None) -> Recorder:
    with Recorder(path) as recorder:
        _write_all(recorder, stream)
        recorder.close(end_pts)
    return recorder


@pytest.fixture(scope="module")
def irregular() -> list[FakePacket]:
    """120 packets over about 4 s, with gaps from 17 ms to 1.5 s, not starting at 0, keyframes at 0 and 60."""
    stream = list(packets(120, keyframes=(0, 60)))
    rng = np.random.default_rng(7)
    gaps = rng.integers(17_000, 50_000, len(stream))
    gaps[30], gaps[90] = 1_500_000, 700_000
    for packet, pts in zip(stream, 5_000_000 + np.cumsum(gaps), strict=True):
        packet.pts = int(pts)
    return stream


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".h264"])
def test_files_play_without_a_warning(
    tmp_path: Path, irregular: list[FakePacket], suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    recorder = _write(path, irregular)
    assert recorder.frames == 120
    assert recorder.bytes == sum(map(len, irregular))
    _assert_plays(path, 120)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_the_packets_own(
    tmp_path: Path, irregular: list[FakePacket], suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    end = irregular[-1].pts + 250_000
    recorder = _write(path, irregular, end)
    shown = _probe(path, "-show_packets", "-show_format")
    tick = 0.00001 if suffix == ".mp4" else 0.00051  # half of the container's, rounded up
    for index, (packet, found) in enumerate(zip(irregular, shown["packets"], strict=True)):
        expected = (packet.pts - irregular[0].pts) / 1e6
        tolerance = (
            tick if index in (0, 30, 90) else 0.5 / 60 + tick
        )  # after a pause, or near another
        assert float(found["pts_time"]) == pytest.approx(expected, abs=tolerance)
        assert found["dts_time"] == found["pts_time"]
        assert ("K" in found["flags"]) == packet.keyframe
    whole = (end - irregular[0].pts) / 1e6
    assert float(shown["format"]["duration"]) == pytest.approx(whole, abs=0.002)
    assert recorder.duration == pytest.approx(whole, abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_lasts_until_close(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Recorder(path) as recorder:
        for packet in packets(3, step_us=20_000):
            recorder.write(packet)
        time.sleep(1.2)  # long enough for the idle flush to have written it with a guess
    duration = float(_probe(path, "-show_format")["format"]["duration"])
    assert 1.2 <= duration < 1.9
    _assert_plays(path, 3)


def test_a_frame_after_a_pause_corrects_the_guess(tmp_path: Path) -> None:
    """What the idle flush wrote is brought in line when the next packet comes."""
    path = tmp_path / "out.mp4"
    stream = list(packets(4, step_us=200_000))
    with Recorder(path) as recorder:
        for packet in stream[:2]:
            recorder.write(packet)
        time.sleep(1.1)
        stream[2].pts = stream[1].pts + 300_000  # less than the guess
        stream[3].pts = stream[2].pts + 200_000
        for packet in stream[2:]:
            recorder.write(packet)
        recorder.close(stream[3].pts + 200_000)
    with av.open(path) as container:
        times = [
            (packet.pts, packet.duration) for packet in container.demux() if packet.pts is not None
        ]
    assert [pts for pts, _ in times] == [0, 18_000, 45_000, 63_000]
    assert float(_probe(path, "-show_format")["format"]["duration"]) == pytest.approx(
        0.9, abs=0.001
    )
    _assert_plays(path, 4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_colours_are_tagged_and_right(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    _write(path, list(packets(5)))
    stream = _probe(path, "-show_streams")["streams"][0]
    tags = [stream[f"color_{name}"] for name in ("space", "transfer", "primaries", "range")]
    assert tags == ["bt709", "bt709", "bt709", "tv"]
    raw = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "warning",
            "-i",
            path,
            "-frames:v",
            "1",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert raw.stderr == b""
    decoded = np.frombuffer(raw.stdout, np.uint8).reshape(240, 320, 3)
    expected = picture(0, 320, 240)
    for y, x in [(60, 80), (60, 240), (180, 80), (180, 240)]:
        assert np.abs(decoded[y, x].astype(int) - expected[y, x]).max() <= 6


@pytest.mark.skipif(shutil.which("mpv") is None, reason="needs mpv")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_mpv_has_nothing_to_say(tmp_path: Path, irregular: list[FakePacket], suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    _write(path, irregular)
    command = ["mpv", "--no-config", "--vo=null", "--ao=null", "--untimed", "--msg-level=all=warn"]
    result = subprocess.run(
        [*command, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Newer ones tell of their own scripts' end, now and then.
    said = result.stdout.replace("client removed during hook handling\n", "")
    assert (result.returncode, said, result.stderr) == (0, "", "")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pyav_reads_it_back(tmp_path: Path, irregular: list[FakePacket], suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    _write(path, irregular)
    with av.open(path) as container:
        assert sum(1 for _ in container.decode(video=0)) == 120


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_seeking_to_the_second_keyframe(
    tmp_path: Path, irregular: list[FakePacket], suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    _write(path, irregular)
    with av.open(path) as container:
        target = (irregular[70].pts - irregular[0].pts) / 1e6
        container.seek(int(target * 1e6))
        frame = next(container.decode(video=0))
        found = (irregular[60].pts - irregular[0].pts) / 1e6
        assert float(frame.time) == pytest.approx(found, abs=0.5 / 60 + 0.001)


def test_a_new_generation_starts_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    second = list(packets(5, width=161, height=99, generation=2, first_pts=900_000))
    recorder = _write(path, [*packets(4), *second])
    assert recorder.paths == [path, tmp_path / "out-2.mp4"]
    _assert_plays(path, 4)
    _assert_plays(tmp_path / "out-2.mp4", 5)
    stream = _probe(tmp_path / "out-2.mp4", "-show_streams")["streams"][0]
    assert (stream["width"], stream["height"]) == (162, 100)
    assert float(stream["start_time"]) == 0.0


def test_packets_before_the_first_keyframe_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = _write(path, list(packets(10, keyframes=(0, 4)))[1:])
    assert (recorder.skipped, recorder.frames) == (3, 6)
    _assert_plays(path, 6)


def test_a_file_without_packets_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = _write(path, [])
    assert not path.exists()
    assert recorder.paths == []
    assert recorder.duration == 0.0


def test_simultaneous_packets_get_different_times(tmp_path: Path) -> None:
    """Faster than the container's clock can tell."""
    path = tmp_path / "out.mkv"
    _write(path, list(packets(50, step_us=10)))
    times = [float(packet["pts_time"]) for packet in _probe(path, "-show_packets")["packets"]]
    assert len(times) == 50
    assert all(later > time for time, later in itertools.pairwise(times))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_jitter_at_full_speed_is_taken_out(tmp_path: Path, suffix: str) -> None:
    """60 fps as a real capture delivers them: ffmpeg warns about two frames in one count of the rate it believes in."""
    path = tmp_path / f"out{suffix}"
    stream = list(packets(300))
    jitter = np.random.default_rng(3).integers(0, 3000, len(stream))
    jitter[::25] += 13_000  # the next one is close behind
    for index, packet in enumerate(stream):
        packet.pts = index * 16_700 + int(jitter[index])
    _write(path, stream)
    _assert_plays(path, 300)
    shown = [float(packet["pts_time"]) for packet in _probe(path, "-show_packets")["packets"]]
    for packet, at in zip(stream, shown, strict=True):
        assert -0.51 / 60 < at - (packet.pts - stream[0].pts) / 1e6 < 2 / 60
    # Whole frames apart: ffmpeg 9 guesses the rate by how well the times fit one.
    steps = [(later - earlier) * 60 for earlier, later in itertools.pairwise(shown)]
    tolerance = 0.001 if suffix == ".mp4" else 0.09  # a tick
    assert sum(step == pytest.approx(1, abs=tolerance) for step in steps) > 290


def test_large_and_long(tmp_path: Path) -> None:
    """A pause of two hours needs no more than 32 bits anywhere."""
    stream = list(packets(3))
    stream[1].pts = 7_200_000_000
    stream[2].pts = stream[1].pts + 16_667
    for suffix in (".mp4", ".mkv"):
        path = tmp_path / f"out{suffix}"
        _write(path, stream)
        last = _probe(path, "-show_packets")["packets"][-1]
        assert float(last["pts_time"]) == pytest.approx(7200.017, abs=0.001)
        _assert_plays(path, 3)


def test_a_fragment_that_is_not_whole_is_no_fragment(
    tmp_path: Path, irregular: list[FakePacket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it writes leaves what came before, and nothing to complain about."""
    path = tmp_path / "out.mp4"
    before: list[bytes] = []  # what is on the disk each time that a fragment is about to count
    patch = Mp4._patch

    def spy(self: Mp4, offset: int, data: bytes) -> None:
        if data == b"moof":
            before.append(path.read_bytes())
        patch(self, offset, data)

    monkeypatch.setattr(Mp4, "_patch", spy)
    _write(path, irregular)
    _assert_plays(path, len(irregular))
    whole, newest = before[-2:]
    begin = len(whole)
    counted = None
    for end in (
        begin,
        begin + 1,
        begin + 9,
        (begin + len(newest)) // 2,
        len(newest) - 1,
        len(newest),
    ):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(newest[:end])
        shown = _probe(cut, "-count_frames", "-show_streams")["streams"][0]["nb_read_frames"]
        _assert_plays(cut, int(shown))
        counted = counted or shown
        assert shown == counted, end


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'.*out.avi': must end in one of .mp4"):
        Recorder(tmp_path / "out.avi")
    with pytest.raises(FileNotFoundError):
        Recorder(tmp_path / "missing" / "out.mp4")
    recorder = Recorder(tmp_path / "out.mp4")
    recorder.close()
    recorder.close()
    (packet,) = packets(1)
    with pytest.raises(StreamClosed, match="make a new Recorder"):
        recorder.write(packet)


def test_a_keyframe_without_parameter_sets_is_refused(tmp_path: Path) -> None:
    (packet,) = packets(1)
    bare = FakePacket(packet[packet.rindex(b"\x00\x00\x01\x65") :])
    bare.__dict__.update(packet.__dict__)
    with (
        Recorder(tmp_path / "out.mp4") as recorder,
        pytest.raises(ProtocolError, match="SPS and PPS"),
    ):
        recorder.write(bare)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.symlink_to("/dev/full")
    recorder = Recorder(path)
    stream = list(packets(200, step_us=100_000))
    with pytest.raises(OSError, match="No space left"):
        _write_all(recorder, stream)
    with pytest.raises(OSError, match="No space left"):
        recorder.close()


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_thread_and_no_descriptor_stays(tmp_path: Path) -> None:
    stream = list(packets(3))
    _write(tmp_path / "first.mp4", stream)
    threads, descriptors = threading.active_count(), _descriptors()
    for index in range(20):
        _write(tmp_path / f"{index}.mp4", stream)
    assert threading.active_count() == threads
    assert _descriptors() == descriptors


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".h264"])
def test_kill_9_on_a_still_screen_loses_nothing_older_than_a_second(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    script = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from synthetic import packets
        from kvmstream import Recorder
        recorder = Recorder({str(path)!r})
        for packet in packets(40, step_us=20_000):
            recorder.write(packet)
            time.sleep(0.01)
        print("written", flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        time.sleep(1.3)
        child.send_signal(signal.SIGKILL)
    _assert_plays(path, 40)
    if suffix != ".h264":
        duration = float(_probe(path, "-show_format")["format"]["duration"])
        assert duration > 1.3, "the still picture lasts until shortly before the end"
