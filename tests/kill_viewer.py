"""A viewer as a process that can be killed, for soak_kill.py: python tests/kill_viewer.py URL TOKEN.

Reads a line, does it, and prints "ok": "look" has a picture of the source "pc", over a new connection where the old one
is lost; "hold KEY …" presses these keys and the right button, and keeps them down.
"""

from __future__ import annotations

import asyncio
import sys

import kvmstream
from kvmstream.errors import KvmStreamError

LOOK_SECONDS = 2.0


async def main(url: str, token: str) -> None:
    hub: kvmstream.RemoteHub | None = None

    async def look() -> None:
        nonlocal hub
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    if hub is None:
                        hub = kvmstream.connect(url, token=token)
                        await hub.__aenter__()
                    await hub.sources["pc"].wait_online()
                    await hub.sources["pc"].screenshot()
                    return
            except (KvmStreamError, TimeoutError):
                if hub is not None:
                    await hub.close()
                hub = None
                await asyncio.sleep(0.05)

    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *keys = line.split()
        if what == "look":
            await look()
        else:
            assert hub is not None
            for key in keys:
                await hub.sources["pc"].keyboard.down(key)
            await hub.sources["pc"].mouse.down("right")
        print("ok", flush=True)
    if hub is not None:
        await hub.close()


asyncio.run(main(*sys.argv[1:]))
