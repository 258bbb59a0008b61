"""A viewer that test_pure_python.py runs: looks, types and copies, and prints what it saw as JSON.

python tests/pure_viewer.py URL TOKEN, with DISPLAY the source's: what it pastes is looked at there
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import kvmstream


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


with kvmstream.connect_sync(sys.argv[1], token=sys.argv[2]) as hub:
    source = hub.sources["office-pc"]
    source.wait_online(10)
    frames = source.frames()
    picture = next(frames)
    until(lambda: "encoder" in source.info.figures)
    figures = dict(source.info.figures)
    frames.close()
    source.keyboard.type("typed ß\n")
    until(lambda: source.clipboard.text == "from there")
    clipboard = source.clipboard.text
    source.clipboard.write("from here")
    paste = ["xclip", "-selection", "clipboard", "-o"]
    until(lambda: subprocess.run(paste, capture_output=True, check=False).stdout == b"from here")
    print(
        json.dumps(
            {
                "viewer": kvmstream.backend,
                "agent": figures["backend"],
                "encoder": figures["encoder"],
                "shape": picture.shape,
                "blue": picture[470, 630].tolist(),
                "clipboard": clipboard,
            }
        )
    )
