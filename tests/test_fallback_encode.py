"""The fallback's encoders and their ladder: failures, probes, options, rates, and what a frame costs."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from pictures import bt709_reference

from kvmstream import _fallback as fallback
from kvmstream import errors
from kvmstream._fallback import codec, ladder, pipeline
from kvmstream._fallback.frames import Delta, Patch, next_epoch
from kvmstream._fallback.settings import Settings
from kvmstream._fallback.stage import EncodeStage


class FaultyEncoder:
    """Encodes like x264 until its time has come."""

    def __init__(self, name, size, settings, notes, *, good, silent=False):
        self.name = name
        self._good = good
        self._silent = silent
        self._real = codec.PyavEncoder(codec.SPECS[-1], size, settings, notes)

    def encode(self, frame, pts, *, keyframe):
        self._good -= 1
        if self._good < 0:
            if self._silent:
                return []
            raise errors.EncoderError("the driver fell over")
        return self._real.encode(frame, pts, keyframe=keyframe)

    def update(self, settings):
        return self._real.update(settings)

    def close(self):
        self._real.close()


def _faulty(name, opened, **how):
    def create(size, settings, notes):
        opened.append(name)
        return FaultyEncoder(name, size, settings, notes, **how)

    return ladder.Candidate(name, True, create)


def _x264():
    return next(c for c in ladder.default_candidates() if c.name == "libx264")


@pytest.fixture
def run_with(monkeypatch, h264):
    """A pattern pipeline on a ladder of one's own."""
    running = []

    def run(candidates, **arguments):
        monkeypatch.setattr(pipeline, "make_ladder", lambda settings: ladder.Ladder(candidates))
        stream = fallback.Pipeline(source="pattern", display="320x240", **arguments)
        running.append(stream)
        flow = h264.Flow(stream, stream.subscribe(256))
        stream.start()
        return flow

    yield run
    for stream in running:
        stream.stop()
        stream.join()


def _generations(packets):
    found = {}
    for packet in packets:
        found.setdefault(packet.generation, []).append(packet)
    return list(found.values())


@pytest.mark.parametrize("silent", [False, True])
def test_failing_encoder_is_rebuilt_once_then_replaced(run_with, h264, silent):
    opened = []
    flow = run_with([_faulty("h264_bad", opened, good=10, silent=silent), _x264()])
    packets = flow.until(lambda p: p.generation == 3)
    packets += flow.take(5)
    assert opened == ["h264_bad", "h264_bad"]
    groups = _generations(packets)
    assert [group[0].generation for group in groups] == [1, 2, 3]
    assert [len(group) for group in groups[:2]] == [10, 10]
    for group in groups:
        assert group[0].keyframe
        h264.decode(group)
    pts = [p.pts for p in packets]
    assert pts == sorted(set(pts))
    stats = flow.pipeline.stats()
    assert stats["encoder"] == "libx264"
    assert any("h264_bad" in note for note in stats["notes"])
    assert any("h264_bad" in line for _, _, line in flow.pipeline.drain_logs())


def test_no_encoder_left_is_an_encoder_error(run_with):
    flow = run_with([_faulty("h264_bad", [], good=5)])
    with pytest.raises(errors.EncoderError, match=r"h264_bad.*the driver fell over"):
        flow.until(lambda _: False)


def test_encoder_that_does_not_open_is_skipped(run_with):
    def create(size, settings, notes):
        raise errors.EncoderError("no session left")

    flow = run_with([ladder.Candidate("h264_full", True, create), _x264()])
    assert flow.next().keyframe
    stats = flow.pipeline.stats()
    assert stats["encoder"] == "libx264"
    assert any("no session left" in note for note in stats["notes"])


def test_hardware_is_left_out_when_not_wanted(run_with):
    opened = []
    flow = run_with([_faulty("h264_bad", opened, good=5), _x264()], use_hardware_encoder=False)
    flow.take(10)
    assert opened == []


