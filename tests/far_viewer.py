"""A viewer at the far end of a line, run by test_line.py: prints what it saw as JSON.

python tests/far_viewer.py URL TOKEN SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import kvmstream


async def main(url: str, token: str, seconds: float) -> None:
    ages, sizes, keyframes = [], [], 0
    async with kvmstream.connect(url, token=token) as hub:
        source = hub.sources["office-pc"]
        decoder = kvmstream.Decoder()
        async with source.packets() as packets:
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                packet = await asyncio.wait_for(anext(packets), 30)
                assert decoder.decode_picture(packet) is not None
                ages.append((now, (time.perf_counter_ns() - packet.captured_ns) / 1e9))
                sizes.append(len(packet))
                keyframes += packet.keyframe
        offset = hub._control.clock.offset_ns
    print(
        json.dumps({"ages": ages, "bytes": sum(sizes), "keyframes": keyframes, "offset_ns": offset})
    )


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
