"""Our own encoder's stream in decoders other than the one it was made beside, and under an independent syntax check."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import subprocess

import av
import numpy as np
import pytest
from browser import CHROMIUM, console
from house import house

__all__ = ["house"]  # a fixture

pytestmark = pytest.mark.native

# Chroma, preset, profile as WebCodecs names it, how many pictures. CAVLC, then CABAC.
_STREAMS = (
    ("420", "ultrafast", "avc1.42c01f", 500),
    ("444", "ultrafast", "avc1.f4001f", 500),
    ("420", "superfast", "avc1.4d401f", 100),
    ("444", "superfast", "avc1.f4001f", 100),
)
_TAKEN: dict[tuple[str, str, str, int], list[tuple[bool, bytes]]] = {}

# Every colour and every kind of change: text that scrolls, a window that moves, flat fills and noise.
_TERMINAL = (
    "xterm", "-geometry", "60x20+10+10", "-bg", "ivory", "-e", "sh", "-c",
    "while :; do head -c 60 /dev/urandom | base64; printf '\\033[3%dm' $((n = (n + 1) % 8)); sleep 0.02; done",
)  # fmt: skip

_DECODE = """async ([codec, units]) => {
    const hashes = [], waiting = [];
    const decoder = new VideoDecoder({
        output: frame => waiting.push((async () => {
            const bytes = new Uint8Array(frame.allocationSize());
            const layout = await frame.copyTo(bytes);
            const planes = [];
            layout.forEach(({ offset, stride }, plane) => {
                const halves = plane && frame.format === "I420" ? 1 : 0;
                const width = frame.visibleRect.width >> halves;
                const height = frame.visibleRect.height >> halves;
                for (let y = 0; y < height; y++) {
                    planes.push(bytes.subarray(offset + y * stride, offset + y * stride + width));
                }
            });
            const format = frame.format;
            frame.close();
            const digest = await crypto.subtle.digest("SHA-256", await new Blob(planes).arrayBuffer());
            return [format, [...new Uint8Array(digest)].map(b => b.toString(16).padStart(2, "0")).join("")];
        })()),
        error: error => { throw error; },
    });
    decoder.configure({ codec, hardwareAcceleration: "prefer-software", optimizeForLatency: true });
    for (const [i, [type, data]] of units.entries()) {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
        decoder.decode(new EncodedVideoChunk({ type, timestamp: i * 1000, data: bytes }));
        while (decoder.decodeQueueSize > 4) await new Promise(go => setTimeout(go, 1));
    }
    await decoder.flush();
    return Promise.all(waiting);
}"""


@pytest.fixture
def backend(native):
    """The shared `stream` fixture runs on the native core alone here."""
    return native


@pytest.fixture(params=_STREAMS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def kind(request):
    return request.param


@pytest.fixture
def units(screen, stream, h264, kind):
    """[(is it a keyframe, access unit)], as many as wanted; with some keyframes and changes of the rate between.

    Taken once for all tests: that is 8 s.
    """
    if kind in _TAKEN:
        return _TAKEN[kind]
    chroma, preset, _, pictures = kind
    taken = []
    chance = np.random.default_rng(5)
    with (
        stream(
            display=screen.display,
            encoder="screen",
            chroma=chroma,
            preset=preset,
            cursor="hidden",
            fps=60,
            crf=20,
        ) as flow,
        screen.client(*_TERMINAL),
        h264.Brush(screen.display) as brush,
    ):
        for number in range(pictures):
            if number % 3 == 0:
                x, y, width, height = (
                    int(chance.integers(1, most)) for most in (500, 350, 140, 130)
                )
                brush.fill(x, y, width, height, tuple(int(v) for v in chance.integers(0, 256, 3)))
            if number % 120 == 119:
                flow.pipeline.request_keyframe()
            if number % 90 == 89:
                flow.pipeline.update(crf=float(chance.integers(14, 40)))
            packet = flow.next()
            taken.append((packet.keyframe, bytes(memoryview(packet))))
    _TAKEN[kind] = taken
    return taken


def test_chromium_shows_the_same_bits_as_ffmpeg(house, units, kind) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    decoder = av.CodecContext.create("h264", "r")
    wanted = []
    for _, unit in units:
        for frame in decoder.decode(av.Packet(unit)):
            planes = [
                np.frombuffer(plane, np.uint8)
                .reshape(-1, plane.line_size)[:, : plane.width]
                .tobytes()
                for plane in frame.planes
            ]
            wanted.append(hashlib.sha256(b"".join(planes)).hexdigest())
    chroma, _, codec, pictures = kind
    assert len(wanted) == pictures
    # profile_idc and the constraint flags, of the first SPS
    assert units[0][1][5:7].hex() == codec[5:9]

    async def main() -> None:
        async with house() as it, console(it) as page:
            found = await page.evaluate(
                _DECODE,
                [
                    codec,
                    [
                        ["key" if key else "delta", base64.b64encode(unit).decode()]
                        for key, unit in units
                    ],
                ],
            )
            assert {form for form, _ in found} == {"I444" if chroma == "444" else "I420"}
            assert [digest for _, digest in found] == wanted

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg on this machine")
def test_an_independent_reader_finds_nothing_amiss(units, tmp_path) -> None:
    path = tmp_path / "stream.h264"
    path.write_bytes(b"".join(unit for _, unit in units))
    # The first reads every header field by field, the second every macroblock and gives up at the first doubt.
    for options in (["-c", "copy", "-bsf:v", "trace_headers"], []):
        said = subprocess.run(
            ["ffmpeg", "-hide_banner", "-v", "warning", "-err_detect", "explode", "-f", "h264", "-i", str(path),
             *options, "-f", "null", "-"],
            capture_output=True, text=True, check=True,
        ).stderr.splitlines()  # fmt: skip
        # A bare stream has no times: that is all there is to say.
        assert [line for line in said if "imestamp" not in line and "monoton" not in line] == []