def test_ladder_names_every_refusal():
    def fail():
        return "no GPU here"

    rungs = [ladder.Candidate("h264_x", True, FaultyEncoder, gate=fail), _x264()]
    with pytest.raises(errors.EncoderUnavailable, match="h264_x: no GPU here") as caught:
        ladder.Ladder(rungs[:1]).open((320, 240), Settings(), [])
    assert isinstance(caught.value, LookupError)
    with pytest.raises(errors.EncoderUnavailable, match="libx264: not the one asked for"):
        ladder.Ladder(rungs).open((320, 240), Settings(encoder="h264_x"), [])
    assert ladder.Ladder(rungs).verdicts() == [
        ("h264_x", True, False, "no GPU here"),
        ("libx264", False, True, ""),
    ]


def test_gpu_vendors(tmp_path):
    for name, kind, vendor in (
        ("a", "0x030000", "0x10de"),
        ("b", "0x020000", "0x8086"),
        ("c", "0x038000", "0x1002"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "class").write_text(kind + "\n")
        (tmp_path / name / "vendor").write_text(vendor + "\n")
    (tmp_path / "gone").mkdir()
    assert ladder.gpu_vendors(str(tmp_path)) == {0x10DE, 0x1002}


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("pass", ""),
        ("import sys; sys.exit('cannot open the device')", "cannot open the device"),
        ("import os; os.abort()", "signal 6"),
        ("import time; time.sleep(60)", "no result within 1 s"),
    ],
)
def test_probe_survives_whatever_the_driver_does(code, verdict):
    reason = ladder.run_probe(
        [sys.executable, "-c", code], timeout=20.0 if "60" not in code else 1.0
    )
    assert (reason == "") == (verdict == "")
    assert verdict in reason


def test_probe_runs_the_real_encoder():
    command = [sys.executable, "-m", "kvmstream._fallback.probe"]
    assert ladder.run_probe([*command, "libx264"], timeout=60.0) == ""
    assert "usage" in ladder.run_probe([*command, "h264_imaginary"], timeout=60.0)


def test_probe_results_are_cached(tmp_path, monkeypatch):
    asked = []

    def probe(command, timeout=0.0):
        asked.append(command[-1])
        return "broken"

    monkeypatch.setattr(ladder, "run_probe", probe)
    monkeypatch.setattr(ladder, "_probed", {})
    cache = str(tmp_path / "cache")
    assert ladder._probe("h264_qsv", cache) == "broken"
    assert ladder._probe("h264_qsv", cache) == "broken"
    monkeypatch.setattr(ladder, "_probed", {})
    assert ladder._probe("h264_qsv", cache) == "broken"
    assert asked == ["h264_qsv"], "the second process reads the file"
    (tmp_path / "cache" / "fallback-encoders.json").write_text("[1, 2")
    monkeypatch.setattr(ladder, "_probed", {})
    assert ladder._probe("h264_qsv", cache) == "broken"
    assert len(asked) == 2, "a damaged file is no cache"


def test_keyframes_of_forgetful_encoders_get_their_parameter_sets():
    encoder = codec.PyavEncoder(codec.SPECS[-1], (320, 240), Settings(), [])
    encoder._hardware = True
    sets = b"\0\0\0\1\x67SPS\0\0\0\1\x68PPS"
    assert encoder._complete(sets + b"\0\0\1\x65one", True) == sets + b"\0\0\1\x65one"
    assert encoder._complete(b"\0\0\1\x65two", True) == sets + b"\0\0\1\x65two"
    assert encoder._complete(b"\0\0\1\x41three", False) == b"\0\0\1\x41three"
    encoder.close()


def test_every_hardware_option_exists():
    """A misspelt option would only show on a machine with that GPU."""
    import av

    for spec in codec.SPECS:
        if spec.name not in av.codecs_available:
            continue
        context = av.CodecContext.create(spec.name, "w")
        supported = getattr(context, "supported_options", None)
        if supported is None:
            pytest.skip(f"PyAV {av.__version__} does not list options")
        known = {option.name for option in (*supported.generic, *supported.private)}
        assert set(spec.options(Settings())) <= known, spec.name


