"""Look at the screen as numpy arrays until Ctrl-C: print how bright it is whenever it changes.

Run: python examples/frames.py
"""

import contextlib

import kvmstream

config = kvmstream.StreamConfig(fps=10, cursor="hidden")
with kvmstream.Stream(config) as stream, contextlib.suppress(KeyboardInterrupt):
    for frame in stream.frames():  # height × width × 3, uint8, RGB
        height, width, _ = frame.shape
        print(f"{width}x{height}, mean brightness {frame.mean():.1f}", flush=True)
