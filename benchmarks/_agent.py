"""An agent in a process of its own: `_agent.py DISPLAY NAME CONTROL_PORT VIDEO_PORT`, for benchmarks.

Prints its worker's process id, then obeys lines on standard input: "spin" starts a Python thread that never rests,
"rest" ends it. Ends with its input.
"""

from __future__ import annotations

import sys
import threading

import kvmstream


def main() -> None:
    display, name, control_port, video_port = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
    if display == "pattern":
        config = kvmstream.StreamConfig(source="pattern", fps=30)
    else:
        config = kvmstream.StreamConfig(display=display, bitrate=60_000_000)
    rest = threading.Event()

    def spin() -> None:
        while not rest.is_set():
            pass

    with kvmstream.SourceAgentClient(config, name=name) as agent:
        agent.start("127.0.0.1", control_port, video_port)
        agent.wait_connected(10)
        process = agent._process
        assert process is not None
        print(process.pid, flush=True)
        for line in sys.stdin:
            if line.strip() == "spin":
                rest.clear()
                threading.Thread(target=spin, daemon=True).start()
            else:
                rest.set()
        rest.set()


if __name__ == "__main__":
    main()
