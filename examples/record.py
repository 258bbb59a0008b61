"""Record ten seconds of the screen to out.mp4. Run: python examples/record.py [OUT.mp4]"""

import sys
import time

import kvmstream

out = sys.argv[1] if len(sys.argv) > 1 else "out.mp4"
config = kvmstream.StreamConfig(fps=30, crf=20)

with kvmstream.Stream(config) as stream, kvmstream.Recorder(out) as recorder:
    packets = stream.subscribe()
    end = time.monotonic() + 10
    while (left := end - time.monotonic()) > 0:
        packet = packets.next(left)  # None when nothing changed until then
        if packet is not None:
            recorder.write(packet)
    print(
        f"{out}: {recorder.frames} frames, {stream.stats().encoder} ({kvmstream.backend} backend)"
    )
