"""Recordings of a real screen that moves, in four readers: none has a word to say, and all see every picture."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import av
import pytest
from av import logging as av_logging

from kvmstream import Recorder

pytestmark = pytest.mark.skipif(
    shutil.which("ffprobe") is None or shutil.which("mpv") is None,
    reason="needs ffprobe, ffmpeg and mpv",
)

_PICTURES = 120
_TERMINAL = (
    "xterm", "-geometry", "60x20+10+10", "-bg", "ivory", "-e", "sh", "-c",
    "while :; do head -c 60 /dev/urandom | base64; printf '\\033[3%dm' $((n = (n + 1) % 8)); sleep 0.02; done",
)  # fmt: skip

_CASES = {
    "screen": {"encoder": "screen"},
    "x264": {"encoder": "libx264"},
    "444": {"encoder": "screen", "chroma": "444"},
    "444-x264": {"encoder": "libx264", "chroma": "444"},
    "odd": {"region": (3, 5, 333, 251)},
    "odd-x264": {"region": (3, 5, 333, 251), "encoder": "libx264"},
    "slower": {"preset": "veryfast", "crf": 30.0},
    "scaled": {"width": 411},
    "generations": {},
    "cursor": {"cursor": "embedded"},
    "slow-start": {},
    "matroska": {},
}


def _silent(*command: object) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


def _ffprobe(path):
    shown = _silent(
        "ffprobe", "-v", "warning", "-of", "json", "-count_frames", "-show_streams", path
    )
    return int(json.loads(shown)["streams"][0]["nb_read_frames"])


def _ffmpeg(path):
    words = ("ffmpeg", "-v", "warning", "-xerror", "-progress", "-")
    shown = _silent(*words, "-i", path, "-f", "null", "-")
    return int(shown.rpartition("frame=")[2].split()[0])


def _pyav(path):
    with av_logging.Capture() as said, av.open(path) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    assert [entry for entry in said if entry[0] <= av_logging.WARNING] == []
    return pictures


def _mpv(path):
    words = ("mpv", "--no-config", "--vo=null", "--ao=null", "--untimed", "--msg-level=all=warn")
    # Newer ones tell of their own scripts' end, now and then.
    assert _silent(*words, path).replace("client removed during hook handling\n", "") == ""


@pytest.fixture(params=_CASES)
def recording(request, backend, stream, screen, h264, tmp_path):
    """The files of one recording, and how many pictures they hold together."""
    case = request.param
    settings = {"cursor": "hidden", "fps": 60.0, **_CASES[case]}
    if backend.BACKEND == "python" and settings.get("encoder") == "screen":
        pytest.skip("the native core's own encoder")
    with (
        stream(display=screen.display, **settings) as flow,
        screen.client(*_TERMINAL),
        h264.Brush(screen.display) as brush,
        Recorder(tmp_path / ("out.mkv" if case == "matroska" else "out.mp4")) as recorder,
    ):
        for number in range(_PICTURES):
            brush.fill(number * 7 % 500, number * 3 % 350, 90, 60, (number, 255 - number, 128))
            if case in ("slow-start", "matroska") and number < 40:
                time.sleep(
                    1 / 15
                )  # a reader's guess at the frame rate from here must not hold for the rest
            if number % 40 == 39:
                flow.pipeline.request_keyframe()
            if case == "cursor" and number % 10 == 0:
                screen.move_pointer(40 + 2 * number, 60 + number)
            if case == "generations" and number in (40, 80):
                flow.pipeline.update(region=(0, 0, 639 - number, 479 - number))
            recorder.write(flow.next())
    assert recorder.skipped == 0
    assert len(recorder.paths) == (3 if case == "generations" else 1)
    return recorder.paths, recorder.frames


def test_four_readers_decode_it_without_a_word(recording) -> None:
    paths, frames = recording
    assert frames == _PICTURES
    for read in (_ffprobe, _ffmpeg, _pyav):
        assert sum(read(path) for path in paths) == frames, read.__name__
    for path in paths:
        _mpv(path)
