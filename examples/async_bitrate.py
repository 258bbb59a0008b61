"""Read packets in an event loop and change the bitrate on the way; needs no display.

Run: python examples/async_bitrate.py
"""

import asyncio

import kvmstream


async def main() -> None:
    config = kvmstream.StreamConfig(source="pattern", fps=30)
    async with kvmstream.Stream(config) as stream:
        count = size = 0
        async for packet in stream:
            count += 1
            size += len(packet)
            if count % 30 == 0:
                print(f"{count} packets, {size * 8 / 1000:.0f} kbit in the last 30")
                size = 0
            if count == 60:
                stream.update(bitrate=1_000_000)
            if count == 150:
                break


asyncio.run(main())