def test_x264_stream_is_low_delay():
    """One reference, no B-frames, no reordering, infinite GOP, as the parameters that x264 writes tell."""
    stage = EncodeStage(
        ladder.Ladder([_x264()]), Settings(), time.perf_counter_ns(), lambda *_: None
    )
    epoch = next_epoch()
    stage.begin(epoch, 320, 240)
    patch = Patch(0, 0, np.zeros((240, 320, 4), np.uint8))
    now = time.perf_counter_ns()
    (packet,) = stage.encode(
        Delta(epoch, 320, 240, [patch], now, now), keyframe=False, refinement=False
    )
    text = bytes(packet)
    for parameter in (
        b"bframes=0",
        b"ref=1",
        b"keyint=infinite",
        b"scenecut=0",
        b"rc_lookahead=0",
        b"mbtree=0",
    ):
        assert parameter in text
    for parameter in (b"vbv_maxrate=6000", b"vbv_bufsize=1500", b"crf=23.0"):
        assert parameter in text
    assert str(packet) == repr(packet)
    stage.close()


def test_rates_change_live_where_pyav_can(run_with):
    import av

    flow = run_with([_x264()], bitrate=4_000_000, fps=60.0)
    flow.take(5)
    flow.pipeline.update(bitrate=1_000_000)
    flow.pipeline.update(fps=30.0)
    flow.pipeline.update(fps=60.0, bitrate=2_000_000)
    packets = flow.take_for(1.0)
    if int(av.__version__.split(".")[0]) >= 19:
        assert {p.generation for p in packets} == {1}
        assert not any(p.keyframe for p in packets)
    for group in _generations(packets)[1:]:
        assert group[0].keyframe
    flow.pipeline.update(crf=30.0)
    assert flow.until(lambda p: p.generation > packets[-1].generation)[-1].keyframe


def test_ceiling_follows_the_frame_rate(monkeypatch):
    encoder = codec.PyavEncoder(codec.SPECS[-1], (320, 240), Settings(fps=60.0), [])

    class Context:
        max_bit_rate = rc_buffer_size = 0

    encoder.close()
    encoder._codec = context = Context()
    assert encoder.update(Settings(fps=30.0, bitrate=3_000_000))
    # x264 still counts 60 frames to its second: twice the rate gives each of the 30 its share.
    assert (context.max_bit_rate, context.rc_buffer_size) == (6_000_000, 750_000)
    assert not encoder.update(Settings(fps=30.0, bitrate=3_000_000, crf=30.0))


def test_static_repeats_get_better(screen, h264):
    """Refinement: the same picture again costs bits only to come closer to the original."""
    with screen.client(
        "xterm", "-geometry", "90x30+0+0", "-e", "sh", "-c", "ls -lR /usr/lib | head -200; sleep 60"
    ):
        time.sleep(1.5)
        stream = fallback.Pipeline(display=screen.display, cursor="hidden", bitrate=400_000)
        flow = h264.Flow(stream, stream.subscribe(64))
        try:
            stream.start()
            packets = flow.until_quiet()
            width, height, data = fallback.screenshot(display=screen.display, cursor="hidden")
        finally:
            stream.stop()
            stream.join()
    picture = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    wanted, _, _ = bt709_reference(picture)
    frames = h264.decode(packets)
    errors_squared = [
        ((f.to_ndarray()[:height] - wanted) ** 2).mean() for f in (frames[0], frames[-1])
    ]
    assert packets[-1].refinement
    assert errors_squared[1] < errors_squared[0]


@pytest.mark.slow
def test_scrolling_text_at_1080p_leaves_room_for_25_fps(x_server, h264):
    """By the CPU time of a frame, which other processes' load does not change: 25 fps need it below 40 ms."""
    script = (
        "i=0; while :; do i=$((i+1)); "
        "echo $i the quick brown fox jumps over the lazy dog and packs my box with liquor jugs; "
        "sleep 0.01; done"
    )
    arguments = ("xterm", "-geometry", "316x82+0+0", "-fs", "10", "-e", "sh", "-c", script)
    with x_server.client(*arguments):
        time.sleep(2.0)
        stream = fallback.Pipeline(display=x_server.display)
        flow = h264.Flow(stream, stream.subscribe(64))
        try:
            stream.start()
            flow.take(10, timeout=20.0)
            before = time.process_time()
            fresh = [p for p in flow.take(60, timeout=20.0) if not p.refinement]
            spent = time.process_time() - before
        finally:
            stream.stop()
            stream.join()
    assert spent / len(fresh) < 0.040, f"{spent / len(fresh) * 1e3:.1f} ms a frame"
