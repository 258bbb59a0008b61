"""Look at the screen as numpy arrays: print how bright it is. Run: python examples/frames.py"""

import itertools

import kvmstream

with kvmstream.Stream(kvmstream.StreamConfig(fps=10, cursor="hidden")) as stream:
    for frame in itertools.islice(stream.frames(), 20):  # height × width × 3, uint8, RGB
        height, width, _ = frame.shape
        print(f"{width}x{height}, mean brightness {frame.mean():.1f}")
